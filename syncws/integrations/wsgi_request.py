"""Requests as a WSGI server passes them on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..exceptions import InvalidMessage, InvalidProtocol
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response

__all__ = ["add_headers", "read_plain_request", "read_request", "wsgi_headers", "wsgi_status"]

#: Bytes of a body that are read at once.
READ_SIZE = 1 << 16

#: Bytes that are read of a body that is too large, so that its client reads the answer.
DRAIN_SIZE = 1 << 20

#: What a target may have as it is: all of printable ASCII.
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

#: What a path may have as it is (RFC 3986 §3.3), that a server has decoded before.
_IN_PATH = "/:@!$&'()*+,;=~"

_LENGTH = re.compile(r"[0-9]{1,19}")

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
    """Return the opening handshake's request that an environ was made from.

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
    return Request(_target(environ), _read_headers(environ), environ["REQUEST_METHOD"])


def read_plain_request(environ: Mapping[str, Any], max_body_size: int) -> Request:
    """Return the request that an environ was made from, the body of a POST included.

    Blocks until the server has that.

    Args:
        environ: the environ.
        max_body_size: of a larger body one byte more is there.

    Raises:
        InvalidMessage: it has what can't be in a request, or its body can't be read.
    """
    headers, method = _read_headers(environ), environ["REQUEST_METHOD"]
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    body = _read_body(environ, max_body_size + 1) if method == "POST" else b""
    return Request(_target(environ), headers, method, body)


def _read_headers(environ: Mapping[str, Any]) -> Headers:
    headers = Headers()
    try:
        for key, value in environ.items():
            if key.startswith("HTTP_"):
                headers[key[5:].replace("_", "-").title()] = value
    except ValueError as exc:
        raise InvalidMessage(f"the request isn't valid HTTP/1.1: {exc}") from exc
    return headers


def _read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """Return a body, or so many bytes of it."""
    length = _find_length(environ)
    body, dropped, read = bytearray(), 0, environ["wsgi.input"].read
    while length != 0 and dropped < DRAIN_SIZE:
        try:
            data = read(READ_SIZE if length is None else min(READ_SIZE, length))
        except (OSError, ValueError) as exc:
            raise InvalidMessage(f"the body can't be read: {exc}") from exc
        if not data:
            if length is None:
                break
            raise InvalidMessage("the body is shorter than its Content-Length")
        if length is not None:
            length -= len(data)
        room = limit - len(body)
        body += data[:room]
        dropped += max(0, len(data) - room)
    return bytes(body)


def _find_length(environ: Mapping[str, Any]) -> int | None:
    """Return how many bytes a body has; ``None`` means that the stream has an end.

    Without either, reading could wait for the next request, forever.
    """
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    text = environ.get("CONTENT_LENGTH") or ""
    if text and not is_chunked:
        if not _LENGTH.fullmatch(text):
            raise InvalidMessage(f"invalid Content-Length: {text!r}")
        return int(text)
    if environ.get("wsgi.input_terminated"):
        return None
    if is_chunked:
        raise InvalidMessage("this server takes no chunked bodies: send a Content-Length")
    return 0


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


def add_headers(environ: dict[str, Any], headers: Headers) -> None:
    """Add a request's headers to an environ."""
    for name in headers:
        joint = "; " if name.lower() == "cookie" else ", "
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = joint.join(headers.get_all(name))


def wsgi_headers(response: Response) -> list[tuple[str, str]]:
    """Return a response's headers for ``start_response()``, without those that servers set."""
    return [(name, value) for name, value in response.headers.raw_items() if not _is_theirs(name)]


def wsgi_status(response: Response) -> str:
    """Return a response's status for ``start_response()``."""
    return f"{response.status_code} {response.reason_phrase}"


def _is_theirs(name: str) -> bool:
    return name.lower() in _SERVERS
