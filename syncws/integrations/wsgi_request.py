"""The opening handshake's request, as a WSGI server passes it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..exceptions import InvalidMessage, InvalidProtocol
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response

__all__ = ["read_request", "wsgi_headers", "wsgi_status"]

#: What a target may have as it is: all of printable ASCII.
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

#: What a path may have as it is (RFC 3986 §3.3), that a server has decoded before.
_IN_PATH = "/:@!$&'()*+,;=~"

#: Headers that are the server's to set (PEP 3333).
_SERVERS = frozenset(
    [
        "connection",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "server",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
    ]
)


def read_request(environ: Mapping[str, Any]) -> Request:
    """Return the request that an environ was made from.

    Several headers of one name are one by now, with commas between their values.

    Raises:
        InvalidMessage: it has a body, or what can't be in a request.
        InvalidProtocol: it isn't HTTP/1.1.
    """
    protocol = environ.get("SERVER_PROTOCOL", "")
    if protocol != "HTTP/1.1":
        raise InvalidProtocol(protocol)
    # A handshake has no body (RFC 6455 §4.1).
    if environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ:
        raise InvalidMessage("the request isn't a valid opening handshake: it has a body")
    headers = Headers()
    try:
        for key, value in environ.items():
            if key.startswith("HTTP_"):
                headers[key[5:].replace("_", "-").title()] = value
    except ValueError as exc:
        raise InvalidMessage(f"the request isn't valid HTTP/1.1: {exc}") from exc
    return Request(_target(environ), headers, environ["REQUEST_METHOD"])


def _target(environ: Mapping[str, Any]) -> str:
    """Return path and query: as they came, where the server tells."""
    for key in ("RAW_URI", "REQUEST_URI"):
        raw: str = environ.get(key) or ""
        if raw.startswith("/"):
            return quote(raw.encode("latin-1", "replace"), safe=_PRINTABLE)
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    target = quote(path.encode("latin-1"), safe=_IN_PATH) or "/"
    query = environ.get("QUERY_STRING", "")
    return f"{target}?{quote(query.encode('latin-1'), safe=_PRINTABLE)}" if query else target


def wsgi_headers(response: Response) -> list[tuple[str, str]]:
    """Return a response's headers for ``start_response()``, without those that servers set."""
    return [(name, value) for name, value in response.headers.raw_items() if not _is_theirs(name)]


def wsgi_status(response: Response) -> str:
    """Return a response's status for ``start_response()``."""
    return f"{response.status_code} {response.reason_phrase}"


def _is_theirs(name: str) -> bool:
    return name.lower() in _SERVERS
