"""Exceptions by the names that websocket-client has for them.

Where one of the library's own says the same, the name is another one for it. The others are
subclasses, so that ``except`` finds them by their older name and by ours: a timeout is a
:exc:`WebSocketException` here and the built-in :exc:`TimeoutError`, too.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ..client.resolver import AddressError
from ..exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    InvalidStatus,
    PayloadTooBig,
    ProtocolError,
    ProxyError,
    TooManyFragments,
    WebSocketException,
)
from ..foreign import escape
from ..sansio.close import Close

__all__ = [
    "NotConnected",
    "ServerClosed",
    "WebSocketAddressException",
    "WebSocketBadStatusException",
    "WebSocketConnectionClosedException",
    "WebSocketException",
    "WebSocketPayloadException",
    "WebSocketProtocolException",
    "WebSocketProxyException",
    "WebSocketTimeoutException",
    "raise_as_known",
    "translate",
]

#: The connection is closed; also raised with the names below, which say why.
WebSocketConnectionClosedException = ConnectionClosed

#: A rule of the protocol was broken.
WebSocketProtocolException = ProtocolError

#: The proxy did not connect us.
WebSocketProxyException = ProxyError


class WebSocketTimeoutException(WebSocketException, TimeoutError):
    """It took longer than the timeout."""


class WebSocketAddressException(WebSocketException, AddressError):
    """The host isn't known."""


class WebSocketPayloadException(ConnectionClosedError):
    """The connection is closed: what was received isn't UTF-8, or is too big."""


class WebSocketBadStatusException(InvalidStatus):
    """The server answered the opening handshake with another status than 101.

    Attributes:
        status_code: the HTTP status.
        response: the whole response.
    """

    @property
    def status_message(self) -> str:
        """The words after the status."""
        return self.response.reason_phrase

    @property
    def resp_headers(self) -> dict[str, str]:
        """The response's headers, by names in lower case."""
        return as_dict(self.response.headers)

    @property
    def resp_body(self) -> bytes:
        """The response's body, as far as it came."""
        return self.response.body or b""


class NotConnected(ConnectionClosedError):
    """There is no connection: not yet, or not any more."""

    def __init__(self, text: str) -> None:
        super().__init__(None, None)
        self.args = (text,)

    def _describe(self) -> str:
        return str(self.args[0])


class ServerClosed(NotConnected):
    """The server has sent a close frame: what ``on_error`` is called with.

    Attributes:
        status_code: its code, or ``None``.
    """

    def __init__(self, close: Close | None) -> None:
        code = self.status_code = None if close is None else int(close.code)
        text = "Connection closed"
        if code is not None:
            text += " normally (code 1000)" if code == 1000 else f" (code {code})"
        if close is not None and close.reason:
            text += f": {escape(close.reason)}"
        super().__init__(text)
        if close is not None:
            self.rcvd, self.sent, self.rcvd_then_sent = close, close, True


class _BrokenRule(ConnectionClosedError, ProtocolError):
    """The connection is closed: the server broke a rule of the protocol."""


#: What is as it should be already.
_KNOWN = (WebSocketTimeoutException, WebSocketAddressException, WebSocketBadStatusException)


def translate(exc: Exception) -> Exception:
    """Return an exception of the names above for one of the library's; or the same."""
    if isinstance(exc, ConnectionClosed):
        cause = exc.__cause__
        if type(exc) is not ConnectionClosedError:
            return exc
        arguments = (exc.rcvd, exc.sent, exc.rcvd_then_sent)
        if isinstance(cause, ProtocolError):
            return _BrokenRule(*arguments)
        if isinstance(cause, (UnicodeDecodeError, PayloadTooBig, TooManyFragments)):
            return WebSocketPayloadException(*arguments)
        return exc
    if isinstance(exc, _KNOWN):
        return exc
    if isinstance(exc, InvalidStatus):
        return WebSocketBadStatusException(exc.response)
    if isinstance(exc, AddressError):
        return WebSocketAddressException(exc.errno, exc.strerror, exc.filename)
    if isinstance(exc, TimeoutError):
        return WebSocketTimeoutException(*exc.args)
    return exc


def raise_as_known(exc: Exception) -> NoReturn:
    """Raise what :func:`translate` makes of an exception, with that as its cause."""
    known = translate(exc)
    if known is exc:
        raise exc
    raise known from exc


def as_dict(headers: Any) -> dict[str, str]:
    """Return headers by names in lower case; several of one name become one."""
    return {name: ", ".join(headers.get_all(name)) for name in headers}
