"""Exceptions by the names that websocket-client has for them.

They are subclasses of the library's own, so that ``except`` finds them by their older names and by
ours: a timeout is both a :exc:`WebSocketException` here and the built-in :exc:`TimeoutError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ...client.resolver import AddressError
from ...exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidStatus,
    InvalidStatusCode,
    InvalidURI,
    PayloadTooBig,
    ProtocolError,
    ProxyError,
    TooManyFragments,
    WebSocketException,
)
from ...foreign import escape
from ...sansio.close import Close

if TYPE_CHECKING:
    from ...sansio.http11 import Response

__all__ = [
    "InvalidURL",
    "NotConnected",
    "NothingYet",
    "ServerClosed",
    "WebSocketAddressException",
    "WebSocketBadStatusException",
    "WebSocketConnectionClosedException",
    "WebSocketException",
    "WebSocketPayloadException",
    "WebSocketProtocolException",
    "WebSocketProxyException",
    "WebSocketTimeoutException",
    "WrongArgument",
    "check_status",
    "raise_as_known",
    "translate",
]


class WebSocketConnectionClosedException(ConnectionClosed):
    """The connection is closed. Programs may raise it with a text, or nothing, of their own."""

    def __init__(self, *args: Any) -> None:
        self._has_text = len(args) < 2 or not all(
            arg is None or isinstance(arg, Close) for arg in args[:2]
        )
        if self._has_text:
            super().__init__(None, None)
            self.args = args
        else:
            super().__init__(*args)

    def _describe(self) -> str:
        return Exception.__str__(self) if self._has_text else super()._describe()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the kinds below by their place in the list, as they share a name."""
        kind = _KINDS.index(type(self)) if type(self) in _KINDS else type(self)
        return _remake, (kind, self.args), self.__dict__


class WebSocketProtocolException(ProtocolError):
    """A rule of the protocol was broken."""


class WebSocketProxyException(ProxyError):
    """The proxy did not connect us."""


class _Renamed(BaseException):
    """Pickles kinds by their place in the list, as they have the name of another class."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (_KINDS.index(type(self)), self.args), self.__dict__


class WrongArgument(WebSocketException, _Renamed, ValueError):
    """An argument is wrong; also a :exc:`ValueError`."""


class InvalidURL(InvalidURI, ValueError):
    """The URL isn't one of a WebSocket server; also a :exc:`ValueError`."""


class WebSocketTimeoutException(WebSocketException, TimeoutError):
    """It took longer than the timeout."""


class NothingYet(WebSocketTimeoutException, _Renamed, BlockingIOError):
    """There is nothing, and the timeout is 0; also a :exc:`BlockingIOError`."""


class WebSocketAddressException(WebSocketException, AddressError):
    """The host isn't known."""


class _ClosedNormally(WebSocketConnectionClosedException, ConnectionClosedOK):
    """The same, and :exc:`~syncws.ConnectionClosedOK`."""


class _ClosedByError(WebSocketConnectionClosedException, ConnectionClosedError):
    """The same, and :exc:`~syncws.ConnectionClosedError`."""

    def _describe(self) -> str:
        if not self._has_text and self.rcvd is None and self.sent is None:
            return "Connection to remote host was lost."  # what programs look for
        return super()._describe()


class WebSocketPayloadException(_ClosedByError):
    """The connection is closed: what was received isn't UTF-8, or is too big."""


class WebSocketBadStatusException(InvalidStatus):
    """The server answered the opening handshake with a status other than 101.

    Args:
        message: the text.
        status_code: the HTTP status.
        status_message: the words after it.
        resp_headers: the response's headers, by names in lower case.
        resp_body: as much of its body as came.

    Attributes:
        response: the whole response; ``None`` if a program has raised it.
    """

    def __init__(
        self,
        message: str,
        status_code: int,
        status_message: str | None = None,
        resp_headers: dict[str, str] | None = None,
        resp_body: bytes | None = None,
    ) -> None:
        InvalidStatusCode.__init__(self, status_code, resp_headers)
        self.args = (message,)
        self.status_message = status_message
        self.resp_headers = resp_headers
        self.resp_body = resp_body
        self.response: Any = None

    @classmethod
    def from_response(cls, response: Response) -> WebSocketBadStatusException:
        """Return the exception for a response."""
        code, reason, headers = (
            response.status_code,
            response.reason_phrase,
            as_dict(response.headers),
        )
        body = response.body or (b"" if "content-length" in headers else None)
        shown = body.decode("utf-8", "replace") if body else None
        text = f"Handshake status {code} {reason} -+-+- {headers} -+-+- {shown}"
        exc = cls(text, code, reason, headers, body)
        exc.response = response
        return exc

    def _describe(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.status_code), self.__dict__


class NotConnected(_ClosedByError):
    """There is no connection: not yet, or no longer."""


class ServerClosed(NotConnected):
    """The server has sent a close frame: what ``on_error`` is called with.

    Attributes:
        status_code: its code, or ``None``.
        reason: its reason; ``None`` if it has none.
    """

    reason: str | None = None  # type: ignore[assignment]  # a property in a base

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
            self.reason = close.reason or None


class _BrokenRule(WebSocketProtocolException, _ClosedByError):
    """The connection is closed: the server broke a rule of the protocol."""


_KINDS = [
    _ClosedNormally,
    _ClosedByError,
    NotConnected,
    ServerClosed,
    _BrokenRule,
    WrongArgument,
    NothingYet,
]
for _kind in _KINDS:
    # What programs see in logs, and what some of them compare.
    _kind.__name__ = _kind.__qualname__ = _kind.__mro__[1].__name__


def _remake(kind: Any, args: tuple[Any, ...]) -> BaseException:
    """Return an exception that was pickled; its attributes are set after that."""
    cls = _KINDS[kind] if isinstance(kind, int) else kind
    exc: BaseException = cls.__new__(cls, *args)
    exc.args = args
    return exc


#: Exceptions that are already right.
_KNOWN = (
    WebSocketConnectionClosedException,
    WebSocketTimeoutException,
    WebSocketAddressException,
    WebSocketBadStatusException,
    WebSocketProtocolException,
    WebSocketProxyException,
)


def translate(exc: Exception) -> Exception:
    """Return an exception of the names above for one of the library's; or the same."""
    if isinstance(exc, _KNOWN):
        return exc
    if isinstance(exc, ConnectionClosed):
        return _translate_closed(exc)
    if isinstance(exc, InvalidStatus):
        return WebSocketBadStatusException.from_response(exc.response)
    if isinstance(exc, AddressError):
        return WebSocketAddressException(exc.errno, exc.strerror, exc.filename)
    if isinstance(exc, TimeoutError):
        return WebSocketTimeoutException(*exc.args)
    for kind in (WebSocketProtocolException, WebSocketProxyException):
        if isinstance(exc, kind.__mro__[1]):
            known = kind(str(exc))
            known.__dict__.update(exc.__dict__)
            return known
    return exc


def _translate_closed(exc: ConnectionClosed) -> Exception:
    arguments = (exc.rcvd, exc.sent, exc.rcvd_then_sent)
    cause = exc.__cause__
    if isinstance(exc, ConnectionClosedOK):
        return _ClosedNormally(*arguments)
    if isinstance(cause, ProtocolError):
        return _BrokenRule(*arguments)
    if isinstance(cause, (UnicodeDecodeError, PayloadTooBig, TooManyFragments)):
        return WebSocketPayloadException(*arguments)
    return _ClosedByError(*arguments)


def raise_as_known(exc: Exception) -> NoReturn:
    """Raise what :func:`translate` makes of an exception, caused by that or by its cause."""
    known = translate(exc)
    if known is exc:
        raise exc
    if type(known) in (_ClosedNormally, _ClosedByError):
        raise known from exc.__cause__
    raise known from exc


def check_status(status: int) -> None:
    """Refuse what can't be a close code.

    Raises:
        ValueError: it isn't in 0..65535.
    """
    if not 0 <= status < 65536:
        raise ValueError(f"a close code is in 0..65535, got {status}")


def as_dict(headers: Any) -> dict[str, str]:
    """Return headers by names in lower case; several with one name become one."""
    return {name: ", ".join(headers.get_all(name)) for name in headers}
