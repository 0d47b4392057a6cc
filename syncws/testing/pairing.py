"""Two ends of one connection, open, in one process and without a network."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple

from ..client.client_connection import AdditionalHeaders, ClientConnection
from ..client.connecting import connect
from ..options import Deflate, MaxQueue, MaxSize
from ..sansio.close import CloseCode
from ..server.server_connection import ServerConnection
from ..server.settings import SETTINGS, make_settings
from ..threaded.deadline import Deadline
from ..threaded.interpreters import IS_MAIN
from ..threaded.transport import Transport

__all__ = ["Pair", "pair"]

#: Seconds for the opening handshake.
OPEN_TIMEOUT = 10.0

#: Seconds that closing both ends properly may take, before they are cut.
END_TIMEOUT = 1.0

#: Bytes that are to fit between the ends. Systems may allow less, and count some for each message.
BUFFER_SIZE = 1 << 20

#: The addresses that the ends report if the sockets have none (Unix sockets).
CLIENT_ADDRESS = ("127.0.0.1", 50000)
SERVER_ADDRESS = ("127.0.0.1", 80)

#: Options of the server's end; as for :func:`~syncws.serve`.
SERVER_OPTIONS = SETTINGS - {"router"} | {"create_connection"}


class Pair(NamedTuple):
    """Two ends of one connection. As a context manager it closes them at the end of the block.

    Attributes:
        client: the client's end.
        server: the server's end, as a handler gets it.
    """

    client: ClientConnection
    server: ServerConnection

    def close(self) -> None:
        """Close both ends, whatever state they are in.

        Blocks at most about a second, and usually much less; what isn't closed by then is
        cut off. Idempotent.
        """
        deadline = Deadline(END_TIMEOUT)
        for end in self:
            end._begin_close(CloseCode.NORMAL_CLOSURE, "", END_TIMEOUT)
            end._ensure_reading()
        for end in self:
            if not end.wait_closed(deadline.remaining()):
                end.abort()
        for end in self:
            end.wait_closed(END_TIMEOUT)

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def pair(
    path: str = "/",
    *,
    headers: AdditionalHeaders = None,
    subprotocol: str | None = None,
    compression: str | Deflate | None = None,
    ping_interval: float | None = None,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    send_timeout: float | None = None,
    max_size: MaxSize = 2**20,
    max_queue: MaxQueue = 16,
    read_limit: int = 2**16,
    write_limit: int = 2**16,
    client_options: Mapping[str, Any] | None = None,
    server_options: Mapping[str, Any] | None = None,
) -> Pair:
    """Return two connections that are each other's other end, after a real opening handshake.

    ::

        with pair() as (client, server):
            client.send("hello")
            assert server.recv(timeout=5) == "hello"

    They are as :func:`~syncws.connect` and :func:`~syncws.serve` make them, over a pair of
    sockets; no name is looked up, no port is used, no proxy. By default nothing is sent on its own:
    no pings. Nor is there compression. Without a ``with`` block, close both.

    What isn't received yet is buffered between the two, up to 1 MiB or what the system allows: at
    least about a hundred small messages. Sending more blocks until the other end receives, on
    another thread.

    Args:
        path: what the client asks for, path and query.
        headers: added to the request.
        subprotocol: what the client offers and the server accepts.
        compression: ``"deflate"``, a :class:`~syncws.Deflate`, or ``None``.
        ping_interval: as for :func:`~syncws.connect`, for both ends, like all that follow.
        ping_timeout: see there.
        close_timeout: see there.
        send_timeout: see there.
        max_size: see there.
        max_queue: see there.
        read_limit: see there.
        write_limit: see there.
        client_options: options of :func:`~syncws.connect` for the client's end alone.
        server_options: options of :func:`~syncws.serve` for the server's end alone, as far as
            they are about connections: ``process_request``, ``origins``, ``max_size``, ...

    Raises:
        InvalidHandshake: the server's end refuses the client, as ``server_options`` say.
        OSError: the system has no more sockets.
        TypeError: an option has a wrong type, or isn't one.
        ValueError: an option has a wrong value.
    """
    subprotocols = None if subprotocol is None else [subprotocol]
    common = {
        "subprotocols": subprotocols,
        "compression": compression,
        "ping_interval": ping_interval,
        "ping_timeout": ping_timeout,
        "close_timeout": close_timeout,
        "send_timeout": send_timeout,
        "max_size": max_size,
        "max_queue": max_queue,
        "read_limit": read_limit,
        "write_limit": write_limit,
    }
    make_server = _prepare_server({**common, **(server_options or {})})
    options: Any = {
        "additional_headers": headers,
        "open_timeout": OPEN_TIMEOUT,
        **common,
        **(client_options or {}),
    }
    near, far = socket.socketpair()
    try:
        for sock in (near, far):  # by default, a Unix socket holds a few dozen messages
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_SIZE)
        with Accepting(far, make_server) as accepting:
            try:
                client = connect(f"ws://localhost{path}", sock=near, proxy=None, **options)
            except BaseException:
                near.close()
                raise
            _give_addresses(client._transport, CLIENT_ADDRESS, SERVER_ADDRESS)
            return Pair(client, accepting.result())
    except BaseException:
        near.close()
        far.close()
        raise


def _prepare_server(options: dict[str, Any]) -> Any:
    """Return what makes the server's end of a transport, before the opening handshake."""
    unknown = sorted(set(options) - SERVER_OPTIONS)
    if unknown:
        raise TypeError(f"{unknown[0]}= isn't an option of the server's end of a pair")
    create = options.pop("create_connection", None) or ServerConnection
    settings = make_settings(**options)

    def make_server(transport: Transport) -> ServerConnection:
        connection: ServerConnection = create(
            transport,
            settings.make_protocol(),
            None,
            options=settings.options,
            upgrade=settings.upgrade,
            logger=options.get("logger"),
        )
        return connection

    return make_server


def _give_addresses(transport: Transport, local: Any, remote: Any) -> None:
    """Give a transport addresses where it has none, as programs expect host and port."""
    transport.local_address = transport.local_address or local
    transport.remote_address = transport.remote_address or remote


class Accepting:
    """The server's part of the opening handshake, in a thread for as long as it takes.

    Args:
        sock: the server's socket.
        make_server: makes the connection.
    """

    def __init__(self, sock: socket.socket, make_server: Any) -> None:
        self._transport = Transport(sock)
        _give_addresses(self._transport, SERVER_ADDRESS, CLIENT_ADDRESS)
        self._server: ServerConnection = make_server(self._transport)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="syncws-pair", daemon=IS_MAIN)

    def __enter__(self) -> Accepting:
        self._thread.start()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self._thread.join(OPEN_TIMEOUT)
        if exc_type is not None:
            self._server.abort()

    def result(self) -> ServerConnection:
        """Return the open connection; block until it is open."""
        self._thread.join(OPEN_TIMEOUT)
        if self._failure is not None:  # pragma: no cover  # the client has failed before
            raise self._failure
        return self._server

    def _run(self) -> None:
        try:
            self._server.handshake(OPEN_TIMEOUT)
        except BaseException as exc:
            self._failure = exc
