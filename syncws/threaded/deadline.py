"""Time: what remains of it."""

from __future__ import annotations

import threading
import time

__all__ = ["Deadline", "clock"]

#: The clock of everything that waits or measures, in seconds.
clock = time.monotonic


class Deadline:
    """A moment until which one call may take, over all of its steps.

    Args:
        timeout: seconds from now; ``None`` is never.
    """

    __slots__ = ("_end", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout: float | None = timeout
        self._end = None if timeout is None else clock() + timeout

    def remaining(self) -> float | None:
        """Return the seconds that are left, at least 0; ``None`` is no limit."""
        return None if self._end is None else max(0.0, self._end - clock())

    def within(self, timeout: float) -> Deadline:
        """Return the earlier of two: this one, and one ``timeout`` seconds from now."""
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
