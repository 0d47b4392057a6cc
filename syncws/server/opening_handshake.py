"""Answering a client's opening handshake (RFC 6455 §4.2), within the server's ``open_timeout``.

These are asked in turn: who the client is and for which host it asks (``trusted_proxies=``,
``hosts=``); the program's ``process_request``; its router; whether there is room (503); the codec,
which checks the request and its origin. The first to have an answer gives it, and the program's
``process_response`` may replace it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable
from typing import Protocol as Interface

from ..exceptions import AbortHandshake, ConnectionClosed, InvalidHandshake
from ..sansio.forwarded import Client, TrustedProxies
from ..sansio.headers import Headers, HeadersLike
from ..sansio.http11 import Request, Response
from ..sansio.plain_responses import build_response
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from ..version import __version__
from .admission import RETRY_AFTER
from .refusal_log import Refusable, log_refusal
from .responses import check_response, complete_response
from .rooms import HasRooms
from .routing import Match, Router
from .url_maps import MapRouter

__all__ = ["SERVER_HEADER", "OpeningHandshake", "Upgrade"]

#: What we call ourselves.
SERVER_HEADER = f"Python/{sys.version_info[0]}.{sys.version_info[1]} syncws/{__version__}"

#: Seconds and bytes that a refused client may go on sending before it is cut off: closing
#: with unread input would reset the connection, and with it the response.
LINGER_TIMEOUT = 2.0
LINGER_SIZE = 1 << 20


@dataclass(frozen=True)
class Upgrade:
    """How a server answers opening handshakes. See :func:`~syncws.serve`.

    Its functions are called with the connection first. ``hub`` has the rooms of its connections.
    """

    process_request: Callable[[Any, Request], Response | None] | None = None
    process_response: Callable[[Any, Request, Response], Response | None] | None = None
    extra_headers: HeadersLike | Callable[[str, Headers], HeadersLike] | None = None
    server_header: str | None = SERVER_HEADER
    select_subprotocol: Callable[[Any, Sequence[str]], str | None] | None = None
    router: Router | MapRouter | None = None
    trusted_proxies: TrustedProxies | None = None
    hub: HasRooms | None = None


class Opening(Refusable, Interface):
    """The connection that an opening handshake opens, or refuses."""

    _transport: Transport

    @property
    def closed(self) -> bool:
        """Whether the program has ended it."""

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS."""

    def process_response(self, request: Request, response: Response) -> Response | None:
        """Return a response in place of the given one, or ``None`` to send that."""

    def _ask_program(self, request: Request) -> Response | None:
        """Return the program's response, or ``None`` to go on."""

    def _refusal(self) -> InvalidHandshake | None:
        """Return why it can't be opened now, though its request may be fine."""


class OpeningHandshake:
    """The opening handshake of one connection. For the thread that shakes hands.

    It keeps no reference to the connection, which has it: both go with the connection's last one.

    Args:
        upgrade: how to answer.

    Attributes:
        upgrade: how to answer.
        client: who the client is, if a trusted proxy says so.
        match: the handler that the router found, if there is a router.
        more_headers: added to a response that opens the WebSocket.
    """

    def __init__(self, upgrade: Upgrade) -> None:
        self.upgrade = upgrade
        self.client: Client | None = None
        self.match: Match | None = None
        self.more_headers = Headers()

    def run(self, connection: Opening, deadline: Deadline) -> None:
        """Shake hands. If the request is refused, that is logged, and the client told.

        Sets the connection's ``request`` and ``response``.

        Raises:
            InvalidHandshake: the request was refused.
            TimeoutError: the client did not send it in time.
            OSError: the connection broke.
        """
        transport, protocol = connection._transport, connection.protocol
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
            answered = self.answer(connection, request, deadline)
        if protocol.handshake_exc is not None:
            log_refusal(connection, answered)
        for data in protocol.data_to_send():
            if data:
                transport.send_all(data, deadline)
            else:
                transport.finish_sending()
        if protocol.handshake_exc is not None:
            _linger(transport, deadline)
            raise protocol.handshake_exc

    def answer(self, connection: Opening, request: Request, deadline: Deadline) -> bool:
        """Let the protocol answer a request; tell whether the program did so without an upgrade.

        Raises:
            InvalidHandshake: the program has ended the connection; that is logged.
            TimeoutError: the program took too long.
        """
        protocol = connection.protocol
        connection.request = request
        response = self._respond(connection, request)
        answered = protocol.handshake_exc is None and response.status_code != 101
        if deadline.expired:
            raise TimeoutError("timed out during opening handshake")
        if connection.closed:
            connection._refused_for = "status"
            protocol.handshake_exc = InvalidHandshake("the program ended the connection")
            protocol.handshake_exc.__cause__ = EOFError("there was no response")
            log_refusal(connection, answered=False)
            raise protocol.handshake_exc
        connection.response = response
        protocol.send_response(response)
        return answered

    def refuse_when_busy(self, connection: Opening) -> Response | None:
        """Return the response to a client for whom there is no room, or ``None`` to go on."""
        exc = connection._refusal()
        if exc is None:
            return None
        connection.protocol.handshake_exc = exc
        text = f"Failed to open a WebSocket connection: {exc}.\n"
        return build_response(503, text, {"Retry-After": str(RETRY_AFTER)})

    def _respond(self, connection: Opening, request: Request) -> Response:
        """Return the response to a request; failures of the program's functions become 500."""
        protocol = connection.protocol
        try:
            try:
                response = self._decide(connection, request)
            except AbortHandshake as exc:
                protocol.handshake_exc = exc
                response = build_response(exc.status, exc.body, exc.headers)
                self._complete(request, response)
            response.serialize()  # refuse here what can't be sent
        except Exception as exc:
            if not (connection.closed and isinstance(exc, (ConnectionClosed, EOFError))):
                connection.logger.exception("opening handshake failed")
            # Not the exception's own words: its str() may fail as well.
            text = f"the server failed: {type(exc).__name__}"
            protocol.handshake_exc = InvalidHandshake(text)
            protocol.handshake_exc.__cause__ = exc
            response = build_response(500, "Failed to open a WebSocket connection.\n")
            self._complete(request, response)
        if response.status_code == 101:
            response.headers.update(self.more_headers)
        return response

    def _decide(self, connection: Opening, request: Request) -> Response:
        protocol = connection.protocol
        refusal = self._check_host(connection, request)
        if refusal is not None:
            self._complete(request, refusal)
            return refusal
        response = check_response(connection._ask_program(request), "process_request")
        if response is None:
            response = self._route(connection, request)
        if response is None:
            response = self.refuse_when_busy(connection) or protocol.accept(request)
            exc = protocol.handshake_exc
            ours = isinstance(exc, InvalidHandshake) and not isinstance(exc, AbortHandshake)
            if exc is not None and not ours:
                raise exc  # the program's: by select_subprotocol, or an extension
        self._add_headers(request, response)
        self._complete(request, response)
        replacement = connection.process_response(request, response)
        replacement = check_response(replacement, "process_response")
        if replacement is not None:
            self._complete(request, replacement)
        return replacement or response

    def _check_host(self, connection: Opening, request: Request) -> Response | None:
        """Find out who asks for which host; refuse what isn't for us before the program sees it."""
        proxies = self.upgrade.trusted_proxies
        transport, protocol = connection._transport, connection.protocol
        try:
            if proxies is not None:
                client = proxies.identify(transport.remote_address, request.headers)
                self.client = client
                protocol.forwarded_host = None if client is None else client.host
            if request.protocol != "HTTP/1.0" or protocol.hosts or "Host" in request.headers:
                protocol.process_host(request.headers)  # HTTP/1.0 needs none
        except InvalidHandshake as exc:
            return protocol.refuse(exc)
        return None

    def _route(self, connection: Opening, request: Request) -> Response | None:
        """Look the path up; return what answers it if that isn't a handler."""
        router = self.upgrade.router
        if router is None:
            return None
        found = router.resolve(request, connection.requested_host or "", connection.secure)
        if isinstance(found, Response):
            return found
        self.match = found
        return None

    def _add_headers(self, request: Request, response: Response) -> None:
        """Add the headers that the program wants in each response, before ours."""
        extra = self.upgrade.extra_headers
        if extra is not None:
            more: Any = extra
            response.headers.update(more(request.path, request.headers) if callable(more) else more)

    def _complete(self, request: Request, response: Response) -> None:
        complete_response(request, response, self.upgrade.server_header)


def _linger(transport: Transport, deadline: Deadline) -> None:
    """Let the client read the response, before closing resets the connection."""
    remaining = deadline.remaining()
    limit = Deadline(LINGER_TIMEOUT if remaining is None else min(LINGER_TIMEOUT, remaining))
    with contextlib.suppress(OSError):  # a timeout is one
        _read_away(transport, limit)


def _read_away(transport: Transport, limit: Deadline) -> None:
    received = 0
    while received < LINGER_SIZE:
        data = transport.recv(limit)
        if not data:
            return
        received += len(data)
