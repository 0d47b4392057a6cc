import threading

import pytest
from support.pairs import SOON, run, wait_until

from syncws.threaded import deadline
from syncws.threaded.deadline import Deadline, Latch, wait_for_lock


def test_no_timeout_is_no_limit():
    forever = Deadline(None)
    assert forever.remaining() is None
    assert forever.lock_timeout() == -1
    assert not forever.expired


def test_deadline_runs_down_to_zero_and_no_further(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(deadline, "clock", lambda: now[0])
    limit = Deadline(5)
    assert limit.remaining() == 5
    assert not limit.expired
    now[0] = 103.5
    assert limit.remaining() == 1.5
    assert limit.lock_timeout() == 1.5
    now[0] = 106
    assert limit.remaining() == 0
    assert limit.lock_timeout() == 0
    assert limit.expired


def test_deadline_beyond_what_a_lock_takes_is_cut():
    assert Deadline(1e30).lock_timeout() == threading.TIMEOUT_MAX


def test_latch_that_is_not_set_times_out():
    latch = Latch()
    assert not latch.wait(0)
    assert not latch.wait(0.01)
    assert not latch.is_set()
    assert latch._waiters == []


def test_latch_wakes_everybody_who_waits_and_lets_everybody_else_pass():
    latch = Latch()
    waiting = [run(latch.wait) for _ in range(5)]
    wait_until(lambda: len(latch._waiters) == 5)
    latch.set()
    assert [waiter.result() for waiter in waiting] == [True] * 5
    latch.set()
    assert latch.wait()
    assert latch.is_set()


@pytest.mark.parametrize("attempt", range(50))
def test_latch_set_while_others_start_to_wait_loses_nobody(attempt):
    latch = Latch()
    waiting = [run(latch.wait, SOON) for _ in range(3)]
    setting = [run(latch.set) for _ in range(2)]
    assert [waiter.result() for waiter in waiting] == [True] * 3
    for setter in setting:
        setter.result()


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_lock_is_waited_for_with_and_without_a_limit(in_main_thread, monkeypatch):
    monkeypatch.setattr(deadline, "SIGNAL_INTERVAL", 0.001)
    call = (lambda f, *args: f(*args)) if in_main_thread else (lambda *args: run(*args).result())
    lock = threading.Lock()
    assert call(wait_for_lock, lock, 0)
    assert not call(wait_for_lock, lock, 0)
    assert not call(wait_for_lock, lock, 0.01)
    releasing = threading.Timer(0.02, lock.release)
    releasing.start()
    assert call(wait_for_lock, lock, -1)
    releasing.join()
