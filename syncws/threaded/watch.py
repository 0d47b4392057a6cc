"""The timekeeper's look at open connections: whether anybody reads from them."""

from __future__ import annotations

import os
from typing import Any
from typing import Protocol as Interface

from ..accel import unattended
from .deadline import clock
from .timekeeper import call_later

__all__ = ["LOOK_INTERVAL", "unwatch", "watch"]

#: Seconds between two looks. A connection that nobody reads from any more is read from after
#: at most two of them.
LOOK_INTERVAL = 0.1

#: Connections for which that is so; among more, looks are rarer, so that all together take no more
#: time: at 10,000 a second lies between two.
LOOKS_FOR = 1000

#: The same for looks that also find what a signal handler, by raising, has left half done: seconds
#: between two, and connections.
THOROUGH_INTERVAL = 1.0
THOROUGH_FOR = 2500

#: Seconds that are never exceeded.
MAX_INTERVAL = 5.0


class Watched(Interface):
    """What is looked after."""

    logger: Any

    def _look(self) -> None:
        """Ensure that somebody reads. Must not block."""


class _Watch:
    """The connections, and the timer, which runs as long as there are any."""

    def __init__(self) -> None:
        self._connections: set[Watched] = set()  # its methods are atomic
        self._call_later = call_later  # ours alone, so that tests can replace it
        # Whether a timer is set. Only the timekeeper's thread sets one, and changes this: where
        # signal handlers run, one that raises could leave it wrong, and nobody would look.
        self._armed = False
        self._thorough_at = 0.0

    def add(self, connection: Watched) -> None:
        self._connections.add(connection)
        # Looking after that misses nothing: who disarms looks for connections once more.
        if not self._armed:
            self._call_later(0, self._arm)

    def remove(self, connection: Watched) -> None:
        self._connections.discard(connection)

    def _arm(self) -> None:
        if not self._armed and self._connections:
            self._call_later(self._interval(LOOK_INTERVAL, LOOKS_FOR), self._look)
            self._armed = True

    def _interval(self, seconds: float, connections: int) -> float:
        """Return what these seconds become when there are more than so many connections."""
        return min(seconds * max(1.0, len(self._connections) / connections), MAX_INTERVAL)

    def _look(self) -> None:
        try:
            now = clock()
            thoroughly = now >= self._thorough_at
            if thoroughly:
                self._thorough_at = now + self._interval(THOROUGH_INTERVAL, THOROUGH_FOR)
            for connection in unattended(list(self._connections), thoroughly):
                try:
                    connection._look()
                except Exception:  # one connection's trouble must not blind us to the others
                    connection.logger.exception("looking after the connection failed")
        finally:
            self._armed = False
            self._arm()


_watch = _Watch()


def watch(connection: Watched) -> None:
    """Look after a connection until :func:`unwatch`. Any thread may call it."""
    _watch.add(connection)


def unwatch(connection: Watched) -> None:
    """Stop looking after a connection. Idempotent; any thread may call it."""
    _watch.remove(connection)


def _after_fork() -> None:
    # The child has no timekeeper, and its connections are of no use.
    global _watch
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
