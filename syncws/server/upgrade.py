"""The server's end of a connection: answering the opening handshake."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from ..aliases import LoggerLike
from ..exceptions import (
    AbortHandshake,
    InvalidHandshake,
    InvalidOrigin,
    WebSocketException,
)
from ..options import Options
from ..sansio.headers import Headers, HeadersLike
from ..sansio.http11 import Request, Response
from ..sansio.server_protocol import ServerProtocol, build_response
from ..threaded.connection import Connection
from ..threaded.deadline import Deadline
from ..threaded.transport import TlsTransport, Transport
from ..version import __version__
from .callables import SelectSubprotocol

if TYPE_CHECKING:
    import socket

    from .serve import ThreadingServer

__all__ = ["RETRY_AFTER", "SERVER_HEADER", "ServerConnection", "Upgrade"]

#: What we call ourselves.
SERVER_HEADER = f"Python/{sys.version_info[0]}.{sys.version_info[1]} syncws/{__version__}"

#: Seconds after which another try makes sense when a server is full or stops.
RETRY_AFTER = 5

#: Seconds and bytes that a refused client may go on sending before it is cut off: closing
#: with unread input would reset the connection, and with it the response.
LINGER_TIMEOUT = 2.0
LINGER_SIZE = 1 << 20

ProcessRequest = Callable[["ServerConnection", Request], Optional[Response]]
ProcessResponse = Callable[["ServerConnection", Request, Response], Optional[Response]]
ExtraHeaders = Union[HeadersLike, Callable[[str, Headers], HeadersLike], None]


@dataclass(frozen=True)
class Upgrade:
    """How a server answers opening handshakes. See :func:`~syncws.serve`."""

    process_request: ProcessRequest | None = None
    process_response: ProcessResponse | None = None
    extra_headers: ExtraHeaders = None
    server_header: str | None = SERVER_HEADER
    select_subprotocol: SelectSubprotocol | None = None


class ServerConnection(Connection):
    """A server's connection: what a handler gets.

    Args:
        sock: a connected socket, or a transport; the connection owns it from now on.
        protocol: the codec, before the opening handshake.
        server: the server that accepted it, if one did.
        options: limits and times.
        upgrade: how to answer the opening handshake.
        logger: where to log; ``syncws.server`` by default.

    Attributes:
        server: the server that accepted it, or ``None``.
    """

    protocol: ServerProtocol

    def __init__(
        self,
        sock: socket.socket | Transport,
        protocol: ServerProtocol,
        server: ThreadingServer | None = None,
        *,
        options: Options | None = None,
        upgrade: Upgrade | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        super().__init__(sock, protocol, options=options, logger=logger)
        self.server = server
        self._upgrade = upgrade or Upgrade()
        select = self._upgrade.select_subprotocol
        if select is not None:
            protocol._select_subprotocol = lambda _, offered: select(self, offered)

    def respond(
        self, status: int, text: str | bytes = "", headers: HeadersLike | None = None
    ) -> Response:
        """Return a plain HTTP response, for a ``process_request`` function to return.

        Args:
            status: the HTTP status.
            text: the body; a str is sent as UTF-8.
            headers: further headers, also in place of those that we would set.
        """
        return build_response(status, text, headers)

    def process_request(self, request: Request) -> Response | None:
        """Return a response in place of the opening handshake's, or ``None`` to go on.

        Calls the server's ``process_request``; a subclass may do something else. It runs for
        every HTTP request, also for other methods than GET.
        """
        process = self._upgrade.process_request
        return None if process is None else process(self, request)

    def process_response(self, request: Request, response: Response) -> Response | None:
        """Return a response in place of the given one, or ``None`` to send that.

        Calls the server's ``process_response``; a subclass may do something else.
        """
        process = self._upgrade.process_response
        return None if process is None else process(self, request, response)

    def handshake(self, timeout: float | None = None) -> None:
        """Shake hands (RFC 6455 §4.2); the connection is then open, or closed.

        Args:
            timeout: seconds that it may take; ``None`` waits forever.

        Raises:
            InvalidHandshake: the request was refused.
            TimeoutError: the client did not send it in time.
            OSError: the connection broke.
        """
        try:
            self._handshake(Deadline(timeout))
            self._start()
        except BaseException as exc:
            if not self._started:
                self._finish(exc)
            else:  # interrupted just after it was open
                self._abort(exc)
            raise

    def _handshake(self, deadline: Deadline) -> None:
        transport, protocol = self._transport, self.protocol
        if isinstance(transport, TlsTransport):
            transport.handshake(deadline)
        events = protocol.events_received()
        while not events and protocol.handshake_exc is None:
            data = transport.recv(deadline)
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
            events = protocol.events_received()
        if events:
            request = events[0]
            assert isinstance(request, Request)
            self.request = request
            response = self._respond(request)
            if deadline.expired:
                raise TimeoutError("timed out during opening handshake")
            self.response = response
            protocol.send_response(response)
        if protocol.handshake_exc is not None:
            self._log_refusal()
        for data in protocol.data_to_send():
            if data:
                transport.send_all(data, deadline)
            else:
                transport.finish_sending()
        if protocol.handshake_exc is not None:
            self._linger(deadline)
            raise protocol.handshake_exc

    def _respond(self, request: Request) -> Response:
        """Return the response to a request; failures of the program's functions become 500."""
        try:
            try:
                response = self._decide(request)
            except AbortHandshake as exc:
                self.protocol.handshake_exc = exc
                response = build_response(exc.status, exc.body, exc.headers)
                self._complete(request, response, None)
            response.serialize()  # refuse here what can't be sent
        except Exception as exc:
            self.logger.exception("opening handshake failed")
            self.protocol.handshake_exc = InvalidHandshake(f"the server failed: {exc!r}")
            self.protocol.handshake_exc.__cause__ = exc
            response = build_response(500, "Failed to open a WebSocket connection.\n")
            self._complete(request, response, None)
        return response

    def _decide(self, request: Request) -> Response:
        response = _copy(self.process_request(request), "process_request")
        if response is None:
            response = self._refuse_when_busy() or self.protocol.accept(request)
            exc = self.protocol.handshake_exc
            ours = isinstance(exc, WebSocketException) and not isinstance(exc, AbortHandshake)
            if exc is not None and not ours:
                raise exc  # the program's: by select_subprotocol, or an extension
        self._complete(request, response, self._upgrade.extra_headers)
        replacement = _copy(self.process_response(request, response), "process_response")
        if replacement is not None:
            self._complete(request, replacement, None)
        return replacement or response

    def _refuse_when_busy(self) -> Response | None:
        exc = None if self.server is None else self.server.refusal(self)
        if exc is None:
            return None
        self.protocol.handshake_exc = exc
        text = f"Failed to open a WebSocket connection: {exc}.\n"
        return build_response(503, text, {"Retry-After": str(RETRY_AFTER)})

    def _complete(self, request: Request, response: Response, extra: ExtraHeaders) -> None:
        """Add headers; those that the program sets come before ours."""
        headers = response.headers
        if extra is not None:
            more: Any = extra
            headers.update(more(request.path, request.headers) if callable(more) else more)
        if "Date" not in headers:
            headers["Date"] = http_date(time.time())
        if self._upgrade.server_header is not None and "Server" not in headers:
            headers["Server"] = self._upgrade.server_header
        if response.status_code == 101:
            return
        if "Connection" not in headers:
            headers["Connection"] = "close"
        if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
            headers["Content-Length"] = str(len(response.body))
        if request.method == "HEAD":
            response.body = b""

    def _linger(self, deadline: Deadline) -> None:
        """Let the client read the response, before closing resets the connection."""
        remaining = deadline.remaining()
        limit = Deadline(LINGER_TIMEOUT if remaining is None else min(LINGER_TIMEOUT, remaining))
        received = 0
        with contextlib.suppress(OSError):  # a timeout is one
            while received < LINGER_SIZE:
                data = self._transport.recv(limit)
                if not data:
                    return
                received += len(data)

    def _log_refusal(self) -> None:
        exc = self.protocol.handshake_exc
        if isinstance(exc, InvalidOrigin) and self.request is not None:
            self.logger.warning(
                "connection from origin %s to host %s refused; origins=[%r] would accept it",
                exc.value,
                self.request.headers.get("Host"),
                exc.value,
            )
        else:
            self.logger.info("connection from %s refused: %s", self.remote_address, exc)


def _copy(response: Response | None, source: str) -> Response | None:
    """Return a response of the program's that can be changed: it may be used again."""
    if response is None:
        return None
    if not isinstance(response, Response):
        raise TypeError(f"{source} returns a Response or None, not {type(response).__name__}")
    return Response(
        response.status_code, response.reason_phrase, Headers(response.headers), response.body
    )


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(timestamp: float) -> str:
    """Return a time as HTTP writes it, in English whatever the locale (RFC 9110 §5.6.7)."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(timestamp)
    date = f"{DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year}"
    return f"{date} {hour:02}:{minute:02}:{second:02} GMT"
