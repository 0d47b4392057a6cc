"""Re-entrant locks that no signal handler leaves held.

A handler that raises while the main thread takes a lock in a ``with`` statement leaves it either
free or held by the block, which releases it. Not so in Python 3.14: there it may raise after
``__enter__()`` has taken the lock and before the block begins. (In 3.15 only what profiles can.)
That is the case only where ``__enter__()`` is C code. So it is Python code here, which puts things
right if it is interrupted.

From Python 3.13 on a block is left without releasing its lock where a loop in it goes on because of
a condition at its end. So such loops are in functions of their own, which the blocks call.
"""

from __future__ import annotations

import _thread
import sys
import threading
from typing import Any

__all__ = ["SafeEnter", "make_rlock"]

#: Whether this may be such a Python.
IS_NEEDED = sys.version_info >= (3, 14)


class SafeEnter:
    """For classes of re-entrant locks, before the class in C: takes the lock, or leaves it."""

    __slots__ = ()

    def __enter__(self: Any) -> bool:
        before = self._recursion_count()
        try:
            taken: bool = self.acquire()
            return taken
        except BaseException:
            if self._recursion_count() > before:
                self.release()
            raise


_RLock: Any = _thread.RLock if IS_NEEDED else object  # others need not have it as a class


class _SafeRLock(SafeEnter, _RLock):  # type: ignore[misc]
    __slots__ = ()


def make_rlock() -> Any:
    """Return a :class:`threading.RLock` for ``with``; of green threads, if those are patched in."""
    lock = threading.RLock()
    return _SafeRLock() if IS_NEEDED and type(lock) is _thread.RLock else lock
