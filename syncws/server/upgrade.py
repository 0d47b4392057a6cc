"""The server's end of a connection: answering the opening handshake."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from ..aliases import LoggerLike
from ..exceptions import AbortHandshake, ConnectionClosed, InvalidHandshake, InvalidState
from ..options import Options
from ..sansio.forwarded import Client, TrustedProxies
from ..sansio.headers import Headers, HeadersLike
from ..sansio.http11 import Request, Response
from ..sansio.refusals import build_response
from ..sansio.server_protocol import ServerProtocol
from ..sansio.state import State
from ..threaded.connection import Connection
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from ..version import __version__
from .callables import ProcessRequest, SelectSubprotocol
from .rejections import Rejections, log_refusal
from .responses import check_response, complete_response
from .routing import Match, Router

if TYPE_CHECKING:
    import socket

    from .serve import ThreadingServer
    from .url_maps import MapRouter

__all__ = [
    "RETRY_AFTER",
    "SERVER_HEADER",
    "ServerConnection",
    "Upgrade",
    "call_route",
]

#: What we call ourselves.
SERVER_HEADER = f"Python/{sys.version_info[0]}.{sys.version_info[1]} syncws/{__version__}"

#: Seconds after which another try makes sense when a server is full or stops.
RETRY_AFTER = 5

#: Seconds and bytes that a refused client may go on sending before it is cut off: closing
#: with unread input would reset the connection, and with it the response.
LINGER_TIMEOUT = 2.0
LINGER_SIZE = 1 << 20

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
    router: Router | MapRouter | None = None
    trusted_proxies: TrustedProxies | None = None


def call_route(connection: ServerConnection) -> None:
    """Call the handler that the router found for a connection."""
    match = connection._match
    if match is None:  # process_response replaced the 404 by a 101
        raise LookupError("no route leads here")
    match.function(connection, **match.values)


class ServerConnection(Connection):
    """A server's connection: what a handler gets.

    What the program's functions are called with during the opening handshake (``process_request``
    and others) isn't open yet: ``close()``, ``fail()`` and ``abort()`` cut it without an answer;
    sending, receiving and waiting raise :exc:`~syncws.exceptions.InvalidState`.

    Args:
        sock: a connected socket, or a transport; the connection owns it from now on.
        protocol: the codec, before the opening handshake.
        server: the server that accepted it, if one did.
        options: limits and times.
        upgrade: how to answer the opening handshake.
        logger: where to log; ``syncws.server`` by default.

    Attributes:
        server: the server that accepted it, or ``None``.
        username: who it is, if :func:`~syncws.basic_auth`, :func:`~syncws.bearer_auth` or the
            program found out; ``None`` if not.
    """

    protocol: ServerProtocol
    username: str | None = None
    _client: Client | None = None  # what trusted proxies say
    _match: Match | None = None  # what the router found
    _refused_for: str | None = None  # the server's reason, if it has one
    _refusal_logged = False
    _handshaker: int | None = None  # the thread that shakes hands

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

    @property
    def _rejections(self) -> Rejections | None:
        """Who counts refusals, and logs them in moderation."""
        return None if self.server is None else self.server._rejections

    @property
    def remote_address(self) -> Any:
        """The other end's address; kept after closing.

        If a trusted proxy says who the client is: a tuple of IP address (or ``"unknown"``, or
        an identifier such as ``"_hidden"``) and port, 0 if the proxy doesn't say.
        """
        if self._client is not None and self._client.address is not None:
            return self._client.address
        return super().remote_address

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS: what a trusted proxy says, or else whether this end does."""
        if self._client is not None and self._client.secure is not None:
            return self._client.secure
        return super().secure

    @property
    def requested_host(self) -> str | None:
        """The host, and perhaps port, that the client asked for; ``None`` before the request.

        What a trusted proxy says, or else the Host header.
        """
        if self.request is None:
            return None
        return self.protocol.forwarded_host or self.request.headers.get("Host")

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

    def _ask_program(self, request: Request) -> Response | None:
        return self.process_request(request)

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
        self._handshaker = threading.get_ident()
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
        answered = False  # by the program or its router, without an upgrade
        transport.handshake(deadline)
        events = protocol.events_received()
        while not events and protocol.handshake_exc is None:
            for data in protocol.data_to_send():  # that a body is welcome
                transport.send_all(data, deadline)
            data = transport.recv(deadline)
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
            events = protocol.events_received()
        if events:
            request = events[0]
            assert isinstance(request, Request)
            answered = self._answer(request, deadline)
        if protocol.handshake_exc is not None:
            log_refusal(self, answered)
        for data in protocol.data_to_send():
            if data:
                transport.send_all(data, deadline)
            else:
                transport.finish_sending()
        if protocol.handshake_exc is not None:
            self._linger(deadline)
            raise protocol.handshake_exc

    def _answer(self, request: Request, deadline: Deadline) -> bool:
        """Let the protocol answer a request; tell whether the program did so without an upgrade.

        Raises:
            TimeoutError: the program took too long.
        """
        protocol = self.protocol
        self.request = request
        response = self._respond(request)
        answered = protocol.handshake_exc is None and response.status_code != 101
        if deadline.expired:
            raise TimeoutError("timed out during opening handshake")
        if self.closed:
            self._refused_for = "status"
            protocol.handshake_exc = InvalidHandshake("the program ended the connection")
            protocol.handshake_exc.__cause__ = EOFError("there was no response")
            log_refusal(self, answered=False)
            raise protocol.handshake_exc
        self.response = response
        protocol.send_response(response)
        return answered

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
            if not (self.closed and isinstance(exc, (ConnectionClosed, EOFError))):
                self.logger.exception("opening handshake failed")
            # Not its own words: saying them may fail, too.
            text = f"the server failed: {type(exc).__name__}"
            self.protocol.handshake_exc = InvalidHandshake(text)
            self.protocol.handshake_exc.__cause__ = exc
            response = build_response(500, "Failed to open a WebSocket connection.\n")
            self._complete(request, response, None)
        return response

    def _decide(self, request: Request) -> Response:
        refusal = self._check_host(request)
        if refusal is not None:
            self._complete(request, refusal, None)
            return refusal
        response = check_response(self._ask_program(request), "process_request")
        if response is None:
            response = self._route(request)
        if response is None:
            response = self._refuse_when_busy() or self.protocol.accept(request)
            exc = self.protocol.handshake_exc
            ours = isinstance(exc, InvalidHandshake) and not isinstance(exc, AbortHandshake)
            if exc is not None and not ours:
                raise exc  # the program's: by select_subprotocol, or an extension
        self._complete(request, response, self._upgrade.extra_headers)
        replacement = check_response(self.process_response(request, response), "process_response")
        if replacement is not None:
            self._complete(request, replacement, None)
        return replacement or response

    def _check_host(self, request: Request) -> Response | None:
        """Find out who asks whom, and refuse what isn't for us, before the program sees it."""
        proxies = self._upgrade.trusted_proxies
        try:
            if proxies is not None:
                client = proxies.identify(self._transport.remote_address, request.headers)
                self._client = client
                self.protocol.forwarded_host = None if client is None else client.host
            if request.protocol != "HTTP/1.0" or self.protocol.hosts or "Host" in request.headers:
                self.protocol.process_host(request.headers)  # HTTP/1.0 needs none
        except InvalidHandshake as exc:
            return self.protocol.refuse(exc)
        return None

    def _route(self, request: Request) -> Response | None:
        """Look the path up; return what answers it if that isn't a handler."""
        router = self._upgrade.router
        if router is None:
            return None
        found = router.resolve(request, self.requested_host or "", self.secure)
        if isinstance(found, Response):
            return found
        self._match = found
        return None

    def _refusal(self) -> InvalidHandshake | None:
        """Return why this connection can't be opened now, though its request may be fine."""
        return None if self.server is None else self.server.refusal(self)

    def _refuse_when_busy(self) -> Response | None:
        exc = self._refusal()
        if exc is None:
            return None
        self.protocol.handshake_exc = exc
        text = f"Failed to open a WebSocket connection: {exc}.\n"
        return build_response(503, text, {"Retry-After": str(RETRY_AFTER)})

    def _complete(self, request: Request, response: Response, extra: ExtraHeaders) -> None:
        """Add headers; those that the program sets come before ours."""
        if extra is not None:
            more: Any = extra
            response.headers.update(more(request.path, request.headers) if callable(more) else more)
        complete_response(request, response, self._upgrade.server_header)

    # --- ended by the program, before it was open ---

    def wait_closed(self, timeout: float | None = None) -> bool:
        """See :meth:`Connection.wait_closed`.

        Raises:
            InvalidState: it isn't open yet, this is the thread that shakes hands, and there is
                no ``timeout``.
        """
        is_own = self._handshaker == threading.get_ident()
        if timeout is None and is_own and self.state is State.CONNECTING:
            raise InvalidState("connection is connecting")
        return super().wait_closed(timeout)

    def _begin_close(self, code: int | None, reason: str, timeout: float | None) -> None:
        if self.state is State.CONNECTING:  # there is nobody to shake hands with
            self._abort(None)
        else:
            super()._begin_close(code, reason, timeout)

    def _fail(self, code: int, reason: str) -> None:
        if self.state is State.CONNECTING:
            self._abort(None)
        else:
            super()._fail(code, reason)

    def _abort(self, cause: BaseException | None) -> None:
        if self._started or self._handshaker in (None, threading.get_ident()):
            super()._abort(cause)
        else:
            self._transport.abort()  # its thread, which uses the socket, notices

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
