"""Frames that cost their sender nothing: how many of them a peer may send."""

from __future__ import annotations

from .deadline import clock

__all__ = ["FLOOD", "CheapFrames"]

#: Pings, unasked pongs and empty fragments that a peer may send within ``CHEAP_FRAMES_TIME``
#: seconds. Each costs it two to six bytes, and us the time of a message: in larger numbers they
#: are an attack.
MAX_CHEAP_FRAMES = 10_000
CHEAP_FRAMES_TIME = 5.0

#: Close reason of a connection with more.
FLOOD = "too many pings, pongs or empty fragments"


class CheapFrames:
    """Counts them, on the thread that has the reading role."""

    __slots__ = ("_count", "_pauses", "_since")

    def __init__(self) -> None:
        self._count = 0
        self._since = 0.0
        self._pauses = 0

    def count(self, pauses: int) -> bool:
        """Count one; return whether these are too many.

        Args:
            pauses: how often reading has paused so far: what piled up meanwhile comes all at once.
        """
        if pauses != self._pauses:
            self._count, self._pauses = 0, pauses
        self._count += 1
        if self._count == 1:
            self._since = clock()
        if self._count <= MAX_CHEAP_FRAMES:
            return False
        self._count = 0
        return clock() - self._since < CHEAP_FRAMES_TIME
