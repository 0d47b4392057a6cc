"""The server: accepting connections, a thread for each, and an orderly end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from ..aliases import LoggerLike
from ..exceptions import ConnectionClosed, InvalidHandshake, ServerBusy
from ..options import Deflate, MaxQueue, MaxSize, Options, deflate_settings, one_of
from ..sansio.close import CloseCode
from ..sansio.extensions.interface import ServerExtensionFactory
from ..sansio.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from ..sansio.handshake import SAME_ORIGIN, Origins
from ..sansio.server_protocol import ServerProtocol
from ..threaded import lifecycle
from ..threaded.deadline import Deadline, Latch
from ..threaded.transport import TlsTransport, Transport
from .accepting import Acceptor
from .callables import Handler, adapt_handler, adapt_select_subprotocol
from .listeners import listen, listen_unix, remove_unix
from .upgrade import (
    RETRY_AFTER,
    SERVER_HEADER,
    ExtraHeaders,
    ProcessRequest,
    ProcessResponse,
    ServerConnection,
    Upgrade,
)

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["ThreadingServer", "serve", "unix_serve"]

#: Connections that may wait to be accepted.
BACKLOG = 512

#: Seconds that shutting down may take when the program is being interrupted (Ctrl-C).
INTERRUPTED_TIMEOUT = 1.0

#: Refused connections that may be told so at the same time; more are just closed.
MAX_REFUSING = 32


class ThreadingServer:
    """A server that runs each connection's handler in a thread of its own.

    :func:`serve` makes it, listening already. It accepts from ``with server:``,
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
        self._unix: tuple[str, int] | None = None  # file to remove, and its inode
        self._sockets = tuple(sockets)
        self._addresses = [sock.getsockname() for sock in sockets]
        self._acceptor = Acceptor(self._sockets, self._accepted, logger)
        # Guards all below, for a few instructions at a time. Re-entrant, because a signal
        # handler may use the server while the main thread does.
        self._lock = threading.RLock()
        self._connections: set[ServerConnection] = set()  # open, or adopted
        self._opening: set[ServerConnection] = set()
        self._refused: set[ServerConnection] = set()
        self._threads: set[threading.Thread] = set()
        self._slots = 0  # connections that count, opening or open
        self._refusing = 0
        self._started = False
        self._closing = False
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
        host = address[0]
        if host in ("127.0.0.1", "::1", "0.0.0.0", "::"):
            several = len(self._addresses) > 1 or host in ("0.0.0.0", "::")
            host = "localhost" if several else host
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
            RuntimeError: the server was closed.
        """
        with self._lock:
            if self._closing:
                raise RuntimeError("the server was closed; serve() makes another")
            if not self._started:
                lifecycle.register(self)
                self._acceptor.start()
                self._started = True
        return self

    start_serving = start

    def serve_forever(self) -> None:
        """Accept connections, and block until :meth:`close` or :meth:`stop`.

        Ctrl-C closes the server, and returns; open connections are told so (1001), and what
        isn't done within a second is cut off.
        """
        self.start()
        try:
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
        it does not wait for that one. Idempotent; a second call waits for the first.

        Args:
            close_connections: whether to close open connections; if not, handlers go on, and
                the default is to wait for them without limit.
            code: close code for open connections.
            reason: close reason for open connections.
            timeout: seconds that it may take; by default the connections' ``close_timeout``.
        """
        if timeout is None and close_connections:
            timeout = self.options.close_timeout
        deadline = Deadline(timeout)
        with self._lock:
            first = not self._closing
            self._closing = True
        if not first:
            if threading.current_thread() not in self._threads:
                self._closed.wait(deadline.remaining())
            return
        self._acceptor.stop(deadline)
        if close_connections:
            for connection in self.connections:
                connection._begin_close(code, reason, deadline.remaining())
        self._wait_for_handlers(deadline)
        for connection in [*self._opening, *self.connections]:
            connection.abort()
        if self._unix is not None:
            remove_unix(*self._unix)
        lifecycle.unregister(self)
        self._closed.set()

    shutdown = close

    def stop(self) -> None:
        """Ask the server to close, and return at once. Idempotent."""
        threading.Thread(target=self.close, name="syncws-stop", daemon=True).start()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the server is closed, at most ``timeout`` seconds; return whether it is."""
        return self._closed.wait(timeout)

    def _wait_for_handlers(self, deadline: Deadline) -> None:
        while True:
            with self._lock:
                threads = self._threads - {threading.current_thread()}
            if not threads or deadline.expired:
                return
            threads.pop().join(deadline.remaining())

    # --- connections ---

    def register(self, connection: ServerConnection) -> None:
        """Adopt a connection accepted elsewhere: shutting down closes it too."""
        with self._lock:
            self._connections.add(connection)

    def unregister(self, connection: ServerConnection) -> None:
        """Forget a connection. Idempotent."""
        with self._lock:
            self._connections.discard(connection)

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
            if refused:
                self._refusing += 1
            else:
                self._slots += 1
        thread = threading.Thread(
            target=self._run, args=(sock, refused), name="syncws-handler", daemon=True
        )
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            self._ended(thread, refused)
            raise

    def _ended(self, thread: threading.Thread, refused: bool) -> None:
        with self._lock:
            self._threads.discard(thread)
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
        if sock.family != getattr(socket, "AF_UNIX", None):
            # Small frames go out at once, rather than wait for the answer to the last one.
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
        try:
            if late:  # opened while the server closed
                connection.close(CloseCode.GOING_AWAY)
                return
            self.handler(connection)
        except ConnectionClosed:
            connection.close()  # what handlers that don't look out for it end with
        except BaseException:
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
        self._acceptor.stop(Deadline(0))

    def end_exit(self, deadline: Deadline) -> None:
        """Nothing left to do: connections look after themselves."""
        if self._unix is not None:
            remove_unix(*self._unix)

    def after_fork(self) -> None:
        """Become closed in a forked child, which has none of the threads."""
        self._closing = True
        self._lock = threading.RLock()
        self._threads.clear()
        self._connections.clear()
        for sock in self._sockets:
            sock.close()
        self._closed = Latch()
        self._closed.set()

    def __getattr__(self, name: str) -> Any:
        if name == "get_loop":
            raise AttributeError("there is no event loop: the server runs in threads")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def serve(
    handler: Handler,
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    sock: socket.socket | None = None,
    ssl: ssl_module.SSLContext | None = None,
    origins: Origins = SAME_ORIGIN,
    extensions: Sequence[ServerExtensionFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    select_subprotocol: Callable[..., str | None] | None = None,
    compression: str | Deflate | None = "deflate",
    process_request: ProcessRequest | None = None,
    process_response: ProcessResponse | None = None,
    extra_headers: ExtraHeaders = None,
    server_header: str | None = SERVER_HEADER,
    open_timeout: float | None = 10,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    send_timeout: float | None = None,
    max_size: MaxSize = 2**20,
    max_queue: MaxQueue = 16,
    read_limit: int = 2**16,
    write_limit: int = 2**16,
    max_connections: int | None = None,
    logger: LoggerLike | None = None,
    create_connection: Callable[..., ServerConnection] | None = None,
    create_protocol: Callable[..., ServerConnection] | None = None,
    backlog: int = BACKLOG,
    reuse_port: bool = False,
    family: int = socket.AF_UNSPEC,
) -> ThreadingServer:
    """Return a WebSocket server that listens already, and accepts once it is started.

    ::

        def echo(ws):
            for message in ws:
                ws.send(message)

        with serve(echo, "localhost", 8765) as server:
            server.serve_forever()

    Each connection runs in a thread of its own, in which ``handler`` is called once it is
    open; when the handler returns the connection is closed. An exception in it is logged, and
    closes the connection with 1011. Times are in seconds, sizes in bytes; ``None`` is no limit.

    Args:
        handler: called with the connection, or with connection and path if it takes two.
        host: name or address to listen on, or several; ``None`` and ``"localhost"`` are the
            loopback interface, ``""`` all interfaces, by IPv4 and IPv6.
        port: port to listen on; ``None`` and 0 find a free one, see ``server.port``.
        sock: a listening socket to use instead of making one.
        ssl: certificate and rules; makes it ``wss://``.
        origins: origins from which browsers may connect: a list of str, compiled patterns,
            ``None`` (no Origin, as sent by programs that aren't browsers) and SAME_ORIGIN. By
            default that of the Host that they ask for, and programs; ``None`` accepts all.
        extensions: what to accept besides compression.
        subprotocols: what to accept, most wanted first.
        select_subprotocol: ``(ws, offered)`` returns what to use, or ``None``; the older form
            ``(client_subprotocols, server_subprotocols)`` is recognized by its names.
        compression: ``"deflate"``, a :class:`~syncws.Deflate` with settings, or ``None``.
        process_request: ``(ws, request)`` returns a response, such as ``ws.respond(200, text)``,
            for a request that isn't to become a WebSocket, or ``None``.
        process_response: ``(ws, request, response)`` changes the response, or returns another.
        extra_headers: added to the response; or a function of path and request headers.
        server_header: value of Server; ``None`` sends none.
        open_timeout: time for TLS and the opening handshake.
        ping_interval: time between keepalive pings; ``None`` sends none.
        ping_timeout: time for the pong, after which the connection fails with 1011.
        close_timeout: time that closing may take.
        send_timeout: time that one ``send()`` may take.
        max_size: limit of a received message, or of (message, fragment); above it the
            connection fails with 1009.
        max_queue: received messages that may wait before reading pauses, or (pause above,
            resume at).
        read_limit: bytes of received messages that may wait before reading pauses.
        write_limit: bytes that a broadcast may leave waiting for a peer.
        max_connections: connections at the same time; more are answered with 503.
        logger: where to log; ``syncws.server`` by default.
        create_connection: a subclass of :class:`ServerConnection`, or what makes one.
        create_protocol: older name of ``create_connection``.
        backlog: connections that may wait to be accepted.
        reuse_port: let other processes listen on the same port.
        family: ``socket.AF_INET`` or ``AF_INET6`` to leave the other out.

    Raises:
        OSError: the address can't be listened on.
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong value, or contradicts another.
    """
    if sock is not None and (host is not None or port is not None):
        raise ValueError("sock= listens already: host and port are not for it")
    if max_connections is not None and max_connections < 1:
        raise ValueError(f"max_connections must be at least 1, got {max_connections!r}")
    options = Options(
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        close_timeout=close_timeout,
        send_timeout=send_timeout,
        max_queue=max_queue,
        read_limit=read_limit,
        write_limit=write_limit,
    )
    factories = _extensions(extensions, compression)
    select = adapt_select_subprotocol(select_subprotocol, subprotocols)

    def make_protocol() -> ServerProtocol:
        return ServerProtocol(
            origins=origins,
            extensions=factories,
            subprotocols=subprotocols,
            select_subprotocol=None,
            max_size=max_size,
            logger=logger,
        )

    make_protocol()  # so that a wrong argument is an error here, not in a connection
    create = one_of(create_connection, create_protocol, "create_connection", "create_protocol")
    handler = adapt_handler(handler)
    if sock is None:
        sockets = listen(host, port, backlog=backlog, reuse_port=reuse_port, family=family)
    else:
        sock.listen(backlog)
        sockets = [sock]
    return ThreadingServer(
        handler,
        sockets,
        make_protocol=make_protocol,
        ssl=ssl,
        options=options,
        upgrade=Upgrade(process_request, process_response, extra_headers, server_header, select),
        open_timeout=open_timeout,
        max_connections=max_connections,
        create_connection=create or ServerConnection,
        logger=logger,
    )


def unix_serve(
    handler: Handler, path: str | None = None, *, backlog: int = BACKLOG, **kwargs: Any
) -> ThreadingServer:
    """Return a WebSocket server that listens on a Unix socket.

    A stale file, left behind by a process that is gone, is replaced; the server removes its
    own when it closes.

    Args:
        handler: as for :func:`serve`.
        path: where the socket is to be; ``None`` with ``sock=``.
        backlog: connections that may wait to be accepted.
        kwargs: as for :func:`serve`.

    Raises what :func:`serve` does.
    """
    if path is None:
        return serve(handler, backlog=backlog, **kwargs)
    sock = listen_unix(path, backlog)
    try:
        server = serve(handler, sock=sock, backlog=backlog, **kwargs)
        server._unix = (path, os.stat(path).st_ino)
    except BaseException:
        sock.close()
        os.unlink(path)
        raise
    return server


def _extensions(
    extensions: Sequence[ServerExtensionFactory] | None,
    compression: str | Deflate | None,
) -> list[ServerExtensionFactory]:
    """Return what to accept."""
    factories = list(extensions or ())
    for factory in factories:
        if not hasattr(factory, "process_request_params"):
            raise TypeError(f"extensions are ServerExtensionFactory objects, not {factory!r}")
    default = Deflate(server_max_window_bits=12, client_max_window_bits=12)
    settings = deflate_settings(compression, default)
    if settings is not None and all(f.name != "permessage-deflate" for f in factories):
        factories.append(ServerPerMessageDeflateFactory(settings))
    return factories
