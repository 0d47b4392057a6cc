"""Opening a connection to a server."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, Union

from ..aliases import LoggerLike
from ..exceptions import InvalidStatus
from ..options import Deflate, MaxQueue, MaxSize, Options, deflate_settings, one_of
from ..sansio.client_protocol import ClientProtocol
from ..sansio.extensions.interface import ClientExtensionFactory
from ..sansio.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from ..sansio.headers import Headers, HeadersLike
from ..sansio.state import State
from ..sansio.uri import WebSocketURI, parse_uri
from ..threaded.connection import Connection
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from ..version import __version__
from .dial import adopt, dial, dial_unix, start_tls

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["USER_AGENT", "ClientConnection", "connect", "unix_connect"]

#: What we call ourselves.
USER_AGENT = f"Python/{sys.version_info[0]}.{sys.version_info[1]} syncws/{__version__}"

AdditionalHeaders = Union[HeadersLike, Callable[[], HeadersLike], None]


class ClientConnection(Connection):
    """A client's connection. :func:`connect` makes it and shakes hands.

    Args:
        sock: a connected socket, or a transport; the connection owns it from now on.
        protocol: the codec, before the opening handshake.
        options: limits and times.
        logger: where to log; ``syncws.client`` by default.
    """

    protocol: ClientProtocol

    def __init__(
        self,
        sock: socket.socket | Transport,
        protocol: ClientProtocol,
        *,
        options: Options | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        super().__init__(sock, protocol, options=options, logger=logger)

    def handshake(
        self,
        additional_headers: AdditionalHeaders = None,
        *,
        user_agent_header: str | None = USER_AGENT,
        timeout: float | None = None,
    ) -> None:
        """Shake hands (RFC 6455 §4.1); the connection is then open, or closed.

        Args:
            additional_headers: added to the request; some replace what we would send.
            user_agent_header: value of User-Agent; ``None`` sends none.
            timeout: seconds that it may take; ``None`` waits forever.

        Raises:
            InvalidHandshake: the server refused, or isn't a WebSocket server.
            TimeoutError: it did not answer in time.
            OSError: the connection broke.
            ValueError: a header can't be sent.
        """
        try:
            self._handshake(additional_headers, user_agent_header, Deadline(timeout))
            self._start()
        except BaseException as exc:
            if not self._started:
                self._finish(exc)
            else:  # interrupted just after it was open
                self._abort(exc)
            raise

    def _handshake(
        self,
        additional_headers: AdditionalHeaders,
        user_agent_header: str | None,
        deadline: Deadline,
    ) -> None:
        protocol = self.protocol
        request = protocol.connect()
        if user_agent_header is not None:
            request.headers["User-Agent"] = user_agent_header
        if callable(additional_headers):
            additional_headers = additional_headers()
        if additional_headers is not None:
            _add_headers(request.headers, additional_headers)
        self.request = request
        protocol.send_request(request)
        for data in protocol.data_to_send():
            self._transport.send_all(data, deadline)
        while protocol.state is State.CONNECTING:
            try:
                data = self._transport.recv(deadline)
            except OSError as exc:
                if protocol.partial_response is not None:
                    # The status is there; only the body is not.
                    raise InvalidStatus(protocol.partial_response) from exc
                if isinstance(exc, TimeoutError):
                    raise TimeoutError("timed out during opening handshake") from None
                raise
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc
        (self.response,) = protocol.events_received()  # type: ignore[assignment]


#: Headers of which a request has one, so that the program's replaces ours.
SINGLE_HEADERS = ("host", "origin", "authorization", "user-agent")

#: Headers that the opening handshake is made of.
OWN_HEADERS = (
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",  # extensions= and compression=
    "sec-websocket-protocol",  # subprotocols=
)


def _add_headers(headers: Headers, additional: HeadersLike) -> None:
    additional = Headers(additional)
    for name in additional:
        if name in OWN_HEADERS:
            raise ValueError(f"header {name} belongs to the opening handshake; it can't be set")
        if name in SINGLE_HEADERS and name in headers:
            del headers[name]
    headers.update(additional)


def connect(
    uri: str | WebSocketURI,
    *,
    sock: socket.socket | None = None,
    host: str | None = None,
    port: int | None = None,
    source_address: tuple[str, int] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    server_hostname: str | None = None,
    origin: str | None = None,
    extensions: Sequence[ClientExtensionFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    compression: str | Deflate | None = "deflate",
    additional_headers: AdditionalHeaders = None,
    extra_headers: AdditionalHeaders = None,
    user_agent_header: str | None = USER_AGENT,
    open_timeout: float | None = 10,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    send_timeout: float | None = None,
    max_size: MaxSize = 2**20,
    max_queue: MaxQueue = 16,
    read_limit: int = 2**16,
    write_limit: int = 2**16,
    logger: LoggerLike | None = None,
    create_connection: Callable[..., ClientConnection] | None = None,
    create_protocol: Callable[..., ClientConnection] | None = None,
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
        sock: a connected socket to use instead of making one.
        host: connect to this host instead of the URI's.
        port: connect to this port instead of the URI's.
        source_address: local address to connect from.
        ssl: certificates and rules for ``wss://``; by default the system's trusted
            authorities and a check of the host name.
        server_hostname: name to check the certificate for, instead of the URI's host.
        origin: value of the Origin header.
        extensions: what to offer besides compression.
        subprotocols: what to offer, most wanted first.
        compression: ``"deflate"``, a :class:`~syncws.Deflate` with settings, or ``None``.
        additional_headers: added to the request; or a function that returns them.
        extra_headers: older name of ``additional_headers``.
        user_agent_header: value of User-Agent; ``None`` sends none.
        open_timeout: time for all of connecting, TLS and the opening handshake.
        ping_interval: time between keepalive pings; ``None`` sends none.
        ping_timeout: time for the pong, after which the connection fails with 1011.
        close_timeout: time that closing may take.
        send_timeout: time that one ``send()`` may take.
        max_size: limit of a received message, or of (message, fragment); above it the
            connection fails with 1009.
        max_queue: received messages that may wait before reading pauses, or (pause above,
            resume at).
        read_limit: bytes of received messages that may wait before reading pauses.
        write_limit: bytes that may wait for a peer that does not read, where calls don't
            wait for it (pings and pongs).
        logger: where to log; ``syncws.client`` by default.
        create_connection: a subclass of :class:`ClientConnection`, or what makes one.
        create_protocol: older name of ``create_connection``.

    Raises:
        InvalidURI: the URI isn't one of a WebSocket server.
        InvalidHandshake: the server refused (:exc:`InvalidStatus` has its response), or
            isn't a WebSocket server.
        TimeoutError: ``open_timeout`` passed.
        OSError: the server could not be reached, or its certificate is wrong.
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong value, or contradicts another.
    """
    target = uri if isinstance(uri, WebSocketURI) else parse_uri(uri)
    deadline = Deadline(open_timeout)
    if ssl is not None and not target.secure:
        raise ValueError("ssl= is for wss:// URIs, and this one is ws://")
    if sock is not None and (host is not None or port is not None or source_address is not None):
        raise ValueError(
            "sock= is connected already: host=, port= and source_address= are not for it"
        )
    if ssl is not None and not hasattr(ssl, "wrap_bio"):
        raise TypeError(f"ssl= is an ssl.SSLContext, not {ssl!r}")
    if server_hostname is not None and not target.secure:
        raise ValueError("server_hostname= is for wss:// URIs, and this one is ws://")
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
    protocol = ClientProtocol(
        target,
        origin=origin,
        extensions=_extensions(extensions, compression),
        subprotocols=subprotocols,
        max_size=max_size,
        logger=logger,
    )
    if sock is None:
        transport = dial(
            host or target.host, target.port if port is None else port, source_address, deadline
        )
    else:
        transport = adopt(sock)
    try:
        if target.secure:
            transport = start_tls(transport, ssl, server_hostname or target.host, deadline)
        connection: ClientConnection = (create or ClientConnection)(
            transport, protocol, options=options, logger=logger
        )
    except BaseException:
        transport.close()
        raise
    connection.handshake(headers, user_agent_header=user_agent_header, timeout=deadline.remaining())
    return connection


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
    if uri is None:
        uri = "ws://localhost/" if kwargs.get("ssl") is None else "wss://localhost/"
    target = uri if isinstance(uri, WebSocketURI) else parse_uri(uri)
    if path is None:
        return connect(target, sock=sock, **kwargs)
    deadline = Deadline(kwargs.pop("open_timeout", 10))
    sock = dial_unix(path, deadline)
    try:
        return connect(target, sock=sock, open_timeout=deadline.remaining(), **kwargs)
    except BaseException:
        sock.close()
        raise


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
