"""The server: a thread for each connection, and an orderly end."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Callable

from ..aliases import LoggerLike
from ..options import Options
from ..sansio.server_protocol import ServerProtocol
from ..threaded import lifecycle
from ..threaded.absent import LOOP, explain_absence
from ..threaded.deadline import clock
from .accepting import Acceptor
from .callables import Handler
from .closing import INTERRUPTED_TIMEOUT, Closing
from .groups import Group
from .listeners import UnixFile
from .stats import ServerStats
from .upgrade import ServerConnection, Upgrade

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
class ThreadingServer(Closing):
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
        idle_timeout: seconds without a message, after which a connection is closed; ``None``
            is never.
        max_connections: connections at the same time; ``None`` is unlimited.
        limited_by: why there can't be more, where that is a limit of the process.
        max_connections_per_address: the same, of one address.
        create_connection: makes connections.
        logger: where to log.

    Attributes:
        max_connections: connections that there may be at the same time; ``None`` is unlimited.
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
        create_connection: Callable[..., ServerConnection] = ServerConnection,
        logger: LoggerLike | None = None,
    ) -> None:
        self.handler = handler
        self.logger = logger or logging.getLogger("syncws.server")
        self.options = options or Options()
        self._make_protocol = make_protocol
        self._ssl = ssl
        self._upgrade = upgrade or Upgrade()
        self._open_timeout = open_timeout
        self._create_connection = create_connection
        self._unix_file: UnixFile | None = None  # removed when the server closes
        self._sockets = tuple(sockets)
        self._addresses = [sock.getsockname() for sock in sockets]
        self.max_connections = max_connections
        self._limited_by = limited_by
        self._init_handling(max_connections, max_connections_per_address, idle_timeout)
        self._init_closing()
        self._acceptor = Acceptor(
            self._sockets,
            self._accepted,
            self._guarded_logger,
            self._rejections.log,
            self._accepting_ended,
        )

    # --- what it is ---

    def __repr__(self) -> str:
        if self._closing:
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
        scheme = "ws" if self._ssl is None else "wss"
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
        return self._started_at is not None and not (self._closing or self._acceptor.paused)

    def stats(self) -> ServerStats:
        """Return what the server does and has done.

        Nothing is missing or counted twice, whatever goes on meanwhile. It takes about 2 µs
        for each open connection; connections that have ended cost nothing.
        """
        with self._lock:
            ended = self._tally.snapshot()
            jobs = [job.connection for job in self._running.values()]
            known = list(self._connections)
            counts = len(self._opening), self._accepted_total
            started_at, ended_at = self._started_at, self._ended_at
        connections = [connection for connection in jobs if connection is not None]
        readers = [each._reader for each in connections if each._reader is not None]
        others = self._acceptor.thread, self._refuser.thread
        alive = [each for each in (*readers, *others) if each is not None and each.is_alive()]
        return ServerStats(
            sum(each.open for each in known),
            *counts,
            *self._tally.add(ended, connections),
            refusals=self._rejections.counts,
            threads=len(jobs) + len(alive),
            uptime=0.0 if started_at is None else (ended_at or clock()) - started_at,
            paused=self._acceptor.paused,
        )

    def group(self, name: str) -> Group:
        """Return the group of this name: connections that get the same messages.

        It need not be made before, nor removed.
        """
        return Group(name, self._groups)

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
            if self._started_at is None and not self._closing:
                self._acceptor.start()
                lifecycle.register(self)
                self._started_at = clock()
                if self._limited_by is not None:
                    message = "at most %d connections at a time: %s"
                    self._guarded_logger.debug(message, self.max_connections, self._limited_by)
            return not self._closing

    def _accepting_ended(self) -> None:
        """Close: nobody accepts any more, for whatever reason, and nobody shall think so."""
        self._guarded_logger.critical("accepting connections ended; the server closes")
        self.stop()

    def pause(self) -> None:
        """Accept no more connections until :meth:`resume`; open ones go on. Idempotent.

        Once it has returned none is accepted. Clients that connect meanwhile wait, as far as the
        kernel lets them (``backlog``). Before the server is started it is started paused.
        """
        self._acceptor.pause()

    def resume(self) -> None:
        """Accept connections again, those first that have waited. Idempotent."""
        self._acceptor.resume()

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
