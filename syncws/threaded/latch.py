"""Waiting for something to happen once."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from .blocking import wait_for_lock
from .deadline import Deadline

__all__ = ["Latch"]


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
