"""A client's connection, and the opening handshake over it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Callable, Union

from ..aliases import LoggerLike
from ..exceptions import InvalidStatus
from ..options import Options
from ..sansio.client_protocol import ClientProtocol
from ..sansio.headers import Headers, HeadersLike
from ..sansio.http11 import Request, Response
from ..sansio.state import State
from ..threaded.connection import Connection
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from ..version import __version__

if TYPE_CHECKING:
    import socket

    from .carrier import Carrier

__all__ = ["BODY_TIMEOUT", "USER_AGENT", "AdditionalHeaders", "ClientConnection"]

#: How we introduce ourselves.
USER_AGENT = f"Python/{sys.version_info[0]}.{sys.version_info[1]} syncws/{__version__}"

#: Seconds to wait for the body of a refusal, once its status and headers are there. Many bodies
#: never end: on a connection that is kept open, only their length says where they do.
BODY_TIMEOUT = 1.0

AdditionalHeaders = Union[HeadersLike, Callable[[], HeadersLike], None]


class ClientConnection(Connection):
    """A client's connection. :func:`connect` makes it and shakes hands.

    Args:
        sock: a connected socket, or a transport; the connection owns it from now on.
        protocol: the codec, before the opening handshake.
        options: limits and times.
        logger: where to log; ``syncws.client`` by default.
    """

    protocol: ClientProtocol
    # What the base declares, again for type checkers that would infer what is assigned here.
    request: Request | None
    response: Response | None

    def __init__(
        self,
        sock: socket.socket | Transport,
        protocol: ClientProtocol,
        *,
        options: Options | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        super().__init__(sock, protocol, options=options, logger=logger)

    def handshake(
        self,
        additional_headers: AdditionalHeaders = None,
        *,
        user_agent_header: str | None = USER_AGENT,
        timeout: float | None = None,
    ) -> None:
        """Shake hands (RFC 6455 §4.1); the connection is then open, or closed.

        Args:
            additional_headers: added to the request; some replace headers that we would send.
            user_agent_header: value of User-Agent; ``None`` sends none.
            timeout: seconds that it may take; ``None`` waits forever.

        Raises:
            InvalidHandshake: the server refused, or isn't a WebSocket server.
            TimeoutError: it did not answer in time.
            OSError: the connection broke.
            ValueError: a header can't be sent.
        """
        try:
            self._handshake(additional_headers, user_agent_header, Deadline(timeout))
            self._start()
        except BaseException as exc:
            if not self._started:
                self._finish(exc)
            else:  # interrupted just after it was open
                self._abort(exc)
            raise

    def _take_session(
        self, request: Request, response: Response, agreed: Headers, carrier: Carrier
    ) -> None:
        """Open, with a session of the fallback in place of an opening handshake.

        Args:
            request: what has opened the session.
            response: the answer.
            agreed: extensions and subprotocol, as the handshake's response would have them.
            carrier: what moves the bytes, not started yet.

        Raises:
            InvalidHandshake: what wasn't offered is said to be agreed on.
            RuntimeError: no thread is available.
        """
        self.request, self.response = request, response
        try:
            self.protocol.accept(agreed)
            self._start()
            carrier.start(self._abort)
            if not self._call_at_end(carrier.end):
                carrier.end()
        except BaseException as exc:
            if not self._started:
                self._finish(exc)
            else:
                self._abort(exc)
            raise

    def _handshake(
        self,
        additional_headers: AdditionalHeaders,
        user_agent_header: str | None,
        deadline: Deadline,
    ) -> None:
        protocol = self.protocol
        request = protocol.connect()
        if user_agent_header is not None:
            request.headers["User-Agent"] = user_agent_header
        if callable(additional_headers):
            additional_headers = additional_headers()
        if additional_headers is not None:
            add_headers(request.headers, additional_headers)
        self.request = request
        protocol.send_request(request)
        for data in protocol.data_to_send():
            self._transport.send_all(data, deadline)
        has_head = False
        while protocol.state is State.CONNECTING:
            if not has_head and protocol.partial_response is not None:
                has_head = True
                deadline = deadline.within(BODY_TIMEOUT)
            try:
                data = self._transport.recv(deadline)
            except OSError as exc:
                if protocol.partial_response is not None:
                    # The status is there; only the body is not.
                    raise InvalidStatus(protocol.partial_response) from exc
                if isinstance(exc, TimeoutError):
                    raise TimeoutError("timed out during opening handshake") from None
                raise
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc
        (self.response,) = protocol.events_received()  # type: ignore[assignment]


#: Headers that a request has once, so the program's replaces ours.
SINGLE_HEADERS = ("host", "origin", "authorization", "user-agent")

#: Headers that the opening handshake is made of.
OWN_HEADERS = (
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",  # extensions= and compression=
    "sec-websocket-protocol",  # subprotocols=
)


def add_headers(headers: Headers, additional: HeadersLike) -> None:
    additional = Headers(additional)
    for name in additional:
        if name in OWN_HEADERS:
            raise ValueError(f"header {name} belongs to the opening handshake; it can't be set")
        if name in SINGLE_HEADERS and name in headers:
            del headers[name]
    headers.update(additional)
