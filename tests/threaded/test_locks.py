"""Locks that the main thread takes: no signal handler that raises leaves one held."""

import signal
import sys
import threading
import time
import weakref

import pytest

from syncws.locks import SafeEnter, make_rlock
from syncws.threaded.blocking import make_lock
from syncws.threaded.inbox import Bell, Inbox

safe = pytest.mark.skipif(
    sys.platform == "win32" or sys.version_info < (3, 10),
    reason="no interval timers; or a Python that may end a block without __exit__()",
)


class Interrupted(Exception):
    pass


@pytest.fixture
def alarm():
    """A handler that raises."""

    def explode(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, explode)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def is_free(lock):
    """Whether another thread can take a lock, now."""
    taken = []

    def take():
        taken.append(lock.acquire(blocking=False))
        if taken[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken[0]


def take_again_and_again(lock, seconds):
    signal.setitimer(signal.ITIMER_REAL, seconds)
    while True:
        with lock:
            pass


def take_twice_again_and_again(lock, seconds):
    signal.setitimer(signal.ITIMER_REAL, seconds)
    while True:
        with lock:  # noqa: SIM117  # the inner one is what is looked at
            with lock:
                pass


@safe
@pytest.mark.parametrize("make", [make_rlock, make_lock])
@pytest.mark.parametrize("take", [take_again_and_again, take_twice_again_and_again])
def test_lock_is_free_after_an_interruption_wherever_it_came(alarm, make, take):
    lock = make()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        for microseconds in range(1, 50):
            with pytest.raises(Interrupted):
                take(lock, microseconds / 1e6)
            assert not lock._is_owned()
    assert is_free(lock)


def add_and_remove_again_and_again(inbox, seconds):
    signal.setitimer(signal.ITIMER_REAL, seconds)
    while True:
        bell = Bell()
        inbox.add_bell(bell)
        inbox.remove_bell(bell)


@safe
def test_lock_is_free_after_an_interruption_of_a_loop_that_runs_with_it(alarm):
    inbox = Inbox()
    others = [Bell() for _ in range(20)]
    end = time.monotonic() + 1
    while time.monotonic() < end:
        for microseconds in range(1, 100):
            with pytest.raises(Interrupted):
                add_and_remove_again_and_again(inbox, microseconds / 1e6)
            assert not inbox._lock._is_owned()
            inbox._bells = [weakref.ref(other) for other in others]
    assert is_free(inbox._lock)


class Interrupting(SafeEnter):
    """A lock that is interrupted the second time, right after it was taken or just before."""

    def __init__(self, *, taken):
        self._taken = taken
        self.count = self.calls = 0

    def _recursion_count(self):
        return self.count

    def acquire(self):
        self.calls += 1
        self.count += self.calls == 1 or self._taken
        if self.calls == 2:
            raise Interrupted
        return True

    def release(self):
        self.count -= 1

    def __exit__(self, *_):
        self.release()


@pytest.mark.parametrize("taken", [True, False])
def test_interruption_gives_back_what_was_taken_and_nothing_else(taken):
    lock = Interrupting(taken=taken)
    with lock:
        with pytest.raises(Interrupted), lock:
            raise AssertionError("the block was entered")
        assert lock.count == 1
    assert lock.count == 0


@pytest.mark.parametrize("make", [make_rlock, make_lock])
def test_it_is_a_lock_like_others(make):
    lock = make()
    assert is_free(lock)
    with lock as taken:
        assert taken
        with lock:
            assert lock._is_owned()
        assert not is_free(lock)
    assert is_free(lock)
    with pytest.raises(RuntimeError):
        lock.release()


def test_write_lock_counts_for_its_owner_only():
    lock = make_lock()
    if not hasattr(lock, "_recursion_count"):
        pytest.skip("a lock of the interpreter's, before Python 3.14")
    counts = []
    with lock, lock:
        assert lock._recursion_count() == 2
        thread = threading.Thread(target=lambda: counts.append(lock._recursion_count()))
        thread.start()
        thread.join()
    assert counts == [0]
    assert lock._recursion_count() == 0
