"""How a server ends: at once, over some time, with the process."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Callable

from ..exceptions import ProtocolError
from ..sansio.close import Close, CloseCode, is_sendable
from ..threaded.deadline import Deadline, clock
from ..threaded.latch import Latch
from ..threaded.timekeeper import call_later
from .accepting import Acceptor
from .doorkeeper import Doorkeeper
from .draining import drain
from .listeners import UnixFile
from .refusal_log import RefusalLog
from .roster import Roster
from .server_connection import ServerConnection

if TYPE_CHECKING:
    from .fallback_desk import FallbackDesk

__all__ = ["INTERRUPTED_TIMEOUT", "Shutdown", "check_close", "check_stop"]

#: Seconds that shutting down may take when the program is being interrupted (Ctrl-C).
INTERRUPTED_TIMEOUT = 1.0

#: Seconds that a client has, if the server closes before it asked, to ask and be told so.
OPENING_GRACE = 1.0


class Shutdown:
    """The end of a server. Any thread may call it, signal handlers included.

    Args:
        roster: the connections that end. Its lock guards what is below as well.
        acceptor: stops accepting, and closes the listening sockets.
        doorkeeper: stops telling clients that there is no room.
        fallback: ends once its clients were told all; ``None`` if there is none.
        refusal_log: says what it has left to say.
        ended: called just before the server is closed.

    Attributes:
        closed: set once the server is closed.
        ended_at: when that was.
        unix_file: the file of the listening socket, which is removed.
    """

    def __init__(
        self,
        roster: Roster,
        acceptor: Acceptor,
        doorkeeper: Doorkeeper,
        fallback: FallbackDesk | None,
        refusal_log: RefusalLog,
        ended: Callable[[], None],
    ) -> None:
        self._roster = roster
        self._acceptor = acceptor
        self._doorkeeper = doorkeeper
        self._fallback = fallback
        self._refusal_log = refusal_log
        self._ended = ended
        self._closer: threading.Thread | None = None  # who called close() first
        self._drained: Latch | None = None  # set when no connections are left to be drained
        self.closed = Latch()
        self.ended_at: float | None = None
        self.unix_file: UnixFile | None = None

    def close(
        self,
        close_connections: bool,
        code: int,
        reason: str,
        timeout: float | None,
        drain_seconds: float | None,
    ) -> None:
        """Do what :meth:`.ThreadingServer.close` says, with arguments that were checked."""
        roster = self._roster
        with roster.lock:
            first = self._closer is None
            if first:
                self._closer = threading.current_thread()
                roster.closing = True
            if close_connections and roster.farewell is None:
                roster.farewell = (code, reason)
        deadline = Deadline(timeout)
        try:
            if first:
                self._stop_accepting(deadline)
            if drain_seconds:
                if not self._drain(code, reason, drain_seconds, timeout):
                    return
                deadline = Deadline(timeout)
            if close_connections:
                self._end_drain()
                for connection in roster.known():
                    connection._begin_close(code, reason, deadline.remaining())
            if first:
                self._wait_for_connections(close_connections, deadline)
        finally:
            if first:
                self._finish()
        if not first and not self._is_within() and not self.closed.wait(deadline.remaining()):
            self._cut_off()

    def _is_within(self) -> bool:
        """Tell whether this thread would wait for itself to finish closing."""
        current = threading.current_thread()
        return current is self._closer or current in self._roster.running

    def _stop_accepting(self, deadline: Deadline) -> None:
        # The file goes first: as long as the socket listens, no other server takes the file for
        # a stale one and replaces it.
        if self.unix_file is not None:
            self.unix_file.remove()
        self._acceptor.stop(deadline)
        self._doorkeeper.stop(OPENING_GRACE)

    # --- connections ---

    def _drain(self, code: int, reason: str, seconds: float, timeout: float | None) -> bool:
        """Close connections over some time, or wait while another thread does.

        Args:
            code: what they are told.
            reason: the same.
            seconds: the time over which to close them.
            timeout: seconds that closing each may take.

        Returns:
            Whether what is left is to be closed now; not in a signal handler that interrupts
            the thread that does so.
        """

        def close(connection: ServerConnection) -> None:
            connection._begin_close(code, reason, timeout)

        with self._roster.lock:
            ended = self._drained
            mine = ended is None
            if ended is None:
                ended = self._drained = Latch()
            own = self._roster.connection_of(self._closer)
            connections = list(self._roster.open - {own})
        if not connections:
            ended.set()
        if not mine:
            if threading.current_thread() is self._closer:
                return False
            ended.wait(seconds)
            return True
        try:
            drain(connections, seconds, close, ended)
        except BaseException:  # Ctrl-C: the others are told now, and cut off next
            for connection in self._roster.known():
                close(connection)
            raise
        return True

    def connection_left(self) -> None:
        """Let the thread that drains go on if that was the last connection."""
        if self._drained is None:
            return
        with self._roster.lock:
            own = self._roster.connection_of(self._closer)
            none_left = self._roster.open <= {own}
        if none_left:
            self._drained.set()

    def _end_drain(self) -> None:
        """Let the thread that drains go on to what comes after it."""
        with self._roster.lock:
            drained = self._drained
        if drained is not None:
            drained.set()

    def _wait_for_connections(self, close_connections: bool, deadline: Deadline) -> None:
        grace = call_later(OPENING_GRACE, self._cut_off_opening)
        try:
            self._wait_for_threads(deadline)
            # These don't end with a thread of ours: adopted connections, and the one whose handler
            # called close().
            own = None if close_connections else self._roster.own_connection()
            for connection in self._roster.known().difference([own]):
                connection.wait_closed(deadline.remaining())
            self._doorkeeper.join(deadline)
            if self._fallback is not None:
                self._fallback.finish(deadline)
        finally:
            grace.cancel()

    def _wait_for_threads(self, deadline: Deadline) -> None:
        current = threading.current_thread()
        while not deadline.expired:
            with self._roster.lock:
                others = (thread for thread in self._roster.running if thread is not current)
                thread = next(others, None)
            if thread is None:
                break
            with contextlib.suppress(RuntimeError):  # it is just being started
                thread.join(deadline.remaining())

    def _cut_off_opening(self) -> None:
        """Make the threads of opening handshakes return, but those that have just succeeded."""
        with self._roster.lock:
            opening = list(self._roster.opening)
        for connection in opening:
            if self._roster.farewell is not None or not connection.open:
                connection._transport.abort()

    def _cut_off(self) -> None:
        """Cut all connections, but the open one of a handler that closes the server."""
        with self._roster.lock:
            if self._roster.farewell is None:
                self._roster.farewell = (CloseCode.GOING_AWAY, "")  # to those that open now
        self._cut_off_opening()
        self._doorkeeper.stop(0)
        if self._fallback is not None:
            self._fallback.stop()
        own = self._roster.own_connection()
        for connection in self._roster.known():
            if connection is not own or not connection.open:
                connection.abort()

    def _finish(self) -> None:
        try:
            self._cut_off()
            self._refusal_log.finish()  # logs, which may raise
        finally:
            self._ended()
            self.ended_at = clock()
            self.closed.set()

    # --- the process ---

    def begin_exit(self) -> None:
        """Accept no more, at the interpreter's exit. Never blocks."""
        self._roster.farewell = self._roster.farewell or (CloseCode.GOING_AWAY, "")
        self._roster.closing = True
        self._stop_accepting(Deadline(0))

    def after_fork(self) -> None:
        """Become closed in a forked child, which has none of the threads.

        A signal handler may have forked: whoever waits here goes on.
        """
        self._closer = threading.current_thread()
        self._acceptor.after_fork()
        self._doorkeeper.after_fork()
        if self._fallback is not None:
            self._fallback.after_fork()
        self._refusal_log.after_fork()
        self._roster.after_fork()
        self.ended_at = clock()
        self._end_drain()
        self.closed.set()


def check_close(
    code: int, reason: str, close_connections: bool, drain_seconds: float | None
) -> None:
    """Refuse at once what could not be sent later.

    Raises:
        ProtocolError: code or reason can't be sent.
        ValueError: ``drain_seconds`` is negative, or there with ``close_connections=False``.
    """
    if drain_seconds is not None:
        if drain_seconds < 0:
            raise ValueError(f"drain_seconds must not be negative, got {drain_seconds!r}")
        if not close_connections:
            raise ValueError("drain_seconds= closes connections, close_connections=False does not")
    if close_connections:
        if not is_sendable(code):
            raise ProtocolError(f"close code {code} can't be sent")
        Close(code, reason).serialize()


def check_stop(
    close_connections: bool = True,
    code: int = CloseCode.GOING_AWAY,
    reason: str = "",
    *,
    timeout: float | None = None,
    drain_seconds: float | None = None,
) -> None:
    """Refuse arguments that ``close()`` would refuse.

    Raises:
        ProtocolError: as :func:`check_close` does.
        TypeError: there is no such argument.
        ValueError: as :func:`check_close` does.
    """
    check_close(code, reason, close_connections, drain_seconds)
