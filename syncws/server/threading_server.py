"""The server: a thread for each connection, and an orderly shutdown."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from ..aliases import LoggerLike
from ..exceptions import InvalidHandshake
from ..options import Options
from ..sansio.close import CloseCode
from ..sansio.header_limits import MAX_HEADER_SIZE
from ..sansio.server_protocol import ServerProtocol
from ..threaded import lifecycle
from ..threaded.absent import LOOP, Base, explain_absence
from ..threaded.deadline import Deadline, clock
from ..threaded.guarded_logger import GuardedLogger, own_logger
from ..threaded.transport import Transport
from .accepting import Acceptor
from .admission import Admission
from .entrance import Entrance
from .fallback import Fallback
from .groups import Group
from .handling import Handling
from .refusal_log import RefusalLog
from .rooms import AnyGroup
from .roster import Roster
from .server_connection import Handler, ServerConnection, Upgrade
from .shutdown import INTERRUPTED_TIMEOUT, Shutdown, check_close, check_stop
from .stats import ServerStats, Tally, sum_compressors

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["ThreadingServer"]


#: Attributes that servers of other libraries have, and what to use instead.
HINTS = {
    "get_loop": LOOP,
    "loop": LOOP,
    "websockets": "use connections",
    "ws_handler": "use handler",
    "wrap": "no second server is below this one; serve(sock=...) takes a listening socket",
}


@explain_absence(HINTS)
class ThreadingServer(Base):
    """A server that runs each connection's handler in a thread of its own.

    :func:`~syncws.serve` makes it, listening already. It accepts from ``with server:``,
    :meth:`start` or :meth:`serve_forever`, whichever comes first. All methods may be called
    from any thread, including those of handlers, and from signal handlers.

    Args:
        handler: called with each open connection.
        sockets: listening sockets; the server owns them from now on.
        make_protocol: makes the codec of a connection.
        ssl: certificates and rules, for TLS.
        options: limits and times of connections.
        upgrade: how to answer opening handshakes.
        open_timeout: seconds for TLS and the opening handshake.
        idle_timeout: seconds without a message, after which a connection is closed; ``None``
            is never.
        max_connections: connections at the same time; ``None`` is unlimited.
        limited_by: what limits their number, if that is a limit of the process.
        max_connections_per_address: the same, of one address.
        stack_size: bytes of the stacks of connections' threads; ``None`` means the default.
        fallback: how to speak HTTP with who can't use WebSocket; ``None`` doesn't.
        create_connection: makes connections.
        logger: where to log.

    Attributes:
        max_connections: how many connections there may be at the same time; ``None`` is unlimited.
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
        idle_timeout: float | None = None,
        max_connections: int | None = None,
        limited_by: str | None = None,
        max_connections_per_address: int | None = None,
        stack_size: int | None = None,
        fallback: Fallback | None = None,
        create_connection: Callable[..., ServerConnection] = ServerConnection,
        logger: LoggerLike | None = None,
    ) -> None:
        self.handler = handler
        self.logger = logger or own_logger("server")
        self.options = options or Options()
        self.max_connections = max_connections
        self._make_protocol = make_protocol
        self._upgrade = upgrade or Upgrade()
        self._create_connection = create_connection
        self._limited_by = limited_by
        self._stack_size = stack_size
        self._is_secure = ssl is not None
        self._sockets = tuple(sockets)
        self._addresses = [sock.getsockname() for sock in sockets]
        self._started_at: float | None = None  # guarded by the roster's lock
        # What the program's log handlers raise must not end threads of ours.
        self._guarded_logger = guarded_logger = GuardedLogger(self.logger)
        self._refusal_log = refusal_log = RefusalLog(guarded_logger)
        admission = Admission(
            max_connections, max_connections_per_address, self._upgrade.trusted_proxies
        )
        self._roster = roster = Roster(admission)
        self._handling = handling = Handling(
            roster,
            refusal_log,
            connect=self._connect,
            handle=lambda connection: self.handler(connection),
            leave=lambda connection: self.unregister(connection),
            ssl=ssl,
            open_timeout=open_timeout,
            idle_timeout=idle_timeout,
            logger=guarded_logger,
        )
        self._entrance = entrance = Entrance(
            admission,
            roster,
            handling,
            refusal_log,
            ssl=ssl,
            server_header=self._upgrade.server_header,
            limited_by=limited_by,
            stack_size=stack_size,
            logger=guarded_logger,
        )
        if fallback is not None:
            from .fallback_desk import FallbackDesk  # few need it

            handling.fallback = FallbackDesk(
                fallback,
                max_connections=max_connections,
                max_connections_per_address=max_connections_per_address,
                start=entrance.start_connection,
                find_key=admission.find_key_of,
                proxies=self._upgrade.trusted_proxies,
                server_header=self._upgrade.server_header,
                max_header_size=MAX_HEADER_SIZE,
                logger=guarded_logger,
            )
        self._acceptor = acceptor = Acceptor(
            self._sockets,
            entrance.accepted,
            guarded_logger,
            refusal_log.log,
            entrance.lacking,
            self._accepting_ended,
        )
        self._shutdown = Shutdown(
            roster,
            acceptor,
            entrance.doorkeeper,
            handling.fallback,
            refusal_log,
            lambda: lifecycle.unregister(self),
        )

    # --- what it is ---

    def __repr__(self) -> str:
        if self._roster.closing:
            state = "closed"
        elif self._acceptor.paused:
            state = "paused"
        else:
            state = "listening" if self._started_at is None else "serving"
        return f"<{type(self).__name__} {self.uri} {state}>"

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets."""
        return self._sockets

    @property
    def socket(self) -> socket.socket:
        """The first of the listening sockets."""
        return self._sockets[0]

    def fileno(self) -> int:
        """Return the descriptor of the first listening socket; -1 once it is closed."""
        return self._sockets[0].fileno()

    @property
    def port(self) -> int | None:
        """The port, the same for all hosts; ``None`` for a Unix socket."""
        address = self._addresses[0]
        return address[1] if isinstance(address, tuple) else None

    @property
    def uri(self) -> str:
        """A URI that clients on this machine can use."""
        scheme = "wss" if self._is_secure else "ws"
        address = self._addresses[0]
        if not isinstance(address, tuple):
            return f"{scheme}://localhost/"
        host: str = address[0]
        host = {"0.0.0.0": "localhost", "::": "::1"}.get(host, host)
        if host == "127.0.0.1" and len(self._addresses) > 1:
            host = "localhost"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{address[1]}/"

    def is_serving(self) -> bool:
        """Tell whether connections are accepted: started, not paused, and not closed."""
        return self._started_at is not None and not (self._roster.closing or self._acceptor.paused)

    def stats(self) -> ServerStats:
        """Return what the server does and has done.

        Nothing is missing or counted twice, whatever goes on meanwhile. It takes about 2 µs
        for each open connection; connections that have ended cost nothing.
        """
        now = self._roster.snapshot()
        started_at, ended_at = self._started_at, self._shutdown.ended_at
        connections = [job.connection for job in now.running if job.connection is not None]
        readers = [each._reading.reader for each in connections]
        others = [self._acceptor.thread, self._entrance.doorkeeper.thread]
        if self._handling.fallback is not None:
            others.append(self._handling.fallback.thread)
        alive = [each for each in (*readers, *others) if each is not None and each.is_alive()]
        return ServerStats(
            sum(each.open for each in now.known),
            now.opening,
            now.accepted,
            *Tally.add(now.ended, connections),
            self._refusal_log.counts,
            len(now.running) + len(alive),
            0.0 if started_at is None else (ended_at or clock()) - started_at,
            self._acceptor.paused,
            *sum_compressors(connections),
        )

    # --- its connections ---

    @property
    def connections(self) -> set[ServerConnection]:
        """The open connections, as of now; not those that are closing."""
        return {connection for connection in self._roster.known() if connection.open}

    def group(self, name: str) -> AnyGroup:
        """Return the group of this name: connections that get the same messages.

        It needn't be created or removed. With a ``hub`` it is one of the hub's rooms, which all
        processes share that use the same one.
        """
        hub = self._upgrade.hub
        found: AnyGroup = Group(name, self._roster.groups) if hub is None else hub.room(name)
        return found

    def register(self, connection: ServerConnection) -> None:
        """Adopt a connection accepted elsewhere: shutting down closes it too."""
        farewell = self._roster.enter(connection)
        if farewell is not None:
            connection._begin_close(*farewell, self.options.close_timeout)

    def unregister(self, connection: ServerConnection) -> None:
        """Forget a connection. Idempotent."""
        self._roster.leave(connection)
        self._shutdown.connection_left()

    def refusal(self, connection: ServerConnection) -> InvalidHandshake | None:
        """Return why a connection that asks to be opened can't be, or ``None``."""
        refusal = self._roster.refusal(connection)
        if refusal is None:
            return None
        connection._refused_for = refusal.reason
        return refusal.exc

    def _connect(self, transport: Transport, head: bytes) -> ServerConnection:
        """Return a connection that isn't open yet.

        Args:
            transport: what it is over.
            head: what was read from that.
        """
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
        if head:
            connection._transport.show_received(head)
        if self._stack_size is not None:
            connection._stack_size = self._stack_size
        return connection

    # --- running ---

    def start(self) -> ThreadingServer:
        """Begin to accept connections, in a thread; return the server. Idempotent.

        Raises:
            OSError: no descriptor is available.
            RuntimeError: the server was closed, or no thread is available.
        """
        if not self._start():
            raise RuntimeError("the server was closed; serve() makes another")
        return self

    start_serving = start

    def _start(self) -> bool:
        """Begin to accept, unless the server was closed; return whether it was not."""
        with self._roster.lock:
            if self._started_at is None and not self._roster.closing:
                self._acceptor.start()
                lifecycle.register(self)
                self._started_at = clock()
                if self._limited_by is not None:
                    message = "at most %d connections at a time: %s"
                    self._guarded_logger.debug(message, self.max_connections, self._limited_by)
            return not self._roster.closing

    def _accepting_ended(self) -> None:
        """Close: nothing is accepted any more, and the server must not seem open."""
        self._guarded_logger.critical("accepting connections ended; the server closes")
        self.stop()

    def pause(self) -> None:
        """Accept no more connections until :meth:`resume`; open ones go on. Idempotent.

        Once it has returned none is accepted. Clients that connect meanwhile wait, as far as the
        kernel lets them (``backlog``). A server that isn't started yet will start paused.
        """
        self._acceptor.pause()

    def resume(self) -> None:
        """Accept connections again, those that have waited first. Idempotent."""
        self._acceptor.resume()

    def serve_forever(self) -> None:
        """Accept connections, and block until :meth:`close` or :meth:`stop`.

        Ctrl-C closes the server, and returns; open connections are closed with 1001, and cut
        off after a second. Returns at once if the server was closed.
        """
        try:
            if self._start():
                self._shutdown.closed.wait()
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

    # --- its end ---

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
        check_close(code, reason, close_connections, drain_seconds)
        if close_connections and timeout is None:
            timeout = self.options.close_timeout
        self._shutdown.close(close_connections, code, reason, timeout, drain_seconds)

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
        check_stop(**kwargs)
        thread = threading.Thread(target=self.close, kwargs=kwargs, name="syncws-stop")
        lifecycle.start_thread(thread)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the server is closed, at most ``timeout`` seconds; return whether it is."""
        return self._shutdown.closed.wait(timeout)

    # --- the process ---

    def begin_exit(self) -> None:
        """Accept no more, at the interpreter's exit. Never blocks."""
        self._shutdown.begin_exit()

    def end_exit(self, deadline: Deadline) -> None:
        """Nothing left to do: connections look after themselves."""

    def after_fork(self) -> None:
        """Become closed in a forked child, which has none of the threads.

        A signal handler may have forked: whoever waits here goes on.
        """
        self._shutdown.after_fork()
        self._handling.after_fork()
