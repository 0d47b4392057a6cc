"""Parsing an HTTP response whose body is used as it comes (RFC 9112)."""

from __future__ import annotations

import sys
from typing import Callable

from ..sansio.header_limits import MAX_HEADER_SIZE
from ..sansio.headers import Headers
from ..sansio.http11 import Response
from ..sansio.http_parser import ResponseParser

__all__ = ["StreamedResponse"]


class StreamedResponse(ResponseParser):
    """Parses one response; its body can be taken in pieces, and has no limit.

    Feed it with :meth:`receive_data` until :attr:`is_complete`, and take what has come of the body
    with :meth:`take_body` in between.

    Args:
        max_header_size: as for :class:`ResponseParser`.
    """

    def __init__(self, max_header_size: int | None = MAX_HEADER_SIZE) -> None:
        super().__init__(max_header_size)
        self._is_old = False  # HTTP/1.0
        self._ends_with_stream = False  # the body, since nothing says how long it is

    @property
    def head(self) -> Response | None:
        """The response without its body, once that much is there."""
        if self._headers is None:
            return None
        return Response(self._status_code, self._reason_phrase, self._headers)

    @property
    def has_begun(self) -> bool:
        """Whether anything of it has come."""
        return self._started or bool(self._buffer)

    @property
    def is_complete(self) -> bool:
        """Whether all of it has come; what follows isn't part of it."""
        return self._step is None

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection can be used for another request (RFC 9112 §9.3)."""
        if not self.is_complete or self._headers is None or self._ends_with_stream:
            return False
        values = ",".join(self._headers.get_all("Connection")).lower().split(",")
        options = {value.strip(" \t") for value in values}
        if "close" in options or self.trailing:
            return False
        return not self._is_old or "keep-alive" in options

    def take_body(self) -> bytes:
        """Return what has come of the body since the last call."""
        taken = bytes(self._body)
        self._body.clear()
        return taken

    def receive_eof(self) -> Response:
        """Take in that no more bytes will come; return the response, without what was taken.

        Raises:
            EOFError: there should be more.
            InvalidState: the response was complete before.
        """
        response = super().receive_eof()
        if not self._ends_with_stream:
            raise EOFError("connection closed in the middle of the body")
        return response

    def _parse_start_line(self, line: str) -> None:
        super()._parse_start_line(line)
        self._is_old = line.startswith("HTTP/1.0")

    def _choose_body(self, headers: Headers) -> Callable[[], bool]:
        step = super()._choose_body(headers)
        if "Transfer-Encoding" not in headers and "Content-Length" not in headers:
            self._ends_with_stream = True
            self._remaining = sys.maxsize
        return step

    def _read_body(self) -> bool:
        data = self._buffer.take(self._remaining)
        self._body += data
        self._remaining -= len(data)
        return not self._remaining
