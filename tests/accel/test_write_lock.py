"""The write lock, in both implementations: in Python it is the interpreter's own."""

import os
import signal
import sys
import threading

import pytest
from support.channels import import_c
from support.pairs import SOON, run, wait_until

from syncws.accel import pure


@pytest.fixture(params=["c", "pure"])
def make(request):
    module = pure if request.param == "pure" else import_c()
    return module.WriteLock


@pytest.fixture
def lock(make):
    return make()


def is_free(lock):
    """Whether another thread could take it."""

    def look():
        taken = lock.acquire(blocking=False)
        if taken:
            lock.release()
        return taken

    return run(look).result()


class Holder:
    """Another thread that has the lock, until it is told to let it go."""

    def __init__(self, lock):
        self._taken, self._end = threading.Event(), threading.Event()
        self._running = run(self._hold, lock)
        assert self._taken.wait(SOON)

    def _hold(self, lock):
        with lock:
            self._taken.set()
            assert self._end.wait(SOON)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end.set()
        self._running.result()


# --- one thread ---


def test_lock_is_free_at_first_and_after_it_was_released(lock):
    assert is_free(lock)
    assert lock.acquire() is True
    assert not is_free(lock)
    assert lock.release() is None
    assert is_free(lock)


def test_owner_may_take_it_several_times_and_releases_it_as_often(lock):
    assert lock.acquire()
    assert lock.acquire(blocking=False)
    assert lock.acquire(timeout=SOON)
    with lock:
        assert not is_free(lock)
    for _ in range(3):
        assert lock._is_owned()
        assert not is_free(lock)
        lock.release()
    assert not lock._is_owned()
    assert is_free(lock)


def test_block_has_the_lock_and_releases_it_whatever_is_raised(lock):
    with lock as result:
        assert result is True
        assert lock._is_owned()
    assert is_free(lock)
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    assert is_free(lock)


def test_only_the_owner_owns_it(lock):
    assert lock._is_owned() is False
    with lock:
        assert lock._is_owned() is True
        assert run(lock._is_owned).result() is False
    assert lock._is_owned() is False


def test_nobody_else_can_release_it(lock):
    with pytest.raises(RuntimeError, match="un-acquired"):
        lock.release()
    with lock:
        with pytest.raises(RuntimeError, match="un-acquired"):
            run(lock.release).result()
        assert lock._is_owned()
    with pytest.raises(RuntimeError, match="un-acquired"):
        lock.release()
    assert is_free(lock)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        ((1, 2, 3), {}, TypeError),
        ((), {"wrong": 1}, TypeError),
        ((), {"timeout": "soon"}, TypeError),
        ((), {"timeout": None}, TypeError),
        ((True,), {"blocking": True}, TypeError),
        ((), {"timeout": -2}, ValueError),
        ((), {"blocking": False, "timeout": 1}, ValueError),
        ((), {"timeout": 1e300}, OverflowError),
        ((), {"timeout": float("nan")}, ValueError),
    ],
)
@pytest.mark.parametrize("taken", [False, True], ids=["free", "taken"])
def test_wrong_arguments_are_refused_and_take_nothing(lock, arguments, keywords, error, taken):
    def refuse():
        with pytest.raises(error):
            lock.acquire(*arguments, **keywords)

    if taken:
        with Holder(lock):
            refuse()
    else:
        refuse()
    assert not lock._is_owned()
    assert is_free(lock)


def test_making_one_takes_no_arguments():
    with pytest.raises(TypeError, match="takes no arguments"):
        import_c().WriteLock(1)
    with pytest.raises(TypeError, match="takes no arguments"):
        import_c().WriteLock(wrong=1)


@pytest.mark.parametrize("name", ["release", "_is_owned"])
def test_methods_without_arguments_take_none(lock, name):
    with lock, pytest.raises(TypeError):
        getattr(lock, name)(1)
    assert is_free(lock)


# --- several threads ---


def test_who_may_not_wait_does_not_get_what_is_taken(lock):
    with Holder(lock):
        assert lock.acquire(blocking=False) is False
        assert lock.acquire(False) is False
        assert lock.acquire(timeout=0) is False
        assert not lock._is_owned()
    assert lock.acquire(blocking=False) is True
    lock.release()


def test_who_stops_waiting_leaves_nothing_behind(lock):
    with Holder(lock):
        for _ in range(3):
            assert lock.acquire(timeout=0.01) is False
            assert lock.acquire(True, 0.001) is False
        assert not lock._is_owned()
    # It was not handed to who does not wait any more.
    assert not lock._is_owned()
    assert is_free(lock)


def test_waiting_takes_no_memory_for_good(make, lock):
    def wait(count):
        for _ in range(count):
            assert not lock.acquire(timeout=1e-6)

    grown = []
    with Holder(lock):
        for _ in range(3):  # caches may fill once; a leak would be there each time
            blocks, references = sys.getallocatedblocks(), sys.getrefcount(make)
            wait(1000)
            grown.append((sys.getallocatedblocks() - blocks, sys.getrefcount(make) - references))
    assert min(blocks for blocks, _ in grown) < 200
    assert min(references for _, references in grown) < 20


def test_who_waits_in_time_gets_it(lock):
    with Holder(lock) as holder:
        waiting = run(lambda: lock.acquire(timeout=SOON) and lock.release() is None)
        holder._end.set()
        assert waiting.result()
    assert is_free(lock)


def test_one_thread_at_a_time_has_it(lock):
    total = [0]
    inside = []

    def count():
        for number in range(300):
            with lock:
                inside.append(threading.get_ident())
                value = total[0]
                if number % 3 == 0:
                    with lock:  # as the owner may
                        value += 0
                total[0] = value + 1
                assert inside == [threading.get_ident()]
                inside.pop()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [run(count) for _ in range(8)]
        for thread in threads:
            thread.result()
    finally:
        sys.setswitchinterval(interval)
    assert total == [2400]
    assert is_free(lock)


def test_every_thread_that_waits_gets_it(lock):
    ready = threading.Semaphore(0)
    order = []

    def take(timeout):
        ready.release()
        assert lock.acquire(timeout=timeout)
        order.append(timeout)
        lock.release()

    with lock:
        waiting = [run(take, timeout) for timeout in [-1, SOON] * 4]
        for _ in waiting:
            assert ready.acquire(timeout=SOON)
    for thread in waiting:
        thread.result()
    assert sorted(order) == sorted([-1, SOON] * 4)
    assert is_free(lock)


def test_thread_that_takes_it_again_and_again_does_not_keep_others_out(lock):
    ready = threading.Event()

    def take():
        ready.set()
        with lock:
            return True

    with lock:
        waiting = run(take)
        assert ready.wait(SOON)
    wait_until(lambda: lock.acquire() and lock.release() is None and waiting.done())
    assert waiting.result()


def test_lock_in_c_is_handed_to_who_waits_longest():
    lock = import_c().WriteLock()
    entered, order = threading.Semaphore(0), []

    def take(number):
        entered.release()
        with lock:
            order.append(number)

    lock.acquire()
    threads = []
    for number in range(4):
        threads.append(run(take, number))
        assert entered.acquire(timeout=SOON)
        wait_until(lambda number=number: waits_in(take, number + 1))
    lock.release()
    # A thread waits: it has the lock by now, though it did not run.
    taken = lock.acquire(blocking=False)
    if taken:
        lock.release()
    for thread in threads:
        thread.result()
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2, 3]
    assert not taken or len(order) == 4
    assert is_free(lock)


def waits_in(function, count):
    """Whether so many threads are at the line of a function that waits."""
    code = function.__code__
    line = code.co_firstlineno + 2
    frames = sys._current_frames().values()
    return sum(frame.f_code is code and frame.f_lineno == line for frame in frames) == count


# --- signals ---


class Interrupted(BaseException):
    """What the handler raises."""


@pytest.fixture
def interrupt():
    """Set a timer whose signal raises in the main thread."""
    if os.name != "posix":
        pytest.skip("needs POSIX signals")

    def handle(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handle)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.02)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("timeout", [-1, SOON])
def test_handler_that_raises_ends_the_wait_and_the_lock_stays_usable(lock, interrupt, timeout):
    with Holder(lock):
        interrupt()
        with pytest.raises(Interrupted):
            lock.acquire(timeout=timeout)
        assert not lock._is_owned()
        with pytest.raises(RuntimeError):
            lock.release()
    assert is_free(lock)
    with lock:
        assert lock._is_owned()


def test_handler_that_raises_does_not_take_the_place_of_others_that_wait(lock, interrupt):
    with Holder(lock):
        threads = [run(lambda: lock.acquire() and lock.release() is None) for _ in range(3)]
        interrupt()
        with pytest.raises(Interrupted), lock:
            pytest.fail("it was taken")
        threads += [run(lambda: lock.acquire() and lock.release() is None) for _ in range(3)]
    for thread in threads:
        assert thread.result()
    assert is_free(lock)
