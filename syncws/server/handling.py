"""A server's connections: let in or refused, opened, and handled in a thread each."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Callable

from ..aliases import LoggerLike
from ..exceptions import ConnectionClosed, InvalidHandshake
from ..options import Options
from ..sansio.close import CloseCode
from ..sansio.refusals import build_response
from ..sansio.server_protocol import ServerProtocol
from ..threaded import lifecycle
from ..threaded.deadline import Latch, clock
from ..threaded.guarded_logger import GuardedLogger
from ..threaded.transport import TlsTransport, Transport
from .admission import Admission, Job, Refusal
from .callables import Handler
from .groups import Groups
from .idleness import IdleWatch
from .records import log_close, log_open
from .refuser import Refuser
from .rejections import Rejections, log_failure
from .responses import http_date
from .stats import Tally
from .upgrade import RETRY_AFTER, ServerConnection, Upgrade

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["Handling", "close_after", "is_end_of"]

#: Plain HTTP requests that may be answered at the same time above ``max_connections``, so that
#: it can be asked whether a full server is well.
MAX_PLAIN = 8


class Handling:
    """What happens to a connection from when it is accepted: base of the server."""

    handler: Handler
    logger: LoggerLike
    options: Options
    _make_protocol: Callable[[], ServerProtocol]
    _create_connection: Callable[..., ServerConnection]
    _ssl: ssl_module.SSLContext | None
    _upgrade: Upgrade
    _open_timeout: float | None
    _limited_by: str | None

    def _init_handling(
        self, limit: int | None, address_limit: int | None, idle_timeout: float | None
    ) -> None:
        # Guards all below, for a few instructions at a time. Re-entrant, because a signal
        # handler may use the server while the main thread does. Taken before those of groups
        # and rejections, never after.
        self._lock = threading.RLock()
        self._connections: set[ServerConnection] = set()  # open, or adopted
        self._opening: set[ServerConnection] = set()
        self._running: dict[threading.Thread, Job] = {}
        self._admission = Admission(limit, address_limit, self._upgrade.trusted_proxies)
        self._plain = 0  # jobs that only answer
        self._accepted_total = 0
        self._tally = Tally()
        self._closing = False
        # What connections are told that open while the server closes them: code and reason.
        self._farewell: tuple[int, str] | None = None
        self._drained: Latch | None = None  # set when no connections are left to be drained
        # These have locks of their own.
        self._groups = Groups()
        # What the program's log handlers raise must not end threads of ours.
        self._guarded_logger = logger = GuardedLogger(self.logger)
        self._rejections = Rejections(logger)
        self._idle = None if idle_timeout is None else IdleWatch(idle_timeout)
        self._refuser = Refuser(
            self._ssl, self._build_refusal, self._answer_plain, self._refused, logger
        )

    # --- known connections ---

    @property
    def connections(self) -> set[ServerConnection]:
        """The open connections, as of now; not those that are closing, or whose handler goes on."""
        return {connection for connection in self._known_connections() if connection.open}

    def _known_connections(self) -> set[ServerConnection]:
        """Return also those that are closing, or whose handler goes on after that."""
        with self._lock:
            return set(self._connections)

    def register(self, connection: ServerConnection) -> None:
        """Adopt a connection accepted elsewhere: shutting down closes it too."""
        with self._lock:
            self._connections.add(connection)
            farewell = self._farewell
        self._groups.enter(connection)
        if farewell is not None:
            connection._begin_close(*farewell, self.options.close_timeout)

    def unregister(self, connection: ServerConnection) -> None:
        """Forget a connection. Idempotent."""
        with self._lock:
            self._connections.discard(connection)
        self._groups.end(connection)
        if self._drained is not None and self._is_drained():
            self._drained.set()

    def _is_drained(self) -> bool:
        """Tell whether no connections are left that are to be closed one by one."""
        raise NotImplementedError

    def refusal(self, connection: ServerConnection) -> InvalidHandshake | None:
        """Return why a connection that asks to be opened can't be, or ``None``."""
        if self._closing:
            connection._refused_for = "shutdown"
            return InvalidHandshake("the server is shutting down")
        with self._lock:
            job = self._running.get(threading.current_thread())
            if job is None or job.connection is not connection:
                return None
            refusal = job.refusal or self._admission.admit_forwarded(job, connection)
        if refusal is None:
            return None
        connection._refused_for = refusal.reason
        return refusal.exc

    # --- letting in, on the accepting thread ---

    def _accepted(self, sock: socket.socket) -> None:
        """Run a connection in a thread of its own, or refuse it."""
        key = self._admission.find_key(sock)
        job = Job()
        with self._lock:
            self._accepted_total += 1
            refusal = self._admission.admit(job, key)
            if refusal is None:
                thread = threading.Thread(
                    target=self._run, args=(sock, job), name="syncws-handler", daemon=True
                )
                self._running[thread] = job
        if refusal is None:
            self._launch(thread)
        else:
            if refusal.reason == "full" and self._limited_by is not None:
                why, self._limited_by = self._limited_by, None  # it is said once
                message = "the server is full: %s; max_connections= says otherwise"
                self._guarded_logger.warning(message, why)
            self._refuser.refuse(sock, refusal)

    def _launch(self, thread: threading.Thread) -> None:
        """Start a connection's thread.

        Raises:
            OSError: none is to be had.
        """
        try:
            thread.start()
        except BaseException as exc:
            self._ended(thread)
            if isinstance(exc, RuntimeError):  # a peer's doing rather than a defect
                raise OSError(errno.EAGAIN, str(exc)) from exc
            raise

    # --- refusing, on its thread ---

    def _refused(self, address: Any, refusal: Refusal) -> None:
        """Count and log a connection that was not let in."""
        self._rejections.refuse(
            refusal.reason,
            logging.WARNING,
            "connection from %s refused: %s",
            address,
            refusal.exc,
            ws_remote_address=address,
            ws_path=None,
            ws_status=503,
        )

    def _build_refusal(self, refusal: Refusal) -> bytes:
        text = f"Failed to open a WebSocket connection: {refusal.exc}.\n"
        headers = {"Retry-After": str(RETRY_AFTER), "Date": http_date(time.time())}
        if self._upgrade.server_header is not None:
            headers["Server"] = self._upgrade.server_header
        return build_response(503, text, headers).serialize()

    def _answer_plain(self, transport: Transport, head: bytes, refusal: Refusal) -> bool:
        """Have a request that doesn't ask for a WebSocket answered by the program, if it likes."""
        job = Job(refusal)
        thread = threading.Thread(
            target=self._run, args=(transport, job, head), name="syncws-handler", daemon=True
        )
        with self._lock:
            if self._plain >= MAX_PLAIN or self._closing:
                return False
            self._plain += 1
            self._running[thread] = job
        try:
            self._launch(thread)
        except OSError:
            return False
        return True

    # --- a connection, on its thread ---

    def _run(self, sock: socket.socket | Transport, job: Job, head: bytes = b"") -> None:
        """Everything that happens to one connection, in its thread."""
        connection = None
        try:
            connection = self._open(sock, job, head)
            if connection is not None:
                self._handle(connection)
        except BaseException as exc:  # a defect of ours, or a create_connection that fails
            self._guarded_logger.exception("connection failed")
            if connection is None:
                self._rejections.count("failure")
            if job.connection is None:
                sock.close()
            else:  # others may be using it
                job.connection._abort(exc)
        finally:
            self._ended(threading.current_thread())

    def _ended(self, thread: threading.Thread) -> None:
        with self._lock:
            job = self._running.pop(thread)
            self._admission.release(job)
            self._plain -= job.refusal is not None
            if job.connection is not None:
                self._tally.end(job.connection)

    def _open(
        self, sock: socket.socket | Transport, job: Job, head: bytes
    ) -> ServerConnection | None:
        """Return the connection, open; ``None`` if it could not be opened."""
        transport = sock if isinstance(sock, Transport) else self._make_transport(sock)
        protocol = self._make_protocol()
        if head:
            protocol.receive_data(head)
        connection = self._create_connection(
            transport,
            protocol,
            self,
            options=self.options,
            upgrade=self._upgrade,
            logger=self.logger,
        )
        with self._lock:
            job.connection = connection
            self._opening.add(connection)
        try:
            connection.handshake(self._open_timeout)
        except InvalidHandshake:
            return None  # logged where it was refused
        except (OSError, EOFError) as exc:
            # TLS that fails, a client that goes away, or is too slow.
            log_failure(connection, exc)
            return None
        finally:
            with self._lock:
                self._opening.discard(connection)
        return connection

    def _make_transport(self, sock: socket.socket) -> Transport:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Small frames go out at once, rather than wait for the answer to the last one.
            with contextlib.suppress(OSError):  # the client is gone already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = Transport(sock)
        if self._ssl is not None:
            transport = TlsTransport(transport, self._ssl, server_side=True)
        return transport

    def _handle(self, connection: ServerConnection) -> None:
        """Run the handler, and close the connection after it."""
        opened_at = clock()
        log_open(connection)
        with self._lock:
            self._connections.add(connection)
            farewell = self._farewell
        self._groups.enter(connection)
        try:
            if farewell is not None:  # opened while the server closed
                connection.close(*farewell)
                return
            if self._idle is not None:
                self._idle.add(connection)
            with lifecycle.handles_end():
                self.handler(connection)
        except BaseException as exc:
            close_after(connection, exc)
        else:
            connection.close()
        finally:
            if self._idle is not None:
                self._idle.discard(connection)
            self.unregister(connection)
            log_close(connection, clock() - opened_at)


def close_after(connection: ServerConnection, exc: BaseException) -> None:
    """Close a connection whose handler raised; log that, unless the connection's end is why."""
    if is_end_of(connection, exc):
        connection.close()  # what handlers that don't look out for it end with
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
