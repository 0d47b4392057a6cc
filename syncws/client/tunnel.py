"""A tunnel to the server through a proxy (RFC 6455 §4.1; RFC 9110 §9.3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import (
    InvalidHandshake,
    InvalidProxyMessage,
    InvalidProxyStatus,
)
from ..sansio.fields import build_authorization_basic
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..sansio.http_parser import ResponseParser
from ..threaded import lifecycle
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from .client_connection import BODY_TIMEOUT
from .dial import dial
from .proxy import Proxy
from .tls import start_tls

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["dial_proxy", "dial_through"]


def dial_through(
    proxy: Proxy,
    host: str,
    port: int,
    *,
    source_address: tuple[str, int] | None,
    proxy_ssl: ssl_module.SSLContext | None,
    proxy_server_hostname: str | None,
    user_agent: str | None,
    max_header_size: int | None,
    deadline: Deadline,
) -> Transport:
    """Return a transport that is connected to a host and port through a proxy.

    Raises:
        ProxyError: the proxy refused, or what it said isn't valid.
        TimeoutError: it did not answer before the deadline.
        OSError: it can't be reached, or its certificate is wrong.
        ImportError: it is a SOCKS proxy, and python-socks isn't installed.
    """
    if proxy.scheme.startswith("socks"):
        from .socks import dial_socks  # imports an optional package

        return dial_socks(proxy, host, port, source_address, deadline)
    transport = dial_proxy(proxy, source_address, proxy_ssl, proxy_server_hostname, deadline)
    try:
        with lifecycle.opening(transport):
            parser = ResponseParser(max_header_size, tunnel=True)
            request = _build_request(proxy, host, port, user_agent)
            _open_tunnel(transport, request, parser, deadline)
    except BaseException:
        transport.close()
        raise
    return transport


def dial_proxy(
    proxy: Proxy,
    source_address: tuple[str, int] | None,
    proxy_ssl: ssl_module.SSLContext | None,
    proxy_server_hostname: str | None,
    deadline: Deadline,
) -> Transport:
    """Return a transport to an HTTP proxy itself, with TLS if it is one of ``https://``.

    Raises:
        TimeoutError: it did not answer before the deadline.
        OSError: it can't be reached, or its certificate is wrong.
    """
    transport = dial(proxy.host, proxy.port, source_address, deadline, what="proxy ")
    if proxy.scheme != "https":
        return transport
    try:
        with lifecycle.opening(transport):
            name = proxy_server_hostname or proxy.host
            return start_tls(transport, proxy_ssl, name, deadline, prefix="proxy_")
    except BaseException:
        transport.close()
        raise


def _build_request(proxy: Proxy, host: str, port: int, user_agent: str | None) -> Request:
    # RFC 9112 §3.2.3: always with the port, even the default one.
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = Headers({"Host": authority})
    if user_agent is not None:
        headers["User-Agent"] = user_agent
    if proxy.username is not None:
        headers["Proxy-Authorization"] = build_authorization_basic(
            proxy.username, proxy.password or ""
        )
    return Request(authority, headers, "CONNECT")


def _open_tunnel(
    transport: Transport, request: Request, parser: ResponseParser, deadline: Deadline
) -> None:
    try:
        transport.send_all(request.serialize(), deadline)
        response = _receive(transport, parser, deadline)
    except OSError as exc:
        if parser.partial is not None:
            response = parser.partial  # the status is there; only the body is not
        elif isinstance(exc, TimeoutError):
            raise TimeoutError("timed out while waiting for the proxy's response") from None
        else:
            raise
    except (InvalidHandshake, ValueError, EOFError) as exc:
        if parser.partial is None:
            raise InvalidProxyMessage(f"the proxy's response isn't valid HTTP: {exc}") from exc
        response = parser.partial
    if not 200 <= response.status_code < 300:
        raise InvalidProxyStatus(response)
    if parser.trailing:
        # The client speaks first, in TLS as in HTTP: this can't be from the server.
        raise InvalidProxyMessage(f"the proxy sent {len(parser.trailing)} bytes after its response")


def _receive(transport: Transport, parser: ResponseParser, deadline: Deadline) -> Response:
    has_head = False
    while True:
        if not has_head and parser.partial is not None:
            has_head = True
            deadline = deadline.within(BODY_TIMEOUT)
        data = transport.recv(deadline)
        if not data:
            return parser.receive_eof()
        response = parser.receive_data(data)
        if response is not None:
            return response
