"""Redirects: which are followed, and what is sent to the server they lead to (RFC 9110 §15.4).

Followed are 301, 302, 303, 307 and 308 with a ``Location``, never from ``wss://`` to ``ws://``.
``http`` and ``https`` in it stand for ``ws`` and ``wss``. What the program gave for one server,
``Authorization``, ``Cookie`` and ``Host``, credentials of the URI included, isn't sent to another
*origin* (scheme, host and port), and not any more once a redirect has left the first one: who
redirects must not choose what these are used for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from ..exceptions import (
    InvalidHeader,
    InvalidHeaderValue,
    InvalidURI,
    MultipleValuesError,
    SecurityError,
)
from ..foreign import hide_credentials
from ..sansio.headers import Headers
from ..sansio.http11 import Response
from ..sansio.uri import ASCII, WebSocketURI, parse_uri

__all__ = ["Destination", "Hop", "is_permanent", "is_redirect", "next_hop"]

REDIRECTS = frozenset((301, 302, 303, 307, 308))

#: Those after which the first URI is obsolete (RFC 9110 §15.4.2, §15.4.9).
PERMANENT = frozenset((301, 308))

#: Headers that are for one server.
PRIVATE_HEADERS = ("Authorization", "Cookie", "Host")

_SCHEMES = {"http": "ws", "https": "wss"}


@dataclass(frozen=True)
class Hop:
    """A server on the way.

    Attributes:
        uri: where it is.
        is_origin: whether it is the one that the program named, and no redirect has led
            anywhere else so far.
    """

    uri: WebSocketURI
    is_origin: bool = True

    def __str__(self) -> str:
        return str(self.uri.without_credentials())

    def select(self, headers: Headers) -> Headers:
        """Return those of the program's headers that this server gets."""
        if not self.is_origin:
            for name in PRIVATE_HEADERS:
                if name in headers:
                    del headers[name]
        return headers


class Destination:
    """Where a program wants to connect to, again and again.

    Args:
        uri: where each attempt begins.
        path: a Unix socket by which to get there.

    Attributes:
        first: where each attempt begins; permanent redirects move it.
        path: as above.
    """

    def __init__(self, uri: str | WebSocketURI, path: str | os.PathLike[str] | None = None) -> None:
        self.path = path
        self.first = Hop(uri if isinstance(uri, WebSocketURI) else parse_uri(uri))


def is_redirect(response: Response) -> bool:
    """Tell whether a response leads elsewhere."""
    return response.status_code in REDIRECTS and any(response.headers.get_all("Location"))


def is_permanent(response: Response) -> bool:
    """Tell whether a redirect makes its URI obsolete."""
    return response.status_code in PERMANENT


def next_hop(hop: Hop, response: Response) -> Hop:
    """Return where a redirect leads to.

    Raises:
        InvalidHeader: its Location can't be used.
        SecurityError: it leads from wss to ws.
    """
    location = _location(response)
    try:
        joined = _join(hop.uri, location)
        scheme, separator, rest = joined.partition("://")
        scheme = _SCHEMES.get(scheme.lower(), scheme)
        uri = parse_uri(f"{scheme}{separator}{rest}")
    except (InvalidURI, ValueError) as exc:  # it is the standard library that raises the latter
        raise InvalidHeaderValue("Location", hide_credentials(location)) from exc
    if hop.uri.secure and not uri.secure:
        raise SecurityError(f"redirect from wss:// to {Hop(uri)} refused")
    stays = _origin(uri) == _origin(hop.uri)
    if stays and uri.user_info is None:
        uri = replace(uri, username=hop.uri.username, password=hop.uri.password)
    return Hop(uri, hop.is_origin and stays)


def _location(response: Response) -> str:
    try:
        location = response.headers["Location"]
    except MultipleValuesError:
        raise InvalidHeader("Location", "several values") from None
    from urllib.parse import quote  # slow to import, rarely needed

    # Bytes that aren't ASCII are percent-encoded as they came; what a URI can't have, too.
    return quote(location.encode("latin-1"), safe=ASCII).partition("#")[0]


def _join(base: WebSocketURI, location: str) -> str:
    """Resolve a relative reference (RFC 3986 §5)."""
    from urllib.parse import urljoin  # slow to import, rarely needed

    scheme = "https" if base.secure else "http"  # of which every Python knows how
    _, _, rest = str(base.without_credentials()).partition("://")
    return urljoin(f"{scheme}://{rest}", location)


def _origin(uri: WebSocketURI) -> tuple[bool, str, int]:
    return uri.secure, uri.host, uri.port
