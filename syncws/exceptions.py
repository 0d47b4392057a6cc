"""Every exception of the library.

::

    Exception
    ├── WebSocketException
    │   ├── ConnectionClosed
    │   │   ├── ConnectionClosedOK
    │   │   └── ConnectionClosedError
    │   ├── InvalidURI
    │   ├── InvalidProxy
    │   ├── InvalidHandshake
    │   │   ├── SecurityError
    │   │   │   ├── RequestBodyTooLong
    │   │   │   ├── RequestLineTooLong
    │   │   │   ├── StatusLineTooLong
    │   │   │   ├── HeaderLineTooLong
    │   │   │   └── TooManyHeaders
    │   │   ├── ProxyError
    │   │   │   ├── InvalidProxyMessage
    │   │   │   └── InvalidProxyStatus
    │   │   ├── InvalidMessage
    │   │   ├── InvalidMethod
    │   │   ├── InvalidProtocol
    │   │   ├── InvalidStatusCode
    │   │   │   └── InvalidStatus
    │   │   ├── InvalidHeader
    │   │   │   ├── InvalidHeaderFormat
    │   │   │   ├── InvalidHeaderValue
    │   │   │   ├── InvalidOrigin
    │   │   │   └── InvalidUpgrade
    │   │   ├── NegotiationError
    │   │   │   ├── DuplicateParameter
    │   │   │   ├── InvalidParameterName
    │   │   │   └── InvalidParameterValue
    │   │   ├── AbortHandshake
    │   │   ├── RedirectHandshake
    │   │   ├── InvalidHost
    │   │   └── ServerBusy
    │   ├── ProtocolError
    │   ├── PayloadTooBig
    │   ├── TooManyFragments
    │   ├── InvalidState            (also AssertionError)
    │   ├── ConcurrencyError        (also RuntimeError)
    │   ├── SendTimeout             (also TimeoutError)
    │   ├── SlowPeer
    │   └── HubError
    │       └── HubUnavailable
    └── LookupError
        └── MultipleValuesError

A program that uses connections meets :exc:`ConnectionClosed`, the built-in
:exc:`TimeoutError`, and, while connecting, :exc:`InvalidURI`,
:exc:`InvalidHandshake` and :exc:`OSError`. What made a connection fail (a
protocol violation, a message over the limit, an :exc:`OSError`) is the
``__cause__`` of the :exc:`ConnectionClosedError` it leads to.

All of them can be pickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .foreign import escape, hide_credentials

if TYPE_CHECKING:
    from .sansio.close import Close
    from .sansio.headers import HeadersLike
    from .sansio.http11 import Response

__all__ = [
    "AbortHandshake",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DuplicateParameter",
    "HeaderLineTooLong",
    "HubError",
    "HubUnavailable",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidHeaderFormat",
    "InvalidHeaderValue",
    "InvalidHost",
    "InvalidMessage",
    "InvalidMethod",
    "InvalidOrigin",
    "InvalidParameterName",
    "InvalidParameterValue",
    "InvalidProtocol",
    "InvalidProxy",
    "InvalidProxyMessage",
    "InvalidProxyStatus",
    "InvalidState",
    "InvalidStatus",
    "InvalidStatusCode",
    "InvalidURI",
    "InvalidUpgrade",
    "MultipleValuesError",
    "NegotiationError",
    "PayloadTooBig",
    "ProtocolError",
    "ProxyError",
    "RedirectHandshake",
    "RequestBodyTooLong",
    "RequestLineTooLong",
    "SecurityError",
    "SendTimeout",
    "ServerBusy",
    "SlowPeer",
    "StatusLineTooLong",
    "TooManyFragments",
    "TooManyHeaders",
    "WebSocketException",
]


class WebSocketException(Exception):
    r"""Base of every exception that the library defines, except one (a lookup).

    Its text is safe to log and to print, whoever wrote what it quotes: control characters, line
    breaks, characters that change the direction of text, and halves of surrogate pairs are escaped,
    for example as ``\x9b``. Attributes and arguments are unchanged.
    """

    def __str__(self) -> str:
        return escape(self._describe())

    def _describe(self) -> str:
        return super().__str__()


# --- an open connection ----------------------------------------------------------


class ConnectionClosed(WebSocketException):
    """The connection is closed: nothing more can be sent or received.

    Attributes:
        rcvd: the close frame received, or ``None``.
        sent: the close frame sent, or ``None``.
        rcvd_then_sent: whether it was received first; ``None`` unless both are there.
    """

    def __init__(
        self,
        rcvd: Close | None,
        sent: Close | None,
        rcvd_then_sent: bool | None = None,
    ) -> None:
        super().__init__(rcvd, sent, rcvd_then_sent)
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent
        assert (rcvd_then_sent is None) == (rcvd is None or sent is None)

    def _describe(self) -> str:
        received, sent = f"received {self.rcvd}", f"sent {self.sent}"
        if self.rcvd is None:
            return (
                "no close frame received or sent"
                if self.sent is None
                else (f"{sent}; no close frame received")
            )
        if self.sent is None:
            return f"{received}; no close frame sent"
        return f"{received}; then {sent}" if self.rcvd_then_sent else f"{sent}; then {received}"

    @property
    def code(self) -> int:
        """The close code received; 1006 if no close frame was (RFC 6455 §7.1.5)."""
        return 1006 if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """The close reason received; empty if there was none (RFC 6455 §7.1.6)."""
        return "" if self.rcvd is None else self.rcvd.reason


class ConnectionClosedOK(ConnectionClosed):
    """The connection ended normally: both close frames, with 1000, 1001 or no code."""


class ConnectionClosedError(ConnectionClosed):
    """The connection ended with an error; ``__cause__`` has the error if this end saw it."""


class ProtocolError(WebSocketException):
    """A rule of the protocol was broken; the connection fails with 1002."""


#: Its older name.
WebSocketProtocolError = ProtocolError


class PayloadTooBig(WebSocketException):
    """A frame or a message is larger than allowed; the connection fails with 1009.

    Attributes:
        size: the size in bytes, or ``None`` where it isn't known (compressed).
        max_size: the limit in bytes.
        current_size: bytes of the same message that came in earlier fragments.
    """

    def __init__(
        self, size: int | None, max_size: int | None, current_size: int | None = None
    ) -> None:
        super().__init__(size, max_size, current_size)
        self.size = size
        self.max_size = max_size
        self.current_size = current_size

    def set_current_size(self, current_size: int) -> None:
        """Say how much of the message was there before the frame that is too big."""
        assert self.current_size is None
        if self.max_size is not None:
            self.max_size += current_size
        if self.size is not None:
            self.size += current_size
        self.current_size = current_size
        self.args = (self.size, self.max_size, self.current_size)

    def _describe(self) -> str:
        what = "frame" if self.current_size is None else "message"
        size = "" if self.size is None else f" with {self.size} bytes"
        before = (
            ""
            if self.current_size is None
            else (f" ({self.current_size} bytes of it in earlier fragments)")
        )
        return f"{what}{size}{before} exceeds the limit of {self.max_size} bytes"


class TooManyFragments(WebSocketException):
    """A message has more fragments than allowed; the connection fails with 1009."""


class InvalidState(WebSocketException, AssertionError):
    """The operation makes no sense in the connection's state."""


class ConcurrencyError(WebSocketException, RuntimeError):
    """Two calls exclude each other, and waiting could not help."""


class SendTimeout(WebSocketException, TimeoutError):
    """The message was not sent in time. Nothing was written, and the connection stays usable."""


class SlowPeer(WebSocketException):
    """A peer reads too slowly: more bytes than allowed wait for it, or would with one more message.

    Attributes:
        buffered: bytes that wait.
        limit: the limit in bytes.
    """

    def __init__(self, buffered: int, limit: int) -> None:
        super().__init__(buffered, limit)
        self.buffered = buffered
        self.limit = limit

    def _describe(self) -> str:
        with_it = "" if self.buffered > self.limit else "with the next message "
        text = f"{self.buffered} bytes wait for a slow peer, {with_it}more than the limit of"
        return f"{text} {self.limit}"


class HubError(WebSocketException):
    """What carries the messages of a hub's rooms refuses something; its own error is the cause."""


class HubUnavailable(HubError):
    """What carries the messages of a hub's rooms can't be reached, or wasn't in time."""


# --- the opening handshake -------------------------------------------------------


class InvalidURI(WebSocketException):
    """The URI isn't one of a WebSocket endpoint.

    Neither text nor ``repr()`` shows what may be a user name or a password.

    Attributes:
        uri: the URI, with everything in it.
        msg: what is wrong with it.
    """

    def __init__(self, uri: str, msg: str) -> None:
        super().__init__(uri, msg)
        self.uri = uri
        self.msg = msg

    def _describe(self) -> str:
        # Without user and password: this ends up in logs.
        return f"{hide_credentials(self.uri)!r} isn't a valid WebSocket URI: {self.msg}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({hide_credentials(self.uri)!r}, {self.msg!r})"


class InvalidProxy(WebSocketException):
    """The proxy's URL can't be used.

    Neither text nor ``repr()`` shows what may be a user name or a password.

    Attributes:
        proxy: the URL, with everything in it.
        msg: what is wrong with it.
    """

    def __init__(self, proxy: str, msg: str) -> None:
        super().__init__(proxy, msg)
        self.proxy = proxy
        self.msg = msg

    def _describe(self) -> str:
        return f"{hide_credentials(self.proxy)!r} isn't a valid proxy: {self.msg}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({hide_credentials(self.proxy)!r}, {self.msg!r})"


class InvalidHandshake(WebSocketException):
    """Base of what can go wrong in the opening handshake.

    Attributes:
        response: the HTTP response that tells the other side, where the library doesn't send it
            itself but the WSGI application that got the request does. ``None`` otherwise, except in
            subclasses that say what it is.
    """

    response: Response | None = None


class SecurityError(InvalidHandshake):
    """A request or response breaks a rule that keeps the program safe."""


class RequestBodyTooLong(SecurityError):
    """The body of a plain request is over its limit; answered with 413."""


class RequestLineTooLong(SecurityError):
    """The request line is over its limit; answered with 414."""


class StatusLineTooLong(SecurityError):
    """The status line is over its limit."""


class HeaderLineTooLong(SecurityError):
    """A header line is over its limit; answered with 431."""


class TooManyHeaders(SecurityError):
    """There are more header lines than allowed, or more bytes in them; answered with 431."""


class ProxyError(InvalidHandshake):
    """The proxy did not connect us."""


class InvalidProxyMessage(ProxyError):
    """The proxy's response isn't valid HTTP."""


class InvalidProxyStatus(ProxyError):
    """The proxy refused.

    Attributes:
        response: its response.
    """

    response: Response

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response

    def _describe(self) -> str:
        return f"proxy refused the connection: HTTP {self.response.status_code}"


class InvalidMessage(InvalidHandshake):
    """The handshake's request or response isn't valid HTTP/1.1; ``__cause__`` says why."""


class InvalidMethod(InvalidHandshake):
    """The request's method isn't GET; answered with 405.

    Attributes:
        method: the method.
    """

    def __init__(self, method: str) -> None:
        super().__init__(method)
        self.method = method

    def _describe(self) -> str:
        return f"unsupported HTTP method: expected GET, got {self.method}"


class InvalidProtocol(InvalidHandshake):
    """The HTTP version isn't 1.1; answered with 505.

    Attributes:
        protocol: the version, as sent.
    """

    def __init__(self, protocol: str) -> None:
        super().__init__(protocol)
        self.protocol = protocol

    def _describe(self) -> str:
        return f"unsupported HTTP version: expected HTTP/1.1, got {self.protocol}"


class InvalidStatusCode(InvalidHandshake):
    """The server refused: an older name, which also catches :exc:`InvalidStatus`.

    Attributes:
        status_code: the HTTP status.
        headers: the response's headers.
    """

    def __init__(self, status_code: int, headers: Any) -> None:
        super().__init__(status_code, headers)
        self.status_code = status_code
        self.headers = headers

    def _describe(self) -> str:
        return f"server rejected the WebSocket connection: HTTP {self.status_code}"


class InvalidStatus(InvalidStatusCode):
    """The server answered the opening handshake with a status other than 101.

    Attributes:
        response: the whole response, with as much of its body as came.
    """

    response: Response

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code, response.headers)
        self.args = (response,)
        self.response = response


class InvalidHeader(InvalidHandshake):
    """A header is missing or wrong.

    Attributes:
        name: the header.
        value: its value; ``None`` if it is missing.
    """

    def __init__(self, name: str, value: str | None = None) -> None:
        super().__init__(name, value)
        self.name = name
        self.value = value

    def _describe(self) -> str:
        if self.value is None:
            return f"missing {self.name} header"
        if self.value == "":
            return f"empty {self.name} header"
        return f"invalid {self.name} header: {self.value}"


class InvalidHeaderFormat(InvalidHeader):
    """A header can't be parsed."""

    def __init__(self, name: str, error: str, header: str, pos: int) -> None:
        super().__init__(name, f"{error} at {pos} in {header}")
        self.args = (name, error, header, pos)


class InvalidHeaderValue(InvalidHeader):
    """A header can be parsed, but its value can't be used."""


class InvalidOrigin(InvalidHeader):
    """The request's Origin isn't allowed; answered with 403."""

    def __init__(self, origin: str | None) -> None:
        super().__init__("Origin", origin)
        self.args = (origin,)


class InvalidUpgrade(InvalidHeader):
    """Upgrade or Connection don't ask for, or agree to, a WebSocket; answered with 426."""


class InvalidHost(InvalidHandshake):
    """The request's Host isn't one that the server answers for.

    Attributes:
        host: the Host header's value.
    """

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host

    def _describe(self) -> str:
        return f"host {self.host!r} isn't served here"


class ServerBusy(InvalidHandshake):
    """The server has as many connections as it is allowed; answered with 503.

    Attributes:
        limit: the number of connections.
        retry_after: seconds after which another try makes sense.
        per_address: whether the limit is that of the client's address.
    """

    def __init__(self, limit: int, retry_after: float, per_address: bool = False) -> None:
        super().__init__(limit, retry_after, per_address)
        self.limit = limit
        self.retry_after = retry_after
        self.per_address = per_address

    def _describe(self) -> str:
        who = "this address" if self.per_address else "server"
        return f"{who} has its {self.limit} connections; try again in {self.retry_after:g} s"


class NegotiationError(InvalidHandshake):
    """Extensions or subprotocols could not be agreed on; answered with 400."""


class DuplicateParameter(NegotiationError):
    """An extension's parameter occurs twice.

    Attributes:
        name: the parameter.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def _describe(self) -> str:
        return f"duplicate extension parameter: {self.name}"


class InvalidParameterName(NegotiationError):
    """An extension's parameter isn't known.

    Attributes:
        name: the parameter.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def _describe(self) -> str:
        return f"unknown extension parameter: {self.name}"


class InvalidParameterValue(NegotiationError):
    """An extension's parameter has a wrong value.

    Attributes:
        name: the parameter.
        value: its value; ``None`` if there is none.
    """

    def __init__(self, name: str, value: str | None) -> None:
        super().__init__(name, value)
        self.name = name
        self.value = value

    def _describe(self) -> str:
        if self.value is None:
            return f"missing value for extension parameter {self.name}"
        return f"invalid value for extension parameter {self.name}: {self.value!r}"


class AbortHandshake(InvalidHandshake):
    """Raised by a ``process_request`` function to answer with a plain HTTP response.

    Attributes:
        status: the status, an :class:`http.HTTPStatus`.
        headers: headers of the response.
        body: its body.
    """

    def __init__(self, status: int, headers: HeadersLike = (), body: bytes = b"") -> None:
        super().__init__(status, headers, body)
        import http

        self.status: http.HTTPStatus = http.HTTPStatus(status)
        self.headers = headers
        self.body = body

    def _describe(self) -> str:
        return f"HTTP {self.status:d}, {len(self.body)} bytes"


class RedirectHandshake(InvalidHandshake):
    """The server redirects.

    Attributes:
        uri: the target.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.uri = uri

    def _describe(self) -> str:
        return f"redirect to {hide_credentials(self.uri)}"


# --- lookups ---------------------------------------------------------------------


class MultipleValuesError(LookupError):
    """``headers[name]`` was asked for a header that occurs several times."""

    def __str__(self) -> str:
        if len(self.args) == 1:
            return f"{self.args[0]!r} occurs several times; use get_all()"
        return super().__str__()
