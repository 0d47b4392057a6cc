"""Proxies: which one to use, and what its URL says.

``proxy=True`` takes it from the environment or, on macOS and Windows, from the system's settings:
``wss_proxy`` or ``ws_proxy``, whichever the URI's scheme is, then ``socks_proxy``,
``https_proxy``, for ``ws://`` also ``http_proxy``, and finally ``all_proxy`` (RFC 6455 §4.1 asks
for SOCKS before HTTPS before HTTP). Names may be in capitals. ``no_proxy`` lists what is reached
without a proxy: names, and all that ends in them (``example.com``, ``.example.com``), addresses,
networks (``10.0.0.0/8``), each with a port if it is meant for that port only, or ``*`` for
everything.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field

from ..exceptions import InvalidProxy
from ..sansio.uri import FORBIDDEN, parse_authority

__all__ = ["Proxy", "find_proxy", "is_excluded", "parse_proxy"]

#: The port where the URL has none.
_DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}

#: Where only SOCKS is known, the newest version is tried, and the proxy looks up names.
_ALIASES = {"socks": "socks5h"}

#: Without any of these variables there is no need to look further.
_VARIABLES = [
    form(f"{name}_proxy")
    for name in ("wss", "ws", "socks", "https", "http", "all")
    for form in (str.lower, str.upper)
]

_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True)
class Proxy:
    """A proxy's URL in its parts.

    Attributes:
        scheme: ``http``, ``https``, ``socks4``, ``socks4a``, ``socks5`` or ``socks5h``.
        host: name or address; IPv6 without brackets.
        port: always there, even if it is the default one.
        username: decoded; ``None`` if there is no user info.
        password: decoded; ``None`` if there is no user info. Not in the ``repr()``.
    """

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_proxy(url: str) -> Proxy:
    """Split a proxy's URL into its parts. Without a scheme it means an HTTP proxy.

    Raises:
        InvalidProxy: it isn't the URL of a proxy; says why.
    """
    forbidden = FORBIDDEN.search(url)
    if forbidden:
        raise InvalidProxy(url, f"it has {forbidden[0]!r} at {forbidden.start()}")
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url
    scheme = scheme.lower()
    scheme = _ALIASES.get(scheme, scheme)
    if scheme not in _DEFAULT_PORTS:
        raise InvalidProxy(url, f"its scheme is none of {', '.join(_DEFAULT_PORTS)}")
    authority = rest.removesuffix("/")
    if re.search(r"[/?#]", authority):
        reason = "it has a path, a query or a fragment"
        if "@" in authority:
            reason += "; write %2F, %3F and %23 for '/', '?' and '#' in user name and password"
        raise InvalidProxy(url, reason)
    user_info, at, endpoint = authority.rpartition("@")
    if at and ":" not in user_info:
        authority = f"{user_info}:@{endpoint}"  # a user name alone, as SOCKS4 has it
    try:
        host, port, username, password = parse_authority(authority)
    except ValueError as exc:
        raise InvalidProxy(url, str(exc)) from None  # it quotes what this hides
    if scheme in ("socks5", "socks5h") and username is not None:
        for part in (username, password or ""):
            if not part.isascii() or not 1 <= len(part) <= 255:  # RFC 1929 §2
                raise InvalidProxy(
                    url, "SOCKS5 has user names and passwords of 1 to 255 ASCII characters"
                )
    return Proxy(scheme, host, port or _DEFAULT_PORTS[scheme], username, password)


def find_proxy(proxy: str | bool | None, host: str, port: int, *, secure: bool) -> Proxy | None:
    """Return the proxy for connecting to a host, or ``None``.

    Args:
        proxy: as for :func:`~syncws.connect`.
        host: a name or an address.
        port: its port.
        secure: whether it is for a ``wss://`` URI.

    Raises:
        InvalidProxy: the URL isn't one of a proxy.
        TypeError: ``proxy`` is something else.
    """
    if proxy is None or proxy is False:
        return None
    if proxy is True:
        proxy = _configured(host, port, secure)
        return None if proxy is None else parse_proxy(proxy)
    if not isinstance(proxy, str):
        raise TypeError(f"proxy= is True, None or a URL, not {type(proxy).__name__}")
    return parse_proxy(proxy)


def _configured(host: str, port: int, secure: bool) -> str | None:
    """Return the URL of the proxy that the environment or the system has for this host."""
    has_settings = sys.platform in ("darwin", "win32")
    if not has_settings and not any(name in os.environ for name in _VARIABLES):
        return None
    from urllib.request import getproxies, getproxies_environment, proxy_bypass  # slow to import

    proxies = getproxies_environment()
    if proxies:
        if is_excluded(host, port, proxies.get("no", "")):
            return None
    elif has_settings:  # pragma: no cover  # macOS and Windows
        proxies = getproxies()
        if proxy_bypass(host):
            return None
    names = ("wss", "socks", "https") if secure else ("ws", "socks", "https", "http")
    for name in (*names, "all"):
        url = proxies.get(name)
        if url:
            # Systems present every kind of proxy as an HTTP proxy.
            return re.sub("^http://", "socks://", url) if name == "socks" else url
    return None


def is_excluded(host: str, port: int, no_proxy: str) -> bool:
    """Tell whether a host is among those of ``no_proxy``, which commas or spaces separate."""
    host = host.lower().removesuffix(".")
    return any(_matches(host, port, entry) for entry in re.split(r"[,\s]+", no_proxy.lower()))


def _matches(host: str, port: int, entry: str) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    from ipaddress import ip_address, ip_network  # rarely needed

    name, _, wanted_port = entry.rpartition(":")
    if name and _PORT.fullmatch(wanted_port) and (name.endswith("]") or ":" not in name):
        if int(wanted_port) != port:
            return False
        entry = name
    entry = entry.removeprefix("[").removesuffix("]")
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        suffix = entry.removeprefix("*").removeprefix(".").removesuffix(".")
        return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))
    try:
        return ip_address(host.partition("%")[0]) in network
    except ValueError:  # a name
        return False
