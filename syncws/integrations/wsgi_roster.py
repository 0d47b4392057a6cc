"""The connections that this process has taken over: how many, and the end of their server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..exceptions import ServerBusy
from ..locks import make_rlock
from ..sansio.close import CloseCode
from ..server.admission import RETRY_AFTER, Refusal, shutting_down
from ..threaded.timekeeper import call_later
from .takeover import sinks

if TYPE_CHECKING:
    from .wsgi_connection import WsgiConnection
    from .wsgi_servers import Found

__all__ = ["WsgiRoster", "roster"]

#: Seconds between two looks at the servers.
INTERVAL = 0.2

#: The same while a server writes what no client reads: a page after a connection.
BUSY_INTERVAL = 0.01


class WsgiRoster:
    """Connections, from when they are let in until they are closed and their handlers return.

    It knows as well how many of the server's threads they have. Connections of the fallback have
    threads of ours; but each of its requests that waits has one of the server's.

    While there are some, the timekeeper looks a few times a second whether their servers stop.
    """

    def __init__(self) -> None:
        # Guards all below, for a few instructions. Re-entrant, because a signal handler may
        # close connections while the main thread does.
        self._lock = make_rlock()
        self._connections: dict[WsgiConnection, Found] = {}
        self._sessions = 0  # how many of these come by the fallback
        self._waiting = 0  # requests of the fallback that wait
        self._armed = False

    def __len__(self) -> int:
        return len(self._connections)

    def enter(
        self,
        connection: WsgiConnection,
        found: Found,
        limit: int | None,
        *,
        of_threads: bool = False,
    ) -> Refusal | None:
        """Let a connection in, unless that would be one too many; return why not.

        Args:
            connection: the connection.
            found: its server.
            limit: how many there may be; ``None`` is unlimited.
            of_threads: whether that is a limit of the server's threads rather than of connections.
        """
        if found.is_stopping():
            return shutting_down()
        with self._lock:
            count = self._threads if of_threads else len(self._connections)
            if limit is not None and count >= limit:
                return Refusal("full", ServerBusy(limit, RETRY_AFTER))
            self._connections[connection] = found
            self._sessions += found.transport is not None
            arm, self._armed = not self._armed, True
        if arm:
            self._look_later(INTERVAL)
        return None

    def leave(self, connection: WsgiConnection) -> None:
        """Forget a connection. Idempotent."""
        with self._lock:
            found = self._connections.pop(connection, None)
            self._sessions -= found is not None and found.transport is not None

    def begin_wait(self, threads: int | None) -> bool:
        """Count a request of the fallback that waits in a thread of the server's.

        Args:
            threads: how many it has; ``None`` if that isn't known.

        Returns:
            Whether it may wait for long, because other requests have a thread left.
        """
        with self._lock:
            self._waiting += 1
            return threads is None or self._threads < threads

    def end_wait(self) -> None:
        """Forget such a request."""
        with self._lock:
            self._waiting -= 1

    @property
    def _threads(self) -> int:
        """How many of the server's threads are taken."""
        return len(self._connections) - self._sessions + self._waiting

    def after_fork(self) -> None:
        """Forget the parent's, in the child."""
        self._lock = make_rlock()
        self._connections = {}
        self._sessions = self._waiting = 0
        self._armed = False

    def _look_later(self, delay: float) -> None:
        try:
            call_later(delay, self._look)
        except BaseException:  # no thread is available
            self._armed = False
            raise

    def _look(self) -> None:
        """Close the connections of servers that stop. In the timekeeper's thread."""
        busy = False
        try:
            with self._lock:
                connections = list(self._connections.items())
            for connection, found in connections:
                if connection.open and found.is_stopping():
                    _close(connection, found.grace)
            busy = sinks.empty()
        finally:
            with self._lock:
                self._armed = bool(self._connections or len(sinks))
            if self._armed:
                self._look_later(BUSY_INTERVAL if busy else INTERVAL)


def _close(connection: WsgiConnection, grace: float | None) -> None:
    timeout = connection.options.close_timeout
    if grace is not None:  # leave some of it to the handler
        timeout = grace / 2 if timeout is None else min(timeout, grace / 2)
    try:
        connection._begin_close(CloseCode.GOING_AWAY, "", timeout)
    except Exception:  # one connection's trouble must not keep others open
        connection.logger.exception("closing a connection failed")


roster = WsgiRoster()


def _after_fork(*_: Any) -> None:
    roster.after_fork()
    sinks.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
