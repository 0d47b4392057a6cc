"""Making servers: what programs ask for, checked."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Callable, Literal

from ..aliases import LoggerLike
from ..options import Deflate, MaxQueue, MaxSize, check_limit, one_of
from ..sansio.extensions.interface import ServerExtensionFactory
from ..sansio.origins import SAME_ORIGIN, Origins
from .capacity import find_capacity
from .fallback import Fallback, as_fallback
from .listeners import UnixFile, listen, listen_again, listen_unix
from .rooms import HasRooms
from .routing import Router
from .server_connection import (
    SERVER_HEADER,
    ExtraHeaders,
    Handler,
    ProcessRequest,
    ProcessResponse,
    ServerConnection,
)
from .settings import find_router, make_settings, select_settings
from .threading_server import ThreadingServer
from .url_maps import UrlMap

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["ThreadingServer", "serve", "unix_serve"]

#: Connections that may wait to be accepted.
BACKLOG = 512

#: Bytes that a thread's stack may have, and of which it has a multiple: the largest pages' size.
MIN_STACK = 1 << 15
MAX_STACK = 1 << 30
STACK_STEP = 1 << 14


def serve(
    handler: Handler | Router | UrlMap,
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    sock: socket.socket | Sequence[socket.socket] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    origins: Origins = SAME_ORIGIN,
    hosts: Sequence[str] | None = None,
    trusted_proxies: Iterable[Any] | None = None,
    extensions: Sequence[ServerExtensionFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    select_subprotocol: Callable[..., str | None] | None = None,
    compression: str | Deflate | None = "deflate",
    process_request: ProcessRequest | Sequence[ProcessRequest] | None = None,
    process_response: ProcessResponse | None = None,
    extra_headers: ExtraHeaders = None,
    server_header: str | None = SERVER_HEADER,
    open_timeout: float | None = 10,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    send_timeout: float | None = None,
    idle_timeout: float | None = None,
    max_size: MaxSize = 2**20,
    max_header_size: int | None = 2**14,
    max_queue: MaxQueue = 16,
    read_limit: int = 2**16,
    write_limit: int = 2**16,
    max_body_size: int | None = 2**16,
    max_connections: int | Literal["process"] | None = "process",
    max_connections_per_address: int | None = None,
    stack_size: int | None = None,
    hub: HasRooms | None = None,
    fallback: bool | Fallback = False,
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
        handler: called with the connection, or with connection and path if it takes two; or a
            :class:`~syncws.Router`, or a :class:`werkzeug.routing.Map` whose endpoints are
            handlers.
        host: name or address to listen on, or several; ``None`` and ``"localhost"`` are the
            loopback interface, ``""`` all interfaces, by IPv4 and IPv6.
        port: port to listen on; ``None`` and 0 find a free one, see ``server.port``.
        sock: a listening socket to use instead of making one, or several, as
            :func:`~syncws.listen_fds` returns them.
        ssl: certificate and rules; makes it ``wss://``.
        origins: origins from which browsers may connect: a list of str, compiled patterns,
            ``None`` (no Origin, as sent by programs that aren't browsers) and SAME_ORIGIN. By
            default the origin of the Host that they ask for, and programs; ``None`` accepts all.
        hosts: hosts that may be asked for, against DNS rebinding: names, addresses,
            ``"*.example.com"`` (all names below that one), ``".example.com"`` (that name as well),
            each with or without a port. Others are answered with 421; ``None`` accepts all.
        trusted_proxies: networks (``"10.0.0.0/8"``) of reverse proxies that say who the client
            is, ``"unix"`` for a Unix socket: the connection's ``remote_address``, ``secure``
            and ``requested_host``, and the host that origins and hosts are compared with, come
            from their ``Forwarded`` or ``X-Forwarded-*``. Whoever connects from there can
            claim to be anyone, so the proxies must set or remove each of these headers.
        extensions: what to accept besides compression.
        subprotocols: what to accept, the preferred ones first.
        select_subprotocol: ``(ws, offered)`` returns what to use, or ``None``; the older form
            ``(client_subprotocols, server_subprotocols)`` is recognized by its names.
        compression: ``"deflate"``, a :class:`~syncws.Deflate` with settings, or ``None``.
        process_request: ``(ws, request)`` returns a response, such as ``ws.respond(200, text)``,
            for a request that isn't to become a WebSocket, or ``None``; or a list of such
            functions, of which the first response counts. They run before a router, for each
            request. The older form ``(path, headers)``, which returns status, headers and body,
            is recognized by the name ``path``.
        process_response: ``(ws, request, response)`` changes the response, or returns another.
        extra_headers: added to the response; or a function of path and request headers.
        server_header: value of Server; ``None`` sends none.
        open_timeout: time for TLS and the opening handshake.
        ping_interval: time between keepalive pings; ``None`` sends none.
        ping_timeout: time for the pong, after which the connection fails with 1011; it doesn't
            run while the peer sends, or still reads what was sent before the ping.
        close_timeout: time that closing may take.
        send_timeout: time that one ``send()`` may take.
        idle_timeout: time without a message in either direction, after which a connection is
            closed with 1001, at most a quarter of that time late. Pings and pongs don't count;
            parts of long messages do, and so do messages that wait for the handler.
        max_size: limit of a received message, or of (message, fragment); above it the
            connection fails with 1009.
        max_header_size: limit of the request line (above it the answer is 414) and of each header
            of a request (431); all headers together may have four times as many bytes (431).
        max_queue: received messages that may wait before reading pauses, or (pause above,
            resume at).
        read_limit: bytes of memory that received messages may take, all together, before
            reading pauses.
        write_limit: bytes that may wait for a peer that does not read, where calls don't
            wait for it (pings and pongs).
        max_body_size: limit of the body of a plain HTTP request, which is ``request.body`` for
            ``process_request`` and :meth:`Router.http() <syncws.Router.http>`; above it the
            request is answered with 413. It must come within ``open_timeout``.
        max_connections: connections at the same time. Others are answered with 503 or, where
            there are very many, just closed. By default as many as the process can hold when it
            calls this: one for each descriptor (``ulimit -n``) and each two threads that it may
            have, less a tenth; see ``server.max_connections``. ``None`` is no limit.
        max_connections_per_address: connections of one client at the same time: of an IPv4
            address, or of the first 64 bits of an IPv6 address; Unix sockets don't count. Where
            a trusted proxy says who the client is, the connection counts for that address.
        stack_size: bytes of the stack of each connection's threads, from 32 KiB to 1 GiB; ``None``
            means the default (``threading.stack_size()``; mostly 8 MiB, of which only what is used
            takes memory). More is for handlers that recurse, less for where the sum is limited
            (``ulimit -v``); what overflows its stack crashes the process. Threads that the program
            starts at the same moment as the server may get such a stack, too.
        hub: the :class:`~syncws.pubsub.Hub` whose rooms the groups of its connections are, over all
            processes that use the same one. The program closes it.
        fallback: whether the same handlers also serve clients by plain HTTP, where WebSocket does
            not get through: ``syncws.js`` in a browser, and :func:`~syncws.connect` with
            ``fallback=``; or a :class:`~syncws.Fallback` with its limits.
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
    given = select_settings(locals())  # before there are other names
    sockets = _check_sockets(sock, host, port)
    _check(ssl)
    check_limit(open_timeout, "open_timeout")
    limit, limited_by = _find_limit(max_connections)
    _check_limits(limit, max_connections_per_address)
    stack_size = _check_stack_size(stack_size)
    router, run = find_router(handler)
    settings = make_settings(router=router, **given)
    http = as_fallback(fallback)
    create = one_of(create_connection, create_protocol, "create_connection", "create_protocol")
    for each in sockets:
        listen_again(each, backlog)
    return ThreadingServer(
        run,
        sockets or listen(host, port, backlog=backlog, reuse_port=reuse_port, family=family),
        make_protocol=settings.make_protocol,
        ssl=ssl,
        options=settings.options,
        upgrade=settings.upgrade,
        open_timeout=open_timeout,
        idle_timeout=idle_timeout,
        max_connections=limit,
        limited_by=limited_by,
        max_connections_per_address=max_connections_per_address,
        stack_size=stack_size,
        fallback=http,
        create_connection=create or ServerConnection,
        logger=logger,
    )


def unix_serve(
    handler: Handler | Router | UrlMap,
    path: str | os.PathLike[str] | None = None,
    *,
    backlog: int = BACKLOG,
    **kwargs: Any,
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
    if (path is None) == (kwargs.get("sock") is None):
        raise ValueError("give either path= or sock=")
    if path is None:
        return serve(handler, backlog=backlog, **kwargs)
    path = os.fspath(path)
    sock = listen_unix(path, backlog)
    file = UnixFile(path)
    try:
        server = serve(handler, sock=sock, backlog=backlog, **kwargs)
    except BaseException:
        file.remove()
        sock.close()
        raise
    server._shutdown.unix_file = file
    return server


def _check_sockets(
    sock: socket.socket | Sequence[socket.socket] | None,
    host: str | Sequence[str] | None,
    port: int | None,
) -> list[socket.socket]:
    """Return the sockets that were given."""
    if sock is None:
        return []
    if host is not None or port is not None:
        raise ValueError("sock= listens already: host and port are not for it")
    sockets = list(sock) if isinstance(sock, (list, tuple)) else [sock]
    if not sockets:
        raise ValueError("sock= is an empty list: none was made, or systemd handed none over")
    for each in sockets:
        if not isinstance(each, socket.socket):
            raise TypeError(f"sock= is a socket, not {type(each).__name__}")
        if hasattr(each, "do_handshake"):
            raise TypeError("sock= is the plain socket; TLS is for ssl=")
    return sockets


def _check(ssl: ssl_module.SSLContext | None) -> None:
    if ssl is not None and not hasattr(ssl, "wrap_bio"):
        raise TypeError(f"ssl= is an ssl.SSLContext, not {ssl!r}")


def _find_limit(max_connections: int | str | None) -> tuple[int | None, str | None]:
    """Return how many connections there may be, and why, if the process decides."""
    if not isinstance(max_connections, str):
        return max_connections, None
    if max_connections != "process":
        raise ValueError(f"max_connections is a number, None or 'process', not {max_connections!r}")
    return find_capacity()


def _check_limits(max_connections: int | None, max_connections_per_address: int | None) -> None:
    for name, value in (
        ("max_connections", max_connections),
        ("max_connections_per_address", max_connections_per_address),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}")


def _check_stack_size(stack_size: int | None) -> int | None:
    """Return the size to set: some systems take only whole pages."""
    if stack_size is None:
        return None
    if type(stack_size) is not int:
        raise TypeError(f"stack_size is a number of bytes, not {stack_size!r}")
    if not MIN_STACK <= stack_size <= MAX_STACK:
        raise ValueError(
            f"stack_size must be from {MIN_STACK} to {MAX_STACK}, got {stack_size}; "
            "None means the default"
        )
    return stack_size + -stack_size % STACK_STEP
