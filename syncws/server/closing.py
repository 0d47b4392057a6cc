"""How a server ends: at once, over some time, with the process."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from ..exceptions import ProtocolError
from ..sansio.close import Close, CloseCode, is_sendable
from ..threaded import lifecycle
from ..threaded.deadline import Deadline, Latch, clock, forget_owner
from ..threaded.timekeeper import call_later
from .accepting import Acceptor
from .draining import drain
from .handling import Handling
from .listeners import UnixFile
from .upgrade import ServerConnection

__all__ = ["INTERRUPTED_TIMEOUT", "Closing"]

#: Seconds that shutting down may take when the program is being interrupted (Ctrl-C).
INTERRUPTED_TIMEOUT = 1.0

#: Seconds in which a client that is connected when the server closes can ask, and be told so.
OPENING_GRACE = 1.0


class Closing(Handling):
    """The end of a server: base of the server."""

    _acceptor: Acceptor
    _unix_file: UnixFile | None

    def _init_closing(self) -> None:
        # Guarded by the server's lock:
        self._closer: threading.Thread | None = None  # who called close() first
        self._started_at: float | None = None
        self._ended_at: float | None = None
        self._closed = Latch()

    def close(
        self,
        close_connections: bool = True,
        code: int = CloseCode.GOING_AWAY,
        reason: str = "",
        *,
        timeout: float | None = None,
        drain_seconds: float | None = None,
    ) -> None:
        """Shut down: accept no more, close connections, wait for their handlers.

        Blocks until handlers have returned, at most ``timeout`` seconds; connections are cut
        off then, and their handlers, being daemon threads, left behind. Called from a handler,
        it does not wait for that one. Idempotent: later calls wait for the first one to
        finish, and close connections if that one did not.

        With ``drain_seconds`` open connections are not closed all at once, but one by one, at
        even intervals over that time and in no particular order, so that their clients don't
        all come back at the same moment. It ends early when none is left, and at once when
        ``close()`` is called again without ``drain_seconds``, or by Ctrl-C.

        Args:
            close_connections: whether to close open connections; if not, handlers go on, and
                the default is to wait for them without limit.
            code: close code for open connections; 1012 ("service restart") asks clients to
                come back.
            reason: close reason for open connections.
            timeout: seconds that it may take; by default the connections' ``close_timeout``.
                It counts after ``drain_seconds``.
            drain_seconds: seconds over which to close connections.

        Raises:
            ProtocolError: code or reason can't be sent; the server goes on.
            ValueError: ``drain_seconds`` is negative, or there with ``close_connections=False``.
        """
        _check_close(code, reason, close_connections, drain_seconds)
        if close_connections and timeout is None:
            timeout = self.options.close_timeout
        with self._lock:
            first = self._closer is None
            if first:
                self._closer = threading.current_thread()
                self._closing = True
            if close_connections and self._farewell is None:
                self._farewell = (code, reason)
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
                for connection in self._known_connections():
                    connection._begin_close(code, reason, deadline.remaining())
            if first:
                self._wait_for_connections(close_connections, deadline)
        finally:
            if first:
                self._finish()
        if not first and not self._is_within() and not self._closed.wait(deadline.remaining()):
            self._cut_off()

    shutdown = close

    def stop(self, **kwargs: Any) -> None:
        """Ask the server to close, and return at once. Idempotent.

        Args:
            kwargs: as for :meth:`close`, such as ``drain_seconds=30``.

        Raises:
            ProtocolError: as :meth:`close` does.
            TypeError: there is no such argument.
            ValueError: as :meth:`close` does.
        """
        _check_stop(**kwargs)
        thread = threading.Thread(target=self.close, kwargs=kwargs, name="syncws-stop", daemon=True)
        thread.start()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the server is closed, at most ``timeout`` seconds; return whether it is."""
        return self._closed.wait(timeout)

    def _is_within(self) -> bool:
        """Tell whether this thread would wait for itself to finish closing."""
        current = threading.current_thread()
        return current is self._closer or current in self._running

    def _stop_accepting(self, deadline: Deadline) -> None:
        # The file goes first: while the socket listens nobody takes it for a stale one, and
        # puts another in its place.
        if self._unix_file is not None:
            self._unix_file.remove()
        self._acceptor.stop(deadline)
        self._refuser.stop(OPENING_GRACE)

    # --- connections ---

    def _drain(self, code: int, reason: str, seconds: float, timeout: float | None) -> bool:
        """Close connections over so many seconds, or wait while another thread does.

        Returns:
            Whether what is left is to be closed now; not in a signal handler that interrupts
            the thread that does so.
        """

        def close(connection: ServerConnection) -> None:
            connection._begin_close(code, reason, timeout)

        with self._lock:
            ended = self._drained
            mine = ended is None
            if ended is None:
                ended = self._drained = Latch()
            own = self._closer_connection()
            connections = [each for each in self._connections if each is not own]
        if not connections:
            ended.set()
        if not mine:
            if threading.current_thread() is self._closer:
                return False
            ended.wait(seconds)
            return True
        try:
            drain(connections, seconds, close, ended)
        except BaseException:  # Ctrl-C: all that are left are told now, and cut off next
            for connection in self._known_connections():
                close(connection)
            raise
        return True

    def _end_drain(self) -> None:
        """Let who drains go on to what comes after it."""
        with self._lock:
            drained = self._drained
        if drained is not None:
            drained.set()

    def _closer_connection(self) -> ServerConnection | None:
        """Return the connection whose handler closes the server, if one does."""
        job = None if self._closer is None else self._running.get(self._closer)
        return None if job is None else job.connection

    def _is_drained(self) -> bool:
        with self._lock:
            own = self._closer_connection()
            return self._drained is not None and self._connections <= {own}

    def _own(self) -> ServerConnection | None:
        """Return the connection whose handler this is, if it is one."""
        with self._lock:
            job = self._running.get(threading.current_thread())
        return None if job is None else job.connection

    def _wait_for_connections(self, close_connections: bool, deadline: Deadline) -> None:
        current = threading.current_thread()
        grace = call_later(OPENING_GRACE, self._cut_off_opening)
        try:
            while not deadline.expired:
                with self._lock:
                    threads = [thread for thread in self._running if thread is not current]
                if not threads:
                    break
                with contextlib.suppress(RuntimeError):  # it is just being started
                    threads[0].join(deadline.remaining())
            # These don't end with a thread of ours: adopted ones, and that of the handler
            # that called.
            own = self._own()
            for connection in self._known_connections():
                if close_connections or connection is not own:
                    connection.wait_closed(deadline.remaining())
            self._refuser.join(deadline)
        finally:
            grace.cancel()

    def _cut_off_opening(self) -> None:
        """Make the threads of opening handshakes return; not those that have just succeeded."""
        with self._lock:
            opening = list(self._opening)
        for connection in opening:
            if self._farewell is not None or not connection.open:
                connection._transport.abort()

    def _cut_off(self) -> None:
        """Cut all connections, but that of a handler that closes the server without its own."""
        with self._lock:
            if self._farewell is None:
                self._farewell = (CloseCode.GOING_AWAY, "")  # to those that open now
        self._cut_off_opening()
        self._refuser.stop(0)
        own = self._own()
        for connection in self._known_connections():
            if connection is not own or not connection.open:
                connection.abort()

    def _finish(self) -> None:
        try:
            self._cut_off()
            self._rejections.finish()  # logs, which may raise
        finally:
            lifecycle.unregister(self)
            self._ended_at = clock()
            self._closed.set()

    # --- the process ---

    def begin_exit(self) -> None:
        """Accept no more, at the interpreter's exit. Never blocks."""
        self._farewell = self._farewell or (CloseCode.GOING_AWAY, "")
        self._closing = True
        self._stop_accepting(Deadline(0))

    def end_exit(self, deadline: Deadline) -> None:
        """Nothing left to do: connections look after themselves."""

    def after_fork(self) -> None:
        """Become closed in a forked child, which has none of the threads.

        A signal handler may have forked: who waits here goes on.
        """
        forget_owner(self._lock)
        self._closing = True
        self._closer = threading.current_thread()
        self._acceptor.after_fork()
        self._refuser.after_fork()
        self._rejections.after_fork()
        for connection in self._opening:  # open ones look after themselves
            connection._transport.close()  # this process's descriptor only
        self._running.clear()
        self._connections.clear()
        self._opening.clear()
        self._idle = None
        self._ended_at = clock()
        self._end_drain()
        self._closed.set()


def _check_close(
    code: int, reason: str, close_connections: bool, drain_seconds: float | None
) -> None:
    """Refuse at once what could not be sent later."""
    if drain_seconds is not None:
        if drain_seconds < 0:
            raise ValueError(f"drain_seconds must not be negative, got {drain_seconds!r}")
        if not close_connections:
            raise ValueError("drain_seconds= closes connections, close_connections=False does not")
    if close_connections:
        if not is_sendable(code):
            raise ProtocolError(f"close code {code} can't be sent")
        Close(code, reason).serialize()


def _check_stop(
    close_connections: bool = True,
    code: int = CloseCode.GOING_AWAY,
    reason: str = "",
    *,
    timeout: float | None = None,
    drain_seconds: float | None = None,
) -> None:
    _check_close(code, reason, close_connections, drain_seconds)
