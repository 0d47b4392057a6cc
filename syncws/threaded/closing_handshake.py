"""The closing handshake (RFC 6455 §7), and the time that it may take."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from ..sansio.close import CloseCode
from ..sansio.state import State
from .blocking import is_main_thread
from .deadline import Deadline, clock
from .timekeeper import Timer, call_later

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["LINGER_TIMEOUT", "READER_GRACE", "ClosingHandshake"]

#: Seconds that a peer has to close TCP when nothing more is expected: both close frames are
#: there, or the connection failed.
LINGER_TIMEOUT = 1.0

#: Seconds for the reader to notice that the socket was shut down.
READER_GRACE = 5.0


class ClosingHandshake:
    """How a connection ends in an orderly way. Any thread may call its methods.

    Args:
        connection: what is closed.
    """

    __slots__ = ("_connection", "_timer")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._timer: Timer | None = None  # guarded by the state lock

    def let_go(self, connection: Connection) -> None:
        """Refer to the connection weakly; see :meth:`Connection._let_go`."""
        self._connection = connection

    def begin(self, code: int | None, reason: str, timeout: float | None) -> None:
        """Send a close frame, and ensure that the connection ends in time. Never blocks."""
        connection = self._connection
        with connection._state_lock:
            protocol = connection.protocol
            if protocol.state is State.OPEN:
                if protocol.fragmenting:
                    protocol.fail(CloseCode.INTERNAL_ERROR, "close during fragmented message")
                else:
                    protocol.send_close(code, reason)
        self.write_and_end(timeout)

    def fail(self, code: int, reason: str) -> None:
        """Say why the connection fails, and end it soon (RFC 6455 §7.1.7). Never blocks."""
        connection = self._connection
        with connection._state_lock:
            connection.protocol.fail(code, reason)
        self.write_and_end(self._linger_timeout())

    def fail_decoding(self) -> None:
        """Fail the connection for what was received, as the decoder says. Never blocks."""
        connection = self._connection
        with connection._state_lock:
            connection.protocol.receive_error()
        self.write_and_end(self._linger_timeout())

    def write_and_end(self, timeout: float | None) -> None:
        """Write what is left, and ensure that the connection ends in time. Never blocks."""
        connection = self._connection
        connection._inbox.unbind()  # before the peer answers
        try:
            connection._writer.drain()  # before the timer: there may be no time at all
        finally:  # a signal handler may have raised
            self.end_within(timeout)

    def end_within(self, timeout: float | None) -> None:
        """Ensure that a connection that is closing ends within ``timeout`` seconds."""
        connection = self._connection
        connection._inbox.unbind()
        with connection._state_lock:
            if timeout is None or connection.protocol.state is State.CLOSED:
                return
            timer = self._timer
            if timer is None or timer.when > clock() + timeout:
                self._timer = call_later(timeout, partial(_cut, connection))
                if timer is not None:
                    timer.cancel()

    def expect_eof(self) -> None:
        """Ensure that the peer closes TCP soon, as nothing more is expected."""
        self._expect_eof(self._connection)

    def _expect_eof(self, connection: Connection) -> None:
        if connection.protocol.state is State.CLOSED:
            return
        if connection._writer.is_behind:
            # Our own close frame waits for a frame that is being written, perhaps.
            call_later(LINGER_TIMEOUT, partial(self._expect_eof, connection))
        else:
            self.end_within(self._linger_timeout())

    def look(self) -> None:
        """Set the timer that a signal handler, by raising, has kept from being set."""
        connection = self._connection
        if self._timer is None and connection.protocol.state is State.CLOSING:
            self.end_within(connection.options.close_timeout)

    def wait(self, deadline: Deadline, *, reads: bool = False) -> bool:
        """Block until the connection is closed; return whether it is.

        Args:
            deadline: until when to wait.
            reads: whether to read on this thread even if it is the main one.
        """
        connection = self._connection
        closed = connection._closed
        if closed.is_set():
            return True
        if connection._started and (reads or not is_main_thread()):
            with contextlib.suppress(TimeoutError):
                connection._reading.read_here(deadline, closed.is_set)
        else:
            connection._ensure_reading()
        return closed.wait(deadline.remaining())

    def wait_or_cut(self, deadline: Deadline) -> None:
        """Block until the connection is closed; cut it when time is up."""
        if not self.wait(deadline):
            _cut(self._connection)
            self.wait(Deadline(READER_GRACE))

    def stop(self) -> None:
        """Forget the timer, at the connection's end; with the state lock held."""
        if self._timer is not None:
            self._timer.cancel()

    def after_fork(self) -> None:
        """Forget the timer: the child has no timekeeper."""
        self._timer = None

    def _linger_timeout(self) -> float:
        timeout = self._connection.options.close_timeout
        return LINGER_TIMEOUT if timeout is None else min(timeout, LINGER_TIMEOUT)


def _cut(connection: Connection) -> None:
    """Cut a connection: its time is up. Never blocks."""
    connection._abort(TimeoutError("timed out while closing connection"))
