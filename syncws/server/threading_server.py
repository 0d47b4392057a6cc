"""The server: a thread for each connection, and an orderly end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from ..aliases import LoggerLike
from ..exceptions import ConnectionClosed, InvalidHandshake, ProtocolError, ServerBusy
from ..options import Options
from ..sansio.close import Close, CloseCode, is_sendable
from ..sansio.server_protocol import ServerProtocol
from ..threaded import lifecycle
from ..threaded.deadline import Deadline, Latch
from ..threaded.timekeeper import call_later
from ..threaded.transport import TlsTransport, Transport
from .accepting import Acceptor
from .callables import Handler
from .groups import Group, Groups
from .listeners import UnixFile
from .upgrade import RETRY_AFTER, ServerConnection, Upgrade

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["ThreadingServer"]

#: Seconds that shutting down may take when the program is being interrupted (Ctrl-C).
INTERRUPTED_TIMEOUT = 1.0

#: Seconds in which a client that is connected when the server closes can ask, and be told so.
OPENING_GRACE = 1.0

#: Refused connections that may be told so at the same time; more are just closed.
MAX_REFUSING = 32


class ThreadingServer:
    """A server that runs each connection's handler in a thread of its own.

    :func:`~syncws.serve` makes it, listening already. It accepts from ``with server:``,
    :meth:`start` or :meth:`serve_forever`, whichever comes first. All methods may be called
    from any thread, also from handlers and signal handlers.

    Args:
        handler: called with each open connection.
        sockets: listening sockets; the server owns them from now on.
        make_protocol: makes the codec of a connection.
        ssl: certificates and rules, for TLS.
        options: limits and times of connections.
        upgrade: how to answer opening handshakes.
        open_timeout: seconds for TLS and the opening handshake.
        max_connections: connections at the same time; ``None`` is unlimited.
        create_connection: makes connections.
        logger: where to log.
    """

    def __init__(
        self,
        handler: Handler,
        sockets: Sequence[socket.socket],
        *,
        make_protocol: Callable[[], ServerProtocol] = ServerProtocol,
        ssl: ssl_module.SSLContext | None = None,
        options: Options | None = None,
        upgrade: Upgrade | None = None,
        open_timeout: float | None = 10,
        max_connections: int | None = None,
        create_connection: Callable[..., ServerConnection] = ServerConnection,
        logger: LoggerLike | None = None,
    ) -> None:
        if logger is None:
            import logging

            logger = logging.getLogger("syncws.server")
        self.handler = handler
        self.logger = logger
        self.options = options or Options()
        self._make_protocol = make_protocol
        self._ssl = ssl
        self._upgrade = upgrade or Upgrade()
        self._open_timeout = open_timeout
        self._max_connections = max_connections
        self._create_connection = create_connection
        self._unix_file: UnixFile | None = None  # removed when the server closes
        self._sockets = tuple(sockets)
        self._addresses = [sock.getsockname() for sock in sockets]
        self._acceptor = Acceptor(self._sockets, self._accepted, logger)
        # Guards all below, for a few instructions at a time. Re-entrant, because a signal
        # handler may use the server while the main thread does.
        self._lock = threading.RLock()
        self._connections: set[ServerConnection] = set()  # open, or adopted
        self._groups = Groups()
        self._opening: set[ServerConnection] = set()
        self._refused: set[ServerConnection] = set()
        # The connections' threads, each with its connection once there is one.
        self._running: dict[threading.Thread, ServerConnection | None] = {}
        self._slots = 0  # connections that count, opening or open
        self._refusing = 0
        self._started = False
        self._closing = False
        self._closer: threading.Thread | None = None  # who called close() first
        self._closed = Latch()

    # --- what it is ---

    def __repr__(self) -> str:
        state = "closed" if self._closing else "serving" if self._started else "listening"
        return f"<{type(self).__name__} {self.uri} {state}>"

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets."""
        return self._sockets

    @property
    def port(self) -> int | None:
        """The port, the same for all hosts; ``None`` for a Unix socket."""
        address = self._addresses[0]
        return address[1] if isinstance(address, tuple) else None

    @property
    def uri(self) -> str:
        """A URI that clients on this machine can use."""
        scheme = "ws" if self._ssl is None else "wss"
        address = self._addresses[0]
        if not isinstance(address, tuple):
            return f"{scheme}://localhost/"
        host: str = address[0]
        host = {"0.0.0.0": "localhost", "::": "::1"}.get(host, host)
        if host == "127.0.0.1" and len(self._addresses) > 1:
            host = "localhost"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{address[1]}/"

    @property
    def connections(self) -> set[ServerConnection]:
        """The open connections, as of now."""
        with self._lock:
            return set(self._connections)

    def is_serving(self) -> bool:
        """Tell whether connections are accepted."""
        return self._started and not self._closing

    # --- running ---

    def start(self) -> ThreadingServer:
        """Begin to accept connections, in a thread; return the server. Idempotent.

        Raises:
            OSError: no descriptor is to be had.
            RuntimeError: the server was closed, or no thread is to be had.
        """
        if not self._start():
            raise RuntimeError("the server was closed; serve() makes another")
        return self

    start_serving = start

    def _start(self) -> bool:
        """Begin to accept, unless the server was closed; return whether it was not."""
        with self._lock:
            if not self._started and not self._closing:
                self._acceptor.start()
                lifecycle.register(self)
                self._started = True
            return not self._closing

    def serve_forever(self) -> None:
        """Accept connections, and block until :meth:`close` or :meth:`stop`.

        Ctrl-C closes the server, and returns; open connections are told so (1001), and what
        isn't done within a second is cut off. Returns at once if the server was closed.
        """
        try:
            if self._start():
                self._closed.wait()
        except KeyboardInterrupt:
            self.close(timeout=INTERRUPTED_TIMEOUT)

    def __enter__(self) -> ThreadingServer:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None or issubclass(exc_type, Exception):
            self.close()
        else:  # Ctrl-C: whoever pressed it doesn't want to wait
            self.close(timeout=INTERRUPTED_TIMEOUT)

    def close(
        self,
        close_connections: bool = True,
        code: int = CloseCode.GOING_AWAY,
        reason: str = "",
        *,
        timeout: float | None = None,
    ) -> None:
        """Shut down: accept no more, close connections, wait for their handlers.

        Blocks until handlers have returned, at most ``timeout`` seconds; connections are cut
        off then, and their handlers, being daemon threads, left behind. Called from a handler,
        it does not wait for that one. Idempotent: later calls wait for the first one to
        finish, and close connections if that one did not.

        Args:
            close_connections: whether to close open connections; if not, handlers go on, and
                the default is to wait for them without limit.
            code: close code for open connections.
            reason: close reason for open connections.
            timeout: seconds that it may take; by default the connections' ``close_timeout``.

        Raises:
            ProtocolError: code or reason can't be sent; the server goes on.
        """
        if close_connections:
            _check_close(code, reason)
            if timeout is None:
                timeout = self.options.close_timeout
        deadline = Deadline(timeout)
        current = threading.current_thread()
        with self._lock:
            first = self._closer is None
            if first:
                self._closer = current
                self._closing = True
        if first:
            self._stop_accepting(deadline)
        if close_connections:
            for connection in self.connections:
                connection._begin_close(code, reason, deadline.remaining())
        if first:
            try:
                self._wait_for_connections(close_connections, deadline)
            finally:
                self._cut_off()
                lifecycle.unregister(self)
                self._closed.set()
        elif not (
            current is self._closer
            or current in self._running
            or self._closed.wait(deadline.remaining())
        ):
            self._cut_off()

    shutdown = close

    def stop(self) -> None:
        """Ask the server to close, and return at once. Idempotent."""
        threading.Thread(target=self.close, name="syncws-stop", daemon=True).start()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the server is closed, at most ``timeout`` seconds; return whether it is."""
        return self._closed.wait(timeout)

    def _stop_accepting(self, deadline: Deadline) -> None:
        # The file goes first: while the socket listens nobody takes it for a stale one, and
        # puts another in its place.
        if self._unix_file is not None:
            self._unix_file.remove()
        self._acceptor.stop(deadline)

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
            for connection in self.connections:
                if close_connections or connection is not self._running.get(current):
                    connection.wait_closed(deadline.remaining())
        finally:
            grace.cancel()

    def _cut_off_opening(self) -> None:
        """Make the threads of opening handshakes return."""
        with self._lock:
            opening = list(self._opening)
        for connection in opening:
            connection._transport.abort()

    def _cut_off(self) -> None:
        """Cut all connections, but that of a handler that closes the server without its own."""
        self._cut_off_opening()
        own = self._running.get(threading.current_thread())
        for connection in self.connections:
            if connection is not own or not connection.open:
                connection.abort()

    # --- connections ---

    def register(self, connection: ServerConnection) -> None:
        """Adopt a connection accepted elsewhere: shutting down closes it too."""
        with self._lock:
            self._connections.add(connection)
            late = self._closing
        self._groups.enter(connection)
        if late:
            connection._begin_close(CloseCode.GOING_AWAY, "", self.options.close_timeout)

    def unregister(self, connection: ServerConnection) -> None:
        """Forget a connection. Idempotent."""
        with self._lock:
            self._connections.discard(connection)
        self._groups.end(connection)

    def group(self, name: str) -> Group:
        """Return the group of this name: connections that get the same messages.

        It need not be made before, nor removed.
        """
        return Group(name, self._groups)

    def refusal(self, connection: ServerConnection) -> InvalidHandshake | None:
        """Return why a connection that asks to be opened can't be, or ``None``."""
        if self._closing:
            return InvalidHandshake("the server is shutting down")
        if connection in self._refused:
            return ServerBusy(self._max_connections or 0, RETRY_AFTER)
        return None

    def _accepted(self, sock: socket.socket) -> None:
        """Run a connection in a thread of its own. Called by the accepting thread."""
        with self._lock:
            limit = self._max_connections
            refused = limit is not None and self._slots >= limit
            if refused and self._refusing >= MAX_REFUSING:
                sock.close()
                return
            thread = threading.Thread(
                target=self._run, args=(sock, refused), name="syncws-handler", daemon=True
            )
            if refused:
                self._refusing += 1
            else:
                self._slots += 1
            self._running[thread] = None
        try:
            thread.start()
        except BaseException:
            self._ended(thread, refused)
            raise

    def _ended(self, thread: threading.Thread, refused: bool) -> None:
        with self._lock:
            del self._running[thread]
            if refused:
                self._refusing -= 1
            else:
                self._slots -= 1

    def _run(self, sock: socket.socket, refused: bool) -> None:
        """Everything that happens to one connection, in its thread."""
        try:
            connection = self._open(sock, refused)
            if connection is not None:
                self._handle(connection)
        except BaseException:  # a defect of ours, or a create_connection that fails
            self.logger.exception("connection failed")
            sock.close()
        finally:
            self._ended(threading.current_thread(), refused)

    def _open(self, sock: socket.socket, refused: bool) -> ServerConnection | None:
        """Return the connection, open; ``None`` if it could not be opened."""
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Small frames go out at once, rather than wait for the answer to the last one.
            with contextlib.suppress(OSError):  # the client is gone already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = Transport(sock)
        if self._ssl is not None:
            transport = TlsTransport(transport, self._ssl, server_side=True)
        connection = self._create_connection(
            transport,
            self._make_protocol(),
            self,
            options=self.options,
            upgrade=self._upgrade,
            logger=self.logger,
        )
        with self._lock:
            self._running[threading.current_thread()] = connection
            self._opening.add(connection)
            if refused:
                self._refused.add(connection)
        try:
            connection.handshake(self._open_timeout)
        except InvalidHandshake:
            return None  # logged where it was refused
        except (OSError, EOFError) as exc:
            # TLS that fails, a client that goes away, or is too slow.
            self.logger.info("opening handshake with %s failed: %s", transport.remote_address, exc)
            return None
        finally:
            with self._lock:
                self._opening.discard(connection)
                self._refused.discard(connection)
        return connection

    def _handle(self, connection: ServerConnection) -> None:
        """Run the handler, and close the connection after it."""
        connection.logger.info("connection open")
        with self._lock:
            self._connections.add(connection)
            late = self._closing
        self._groups.enter(connection)
        try:
            if late:  # opened while the server closed
                connection.close(CloseCode.GOING_AWAY)
                return
            self.handler(connection)
        except BaseException as exc:
            if isinstance(exc, ConnectionClosed) and not connection.open:
                connection.close()  # what handlers that don't look out for it end with
            else:
                connection.logger.exception("connection handler failed")
                connection.close(CloseCode.INTERNAL_ERROR)
        else:
            connection.close()
        finally:
            self.unregister(connection)
            connection.logger.info("connection closed")

    # --- the process ---

    def begin_exit(self) -> None:
        """Accept no more, at the interpreter's exit. Never blocks."""
        self._closing = True
        self._stop_accepting(Deadline(0))

    def end_exit(self, deadline: Deadline) -> None:
        """Nothing left to do: connections look after themselves."""

    def after_fork(self) -> None:
        """Become closed in a forked child, which has none of the threads."""
        self._lock = threading.RLock()
        self._closing = True
        self._closer = threading.current_thread()
        self._acceptor.after_fork()
        for connection in self._opening:  # open ones look after themselves
            connection._transport.close()  # this process's descriptor only
        self._running.clear()
        self._connections.clear()
        self._closed = Latch()
        self._closed.set()

    def __getattr__(self, name: str) -> Any:
        if name == "get_loop":
            raise AttributeError("there is no event loop: the server runs in threads")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _check_close(code: int, reason: str) -> None:
    """Refuse at once what could not be sent later."""
    if not is_sendable(code):
        raise ProtocolError(f"close code {code} can't be sent")
    Close(code, reason).serialize()
