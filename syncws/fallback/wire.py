"""Names and limits of the fallback's protocol: docs/fallback-protocol.md."""

from __future__ import annotations

import json
import re
from typing import Any

from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..sansio.plain_responses import build_response

__all__ = [
    "ACK",
    "BYTES",
    "END",
    "EVENT_STREAM",
    "EXTENSIONS",
    "ID",
    "MAX_BODY",
    "MAX_UNACKNOWLEDGED",
    "MAX_WAIT",
    "NEW",
    "NONCE",
    "POSITION",
    "PROTOCOL",
    "SESSION",
    "SUPERSEDED",
    "WAIT",
    "build_error",
    "find_header",
    "parse_position",
]

SESSION = "Syncws-Session"
NONCE = "Syncws-Nonce"
PROTOCOL = "Syncws-Protocol"
EXTENSIONS = "Syncws-Extensions"
POSITION = "Syncws-Position"
ACK = "Syncws-Ack"
WAIT = "Syncws-Wait"
END = "Syncws-End"
SUPERSEDED = "Syncws-Superseded"

#: Value of Syncws-Session in a request that opens one.
NEW = "new"

BYTES = "application/octet-stream"
EVENT_STREAM = "text/event-stream"

#: Bytes that a POST may carry, and that a response carries at most.
MAX_BODY = 1 << 18

#: Bytes of the server's stream that may wait to be acknowledged.
MAX_UNACKNOWLEDGED = 1 << 18

#: Seconds that a GET waits, at most.
MAX_WAIT = 25.0

#: Session ids and nonces: at least 128 bits.
ID = re.compile(r"[A-Za-z0-9_-]{22,64}")

_POSITION = re.compile(r"[0-9]{1,19}")


def find_header(request: Request, name: str) -> str | None:
    """Return the value of a header; several are a list, as HTTP has it (RFC 9110 §5.3)."""
    values = request.headers.get_all(name)
    return ", ".join(values) if values else None


def parse_position(text: str | None) -> int | None:
    """Return a position, or ``None`` if that isn't one."""
    return int(text) if text is not None and _POSITION.fullmatch(text) else None


def build_error(status: int, code: str, message: str, **headers: str) -> Response:
    """Return the response that tells a client what was wrong, as a JSON object.

    Args:
        status: the HTTP status.
        code: one of those that the protocol has.
        message: for people.
        headers: further headers, with ``_`` for ``-``.
    """
    body: dict[str, Any] = {"error": {"code": code, "message": message}}
    return build_response(
        status,
        json.dumps(body),
        Headers(
            [
                ("Content-Type", "application/json"),
                *((name.replace("_", "-"), value) for name, value in headers.items()),
            ]
        ),
    )
