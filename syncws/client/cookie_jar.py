"""Cookies (RFC 6265) between a jar of the standard library and opening handshakes.

The jar decides which cookies a server gets and which of its own are kept. It knows HTTP only, so
it is told ``http`` and ``https`` URLs: cookies make no difference between these and ``ws`` and
``wss``.
"""

from __future__ import annotations

from email.message import Message
from http.cookiejar import CookieJar
from typing import Any
from urllib.request import Request

from ..sansio.headers import Headers
from ..sansio.uri import WebSocketURI

__all__ = ["add_cookies", "keep_cookies"]


class _Response:
    """As much of a response as a jar looks at."""

    def __init__(self, headers: Headers) -> None:
        self._message = Message()
        for value in headers.get_all("Set-Cookie"):
            self._message["Set-Cookie"] = value

    def info(self) -> Message:
        return self._message


def add_cookies(jar: CookieJar, uri: WebSocketURI, headers: Headers) -> None:
    """Add the cookies for this URI to the headers of a request.

    They go into one header, together with those already there (RFC 6265 §5.4).
    """
    request = _request(uri)
    jar.add_cookie_header(request)
    cookies = request.get_header("Cookie")
    if cookies is not None:
        present = headers.get_all("Cookie")
        if present:
            del headers["Cookie"]
        headers["Cookie"] = "; ".join([*present, cookies])


def keep_cookies(jar: CookieJar, uri: WebSocketURI, headers: Headers) -> None:
    """Keep the cookies that a response has set."""
    if "Set-Cookie" in headers:
        response: Any = _Response(headers)
        jar.extract_cookies(response, _request(uri))


def _request(uri: WebSocketURI) -> Request:
    _, _, rest = str(uri.without_credentials()).partition("://")
    return Request(f"{'https' if uri.secure else 'http'}://{rest}")
