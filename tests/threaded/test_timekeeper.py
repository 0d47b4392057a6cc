import gc
import threading
import weakref

import pytest
from support.pairs import SOON, wait_until

from syncws.threaded import timekeeper
from syncws.threaded.timekeeper import call_later


def test_timers_run_in_order_of_time():
    done = []
    last = threading.Event()
    call_later(0.02, lambda: (done.append("late"), last.set()))
    call_later(0.01, lambda: done.append("soon"))
    call_later(0, lambda: done.append("now"))
    assert last.wait(SOON)
    assert done == ["now", "soon", "late"]


def test_timers_share_one_thread():
    threads = set()
    done = threading.Semaphore(0)
    for _ in range(10):
        call_later(0, lambda: (threads.add(threading.current_thread()), done.release()))
    for _ in range(10):
        assert done.acquire(timeout=SOON)
    (thread,) = threads
    assert thread.name == "syncws-timekeeper"
    assert thread.daemon


def test_cancelled_timer_does_not_run_and_keeps_nothing_alive():
    class Thing:
        def act(self):
            raise AssertionError

    thing = Thing()
    timer = call_later(0.01, thing.act)
    gone = weakref.ref(thing)
    timer.cancel()
    timer.cancel()
    del thing
    gc.collect()
    assert gone() is None
    after = threading.Event()
    call_later(0.02, after.set)
    assert after.wait(SOON)


def test_timer_that_ran_keeps_nothing_alive():
    class Thing:
        def __init__(self):
            self.done = threading.Event()

    thing = Thing()
    done = thing.done
    call_later(0, thing.done.set)
    assert done.wait(SOON)
    gone = weakref.ref(thing)
    del thing
    wait_until(lambda: gc.collect() is not None and gone() is None)


def test_timer_that_fails_is_logged_and_the_others_go_on(caplog):
    after = threading.Event()

    def fail():
        raise ZeroDivisionError

    call_later(0, fail)
    call_later(0.01, after.set)
    assert after.wait(SOON)
    assert "a timer failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_cancelled_timers_do_not_pile_up():
    for _ in range(5000):
        call_later(1000, pytest.fail).cancel()
    assert len(timekeeper._timekeeper._timers) < 1100


def test_cancelled_timers_do_not_pile_up_behind_one_that_is_due_earlier():
    first = call_later(999, pytest.fail)
    for _ in range(5000):
        call_later(1000, pytest.fail).cancel()
    first.cancel()
    assert len(timekeeper._timekeeper._timers) < 1100


@pytest.mark.parametrize("delay", [1e12, float("inf")])
def test_timer_that_is_never_due_does_not_stop_the_others(delay):
    keeper = timekeeper._Timekeeper()
    never = keeper.call_later(delay, pytest.fail)
    for _ in range(3):  # it waits for the far one in between
        after = threading.Event()
        keeper.call_later(0.01, after.set)
        assert after.wait(SOON)
    never.cancel()


def test_the_thread_ends_when_there_are_no_timers_and_is_started_again():
    keeper = timekeeper._Timekeeper()
    threads = []
    for count in (1, 2):
        cancelled = keeper.call_later(20, pytest.fail)
        keeper.call_later(0, lambda: threads.append(threading.current_thread()))
        wait_until(lambda: len(threads) == count)  # noqa: B023
        assert threads[-1].is_alive()
        cancelled.cancel()
        threads[-1].join(5)
        assert not threads[-1].is_alive()
    assert threads[0] is not threads[1]


def test_no_timer_is_lost_while_the_thread_ends(monkeypatch):
    monkeypatch.setattr(timekeeper, "IDLE_INTERVAL", 0.0005)
    keeper = timekeeper._Timekeeper()
    for _ in range(2000):
        done = threading.Event()
        keeper.call_later(0, done.set)
        assert done.wait(SOON)


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_timer_that_ends_threads_does_not_end_this_one(error, caplog):
    keeper = timekeeper._Timekeeper()
    threads = []

    def fail():
        threads.append(threading.current_thread())
        raise error

    keeper.call_later(0, fail)
    after = threading.Event()
    keeper.call_later(0.01, lambda: (threads.append(threading.current_thread()), after.set()))
    assert after.wait(SOON)
    assert threads[0] is threads[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_another_thread_goes_on_where_a_defect_ends_one(monkeypatch):
    keeper = timekeeper._Timekeeper()
    after = threading.Event()
    threads = []
    sort_in = keeper._sort_in

    def defective():
        threads.append(threading.current_thread())
        sort_in()
        monkeypatch.setattr(keeper, "_sort_in", sort_in)
        raise ZeroDivisionError

    monkeypatch.setattr(keeper, "_sort_in", defective)
    keeper.call_later(0.01, after.set)
    assert after.wait(SOON)
    threads[0].join(SOON)  # the warning belongs to this test


def test_no_thread_for_the_first_timer_leaves_the_next_one_a_chance(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    keeper = timekeeper._Timekeeper()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            keeper.call_later(1000, pytest.fail)
    after = threading.Event()
    keeper.call_later(0, after.set)
    assert after.wait(SOON)


def test_thread_that_was_started_is_the_only_one_whatever_interrupts_its_start(monkeypatch):
    start = threading.Thread.start
    started = []

    def recorded(self):
        start(self)
        started.append(self)

    def interrupted(self):
        recorded(self)
        raise KeyboardInterrupt  # by a signal handler

    keeper = timekeeper._Timekeeper()
    after = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            keeper.call_later(1000, pytest.fail)
        patch.setattr(threading.Thread, "start", recorded)
        keeper.call_later(0, after.set)
    assert after.wait(SOON)
    wait_until(lambda: sum(thread.is_alive() for thread in started) == 1)
