"""Keepalive: a ping now and then, and the end of a connection whose peer is gone.

The time that a pong may take does not run while it could not have come, or not
have been seen: while we have paused reading, while a frame longer than that is
arriving, and while a frame of ours that is in front of the ping makes progress.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sansio.close import CloseCode
from .deadline import clock
from .timekeeper import Timer, call_later

if TYPE_CHECKING:
    from .core import Core
    from .pings import Ping

__all__ = ["Keepalive"]


class Keepalive:
    """The keepalive of one connection. Runs in the timekeeper's thread.

    Args:
        connection: what is kept alive.
        interval: seconds between pings.
        timeout: seconds in which a pong must come; with ``None`` pings go on without.
    """

    def __init__(self, connection: Core, interval: float, timeout: float | None) -> None:
        self._connection = connection
        self._interval = interval
        self._timeout = timeout
        self._ping: Ping | None = None
        self._deadline = 0.0
        self._progress = (0, 0, 0)
        self._stopped = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Start with the first interval."""
        self._schedule(self._interval)

    def stop(self) -> None:
        """Stop. Idempotent; any thread may call it."""
        self._stopped = True
        timer = self._timer
        if timer is not None:
            timer.cancel()

    def _schedule(self, delay: float) -> None:
        self._timer = call_later(max(0.0, delay), self._tick)
        if self._stopped:
            self._timer.cancel()

    def _tick(self) -> None:
        if self._stopped:
            return
        now = clock()
        if self._timeout is not None and self._ping is not None and not self._ping.is_set():
            if now >= self._deadline and not self._excused(now):
                self._connection._keepalive_failed()
            else:
                self._schedule(min(self._interval, self._deadline - now))
            return
        if self._ping is not None and now < self._ping.sent_at + self._interval:
            self._schedule(self._ping.sent_at + self._interval - now)
            return
        self._ping = self._connection._keepalive_ping(self._ping)
        if self._ping is not None:
            self._progress = self._connection._progress()
            timeout = self._interval if self._timeout is None else self._timeout
            self._deadline = now + timeout
            self._schedule(min(self._interval, timeout))

    def _excused(self, now: float) -> bool:
        """Tell whether the pong may come yet, and extend the deadline if so."""
        assert self._timeout is not None
        progress = self._connection._progress()
        if progress != self._progress or self._connection._is_paused():
            self._progress = progress
            self._deadline = now + self._timeout
            return True
        return False


#: Close code and reason of a connection whose peer does not answer.
FAILURE = (CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
