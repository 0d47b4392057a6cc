"""The body of a plain request (RFC 9112 §6)."""

from __future__ import annotations

from ..exceptions import RequestBodyTooLong
from .http11 import Request
from .http_parser import ResponseParser

__all__ = ["RequestBody"]


class RequestBody(ResponseParser):
    """Parses the body of a request; it is as in a response, with an end that is told before.

    Args:
        request: the request, without it.
        max_size: limit in bytes; ``None`` is unlimited.
    """

    def __init__(self, request: Request, max_size: int | None) -> None:
        super().__init__()
        self._request = request
        self._max_size = max_size
        self._begun = False  # some of it has come
        # RFC 9112 §6.1: HTTP/1.0 has none; a peer that sends it all the same may mean another end.
        if request.protocol == "HTTP/1.0" and "Transfer-Encoding" in request.headers:
            raise ValueError("there is Transfer-Encoding in HTTP/1.0")
        self._started = True
        self._step = self._choose_body(request.headers)
        self.receive(b"")  # refuses what is too long by what the headers say

    @property
    def is_awaited(self) -> bool:
        """Whether the client waits to be told that it is welcome (RFC 9110 §10.1.1)."""
        values = ",".join(self._request.headers.get_all("Expect")).lower().split(",")
        is_told = self._request.protocol != "HTTP/1.0"  # that has no such thing
        return is_told and not self._begun and "100-continue" in [each.strip() for each in values]

    def receive(self, data: bytes) -> Request | None:
        """Take bytes in; return the request once its body is complete, else ``None``.

        Raises what :meth:`RequestParser.receive_data` does.
        """
        self._begun = self._begun or bool(data)
        self._run(data)
        if self._step is not None:
            return None
        self._request.body = bytes(self._body)
        return self._request

    def _read_body(self) -> bool:
        limit = self._max_size
        if limit is not None and len(self._body) + self._remaining > limit:
            raise RequestBodyTooLong(f"the body of the request has more than {limit} bytes")
        data = self._buffer.take(self._remaining)
        self._body += data
        self._remaining -= len(data)
        return not self._remaining
