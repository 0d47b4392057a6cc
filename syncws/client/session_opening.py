"""Opening a connection by plain HTTP: the fallback's opening handshake."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Callable

from ..exceptions import (
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidProxyStatus,
    InvalidStatus,
)
from ..fallback import wire
from ..fallback.session_transport import SessionTransport
from ..sansio.client_protocol import ClientProtocol
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..sansio.negotiation import EXTENSIONS, SUBPROTOCOL
from ..threaded import lifecycle
from ..threaded.deadline import Deadline
from ..threaded.latch import Latch
from ..threaded.transport import Transport
from .carrier import Carrier
from .client_connection import OWN_HEADERS, ClientConnection, add_headers
from .http_link import HttpLink
from .patience import Patience
from .redirects import Hop
from .session_requests import OpenedSession, SessionRequests, Terms, error_of

if TYPE_CHECKING:
    from ..threaded.socket_view import TlsView
    from .opening import Opening

__all__ = ["CarriedTransport", "open_session"]

#: How often a request that opens a session is made while answers are lost.
MAX_ATTEMPTS = 4

#: Part of the time that is left which one of them may take.
SHARE = 0.5

#: Seconds that one of them may take if there is no limit.
ATTEMPT_TIMEOUT = 10.0

#: Statuses of proxies that say nothing about the server.
_LOST_STATUSES = frozenset((502, 504))

#: Additional headers that requests of a session have for themselves.
_SESSION_HEADERS = ("content-length", "content-type", "transfer-encoding", "te", "expect")

#: Seconds for telling the server that we don't want a session that was just opened.
LEAVING_TIMEOUT = 1.0


class CarriedTransport(SessionTransport):
    """The connection's end of a pair of sockets; the bytes at the other end go by HTTP.

    Args:
        sock: that end.
        link: how the session was opened: addresses and TLS are those of its last connection.
    """

    def __init__(self, sock: socket.socket, link: HttpLink) -> None:
        super().__init__(sock, link.local_address, link.remote_address, link.is_secure)
        self._tls_view = link.tls_view

    @property
    def tls_view(self) -> TlsView | None:
        """What the TLS of the connection that opened the session can tell."""
        return self._tls_view


def open_session(opening: Opening, hop: Hop, deadline: Deadline) -> ClientConnection:
    """Return an open connection whose bytes are carried by HTTP.

    Raises:
        InvalidHandshake: the server or a proxy refused, or has no fallback.
        TimeoutError: it did not answer before the deadline.
        OSError: it can't be reached, or its certificate is wrong.
        RuntimeError: no thread is available.
    """
    route = opening.route
    protocol = opening.make_protocol(hop.uri)
    headers, offer = _split(protocol.connect().headers)
    if opening.user_agent_header is not None:
        headers["User-Agent"] = opening.user_agent_header
    additional = opening.additional(hop)
    for name in (*_SESSION_HEADERS, *filter(_is_ours, additional)):
        if name in additional:
            raise ValueError(f"header {name} belongs to the fallback; it can't be set")
    add_headers(headers, additional)
    proxy = route.forwarding_proxy(hop.uri)
    requests = SessionRequests(hop.uri, headers, opening.cookies, proxy)

    def dial(limit: Deadline) -> Transport:
        if proxy is not None:
            return route.open_proxy(proxy, limit)
        return route.open(hop.uri, limit, is_origin=hop.is_origin)

    def make_link() -> HttpLink:
        return HttpLink(dial, route.max_header_size)

    link = HttpLink(dial, route.max_header_size)
    try:
        request = requests.build("POST", wire.NEW, offer, b"")
        response = _ask(link, requests, request, deadline)
        _check_status(response)
        opened = OpenedSession(link, requests, request, response, _parse(response))
    except BaseException:
        link.drop()
        raise
    try:
        return _connect(opening, protocol, opened, make_link)
    except Exception:
        _leave(opened, make_link(), deadline)
        raise


def _is_ours(name: str) -> bool:
    return name.startswith("syncws-")


def _split(headers: Headers) -> tuple[Headers, dict[str, str]]:
    """Take a handshake's headers apart: those for every request, and those that open a session."""
    offer = {wire.NONCE: base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()}
    for ours, theirs in ((wire.EXTENSIONS, EXTENSIONS), (wire.PROTOCOL, SUBPROTOCOL)):
        if theirs in headers:
            offer[ours] = headers[theirs]
    for name in OWN_HEADERS:
        if name in headers:
            del headers[name]
    return headers, offer


def _ask(
    link: HttpLink, requests: SessionRequests, request: Request, deadline: Deadline
) -> Response:
    """Ask for a session until there is an answer.

    The nonce stays the same: if the server has opened a session already, we get that one.
    """
    patience = Patience(deadline.remaining() or ATTEMPT_TIMEOUT, Latch())
    for left in range(MAX_ATTEMPTS - 1, -1, -1):
        remaining = deadline.remaining()
        share = ATTEMPT_TIMEOUT if remaining is None else remaining * SHARE
        limit = deadline.within(share) if left else deadline
        was_connected = False
        try:
            answer = link.ask(request.serialize(), limit)
            was_connected = True
            response = link.read_all(answer, limit)
        except (OSError, InvalidMessage) as exc:
            was_connected = was_connected or link.remote_address is not None
            if not left or deadline.expired or not was_connected:
                if isinstance(exc, TimeoutError) and was_connected:
                    raise TimeoutError("timed out during opening handshake") from exc
                raise
        else:
            requests.keep_cookies(response)
            if response.status_code not in _LOST_STATUSES or error_of(response) or not left:
                return response
        patience.fail()
    raise AssertionError("the last attempt returns or raises")  # pragma: no cover


def _check_status(response: Response) -> None:
    if response.status_code == 407:
        raise InvalidProxyStatus(response)
    if response.status_code != 200:
        raise InvalidStatus(response)


def _parse(response: Response) -> Terms:
    try:
        return Terms.parse(response.body)
    except ValueError as exc:
        reason = InvalidMessage(f"the response opens no session of the fallback: {exc}")
        raise InvalidStatus(response) from reason


def _agreed(terms: Terms) -> Headers:
    """Return what was agreed on as a handshake's headers say it."""
    headers = Headers()
    for name, value in ((EXTENSIONS, terms.extensions), (SUBPROTOCOL, terms.protocol)):
        if value is not None:
            try:
                headers[name] = value
            except ValueError as exc:
                raise InvalidHeader(name, repr(value)) from exc
    return headers


def _connect(
    opening: Opening,
    protocol: ClientProtocol,
    opened: OpenedSession,
    make_link: Callable[[], HttpLink],
) -> ClientConnection:
    """Return the connection, once its bytes are carried; or leave the session as it is."""
    with contextlib.ExitStack() as undo:
        undo.callback(opened.link.drop)
        agreed = _agreed(opened.terms)
        outer, inner = socket.socketpair()
        carried, transport = Transport(inner), CarriedTransport(outer, opened.link)
        undo.callback(carried.close)
        with lifecycle.opening(carried), lifecycle.opening(transport):
            try:
                connection = opening.make_connection(transport, protocol)
            except BaseException:
                transport.close()
                raise
            carrier = Carrier(carried, transport, opened, make_link, connection.logger)
            try:
                connection._take_session(opened.request, opened.response, agreed, carrier)
            finally:
                if carrier.is_started:  # everything is its own now
                    undo.pop_all()
    return connection


def _leave(opened: OpenedSession, link: HttpLink, deadline: Deadline) -> None:
    """End a session that isn't used after all; if that fails, the server ends it in time."""
    limit = deadline.within(LEAVING_TIMEOUT)
    request = opened.requests.build("DELETE", opened.terms.session, {})
    with contextlib.suppress(OSError, InvalidHandshake):
        link.read_all(link.ask(request.serialize(), limit), limit)
    link.drop()
