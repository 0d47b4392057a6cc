"""Plain HTTP responses of programs, made complete."""

from __future__ import annotations

import functools
import time
from typing import Any, Union

from ..sansio.headers import Headers, HeadersLike
from ..sansio.http11 import Request, Response
from ..sansio.plain_responses import build_response, may_have_body

__all__ = [
    "OlderResponse",
    "as_response",
    "check_response",
    "complete_response",
    "copy_response",
    "http_date",
]

#: Status, headers and perhaps a body: a response as programs wrote it before there was a class.
OlderResponse = Union[tuple[int, HeadersLike], tuple[int, HeadersLike, bytes]]


def as_response(result: Any) -> Any:
    """Return a response for status, headers and body; anything else as it is."""
    if isinstance(result, tuple) and len(result) in (2, 3):
        status, headers, body = (*result, b"")[:3]
        return build_response(int(status), body, headers)
    return result


def check_response(response: Response | None, source: str) -> Response | None:
    """Return a copy of what a function of the program's returned.

    Raises:
        TypeError: it isn't a response, or ``None``.
    """
    if response is None:
        return None
    if not isinstance(response, Response):
        raise TypeError(f"{source} returns a Response or None, not {type(response).__name__}")
    return copy_response(response)


def copy_response(response: Response) -> Response:
    """Return a copy, which can be completed: the program may use its own again."""
    return Response(
        response.status_code, response.reason_phrase, Headers(response.headers), response.body
    )


def complete_response(request: Request, response: Response, server: str | None) -> None:
    """Add the headers that are missing; ``server`` is the value of Server."""
    headers = response.headers
    if "Date" not in headers:
        headers["Date"] = http_date(time.time())
    if server is not None and "Server" not in headers:
        headers["Server"] = server
    if response.status_code == 101:
        return
    if "Connection" not in headers:
        headers["Connection"] = "close"
    has_length = "Content-Length" in headers or "Transfer-Encoding" in headers
    if not has_length and may_have_body(response.status_code):
        headers["Content-Length"] = str(len(response.body))
    if request.method == "HEAD":
        response.body = b""


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@functools.lru_cache(maxsize=8)
def _format_date(timestamp: int) -> str:
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(timestamp)
    date = f"{DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year}"
    return f"{date} {hour:02}:{minute:02}:{second:02} GMT"


def http_date(timestamp: float) -> str:
    """Return a time as HTTP writes it, in English whatever the locale (RFC 9110 §5.6.7)."""
    return _format_date(int(timestamp))
