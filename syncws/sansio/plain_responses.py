"""Plain HTTP responses in place of an upgrade: which status refuses what."""

from __future__ import annotations

from ..exceptions import (
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidHeader,
    InvalidHost,
    InvalidMethod,
    InvalidOrigin,
    InvalidProtocol,
    InvalidUpgrade,
    RequestBodyTooLong,
    RequestLineTooLong,
    TooManyHeaders,
)
from .frames import as_bytes
from .headers import Headers, HeadersLike
from .http11 import Response

__all__ = ["VERSION", "build_response", "may_have_body", "refusal_status"]

VERSION = "Sec-WebSocket-Version"


def refusal_status(exc: Exception) -> tuple[int, dict[str, str]]:
    """Return the status that refuses a request, and headers that go with it."""
    if isinstance(exc, InvalidOrigin):
        return 403, {}
    if isinstance(exc, InvalidHost):
        return 421, {}
    if isinstance(exc, InvalidUpgrade):
        return 426, {"Upgrade": "websocket", "Connection": "Upgrade, close"}
    if isinstance(exc, InvalidHeader) and exc.name == VERSION:
        # §4.4: say which version we speak.
        return 426, {"Upgrade": "websocket", "Connection": "Upgrade, close", VERSION: "13"}
    if isinstance(exc, InvalidMethod):
        return 405, {"Allow": "GET"}
    if isinstance(exc, InvalidProtocol):
        return 505, {}
    if isinstance(exc, RequestBodyTooLong):
        return 413, {}
    if isinstance(exc, RequestLineTooLong):
        return 414, {}
    if isinstance(exc, (HeaderLineTooLong, TooManyHeaders)):
        return 431, {}
    if isinstance(exc, InvalidHandshake):
        return 400, {}
    return 500, {}


def may_have_body(status: int) -> bool:
    """Tell whether a response may have a body, and Content-Length with it (RFC 9110 §8.6)."""
    return status >= 200 and status != 204


def build_response(
    status: int, body: str | bytes = "", headers: HeadersLike | None = None
) -> Response:
    """Return a plain HTTP response after which the connection is closed.

    Args:
        status: the HTTP status.
        body: the body; a str is sent as UTF-8.
        headers: further headers; they replace those that we would set.

    Raises:
        ValueError: there is no such status, or a header can't be sent.
    """
    import http  # slow to import, and needed only to refuse

    status = http.HTTPStatus(status)
    data = body.encode() if isinstance(body, str) else as_bytes(body)
    all_headers = Headers(headers or ())
    ours = [("Connection", "close")]
    if may_have_body(status):
        ours.append(("Content-Length", str(len(data))))
        ours.append(("Content-Type", "text/plain; charset=utf-8"))
    for name, value in ours:
        if name not in all_headers:
            all_headers[name] = value
    return Response(int(status), status.phrase, all_headers, data)
