"""A connection in its own thread: opened, handled by the program, closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Callable

from ..aliases import LoggerLike
from ..exceptions import ConnectionClosed, InvalidHandshake
from ..sansio.close import CloseCode
from ..threaded import lifecycle
from ..threaded.deadline import Deadline, clock
from ..threaded.tls_transport import TlsTransport
from ..threaded.tracebacks import drop_frames
from ..threaded.transport import Transport
from .idleness import IdleWatch
from .records import log_close, log_open
from .refusal_log import RefusalLog, log_failure
from .roster import Job, Roster
from .server_connection import ServerConnection

if TYPE_CHECKING:
    import socket
    import ssl as ssl_module

    from .fallback_desk import FallbackDesk

__all__ = ["Handling", "close_after", "is_end_of"]

#: Bytes of a request's head in which one of the fallback can be recognized.
MAX_HEAD = 1 << 16


class Handling:
    """What happens to each connection that is let in.

    Args:
        roster: where connections are entered.
        refusal_log: counts and logs those that don't open.
        connect: makes a connection of a transport and of bytes that were read from it.
        handle: the program's handler.
        leave: called once a connection has ended.
        ssl: certificates and rules, for TLS.
        open_timeout: seconds for TLS and the opening handshake.
        idle_timeout: seconds without a message, after which a connection is closed; ``None`` is
            never.
        logger: where to log defects.

    Attributes:
        fallback: serves requests of the fallback, if there is one. Set before anything runs.
    """

    def __init__(
        self,
        roster: Roster,
        refusal_log: RefusalLog,
        *,
        connect: Callable[[Transport, bytes], ServerConnection],
        handle: Callable[[ServerConnection], Any],
        leave: Callable[[ServerConnection], None],
        ssl: ssl_module.SSLContext | None,
        open_timeout: float | None,
        idle_timeout: float | None,
        logger: LoggerLike,
    ) -> None:
        self._roster = roster
        self._refusal_log = refusal_log
        self._connect = connect
        self._handle_by_program = handle
        self._leave = leave
        self._ssl = ssl
        self._open_timeout = open_timeout
        self._idle = None if idle_timeout is None else IdleWatch(idle_timeout)
        self._logger = logger
        self.fallback: FallbackDesk | None = None

    def run(
        self, sock: socket.socket | Transport, job: Job, head: bytes = b"", peer: Any = None
    ) -> None:
        """Everything that happens to one connection, in its thread.

        Args:
            sock: the connection's socket, which was just accepted, or its transport.
            job: the thread's, in the roster.
            head: what was read from it.
            peer: what :class:`Transport` takes for it.
        """
        connection = None
        try:
            connection = self._open(sock, job, head, peer)
            if connection is not None:
                self._handle(connection)
        except BaseException as exc:  # a defect of ours, or a create_connection that fails
            self._logger.exception("connection failed")
            if connection is None:
                self._refusal_log.count("failure")
            if job.connection is None:
                sock.close()
            else:  # others may be using it
                job.connection._abort(exc)
        finally:
            self._roster.end(threading.current_thread())

    def after_fork(self) -> None:
        """Forget, in a forked child, the connections that the timekeeper's thread would close."""
        self._idle = None

    def _open(
        self, sock: socket.socket | Transport, job: Job, head: bytes, peer: Any
    ) -> ServerConnection | None:
        """Return the connection, open; ``None`` if it could not be, or went to the fallback."""
        transport = sock if isinstance(sock, Transport) else self._make_transport(sock, peer)
        connection = self._connect(transport, head)
        self._roster.begin_opening(connection, job)
        try:
            deadline = Deadline(self._open_timeout)
            if self.fallback is not None and self._goes_to_fallback(
                connection, job, head, deadline
            ):
                return None
            connection.handshake(deadline.remaining())
        except (InvalidHandshake, OSError, EOFError) as exc:
            # Refusals are logged where they are made. Otherwise TLS failed, or the client went away
            # or was too slow.
            if not isinstance(exc, InvalidHandshake):
                log_failure(connection, exc)
            drop_frames(exc)
            drop_frames(connection.protocol.handshake_exc)
            return None
        finally:
            self._roster.end_opening(connection)
        return connection

    def _goes_to_fallback(
        self, connection: ServerConnection, job: Job, head: bytes, deadline: Deadline
    ) -> bool:
        """Read the head of the request; hand the connection over if that is for the fallback.

        Raises:
            OSError: the connection broke, or nothing serves the fallback any more.
        """
        transport = connection._transport
        assert self.fallback is not None
        if transport.kind != "websocket":  # it comes from there
            return False
        try:
            transport.handshake(deadline)
            head = _read_head(connection, head, deadline)
            if not self.fallback.claims(head):
                return False
            self._roster.give_up_seat(job)  # a session that it opens needs one
            self.fallback.adopt(transport, head)
        except BaseException as exc:
            connection._finish(exc)
            if isinstance(exc, RuntimeError):  # no thread, or the server ends
                raise OSError(str(exc)) from exc
            raise
        return True

    def _make_transport(self, sock: socket.socket, peer: Any) -> Transport:
        transport = Transport(sock, peer)
        if self._ssl is not None:
            transport = TlsTransport(transport, self._ssl, server_side=True)
        return transport

    def _handle(self, connection: ServerConnection) -> None:
        """Run the handler, and close the connection after it."""
        opened_at = clock()
        log_open(connection)
        farewell = self._roster.enter(connection)
        try:
            if farewell is not None:  # opened while the server closed
                connection.close(*farewell)
                return
            if self._idle is not None:
                self._idle.add(connection)
            with lifecycle.handles_end():
                self._handle_by_program(connection)
        except BaseException as exc:
            close_after(connection, exc)
        else:
            connection.close()
        finally:
            if self._idle is not None:
                self._idle.discard(connection)
            self._leave(connection)
            log_close(connection, clock() - opened_at)


def _read_head(connection: ServerConnection, head: bytes, deadline: Deadline) -> bytes:
    """Read until the head of the request is there, or something else; return it all."""
    protocol = connection.protocol
    while b"\r\n\r\n" not in head and len(head) < MAX_HEAD:
        data = connection._transport.recv(deadline)
        if not data:
            break
        protocol.receive_data(data)
        head += data
        if protocol.handshake_exc is not None:  # it is no request, and is told so at once
            break
    return head


def close_after(connection: ServerConnection, exc: BaseException) -> None:
    """Close a connection whose handler raised; log that, unless it raised because of the end."""
    if is_end_of(connection, exc):
        connection.close()  # handlers that don't expect it end with this
    else:
        connection.logger.error("connection handler failed", exc_info=exc)
        connection.close(CloseCode.INTERNAL_ERROR)


def is_end_of(connection: ServerConnection, exc: BaseException) -> bool:
    """Tell whether an exception is what calls raise once this connection is closed."""
    protocol = connection.protocol
    return (
        isinstance(exc, ConnectionClosed)
        and not connection.open
        and exc.rcvd is protocol.close_rcvd
        and exc.sent is protocol.close_sent
    )
