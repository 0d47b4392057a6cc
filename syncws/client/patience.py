"""How often, and for how long, requests that fail are made again."""

from __future__ import annotations

import random
from typing import Any

from ..threaded.deadline import Deadline

__all__ = ["Patience"]

#: Seconds: the delay after the second failure in a row; there is none after the first.
FIRST_DELAY = 0.1

#: Seconds: no delay is longer.
MAX_DELAY = 3.0


class Patience:
    """Delays between attempts, and the end of them.

    Args:
        limit: seconds from the first failure in a row to the last.
        stop: what ends a delay; has ``wait(timeout)``.
    """

    def __init__(self, limit: float, stop: Any) -> None:
        self.limit = limit
        self._stop = stop
        self.succeed()

    def succeed(self) -> None:
        """Begin anew: an attempt did what it should."""
        self._delay = 0.0
        self._end: Deadline | None = None

    def fail(self) -> bool:
        """Wait before the next attempt; return whether there is to be one."""
        if self._end is None:
            self._end = Deadline(self.limit)
        elif self._end.expired:
            return False
        self.pause()
        return True

    def pause(self) -> None:
        """Wait, longer each time."""
        if self._delay:
            self._stop.wait(random.uniform(0.5, 1) * self._delay)
        self._delay = min(max(FIRST_DELAY, 2 * self._delay), MAX_DELAY)
