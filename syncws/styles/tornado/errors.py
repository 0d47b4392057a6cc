"""What handlers raise, and what they may not return."""

from __future__ import annotations

import http.client
from typing import Any, Callable

from ...server.callables import refuse_awaitable

__all__ = ["Finish", "HTTPError", "MissingArgumentError", "call"]


class HTTPError(Exception):
    """Raised by a handler, in place of an answer, to refuse the request.

    Args:
        status_code: the HTTP status.
        log_message: what to log, as a warning; the client doesn't see it.
        args: for the message, as for a logger.
        reason: the reason phrase in place of the status's own.
    """

    def __init__(
        self,
        status_code: int = 500,
        log_message: str | None = None,
        *args: Any,
        reason: str | None = None,
    ) -> None:
        super().__init__(status_code, log_message, *args)
        self.status_code = status_code
        self.log_message = log_message
        self.log_args = args
        self.reason = reason

    def __str__(self) -> str:
        reason = self.reason or http.client.responses.get(self.status_code, "Unknown")
        message = f"HTTP {self.status_code}: {reason}"
        if self.log_message is None:
            return message
        detail = self.log_message % self.log_args if self.log_args else self.log_message
        return f"{message} ({detail})"


class MissingArgumentError(HTTPError):
    """The query lacks an argument; answered with 400.

    Attributes:
        arg_name: its name.
    """

    def __init__(self, arg_name: str) -> None:
        super().__init__(400, "Missing argument %s", arg_name)
        self.arg_name = arg_name


class Finish(Exception):  # the name that programs know
    """Raised by a handler to end here, with the answer as it is and the argument appended."""


def call(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a method of the program; return what it returned.

    Raises:
        TypeError: the result has to be awaited, which nothing here does; and what the method
            raises.
    """
    result = method(*args, **kwargs)
    if result is None:
        return None
    text = f"{method.__name__}() returned something to await; here it is a plain function"
    return refuse_awaitable(result, text)
