"""Opening a connection to a server."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from ..aliases import LoggerLike
from ..options import (
    Deflate,
    MaxQueue,
    MaxSize,
    Options,
    check_limit,
    deflate_settings,
    one_of,
)
from ..sansio.client_protocol import ClientProtocol
from ..sansio.extensions.interface import ClientExtensionFactory
from ..sansio.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from ..sansio.uri import WebSocketURI
from ..threaded.deadline import Deadline
from .client_connection import USER_AGENT, AdditionalHeaders, ClientConnection
from .opening import Opening
from .reaching import Route
from .redirects import Destination, validate_redirect_headers

if TYPE_CHECKING:
    import socket
    import ssl as ssl_module
    from http.cookiejar import CookieJar

__all__ = ["connect", "unix_connect"]


def connect(
    uri: str | WebSocketURI,
    *,
    sock: socket.socket | None = None,
    host: str | None = None,
    port: int | None = None,
    source_address: tuple[str, int] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    server_hostname: str | None = None,
    proxy: str | bool | None = True,
    proxy_ssl: ssl_module.SSLContext | None = None,
    proxy_server_hostname: str | None = None,
    origin: str | None = None,
    extensions: Sequence[ClientExtensionFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    compression: str | Deflate | None = "deflate",
    additional_headers: AdditionalHeaders = None,
    extra_headers: AdditionalHeaders = None,
    user_agent_header: str | None = USER_AGENT,
    cookies: CookieJar | None = None,
    max_redirects: int = 10,
    redirect_headers: Sequence[str] = (),
    fallback: bool = False,
    open_timeout: float | None = 10,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    send_timeout: float | None = None,
    max_size: MaxSize = 2**20,
    max_header_size: int | None = 2**14,
    max_queue: MaxQueue = 16,
    read_limit: int = 2**16,
    write_limit: int = 2**16,
    logger: LoggerLike | None = None,
    create_connection: Callable[..., ClientConnection] | None = None,
    create_protocol: Callable[..., ClientConnection] | None = None,
    legacy: bool | None = None,
) -> ClientConnection:
    """Connect to a WebSocket server, and return the open connection.

    The connection is a context manager that closes it::

        with connect("ws://localhost:8765/") as ws:
            ws.send("hello")
            print(ws.recv())

    Blocks until the connection is open. Times are in seconds, sizes in bytes; ``None`` is
    no limit.

    Args:
        uri: ``ws://`` or ``wss://``; user and password in it are sent as Basic credentials.
            ``http://`` or ``https://`` use the fallback from the beginning; see ``fallback``.
        sock: a connected socket to use instead of making one.
        host: connect to this host instead of the URI's.
        port: connect to this port instead of the URI's.
        source_address: local address to connect from.
        ssl: certificates and rules for ``wss://``; by default the system's trusted
            authorities and a check of the host name.
        server_hostname: name to check the certificate for, instead of the URI's host.
        proxy: the URL of a proxy: ``http://``, ``https://`` or, with the package python-socks,
            ``socks4://``, ``socks4a://``, ``socks5://`` or ``socks5h://``; with credentials, if
            it wants any. ``True`` takes what the environment or the system has configured;
            ``None`` uses no proxy.
        proxy_ssl: certificates and rules for a proxy of ``https://``, as ``ssl`` for the server.
        proxy_server_hostname: name to check the proxy's certificate for, instead of its host.
        origin: value of the Origin header.
        extensions: what to offer besides compression.
        subprotocols: what to offer, most wanted first.
        compression: ``"deflate"``, a :class:`~syncws.Deflate` with settings, or ``None``.
        additional_headers: added to the request; or a function that returns them, called for
            each request. Some replace what we would send.
        extra_headers: older name of ``additional_headers``.
        user_agent_header: value of User-Agent; ``None`` sends none.
        cookies: a jar whose cookies are sent, and where the server's cookies are kept.
        max_redirects: how many redirects are followed; 0 follows none. Never from ``wss://`` to
            ``ws://``. A server with another scheme, host or port gets nothing that may be a
            credential: neither the URI's user and password, nor additional headers that aren't
            known to be harmless (``syncws.client.redirects`` lists them). Redirects to another
            server are refused if there are subprotocols, which may contain tokens; a redirect to
            TLS on the same host is not.
        redirect_headers: names of further headers to send to other servers as well;
            ``"Sec-WebSocket-Protocol"`` stands for the subprotocols.
        fallback: whether to carry the connection by plain HTTP where the network doesn't let
            WebSocket through, if the server has that too (``serve(fallback=True)``).
            ``ws.transport`` says how it is. WebSocket is tried first, for half of
            ``open_timeout``. What the server itself refuses stays refused (401, 403, 404, ...);
            :mod:`syncws.client.falling_back` decides. A connection carried by HTTP takes two
            threads, and two or three connections to the server, which get the additional headers
            as they were at the beginning.
        open_timeout: time for all of it: looking up names, TCP, proxy, TLS, the opening
            handshake, redirects.
        ping_interval: time between keepalive pings; ``None`` sends none.
        ping_timeout: time for the pong, after which the connection fails with 1011; it doesn't run
            while the peer is sending, or still taking what was sent before the ping.
        close_timeout: time that closing may take.
        send_timeout: time that one ``send()`` may take.
        max_size: limit of a received message, or of (message, fragment); above it the
            connection fails with 1009.
        max_header_size: limit of the status line and of each header of a response, from the server
            or a proxy; all headers together may have four times as many bytes. Exceeding it raises
            :exc:`SecurityError`. The request's own headers have no limit here.
        max_queue: received messages that may wait before reading pauses, or (pause above,
            resume at).
        read_limit: bytes of memory that received messages may take, all together, before
            reading pauses.
        write_limit: bytes that may wait for a peer that does not read, in calls that don't block
            (pings and pongs).
        logger: where to log; ``syncws.client`` by default.
        create_connection: a subclass of :class:`ClientConnection`, or a function that makes one.
        create_protocol: older name of ``create_connection``.
        legacy: as in ``websockets``. ``True`` changes nothing. ``False`` does not connect yet:
            ``with connect(..., legacy=False) as ws:`` does, and ``for ws in connect(...,
            legacy=False):`` does what :func:`~syncws.reconnect` does, which type checkers
            understand as well.

    Raises:
        InvalidURI: the URI isn't one of a WebSocket server.
        InvalidProxy: the proxy's URL isn't one.
        InvalidHandshake: the server refused (:exc:`InvalidStatus` has its response, with as much of
            the body as came within a second), or isn't a WebSocket server; a redirect was refused
            (:exc:`SecurityError`); or the proxy refused (:exc:`ProxyError`).
        TimeoutError: ``open_timeout`` passed.
        OSError: the server could not be reached, or its certificate is wrong.
        ImportError: a SOCKS proxy is to be used, and python-socks isn't installed.
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong value, or contradicts another.
        RuntimeError: no thread is available to carry the connection by HTTP.
    """
    if legacy is False:
        arguments = {**locals()}
        from .reconnecting import Reconnecting

        return Reconnecting(**arguments)  # type: ignore[return-value]  # see ``legacy``
    destination = uri if isinstance(uri, Destination) else Destination(uri)
    check_limit(open_timeout, "open_timeout")
    deadline = Deadline(open_timeout)
    route = Route(
        sock=sock,
        path=destination.path,
        host=host,
        port=port,
        source_address=source_address,
        ssl=ssl,
        server_hostname=server_hostname,
        proxy=proxy,
        proxy_ssl=proxy_ssl,
        proxy_server_hostname=proxy_server_hostname,
        user_agent=user_agent_header,
        max_header_size=max_header_size,
    )
    route.check(destination.first.uri, is_http=destination.is_http)
    if sock is not None and (fallback or destination.is_http):
        raise ValueError("sock= is one connection; the fallback takes several")
    if max_redirects < 0:
        raise ValueError(f"max_redirects can't be negative, got {max_redirects!r}")
    if cookies is not None and not hasattr(cookies, "add_cookie_header"):
        raise TypeError(f"cookies= is an http.cookiejar.CookieJar, not {cookies!r}")
    headers: Any = one_of(additional_headers, extra_headers, "additional_headers", "extra_headers")
    create = one_of(create_connection, create_protocol, "create_connection", "create_protocol")
    options = Options(
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        close_timeout=close_timeout,
        send_timeout=send_timeout,
        max_queue=max_queue,
        read_limit=read_limit,
        write_limit=write_limit,
    )
    make_protocol = functools.partial(
        ClientProtocol,
        origin=origin,
        extensions=_extensions(extensions, compression),
        subprotocols=subprotocols,
        max_size=max_size,
        max_header_size=max_header_size,
        logger=logger,
    )
    make_connection = functools.partial(create or ClientConnection, options=options, logger=logger)
    opening = Opening(
        route,
        headers,
        user_agent_header,
        cookies,
        max_redirects,
        validate_redirect_headers(redirect_headers),
        bool(subprotocols),
        make_protocol,
        make_connection,
        fallback,
    )
    return opening.run(destination, deadline)


def unix_connect(
    path: str | os.PathLike[str] | None = None,
    uri: str | WebSocketURI | None = None,
    *,
    sock: socket.socket | None = None,
    **kwargs: Any,
) -> ClientConnection:
    """Connect to a WebSocket server that listens on a Unix socket.

    Args:
        path: where the socket is.
        uri: what to ask for; ``ws://localhost/`` by default, or ``wss://`` with ``ssl=``.
        sock: a connected Unix socket to use instead of making one.
        kwargs: as for :func:`connect`.

    Raises what :func:`connect` does.
    """
    if (path is None) == (sock is None):
        raise ValueError("give either path= or sock=")
    return connect(Destination.of_unix_socket(path, uri, kwargs), sock=sock, **kwargs)


def _extensions(
    extensions: Sequence[ClientExtensionFactory] | None,
    compression: str | Deflate | None,
) -> list[ClientExtensionFactory]:
    """Return what to offer."""
    offers = list(extensions or ())
    for factory in offers:
        if not hasattr(factory, "get_request_params"):
            raise TypeError(f"extensions are ClientExtensionFactory objects, not {factory!r}")
    settings = deflate_settings(compression, Deflate())
    if settings is not None and all(f.name != "permessage-deflate" for f in offers):
        offers.append(ClientPerMessageDeflateFactory(settings))
    return offers
