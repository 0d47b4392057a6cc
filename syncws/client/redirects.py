"""Redirects: which are followed, and what is sent to the server they lead to (RFC 9110 §15.4).

The statuses 301, 302, 303, 307 and 308 are followed if there is a ``Location``, but never from
``wss://`` to ``ws://``. ``http`` and ``https`` in it stand for ``ws`` and ``wss``. What the program
gave for one server isn't sent to another *origin* (scheme, host and port), nor to the first one
again once a redirect has left it: a server that redirects must not choose what credentials are used
for. This concerns

- user and password of the URI, and the header ``Host``;
- every additional header but those of :data:`HARMLESS_HEADERS`: any may be a credential
  (``Authorization``, ``Cookie``, ``Proxy-Authorization``, ``X-Api-Key``, ...), whatever its name;
- subprotocols, since programs put tokens among them: a redirect is refused rather than followed
  without them. A redirect to TLS on the same host (from port 80 to 443) is an exception: it can't
  give away what everybody could read.

``redirect_headers=`` of :func:`~syncws.connect` names headers that other origins get as well;
``Sec-WebSocket-Protocol`` stands for subprotocols.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..exceptions import (
    InvalidHeader,
    InvalidHeaderValue,
    InvalidURI,
    MultipleValuesError,
    SecurityError,
)
from ..foreign import hide_credentials
from ..sansio.headers import TOKEN, Headers
from ..sansio.http11 import Response
from ..sansio.uri import ASCII, WebSocketURI, parse_uri

__all__ = [
    "HARMLESS_HEADERS",
    "Destination",
    "Hop",
    "is_permanent",
    "is_redirect",
    "next_hop",
    "validate_redirect_headers",
]

REDIRECTS = frozenset((301, 302, 303, 307, 308))

#: Statuses after which the first URI is obsolete (RFC 9110 §15.4.2, §15.4.9).
PERMANENT = frozenset((301, 308))

#: Additional headers, in lower case, that carry no credentials and so go wherever redirects lead.
HARMLESS_HEADERS = frozenset(
    (
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "dnt",
        "origin",
        "pragma",
        "sec-gpc",
        "user-agent",
    )
)

_SCHEMES = {"http": "ws", "https": "wss"}


@dataclass(frozen=True)
class Hop:
    """A server on the way.

    Attributes:
        uri: where it is.
        is_origin: whether it is the one that the program named, and no redirect has led
            anywhere else so far.
        gets_subprotocols: the same, except that redirects to TLS on the same host don't count.
    """

    uri: WebSocketURI
    is_origin: bool = True
    gets_subprotocols: bool = True

    def __str__(self) -> str:
        return str(self.uri.without_credentials())

    def select(self, headers: Headers, allowed: Collection[str] = ()) -> Headers:
        """Return those of the program's headers that this server gets.

        Args:
            headers: all of them.
            allowed: names, in lower case, of those that are for all servers.
        """
        if not self.is_origin:
            for name in list(headers):
                if name == "host" or not (name in HARMLESS_HEADERS or name in allowed):
                    del headers[name]
        return headers


class Destination:
    """Where a program wants to connect, again and again.

    Args:
        uri: where each attempt begins.
        path: a Unix socket that leads there.

    Attributes:
        first: where each attempt begins; permanent redirects move it.
        path: as above.
        is_http: whether the URI is one of HTTP: only the fallback is to be used.
    """

    @classmethod
    def of_unix_socket(
        cls,
        path: str | os.PathLike[str] | None,
        uri: str | WebSocketURI | None,
        arguments: Mapping[str, Any],
    ) -> Any:
        """Return what stands for the URI in the arguments of ``connect()``.

        Args:
            path: where the socket is.
            uri: what to ask for; ``None`` means the local host, with TLS if there is ``ssl=``.
            arguments: the other arguments of ``connect()``.
        """
        if uri is None:
            uri = "ws://localhost/" if arguments.get("ssl") is None else "wss://localhost/"
        return cls(uri, path)

    def __init__(self, uri: str | WebSocketURI, path: str | os.PathLike[str] | None = None) -> None:
        self.path = path
        self.is_http = False
        if isinstance(uri, str):
            scheme, separator, rest = uri.partition("://")
            self.is_http = bool(separator) and scheme.lower() in _SCHEMES
            uri = _parse_http(uri, scheme, rest) if self.is_http else parse_uri(uri)
        self.first: Hop = Hop(uri)


def _parse_http(uri: str, scheme: str, rest: str) -> WebSocketURI:
    """Return the WebSocket URI for one of ``http`` or ``https``."""
    try:
        return parse_uri(f"{_SCHEMES[scheme.lower()]}://{rest}")
    except InvalidURI as exc:
        raise InvalidURI(uri, exc.msg) from None


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
    except (InvalidURI, ValueError) as exc:  # the latter comes from the standard library
        raise InvalidHeaderValue("Location", hide_credentials(location)) from exc
    if hop.uri.secure and not uri.secure:
        raise SecurityError(f"redirect from wss:// to {Hop(uri)} refused")
    stays = _origin(uri) == _origin(hop.uri)
    if stays and uri.user_info is None:
        uri = replace(uri, username=hop.uri.username, password=hop.uri.password)
    return Hop(
        uri,
        hop.is_origin and stays,
        hop.gets_subprotocols and (stays or _is_upgrade(hop.uri, uri)),
    )


def _location(response: Response) -> str:
    try:
        location = response.headers["Location"]
    except MultipleValuesError:
        raise InvalidHeader("Location", "several values") from None
    from urllib.parse import quote  # slow to import, rarely needed

    # Bytes that aren't ASCII are percent-encoded as they came, and so is what a URI can't have.
    return quote(location.encode("latin-1"), safe=ASCII).partition("#")[0]


def _join(base: WebSocketURI, location: str) -> str:
    """Resolve a relative reference (RFC 3986 §5)."""
    from urllib.parse import urljoin  # slow to import, rarely needed

    scheme = "https" if base.secure else "http"  # which every Python can join
    _, _, rest = str(base.without_credentials()).partition("://")
    return urljoin(f"{scheme}://{rest}", location)


def _is_upgrade(before: WebSocketURI, after: WebSocketURI) -> bool:
    """Tell whether it is the same server, now with TLS."""
    return _origin(before) == (False, after.host, 80) and _origin(after) == (True, before.host, 443)


def validate_redirect_headers(names: Iterable[str]) -> frozenset[str]:
    """Return ``redirect_headers=`` in lower case.

    Raises:
        TypeError: it is a str, or has an item that isn't one.
        ValueError: a name can't be a header's, or is ``Host``, which is never for two servers.
    """
    if isinstance(names, (str, bytes)):
        raise TypeError(f"redirect_headers must be a list, such as [{names!r}], not {names!r}")
    found = list(names)
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"a header's name is a str, not {name!r}")
        if not TOKEN.fullmatch(name):
            raise ValueError(f"invalid header name {name!r}")
        if name.lower() == "host":
            raise ValueError("Host is for one server; it can't be in redirect_headers")
    return frozenset(map(str.lower, found))


def _origin(uri: WebSocketURI) -> tuple[bool, str, int]:
    return uri.secure, uri.host, uri.port
