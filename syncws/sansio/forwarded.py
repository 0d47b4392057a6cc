"""What proxies say about the client: ``Forwarded`` (RFC 7239) and ``X-Forwarded-*``.

Each proxy on the way adds an element at the right: who connected to it, by which protocol,
and which host was asked for. Only the rightmost element was written by the proxy that is
connected to us. It is believed if we trust that proxy, the element before it if we also trust
the one named there, and so on; what comes further left may be made up by the client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn, Union

from ..exceptions import InvalidHeaderFormat, InvalidHeaderValue
from .headers import TOKEN, Headers
from .hosts import DEFAULT_PORTS, parse_host

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    Address = Union[IPv4Address, IPv6Address]
    Network = Union[IPv4Network, IPv6Network]

__all__ = ["Client", "TrustedProxies"]

#: A parameter of an element, if there is one, and what ends it.
_PARAMETER = re.compile(
    rf'[ \t]*(?:({TOKEN.pattern})=({TOKEN.pattern}|"(?:[^"\\]|\\.)*")[ \t]*)?([,;]|\Z)'
)
_ESCAPED = re.compile(r"\\(.)")

#: RFC 7239 §6: an address, or something that stands for it; and perhaps a port.
_NODE = re.compile(r"(\[[^\]]*\]|[^:]+)(?::([0-9]{1,5}|_[A-Za-z0-9._-]+))?")
_OBFUSCATED = re.compile(r"_[A-Za-z0-9._-]+")

_PORT = re.compile(r"[0-9]{1,5}")

#: Of protocols: whether they are TLS. Some proxies write the WebSocket schemes.
_SECURE = {"http": False, "https": True, "ws": False, "wss": True}

#: Characters of all headers of one name; a client can make proxies pass on many.
MAX_LENGTH = 8192

X_FOR, X_PROTO, X_HOST, X_PORT = (
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
)


@dataclass(frozen=True)
class Client:
    """What trusted proxies say about the client. What they don't say is ``None``.

    Attributes:
        address: IP address, or ``"unknown"``, or an identifier that stands for it, such as
            ``"_hidden"``; and port, 0 if it isn't known.
        secure: whether the client uses TLS.
        host: the host that the client asked for, as in a ``Host`` header.
    """

    address: tuple[str, int] | None = None
    secure: bool | None = None
    host: str | None = None


class TrustedProxies:
    """The proxies whose word is taken for what the client is.

    Args:
        proxies: networks and addresses, as str (``"10.0.0.0/8"``) or objects of
            :mod:`ipaddress`; ``"unix"`` for whoever connects to a Unix socket.

    Raises:
        TypeError: ``proxies`` isn't a list of these.
        ValueError: a str isn't a network.
    """

    def __init__(self, proxies: Iterable[Any]) -> None:
        if isinstance(proxies, (str, bytes)) or not isinstance(proxies, Iterable):
            raise TypeError(f"trusted_proxies must be a list, such as ['::1'], not {proxies!r}")
        items = list(proxies)
        self._unix = "unix" in items
        self._networks = [_parse_network(item) for item in items if item != "unix"]

    def identify(self, peer: Any, headers: Headers) -> Client | None:
        """Return what the proxies say; ``None`` if nobody is trusted who says something.

        Args:
            peer: the address of who connected to us, as a socket gives it; ``None`` if it
                isn't known.
            headers: the request's.

        Raises:
            InvalidHeaderFormat: ``Forwarded`` can't be parsed.
            InvalidHeaderValue: a trusted proxy's value makes no sense, or there are both
                kinds of headers and they contradict each other.
        """
        if not self._is_peer_trusted(peer):
            return None
        standard = self._read_forwarded(headers)
        customary = self._read_x_forwarded(headers)
        if standard is None or customary is None:
            return standard or customary
        # Most proxies write one kind, and leave the other as the client sent it. Which is the
        # proxy's can't be known here.
        if not _agree(standard, customary):
            raise InvalidHeaderValue("Forwarded", "X-Forwarded headers say something else")
        return standard

    def _is_peer_trusted(self, peer: Any) -> bool:
        if isinstance(peer, tuple):
            return self._is_trusted(_parse_address(str(peer[0]).partition("%")[0]))
        return self._unix and isinstance(peer, (str, bytes))

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)

    def _read_forwarded(self, headers: Headers) -> Client | None:
        if "Forwarded" not in headers:
            return None
        client = Client()
        for element in reversed(_parse_forwarded(_joined("Forwarded", headers))):
            # Further left is closer to the client.
            if "proto" in element:
                client = replace(client, secure=_parse_protocol("Forwarded", element["proto"]))
            if "host" in element:
                client = replace(client, host=_check_host("Forwarded", element["host"]))
            if "for" not in element:
                break
            address, node = _parse_node("Forwarded", element["for"])
            client = replace(client, address=node)
            if not self._is_trusted(address):
                break
        return client

    def _read_x_forwarded(self, headers: Headers) -> Client | None:
        nodes, protocols, hosts, ports = (
            _parse_list(name, headers) for name in (X_FOR, X_PROTO, X_HOST, X_PORT)
        )
        if not (nodes or protocols or hosts or ports):
            return None
        hop, client = 1, None
        for hop, text in enumerate(reversed(nodes), 1):  # noqa: B007  # used below
            address, client = _parse_node(X_FOR, _bracket(text))
            if not self._is_trusted(address):
                break
        protocol = _at_hop(X_PROTO, protocols, hop)
        host = _at_hop(X_HOST, hosts, hop)
        if host is not None:
            _check_host(X_HOST, host)
        port = _at_hop(X_PORT, ports, hop)
        if port is not None:
            host = _add_port(host, headers.get_all("Host"), port)
        return Client(
            client, None if protocol is None else _parse_protocol(X_PROTO, protocol), host
        )


def _agree(one: Client, other: Client) -> bool:
    """Tell whether two say the same, but for the client's port, which is often left out."""
    return (
        (one.address and one.address[0]) == (other.address and other.address[0])
        and one.secure is other.secure
        and (one.host and one.host.lower()) == (other.host and other.host.lower())
    )


def _parse_network(item: Any) -> Network:
    import ipaddress  # rarely needed

    kinds = (
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
    )
    if not isinstance(item, (str, *kinds)):
        raise TypeError(f"a trusted proxy is a network or an address, not {item!r}")
    try:
        return ipaddress.ip_network(item)
    except ValueError as exc:
        raise ValueError(f"invalid trusted proxy: {exc}") from None


def _joined(name: str, headers: Headers) -> str:
    """Return the values of a header as the one list that they are (RFC 9110 §5.3)."""
    value = ", ".join(headers.get_all(name))
    if len(value) > MAX_LENGTH:
        raise InvalidHeaderValue(name, f"more than {MAX_LENGTH} characters")
    return value


def _parse_forwarded(value: str) -> list[dict[str, str]]:
    """Return the elements of a ``Forwarded`` header, as parameters (RFC 7239 §4)."""

    def fail(error: str) -> NoReturn:
        raise InvalidHeaderFormat("Forwarded", error, value, pos)

    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    pos, end, is_empty = 0, ",", True
    while end:
        found = _PARAMETER.match(value, pos)
        if not found:
            fail("expected a parameter")
        name, text, end = found.groups()
        if name is not None:
            name = name.lower()
            if name in element:  # §4: MUST NOT occur more than once
                fail(f"{name} is there again")
            element[name] = _ESCAPED.sub(r"\1", text[1:-1]) if text[0] == '"' else text
        pos = found.end()
        is_empty = is_empty and name is None and end != ";"
        if end != ";":
            if not is_empty:  # one between two commas does not count (RFC 9110 §5.6.1.2)
                elements.append(element)
            element, is_empty = {}, True
    if not elements:
        fail("expected a parameter")
    return elements


def _parse_list(name: str, headers: Headers) -> list[str]:
    """Return the items of an ``X-Forwarded`` header; none if it isn't there."""
    if name not in headers:
        return []
    values = _joined(name, headers).split(",")
    items = [item for item in [value.strip(" \t") for value in values] if item]
    if not items:
        raise InvalidHeaderValue(name, "")
    return items


def _at_hop(name: str, items: list[str], hop: int) -> str | None:
    """Return the item of the proxy that the client connected to, the ``hop``-th from the right.

    A single one was set by that proxy and left alone by the others, or it was set by the last
    one, where there is only that.
    """
    if len(items) < 2:
        return items[0] if items else None
    if hop > len(items):
        raise InvalidHeaderValue(name, f"{len(items)} values, of {hop} proxies")
    return items[-hop]


def _bracket(text: str) -> str:
    """Return an IPv6 address without port, as it is written in ``X-Forwarded-For``, in brackets."""
    return f"[{text}]" if text.count(":") > 1 and text[0] != "[" else text


def _parse_node(name: str, text: str) -> tuple[Address | None, tuple[str, int]]:
    """Return the address, unless it isn't known; and address and port for people to read."""
    found = _NODE.fullmatch(text)
    if found:
        node, digits = found.groups()
        port = int(digits) if digits and digits[0] != "_" else 0
        if port < 65536:
            if node.lower() == "unknown" or _OBFUSCATED.fullmatch(node):
                return None, (node, port)
            address = _parse_address(node[1:-1] if node[0] == "[" else node)
            if address is not None and (":" in node) == (node[0] == "["):
                return address, (str(address), port)
    raise InvalidHeaderValue(name, text)


def _parse_address(text: str) -> Address | None:
    """Return an IP address, IPv4 even where IPv6 stands for it; ``None`` if it isn't one."""
    import ipaddress  # rarely needed

    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if "%" in text:  # a zone of a machine that we know nothing about
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _parse_protocol(name: str, text: str) -> bool:
    secure = _SECURE.get(text.lower())
    if secure is None:
        raise InvalidHeaderValue(name, text)
    return secure


def _check_host(name: str, text: str) -> str:
    try:
        parse_host(text)
    except ValueError:
        raise InvalidHeaderValue(name, text) from None
    return text


def _add_port(host: str | None, asked: list[str], port: str) -> str | None:
    """Return the host with the port that the client used, unless that is a default one.

    A port that is there stays: that is what the client wrote, whereas proxies often give their
    own, behind another one's.
    """
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise InvalidHeaderValue(X_PORT, port)
    if int(port) in DEFAULT_PORTS:
        return host
    if host is None:
        if not asked:
            return None
        host = _check_host("Host", asked[0])
    return host if parse_host(host)[1] is not None else f"{host.removesuffix(':')}:{port}"
