"""Time: what remains of it, and waiting for something to happen once."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

__all__ = [
    "SIGNAL_INTERVAL",
    "Deadline",
    "Latch",
    "clock",
    "forget_owner",
    "is_green",
    "is_main_thread",
    "release",
    "wait_for_lock",
]

#: The clock of everything that waits or measures, in seconds.
clock = time.monotonic


#: Seconds after which the main thread looks for signals while it waits for a lock.
SIGNAL_INTERVAL = 0.25


def is_main_thread() -> bool:
    """Tell whether this is the thread that signal handlers run in."""
    return threading.get_ident() == threading.main_thread().ident


def is_green(lock: Any) -> bool:
    """Tell whether a lock of :mod:`threading` is for green threads (gevent, eventlet).

    It is, where threads were monkey-patched before it was made.
    """
    return type(lock).__module__ != "_thread"


def wait_for_lock(lock: Any, timeout: float) -> bool:
    """Acquire a lock, within seconds (-1: without limit); return whether it was to be had.

    A signal that comes between the interpreter's last look for one and the wait does not
    end the wait. So the main thread, which alone runs signal handlers, waits in slices.
    """
    if not is_main_thread():
        acquired: bool = lock.acquire(timeout=timeout)
        return acquired
    end = None if timeout < 0 else clock() + timeout
    while True:
        remaining = SIGNAL_INTERVAL if end is None else min(SIGNAL_INTERVAL, end - clock())
        if lock.acquire(timeout=max(0.0, remaining)):
            return True
        if end is not None and clock() >= end:
            return False


def release(lock: Any) -> None:
    """Release a lock that may be free already."""
    try:  # noqa: SIM105  # entering suppress() would be a point where a handler may raise
        lock.release()
    except RuntimeError:
        pass


def forget_owner(lock: Any) -> None:
    """Free a re-entrant lock, in a forked child, if a thread has it that only the parent has.

    Whoever in the child waits for it goes on. What the calling thread has stays its own.
    """
    if not lock._is_owned():
        # The former wakes who waits in a call of the interpreter's own; our locks have the latter.
        forget = getattr(lock, "_release_save", None) or lock._at_fork_reinit
        with contextlib.suppress(RuntimeError):  # nobody has it
            forget()


class Deadline:
    """A moment until which one call may take, over all of its steps.

    Args:
        timeout: seconds from now; ``None`` is never.
    """

    __slots__ = ("_end", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._end = None if timeout is None else clock() + timeout

    def remaining(self) -> float | None:
        """Return the seconds that are left, at least 0; ``None`` is no limit."""
        return None if self._end is None else max(0.0, self._end - clock())

    def within(self, timeout: float) -> Deadline:
        """Return the earlier of two: this one, and one so many seconds from now."""
        remaining = self.remaining()
        return Deadline(timeout if remaining is None else min(timeout, remaining))

    def lock_timeout(self) -> float:
        """Return the seconds that are left as :meth:`threading.Lock.acquire` takes them."""
        if self._end is None:
            return -1
        return min(max(0.0, self._end - clock()), threading.TIMEOUT_MAX)

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self._end is not None and clock() >= self._end


class Latch:
    """Something that happens once, and threads that wait for it.

    Like :class:`threading.Event`, but without a lock of its own, so that a signal handler
    may use it while the thread that it interrupted is inside of it.
    """

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        # Each waiter's lock is held until the latch is set. The list's methods are atomic.
        self._waiters: list[Any] = []

    def is_set(self) -> bool:
        """Tell whether it happened."""
        return self._is_set

    def set(self) -> None:
        """Let it happen: every waiter returns. Idempotent; any thread may call it."""
        self._is_set = True
        # Each waiter is released before it is taken off the list, so that setting it again
        # helps those whom a signal handler, by raising here, has left waiting.
        for waiter in list(self._waiters):
            with contextlib.suppress(RuntimeError):  # it was released before
                waiter.release()
            with contextlib.suppress(ValueError):  # it was taken off before
                self._waiters.remove(waiter)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it happened, at most ``timeout`` seconds; return whether it did."""
        if self._is_set:
            return True
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        try:
            # Whoever sets it does so before emptying the list: looking again misses nothing.
            if not self.is_set():
                wait_for_lock(waiter, Deadline(timeout).lock_timeout())
        finally:
            with contextlib.suppress(ValueError):  # taken off the list by set()
                self._waiters.remove(waiter)
        return self.is_set()
