"""URLs and proxies as websocket-client's functions give them; for programs that call these."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

from ...client.proxy import is_excluded
from .errors import WebSocketProxyException

__all__ = ["environment", "get_proxy_info", "parse_url", "proxy_info"]

_PORTS = {"ws": 80, "wss": 443}


def parse_url(url: str) -> tuple[str, int, str, bool]:
    """Return the parts of a URL: host, port, path with the query, and whether it is for TLS.

    Raises:
        ValueError: it isn't one of a WebSocket server.
    """
    scheme, colon, _ = url.partition(":")
    if not colon:
        raise ValueError("url is invalid")
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("hostname is invalid")
    if scheme not in _PORTS:
        raise ValueError(f"scheme {scheme} is invalid")
    query = f"?{parts.query}" if parts.query else ""
    port = parts.port or _PORTS[scheme]
    return parts.hostname, port, (parts.path or "/") + query, scheme == "wss"


def environment(name: str) -> str:
    """Return a variable of the environment; one in lower case counts, even if it is empty."""
    return os.environ.get(name, os.environ.get(name.upper(), "")).replace(" ", "")


def get_proxy_info(
    hostname: str,
    is_secure: bool,
    proxy_host: str | None = None,
    proxy_port: int | str = 0,
    proxy_auth: tuple[str, str] | None = None,
    no_proxy: list[str] | None = None,
    proxy_type: str = "http",
) -> tuple[str | None, int | str | None, tuple[str, str] | None]:
    """Return the proxy for a host: its host, port, and user name with password.

    Args:
        hostname: where to connect.
        is_secure: whether TLS is used; then ``https_proxy`` counts instead of ``http_proxy``.
        proxy_host: the proxy, if it isn't that of the environment.
        proxy_port: its port.
        proxy_auth: user name and password for it.
        no_proxy: hosts that are reached without a proxy; by default those of the variable
            ``no_proxy``.
        proxy_type: no effect.

    Returns:
        ``None``, 0 and ``None`` if there is none.

    Raises:
        WebSocketProxyException: a proxy is given without its port.
    """
    excluded = ",".join(no_proxy) if no_proxy else environment("no_proxy")
    if is_excluded(hostname, 0, excluded):
        return None, 0, None
    if proxy_host:
        if not proxy_port:
            raise WebSocketProxyException("Cannot use port 0 when proxy_host specified")
        return proxy_host, proxy_port, proxy_auth
    url = environment("https_proxy" if is_secure else "http_proxy")
    if not url:
        return None, 0, None
    parts = urlsplit(url)
    credentials = None
    if parts.username:
        credentials = unquote(parts.username), unquote(parts.password or "")
    return parts.hostname, parts.port, credentials


class proxy_info:
    """The options of a proxy, apart from the others.

    Args:
        **options: ``http_proxy_host``, and what belongs to it.
    """

    def __init__(self, **options: Any) -> None:
        self.proxy_host: Any | None = options.get("http_proxy_host")
        given = options if self.proxy_host else {}
        self.proxy_port: Any = given.get("http_proxy_port", 0)
        self.auth: Any | None = given.get("http_proxy_auth")
        self.no_proxy: Any | None = given.get("http_no_proxy")
        self.proxy_protocol: Any = given.get("proxy_type", "http")
        self.proxy_timeout: Any | None = given.get("http_proxy_timeout")
        if self.proxy_protocol not in ("http", "socks4", "socks4a", "socks5", "socks5h"):
            raise WebSocketProxyException("Only http, socks4, socks5 proxy protocols are supported")
