"""The answer to a plain HTTP request, put together as in Tornado."""

from __future__ import annotations

import calendar
import datetime
import http.client
import json
import re
import time
from collections.abc import Sequence
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any, Union

from ...sansio.headers import Headers
from ...sansio.http11 import Response
from ...sansio.plain_responses import may_have_body
from ...server.responses import http_date

__all__ = ["Answering", "build_answer"]

#: What a header's value may be.
HeaderValue = Union[str, bytes, int, datetime.datetime]

#: Characters with which the value of a cookie's attribute could add other attributes.
_ENDS_ATTRIBUTE = re.compile(r"[\x00-\x1f;\x7f]")


class Answering:
    """The answering half of a handler; nothing is sent before its method returns.

    Handlers have no private names except those of Tornado's handlers, and some that begin with
    ``_ws_``: all others belong to programs.
    """

    _finished = False
    _ws_upgrading = False  # into a WebSocket
    _ws_open = False

    def set_default_headers(self) -> None:
        """Do nothing; subclasses set headers of all answers here, including those of errors."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Write the text of an error. Subclasses may write another.

        Args:
            status_code: the HTTP status.
            kwargs: with ``exc_info``, if an exception is the reason.
        """
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(f"{status_code}: {self._reason}\n")

    def clear(self) -> None:
        """Forget what was set and written."""
        self._status_code = 200
        self._reason = "OK"
        self._headers = Headers()
        self._write_buffer: list[bytes] = []
        self.set_default_headers()

    def set_status(self, status_code: int, reason: str | None = None) -> None:
        """Set the HTTP status, and a reason phrase if it isn't to be the usual one.

        Raises:
            RuntimeError: the WebSocket is open.
            ValueError: it isn't a status for an answer: 101 is sent automatically.
        """
        self._ws_check_not_open("set_status")
        if not 200 <= status_code <= 999:
            raise ValueError(f"{status_code!r} isn't the status of an answer")
        self._status_code = status_code
        self._reason = reason or http.client.responses.get(status_code, "Unknown")

    def get_status(self) -> int:
        """Return the HTTP status."""
        return self._status_code

    def set_header(self, name: str, value: HeaderValue) -> None:
        """Set a header, replacing its value; also for the answer that opens a WebSocket.

        Raises:
            RuntimeError: the WebSocket is open; ``prepare()`` and ``get()`` are before that.
            TypeError: the value has a wrong type.
            ValueError: the header can't be sent.
        """
        self._ws_check_not_open("set_header")
        self.clear_header(name)
        self.add_header(name, value)

    def add_header(self, name: str, value: HeaderValue) -> None:
        """Add a header, which may occur several times; otherwise as :meth:`set_header`."""
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        elif isinstance(value, datetime.datetime):
            value = http_date(_timestamp(value))
        elif isinstance(value, int):
            value = str(value)
        self._headers[name] = value

    def clear_header(self, name: str) -> None:
        """Remove a header. Idempotent."""
        if name in self._headers:
            del self._headers[name]

    def set_cookie(
        self,
        name: str,
        value: str | bytes,
        domain: str | None = None,
        expires: float | datetime.datetime | None = None,
        path: str = "/",
        expires_days: float | None = None,
        **attributes: Any,
    ) -> None:
        """Tell the browser to keep a cookie.

        Args:
            name: its name.
            value: its value.
            domain: the hosts it is for; by default only this one.
            expires: until when it is kept, a timestamp or a time; by default while the browser
                runs.
            path: the paths it is for.
            expires_days: days to keep it, unless ``expires`` is given.
            attributes: further ones, such as ``max_age=60``, ``httponly=True``.

        Raises:
            RuntimeError: the WebSocket is open.
            http.cookies.CookieError: there is no such attribute, or the name, or the value of
                an attribute, can't be sent.
        """
        self._ws_check_not_open("set_cookie")
        if expires is None and expires_days is not None:
            expires = time.time() + expires_days * 86400
        if isinstance(expires, datetime.datetime):
            expires = _timestamp(expires)
        attributes.update(domain=domain, path=path)
        attributes["expires"] = None if expires is None else http_date(expires)
        cookie: SimpleCookie = SimpleCookie()
        cookie[name] = value.decode() if isinstance(value, bytes) else value
        morsel: Morsel[Any] = cookie[name]
        for key, attribute in attributes.items():
            if attribute is None:
                continue
            if _ENDS_ATTRIBUTE.search(str(attribute)):
                raise CookieError(f"{key}={attribute!r} of cookie {name!r} can't be sent")
            morsel[key.replace("_", "-")] = attribute
        self.add_header("Set-Cookie", morsel.OutputString())

    def clear_cookie(self, name: str, path: str = "/", domain: str | None = None) -> None:
        """Tell the browser to forget a cookie that was set with this path and domain."""
        self.set_cookie(name, "", domain, expires=0, path=path)

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        """Append to the answer; a str as UTF-8, a dict as JSON.

        Raises:
            RuntimeError: the answer is finished, or the WebSocket is open.
            TypeError: it can't be written.
        """
        if self._finished or self._ws_upgrading:
            raise RuntimeError(
                "write() is for answers to plain requests, before finish(); "
                "write_message() sends over a WebSocket"
            )
        if isinstance(chunk, dict):
            self.set_header("Content-Type", "application/json; charset=UTF-8")
            chunk = json.dumps(chunk)
        if not isinstance(chunk, (str, bytes)):
            raise TypeError(f"write() takes str, bytes and dict, not {type(chunk).__name__}")
        self._write_buffer.append(chunk.encode() if isinstance(chunk, str) else chunk)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> None:
        """End the answer, after appending to it. In ``prepare()``: ``get()`` isn't called.

        Raises:
            RuntimeError: the answer is already finished, or the WebSocket is open.
        """
        if self._finished or self._ws_upgrading:
            raise RuntimeError("the answer is finished already")
        if chunk is not None:
            self.write(chunk)
        self._finished = True

    def _ws_check_not_open(self, name: str) -> None:
        if self._ws_open:
            raise RuntimeError(
                f"{name}() is for the answer to the request, which was sent when the WebSocket "
                "opened: call it in prepare() or get()"
            )

    def redirect(self, url: str, permanent: bool = False, status: int | None = None) -> None:
        """Finish with a redirect: 302, or 301 if it is permanent, or another status."""
        self.set_header("Location", url.encode())  # in UTF-8, as browsers read it
        self.set_status((301 if permanent else 302) if status is None else status)
        self.finish()

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Finish with an error in place of what was written; :meth:`write_error` has the text.

        Args:
            status_code: the HTTP status.
            kwargs: ``reason``, the reason phrase, and anything else that ``write_error()`` knows.
        """
        self.clear()
        self.set_status(status_code, kwargs.pop("reason", None))
        self.write_error(status_code, **kwargs)
        if not self._finished:
            self.finish()


def _timestamp(value: datetime.datetime) -> float:
    """Return a time as a timestamp; without a time zone it is in UTC."""
    return calendar.timegm(value.utctimetuple())


def build_answer(handler: Answering, methods: Sequence[str]) -> Response:
    """Return what a handler put together.

    Args:
        handler: the handler.
        methods: those that it answers.
    """
    headers, body = handler._headers, b"".join(handler._write_buffer)
    if handler._status_code == 304 or not may_have_body(handler._status_code):
        body = b""
    if "Content-Type" not in headers and body:
        headers["Content-Type"] = "text/html; charset=UTF-8"
    if handler._status_code == 405 and "Allow" not in headers:
        headers["Allow"] = ", ".join(methods)
    return Response(handler._status_code, handler._reason, headers, body)
