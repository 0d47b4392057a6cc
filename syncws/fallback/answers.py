"""What requests of the fallback are answered: what all answers have, and those of handshakes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from .wire import (
    ACK,
    END,
    EXTENSIONS,
    NONCE,
    POSITION,
    PROTOCOL,
    SESSION,
    SUPERSEDED,
    WAIT,
    build_error,
    find_header,
)

__all__ = [
    "OURS",
    "RETRY_AFTER",
    "answer_handshake",
    "busy",
    "complete_answer",
    "copy_response",
    "preflight",
    "refused",
]

#: Seconds after which a client that was refused for want of something may try again.
RETRY_AFTER = 5

#: What a request of the fallback may have, and a page of another origin must ask for.
OURS = (SESSION, NONCE, PROTOCOL, EXTENSIONS, POSITION, ACK, WAIT)

#: What a page of another origin may read.
EXPOSED = ", ".join((ACK, POSITION, END, SUPERSEDED, "Retry-After"))

_EACH = [("Cache-Control", "no-store, no-transform"), ("X-Content-Type-Options", "nosniff")]
_EACH_READABLE = [
    ("Access-Control-Allow-Credentials", "true"),
    ("Access-Control-Expose-Headers", EXPOSED),
    ("Vary", "Origin"),
]

_SINGLE = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials")

#: Seconds for which a browser may remember that it may ask.
PREFLIGHT_AGE = 600

#: Of the handshake's response, not part of what is answered; in lower case.
_NOT_ANSWER = {
    *("cache-control", "connection", "content-encoding", "content-length", "content-type"),
    *("keep-alive", "transfer-encoding", "upgrade", "x-content-type-options"),
    *("sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-protocol"),
    "sec-websocket-version",
}


def busy(message: str) -> Response:
    """Return what tells a client to try again later, as something is lacking."""
    return build_error(503, "busy", message, Retry_After=str(RETRY_AFTER))


def refused(response: Response) -> Response:
    """Return what tells a client that its opening handshake was refused."""
    status = response.status_code
    text = response.body.decode("utf-8", "replace").strip()
    message = text or f"the opening handshake was refused with HTTP {status}"
    error = {"error": {"code": "refused", "message": message[:1000]}}
    return answer_handshake(status, response.reason_phrase, response, error)


def answer_handshake(
    status: int, reason: str, handshake: Response, told: dict[str, Any]
) -> Response:
    """Return a response with a JSON object, and headers of the handshake's response."""
    headers = Headers(
        [
            (name, value)
            for name, value in handshake.headers.raw_items()
            if name.lower() not in _NOT_ANSWER
        ]
    )
    if status in (204, 304):  # RFC 9112 §6.3: a body would be taken for the next response
        return Response(status, reason, headers)
    body = json.dumps(told).encode()
    headers["Content-Type"] = "application/json"
    headers["Content-Length"] = str(len(body))
    return Response(status, reason, headers, body)


def preflight(*, is_known: bool) -> Response:
    """Return the answer to a browser that asks whether a page may ask.

    All may: what matters is who may open a session, as with WebSockets, for which browsers don't
    ask at all. But what a browser remembers counts for all requests to this URL, and those without
    a session are the program's, which this must not let pages of any origin send.

    Args:
        is_known: whether the page's origin has a session here, and so may use this URL.
    """
    headers = Headers(
        [
            ("Access-Control-Allow-Methods", "GET, POST, DELETE"),
            ("Access-Control-Allow-Headers", ", ".join(("Content-Type", *OURS))),
            ("Access-Control-Max-Age", str(PREFLIGHT_AGE if is_known else 0)),
        ]
    )
    return Response(204, "No Content", headers)


def copy_response(response: Response) -> Response:
    """Return a copy, which can be completed."""
    return replace(response, headers=response.headers.copy())


def complete_answer(request: Request, response: Response, *, readable: bool = True) -> Response:
    """Add the headers that all responses have; return the response.

    Args:
        request: what it answers.
        response: the response.
        readable: whether a page of any origin may read it.
    """
    headers = response.headers
    headers.add_parsed(_EACH)
    origin = find_header(request, "Origin")
    if origin is not None and readable:
        for name in _SINGLE:  # the program's own: browsers accept one of each only
            if name in headers:
                del headers[name]
        headers["Access-Control-Allow-Origin"] = origin
        headers.add_parsed(_EACH_READABLE)
    return response
