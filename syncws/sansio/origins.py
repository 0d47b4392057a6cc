"""From which origins browsers may connect (RFC 6455 §10.2), by default the server's own.

A browser sends a page's origin with each opening handshake, and cookies of the server's, whatever
page asks. A server that did not compare would let any page act in its visitors' names.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Sequence
from typing import Union

__all__ = [
    "SAME_ORIGIN",
    "OriginPolicy",
    "OriginRule",
    "Origins",
    "is_origin_allowed",
    "validate_origins",
]


class OriginPolicy(enum.Enum):
    """Rules for the Origin that can't be written as a value."""

    SAME_ORIGIN = "same origin"

    def __repr__(self) -> str:
        return "SAME_ORIGIN"


#: The Origin must be the host that the request asks for; requests without one are accepted. Where
#: the browser says itself whether it is the same origin (Sec-Fetch-Site), that counts.
SAME_ORIGIN = OriginPolicy.SAME_ORIGIN

OriginRule = Union[str, "re.Pattern[str]", OriginPolicy, None]

#: Rules of which one must accept a request; ``None`` instead of a sequence accepts all.
Origins = Union[Sequence[OriginRule], OriginPolicy, None]


def validate_origins(origins: Origins) -> tuple[OriginRule, ...] | None:
    """Return the rules as a tuple; ``None`` accepts all.

    Raises:
        TypeError: they aren't a sequence of str, compiled pattern, ``None`` and SAME_ORIGIN.
    """
    if origins is None:
        return None
    if isinstance(origins, OriginPolicy):
        return (origins,)
    if isinstance(origins, (str, bytes, re.Pattern)):
        raise TypeError(f"origins must be a list, such as [{origins!r}], not {origins!r}")
    rules = tuple(origins)
    for rule in rules:
        if rule is not None and not isinstance(rule, (str, re.Pattern, OriginPolicy)):
            raise TypeError(f"an origin is a str, a compiled pattern or None, not {rule!r}")
    return rules


def is_origin_allowed(
    origin: str | None,
    rules: Sequence[OriginRule] | None,
    host: str,
    fetch_site: str | None = None,
) -> bool:
    """Tell whether one of the rules accepts the request's Origin (§10.2).

    Args:
        origin: the Origin header, or ``None``.
        rules: from :func:`validate_origins`.
        host: the Host header.
        fetch_site: the Sec-Fetch-Site header, or ``None``; for SAME_ORIGIN only.
    """
    if rules is None:
        return True
    return any(_is_accepted(origin, rule, host, fetch_site) for rule in rules)


#: What Sec-Fetch-Site says of the page that connects. No page can set it, and proxies leave it
#: alone, whereas they may change Host. "none" says that no page asked (a bookmark, an extension
#: of the browser): that is no promise of anything, and Origin decides, as for unknown values.
_FETCH_SITES: dict[str | None, bool] = {
    "same-origin": True,
    "same-site": False,
    "cross-site": False,
}


def _is_accepted(origin: str | None, rule: OriginRule, host: str, fetch_site: str | None) -> bool:
    if isinstance(rule, OriginPolicy):
        if fetch_site in _FETCH_SITES:  # not by get(): see own_logger()
            return _FETCH_SITES[fetch_site]
        return origin is None or _is_same_origin(origin, host)
    if origin is None or rule is None:
        return origin is rule
    if isinstance(rule, str):
        return origin == rule
    return rule.fullmatch(origin) is not None


DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@functools.lru_cache(maxsize=16)  # a server sees the same few again and again
def _is_same_origin(origin: str, host: str) -> bool:
    from urllib.parse import urlsplit  # slow to import, and only browsers send an Origin

    # The scheme isn't compared: a proxy may have taken TLS off. Ports are, with the default
    # of the Origin's scheme for a Host without one.
    try:
        ours = urlsplit(f"//{host}")
        theirs = urlsplit(origin)
        default = DEFAULT_PORTS.get(theirs.scheme)
        return (
            default is not None
            and theirs.hostname is not None
            and theirs.hostname == ours.hostname
            and (theirs.port or default) == (ours.port or default)
        )
    except ValueError:  # not a host, or not a port
        return False
