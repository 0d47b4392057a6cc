"""Requests and responses of HTTP/1.1 as values (RFC 9112); the parsers are in another module."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .headers import TOKEN, Headers

__all__ = ["Request", "Response"]

_TARGET = re.compile(r"[!-~]+")
_REASON = re.compile(r"[\t -~\x80-\xff]*")


@dataclass
class Request:
    """A request of HTTP.

    Attributes:
        path: the target: path and query.
        headers: its headers.
        method: its method.
        body: its body, decoded if it was chunked; a request for a WebSocket has none.
        protocol: the version that it came by, ``"HTTP/1.1"`` or ``"HTTP/1.0"``.
    """

    path: str
    headers: Headers
    method: str = "GET"
    body: bytes = b""
    protocol: str = "HTTP/1.1"

    def serialize(self) -> bytes:
        """Return the bytes of the request, by HTTP/1.1, the body as it is.

        Raises:
            ValueError: the path isn't printable ASCII without spaces, or the method
                isn't a token: either could make another request of this one.
        """
        if not _TARGET.fullmatch(self.path):
            raise ValueError(f"invalid path {self.path!r}: it must be ASCII without spaces")
        if not TOKEN.fullmatch(self.method):
            raise ValueError(f"invalid method {self.method!r}")
        head = f"{self.method} {self.path} HTTP/1.1\r\n{self.headers}"
        return head.encode("latin-1") + self.body


@dataclass
class Response:
    """An HTTP/1.1 response.

    Attributes:
        status_code: its status.
        reason_phrase: its reason; may be empty.
        headers: its headers; ``Content-Length`` isn't added.
        body: its body, decoded if it was chunked.
    """

    status_code: int
    reason_phrase: str
    headers: Headers
    body: bytes = b""

    def serialize(self) -> bytes:
        """Return the bytes of the response, the body as it is.

        Raises:
            ValueError: the status hasn't three digits, or the reason can't be sent.
        """
        if not 100 <= self.status_code <= 999:
            raise ValueError(f"invalid status {self.status_code!r}")
        if not _REASON.fullmatch(self.reason_phrase):
            raise ValueError(f"invalid reason {self.reason_phrase!r}")
        head = f"HTTP/1.1 {self.status_code:d} {self.reason_phrase}\r\n{self.headers}"
        return head.encode("latin-1") + self.body
