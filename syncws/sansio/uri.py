"""URIs of WebSocket endpoints (RFC 6455 §3, RFC 3986)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..exceptions import InvalidURI

__all__ = [
    "ASCII",
    "FORBIDDEN",
    "Authority",
    "WebSocketURI",
    "explain_authority",
    "parse_authority",
    "parse_uri",
]

_DEFAULT_PORTS = {"ws": 80, "wss": 443}

#: Never in a URI: white space and control characters, which could smuggle a second line
#: or target into the request, and halves of surrogate pairs, which can't be encoded.
FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")

#: Authority, path and query; the fragment has been refused before.
_HIERARCHY = re.compile(r"([^/?]*)([^?]*)\??(.*)")

#: Labels of a registered name; a subset of RFC 3986 §3.2.2 without percent-encoding.
_HOST = re.compile(r"[a-z0-9\-._~!$&'()*+,;=]+")

_ZONE = re.compile(r"[A-Za-z0-9\-._~]+")

_PORT = re.compile(r"[0-9]{1,5}")

#: What stays as it is in path and query: percent escapes too.
ASCII = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True)
class WebSocketURI:
    """A WebSocket URI in its parts.

    Attributes:
        secure: whether it is ``wss``.
        host: name in lower case and ASCII, or address; IPv6 without brackets.
        port: always there, the default one too.
        path: percent-encoded; may be empty.
        query: percent-encoded, without "?"; may be empty.
        username: decoded; ``None`` if there is no user info.
        password: decoded; ``None`` if there is no user info. Not in the ``repr()``.
    """

    secure: bool
    host: str
    port: int
    path: str
    query: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def resource_name(self) -> str:
        """What the request asks for: path and query (RFC 6455 §3)."""
        path = self.path or "/"
        return f"{path}?{self.query}" if self.query else path

    @property
    def user_info(self) -> tuple[str, str] | None:
        """User name and password, or ``None``."""
        if self.username is None or self.password is None:
            return None
        return self.username, self.password

    def without_credentials(self) -> WebSocketURI:
        """Return the same without user name and password: for logs, and for others."""
        return replace(self, username=None, password=None)

    def __str__(self) -> str:
        """Return a URI that :func:`parse_uri` makes the same parts of, password included."""
        from urllib.parse import quote  # slow to import, rarely needed

        scheme = "wss" if self.secure else "ws"
        user = ":".join(quote(part, safe="") for part in self.user_info or ())
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[scheme] else f":{self.port}"
        query = f"?{self.query}" if self.query else ""
        return f"{scheme}://{user}{'@' if user else ''}{host}{port}{self.path}{query}"


def parse_uri(uri: str) -> WebSocketURI:
    """Take a ``ws`` or ``wss`` URI apart.

    Non-ASCII text is accepted as people write it: the host becomes punycode, path and
    query become percent-encoded UTF-8. Existing percent escapes stay.

    Raises:
        InvalidURI: it isn't a WebSocket URI; says why.
    """
    forbidden = FORBIDDEN.search(uri)
    if forbidden:
        raise InvalidURI(uri, f"it has {forbidden[0]!r} at {forbidden.start()}")
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        raise InvalidURI(uri, "it doesn't start with ws:// or wss://")
    # RFC 6455 §3: fragment identifiers are meaningless and MUST NOT be used.
    if "#" in rest:
        raise InvalidURI(uri, "it has a fragment; write %23 where you mean '#'")
    hierarchy = _HIERARCHY.fullmatch(rest)
    assert hierarchy is not None  # any text matches that has no line end
    authority, path, query = hierarchy.groups()
    try:
        host, port, username, password = parse_authority(authority)
    except ValueError as exc:
        # The cause isn't chained: it may quote what this hides.
        raise InvalidURI(uri, explain_authority(exc, authority, rest)) from None
    return WebSocketURI(
        secure=scheme == "wss",
        host=host,
        port=_DEFAULT_PORTS[scheme] if port is None else port,
        path=_quote(path),
        query=_quote(query),
        username=username,
        password=password,
    )


class Authority(NamedTuple):
    """Where a URI leads to; as in :class:`WebSocketURI`, but for a port that isn't there."""

    host: str
    port: int | None
    username: str | None
    password: str | None


def parse_authority(authority: str) -> Authority:
    """Take ``user:password@host:port`` apart, of which only the host must be there.

    Raises:
        ValueError: it isn't valid; says why.
    """
    user_info, at, endpoint = authority.rpartition("@")
    username, password = _parse_user_info(user_info) if at else (None, None)
    host, port = _parse_endpoint(endpoint)
    return Authority(host, port, username, password)


def explain_authority(exc: ValueError, authority: str, rest: str) -> str:
    """Return what is wrong with an authority, without what may be a part of a password.

    Args:
        exc: what :func:`parse_authority` raised.
        authority: what it was given.
        rest: the URI after its scheme.
    """
    if "@" in rest[len(authority) :]:
        return "write %2F, %3F and %23 for '/', '?' and '#' in user name and password"
    return str(exc)


def _quote(text: str) -> str:
    if text.isascii():
        return text
    from urllib.parse import quote  # slow to import, rarely needed

    return quote(text, safe=ASCII)


def _parse_user_info(user_info: str) -> tuple[str, str]:
    from urllib.parse import unquote  # slow to import, rarely needed

    if "@" in user_info or "\\" in user_info:
        # Other parsers may take what comes after either for the host.
        raise ValueError("write %40 for '@' and %5C for '\\' in user name and password")
    username, colon, password = user_info.partition(":")
    if not colon:
        raise ValueError("it has a user name but no password; write user:password@host")
    try:
        username = unquote(username, errors="strict")
        password = unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("user name or password isn't UTF-8") from None
    if ":" in username:
        # RFC 7617 §2: HTTP Basic can't express it.
        raise ValueError("the user name has a colon")
    return username, password


def _parse_endpoint(endpoint: str) -> tuple[str, int | None]:
    if endpoint.startswith("["):
        address, bracket, tail = endpoint[1:].partition("]")
        if not bracket:
            raise ValueError("']' is missing after the IPv6 address")
        if tail and not tail.startswith(":"):
            raise ValueError(f"{tail!r} comes after the IPv6 address")
        return _parse_ipv6(address), _parse_port(tail[1:])
    host, _, port = endpoint.partition(":")
    if ":" in port:
        raise ValueError("it has several colons; an IPv6 address goes in brackets")
    return _parse_host(host), _parse_port(port)


def _parse_ipv6(address: str) -> str:
    from ipaddress import IPv6Address  # rarely needed

    # RFC 6874 §2 writes the "%" before a zone as "%25"; many people don't.
    address, percent, zone = address.replace("%25", "%", 1).partition("%")
    try:
        IPv6Address(address)
    except ValueError:
        raise ValueError(f"{address!r} isn't an IPv6 address") from None
    if percent and not _ZONE.fullmatch(zone):
        raise ValueError(f"{zone!r} isn't the zone of an IPv6 address")
    return f"{address.lower()}{percent}{zone}"


def _parse_host(host: str) -> str:
    if not host:
        raise ValueError("the host is missing")
    if len(host) > 253:  # RFC 1035 §2.3.4; encoding a long one takes quadratic time
        raise ValueError("the host has more than 253 characters")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as exc:
            raise ValueError(f"host {host!r} can't be encoded: {exc}") from exc
    host = host.lower()
    # After encoding, since it may turn one character into others, even "/" or "@".
    if not _HOST.fullmatch(host):
        raise ValueError(f"host {host!r} has characters that can't be in a name")
    # RFC 1035 §2.3.4; the resolver would raise UnicodeError instead of OSError.
    labels = host.removesuffix(".").split(".")
    if "" in labels or max(map(len, labels)) > 63:
        raise ValueError(f"host {host!r} has an empty part or one of more than 63 bytes")
    return host


def _parse_port(port: str) -> int | None:
    if not port:
        return None  # RFC 3986 §3.2.3: even after a colon
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        # It may be a password, if the host is missing.
        shown = f"port {port!r}" if port.isascii() and port.isdigit() else "the port"
        raise ValueError(f"{shown} isn't a number from 1 to 65535")
    return int(port)
