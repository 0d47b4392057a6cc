"""How the server of a URI is reached: directly, through a proxy, by a Unix socket; then TLS."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..sansio.header_limits import MAX_HEADER_SIZE, header_limits
from ..sansio.uri import WebSocketURI
from ..threaded import lifecycle
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from .dial import adopt, dial, dial_unix
from .proxy import Proxy, find_proxy, parse_proxy
from .tls import start_tls
from .tunnel import dial_proxy, dial_through

if TYPE_CHECKING:
    import socket
    import ssl as ssl_module

__all__ = ["Route"]


@dataclass(frozen=True)
class Route:
    """What :func:`~syncws.connect` was told about reaching the server; its arguments.

    Attributes:
        path: of a Unix socket.
        user_agent: what to call ourselves to a proxy.
        max_header_size: limit of the headers of a proxy.
    """

    sock: socket.socket | None = None
    path: str | os.PathLike[str] | None = None
    host: str | None = None
    port: int | None = None
    source_address: tuple[str, int] | None = None
    ssl: ssl_module.SSLContext | None = None
    server_hostname: str | None = None
    proxy: str | bool | None = True
    proxy_ssl: ssl_module.SSLContext | None = None
    proxy_server_hostname: str | None = None
    user_agent: str | None = None
    max_header_size: int | None = MAX_HEADER_SIZE

    def check(self, uri: WebSocketURI, *, is_http: bool = False) -> None:
        """Refuse what contradicts itself or the URI, before anything is sent.

        Args:
            uri: where to connect.
            is_http: whether the program gave it as one of HTTP.

        Raises:
            InvalidProxy: the proxy's URL isn't one.
            TypeError: an argument has a wrong type.
            ValueError: it contradicts another.
        """
        header_limits(self.max_header_size)
        for name in ("ssl", "proxy_ssl"):
            context = getattr(self, name)
            if context is not None and not hasattr(context, "wrap_bio"):
                raise TypeError(f"{name}= is an ssl.SSLContext, not {context!r}")
        right, wrong = ("https", "http") if is_http else ("wss", "ws")
        for name in ("ssl", "server_hostname"):
            if getattr(self, name) is not None and not uri.secure:
                raise ValueError(f"{name}= is for {right}:// URIs, and this one is {wrong}://")
        given = self._given("host", "port", "source_address")
        if isinstance(self.proxy, str):
            given.append("proxy")
            secure = parse_proxy(self.proxy).scheme == "https"
            if not secure and self._given("proxy_ssl", "proxy_server_hostname"):
                raise ValueError("proxy_ssl= and proxy_server_hostname= are for https:// proxies")
        elif self.proxy not in (True, False, None):
            raise TypeError(f"proxy= is True, None or a URL, not {type(self.proxy).__name__}")
        if given and self.sock is not None:
            raise ValueError(f"sock= is connected already: {given[0]}= is not for it")
        if given and self.path is not None:
            raise ValueError(f"{given[0]}= is not for Unix sockets")

    def _given(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]

    @property
    def fixed(self) -> str | None:
        """The argument that ties the route to the first URI's server, whatever redirects say."""
        if self.path is not None:
            return "the Unix socket"
        given = self._given("host", "port")
        return f"{given[0]}=" if given else None

    def open(self, uri: WebSocketURI, deadline: Deadline, *, is_origin: bool) -> Transport:
        """Return a transport to the server of a URI.

        Args:
            uri: where to connect.
            deadline: when to give up.
            is_origin: whether this is the server that the arguments were given for, rather than one
                that it has redirected us to.

        Raises:
            ProxyError: a proxy refused, or what it said isn't valid.
            TimeoutError: the server or proxy did not answer before the deadline.
            OSError: the server can't be reached, or its certificate is wrong.
        """
        transport = self._dial(uri, deadline)
        if not uri.secure:
            return transport
        name = self.server_hostname if is_origin else None
        try:
            with lifecycle.opening(transport):
                return start_tls(transport, self.ssl, name or uri.host, deadline)
        except BaseException:
            transport.close()
            raise

    def forwarding_proxy(self, uri: WebSocketURI) -> Proxy | None:
        """Return the HTTP proxy that plain HTTP requests to a server are sent to, if any.

        ``None`` where they go through a tunnel, or directly; :meth:`open` is for these.
        """
        if uri.secure or self._given("sock", "path", "host", "port"):
            return None
        proxy = find_proxy(self.proxy, uri.host, uri.port, secure=False)
        return proxy if proxy is not None and proxy.scheme in ("http", "https") else None

    def open_proxy(self, proxy: Proxy, deadline: Deadline) -> Transport:
        """Return a transport to an HTTP proxy itself.

        Raises:
            TimeoutError: it did not answer before the deadline.
            OSError: it can't be reached, or its certificate is wrong.
        """
        return dial_proxy(
            proxy, self.source_address, self.proxy_ssl, self.proxy_server_hostname, deadline
        )

    def _dial(self, uri: WebSocketURI, deadline: Deadline) -> Transport:
        if self.sock is not None:
            return adopt(self.sock)
        if self.path is not None:
            return dial_unix(self.path, deadline)
        host = self.host or uri.host
        port = uri.port if self.port is None else self.port
        proxy = find_proxy(self.proxy, host, port, secure=uri.secure)
        if proxy is None:
            return dial(host, port, self.source_address, deadline)
        return dial_through(
            proxy,
            host,
            port,
            source_address=self.source_address,
            proxy_ssl=self.proxy_ssl,
            proxy_server_hostname=self.proxy_server_hostname,
            user_agent=self.user_agent,
            max_header_size=self.max_header_size,
            deadline=deadline,
        )
