"""How threads block: the main thread, which runs signal handlers; green threads; after a fork."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Protocol

from ..accel import IMPLEMENTATION, WriteLock
from ..locks import IS_NEEDED, SafeEnter, make_rlock
from .deadline import clock

__all__ = [
    "SIGNAL_INTERVAL",
    "Lock",
    "forget_owner",
    "is_green",
    "is_main_thread",
    "make_lock",
    "release",
    "wait_for_lock",
]

#: Seconds after which the main thread looks for signals while it waits for a lock.
SIGNAL_INTERVAL = 0.25


class Lock(Protocol):
    """A re-entrant lock that knows whether the calling thread has it."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; return whether it was free in time."""

    def release(self) -> None:
        """Give it back."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def _is_owned(self) -> bool: ...


_SafeBase: Any = WriteLock if IMPLEMENTATION == "c" else object


class _SafeWriteLock(SafeEnter, _SafeBase):  # type: ignore[misc]
    __slots__ = ()


def make_lock() -> Lock:
    """Return a lock that the accelerator can take, where threads are the interpreter's.

    To that one all green threads (gevent, eventlet) are one and the same.
    """
    lock: Lock
    if IMPLEMENTATION != "c" or is_green(threading.Lock()):
        lock = make_rlock()
    else:
        lock = _SafeWriteLock() if IS_NEEDED else WriteLock()  # type: ignore[assignment]
    return lock


def is_main_thread() -> bool:
    """Tell whether this is the thread that signal handlers run in."""
    return threading.get_ident() == threading.main_thread().ident


def is_green(lock: Any) -> bool:
    """Tell whether a lock of :mod:`threading` is for green threads (gevent, eventlet).

    It is, where threads were monkey-patched before it was made.
    """
    return type(lock).__module__ != "_thread"


def wait_for_lock(lock: Any, timeout: float) -> bool:
    """Acquire a lock, within seconds (-1: without limit); return whether that worked.

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
    if lock._is_owned():
        return
    # The former wakes threads that wait in a call of the interpreter's; our locks have the latter.
    forget = getattr(lock, "_release_save", None) or lock._at_fork_reinit
    try:
        forget()
    except RuntimeError:  # nobody has it; or, from Python 3.14 on, another thread has
        with contextlib.suppress(AttributeError):  # those of gevent have none
            lock._at_fork_reinit()
