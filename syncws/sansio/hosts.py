"""Which hosts a server answers for (RFC 9110 §7.2), against DNS rebinding.

A page of ``evil.example`` may have the name point to 127.0.0.1 once it is loaded: for the
browser the page and the server are then of the same origin. The Host header still says
``evil.example``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .uri import parse_authority

__all__ = ["HostRule", "is_host_allowed", "parse_host", "validate_hosts"]

#: What no port means; which of them isn't known, since a proxy may have taken TLS off.
DEFAULT_PORTS = (80, 443)


class HostRule(NamedTuple):
    """A host that is accepted.

    Attributes:
        name: the name or address; empty if only names below one are accepted.
        suffix: with its dot, if names below one are accepted; else empty.
        port: the port; ``None`` accepts all.
    """

    name: str
    suffix: str
    port: int | None


def validate_hosts(hosts: Sequence[str | HostRule] | None) -> tuple[HostRule, ...] | None:
    """Return rules, of which one must accept a host; ``None`` accepts all.

    Args:
        hosts: names (``example.com``), addresses, all names below one (``*.example.com``), a
            name and all below it (``.example.com``), each with or without a port; or rules.

    Raises:
        TypeError: it isn't a sequence of str.
        ValueError: an item can't be a host, or there is none.
    """
    if hosts is None:
        return None
    if isinstance(hosts, (str, bytes)):
        raise TypeError(f"hosts must be a list, such as [{hosts!r}], not {hosts!r}")
    rules = tuple(map(_parse_rule, hosts))
    if not rules:
        raise ValueError("hosts is empty: no request would be accepted; None accepts all")
    return rules


def parse_host(value: str) -> tuple[str, int | None]:
    """Return name and port of a ``Host`` header; the port is ``None`` if it isn't there.

    Names are in lower case and without the dot at the end, addresses in their shortest form,
    IPv6 without brackets and zone.

    Raises:
        ValueError: it isn't a host.
    """
    if "@" in value or not value.isascii():
        raise ValueError(f"{value!r} isn't a host")
    authority = parse_authority(value)
    return _normalize(authority.host), authority.port


def is_host_allowed(value: str, rules: Sequence[HostRule]) -> bool:
    """Tell whether one of the rules accepts a ``Host`` header.

    Raises:
        ValueError: it isn't a host.
    """
    name, port = parse_host(value)
    ports = DEFAULT_PORTS if port is None else (port,)
    for rule in rules:
        matches = name == rule.name or (rule.suffix and name.endswith(rule.suffix))
        if matches and (rule.port is None or rule.port in ports):
            return True
    return False


def _parse_rule(host: str | HostRule) -> HostRule:
    if isinstance(host, HostRule):
        return host
    if not isinstance(host, str):
        raise TypeError(f"a host is a str, not {host!r}")
    if host == "*":
        raise ValueError("'*' isn't a host; hosts=None accepts all")
    rest = host.removeprefix("*").removeprefix(".")
    below = rest != host
    if "*" in rest or (host.startswith("*") and not host.startswith("*.")):
        raise ValueError(f"invalid host {host!r}: only names below another, as in '*.example.com'")
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"  # an IPv6 address, as people write it
    try:
        name, _, username, _ = authority = parse_authority(rest)
    except ValueError as exc:
        raise ValueError(f"invalid host {host!r}: {exc}") from None
    if username is not None:
        raise ValueError(f"invalid host {host!r}: it has a user name")
    name = _normalize(name)
    if not below:
        return HostRule(name, "", authority.port)
    return HostRule("" if host.startswith("*") else name, f".{name}", authority.port)


def _normalize(host: str) -> str:
    if ":" not in host:
        return host.removesuffix(".")
    from ipaddress import IPv6Address  # rarely needed

    return str(IPv6Address(host.partition("%")[0]))
