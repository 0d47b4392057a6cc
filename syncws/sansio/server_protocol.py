"""The server's side of the opening handshake (RFC 6455 §4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional

from ..exceptions import (
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidHost,
    InvalidMessage,
    InvalidMethod,
    InvalidOrigin,
    InvalidProtocol,
    InvalidState,
    MultipleValuesError,
    NegotiationError,
)
from ..options import MaxSize, check_limit
from .client_protocol import check_upgrade
from .extensions.interface import Extension, ServerExtensionFactory
from .fields import validate_subprotocols
from .handshake import accept_value, is_key
from .header_limits import MAX_HEADER_SIZE
from .headers import Headers, HeadersLike
from .hosts import HostRule, is_host_allowed, validate_hosts
from .http11 import Request, Response
from .http_parser import RequestParser
from .negotiation import EXTENSIONS, SUBPROTOCOL, accept_extensions, offered_subprotocols
from .origins import SAME_ORIGIN, OriginRule, Origins, is_origin_allowed, validate_origins
from .plain_responses import VERSION, build_response, refusal_status
from .protocol import Protocol
from .state import Role, State, Transition, advance

__all__ = ["ServerProtocol", "build_response"]

#: Given the protocol and what the client offers: returns what to use, or ``None``.
SelectSubprotocol = Callable[["ServerProtocol", Sequence[str]], Optional[str]]


class ServerProtocol(Protocol):
    """The server's endpoint of a connection, without I/O.

    The request comes as an event, even one of plain HTTP, by HTTP/1.0 or with a body; answer it
    with what :meth:`accept` (or :meth:`reject`) returns, by :meth:`send_response`. What isn't
    HTTP is refused without asking; :attr:`handshake_exc` then says why.

    Args:
        origins: from which origins requests are accepted; ``None``: from all.
        hosts: for which hosts requests are accepted, as for :func:`~syncws.serve`; ``None``:
            for all.
        extensions: what to accept.
        subprotocols: what to accept, most wanted first.
        select_subprotocol: chooses in place of :meth:`select_subprotocol`.
        state: ``State.OPEN`` skips the opening handshake.
        max_size: as in :class:`Protocol`.
        max_header_size: bytes that the request line and each header of the request may have; all
            headers together may have four times as many. ``None`` is no limit.
        max_body_size: limit of the body of a plain request in bytes; ``None`` is unlimited.
            The event comes when the body is complete. Above the limit it is refused with 413.
        logger: as in :class:`Protocol`.

    Attributes:
        forwarded_host: the host that a trusted proxy says was asked for; the checks look at it
            in place of the request's Host. ``None`` if no proxy says so.

    Raises:
        TypeError: ``origins``, ``hosts`` or ``subprotocols`` is a str, or has an item of a
            wrong type.
        ValueError: a subprotocol isn't a token, or is there twice; a host can't be one;
            ``max_header_size`` isn't positive.
    """

    # What the base declares, again for type checkers that would infer what is assigned here.
    state: State
    extensions: list[Extension]
    subprotocol: str | None
    handshake_exc: Exception | None

    # Of the class where they don't change: see Protocol.
    forwarded_host: str | None = None
    _select_subprotocol: SelectSubprotocol | None = None
    _continued = False

    def __init__(
        self,
        *,
        origins: Origins = SAME_ORIGIN,
        hosts: Sequence[str | HostRule] | None = None,
        extensions: Sequence[ServerExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        select_subprotocol: SelectSubprotocol | None = None,
        state: State = State.CONNECTING,
        max_size: MaxSize = 2**20,
        max_header_size: int | None = MAX_HEADER_SIZE,
        max_body_size: int | None = 2**16,
        logger: Any = None,
    ) -> None:
        super().__init__(Role.SERVER, state=state, max_size=max_size, logger=logger)
        if subprotocols is not None:
            validate_subprotocols(subprotocols)
        self.origins: tuple[OriginRule, ...] | None = validate_origins(origins)
        self.hosts: tuple[HostRule, ...] | None = validate_hosts(hosts)
        self._checked: Headers | None = None  # the request's, once its host is one of ours
        self.available_extensions: list[ServerExtensionFactory] = list(extensions or ())
        self.available_subprotocols: list[str] = list(subprotocols or ())
        if select_subprotocol is not None:
            self._select_subprotocol = select_subprotocol
        check_limit(max_body_size, "max_body_size")
        self.max_header_size = max_header_size
        self._parser: RequestParser | None = RequestParser(
            max_header_size, plain=True, max_body_size=max_body_size
        )

    @property
    def subprotocols(self) -> list[str]:
        """Same as ``available_subprotocols``: what can be agreed on."""
        return self.available_subprotocols

    # --- checking a request ---

    def accept(self, request: Request) -> Response:
        """Return the response to a request: 101, or what refuses it.

        :attr:`handshake_exc` says why it was refused.
        """
        try:
            accept, extensions, subprotocol = self.process_request(request)
        except Exception as exc:
            return self.refuse(exc)
        headers = Headers.from_parsed(
            [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
        )
        if extensions is not None:
            headers[EXTENSIONS] = extensions
        if subprotocol is not None:
            headers[SUBPROTOCOL] = subprotocol
        return Response(101, "Switching Protocols", headers)

    def refuse(self, exc: Exception) -> Response:
        """Return the response that says why a request is refused; for :meth:`send_response`.

        :attr:`handshake_exc` is that reason then. What isn't an :exc:`InvalidHandshake` is a
        failure of the server's: 500, and no details.
        """
        self.handshake_exc = exc
        return self._refusal(exc)

    def reject(
        self, status: int, text: str | bytes = "", headers: HeadersLike | None = None
    ) -> Response:
        """Return a response that isn't an upgrade, for :meth:`send_response`.

        Args:
            status: the HTTP status.
            text: the body; a str is sent as UTF-8.
            headers: further headers; they replace those that we would set.

        Raises:
            ValueError: there is no such status, or a header can't be sent.
        """
        return build_response(status, text, headers)

    def process_request(self, request: Request) -> tuple[str, str | None, str | None]:
        """Check a request (§4.2.1), and keep what is agreed on.

        Returns:
            The values of Sec-WebSocket-Accept, -Extensions and -Protocol.

        Raises:
            InvalidHandshake: the request can't be accepted.
        """
        if request.method != "GET":
            raise InvalidMethod(request.method)
        if request.protocol != "HTTP/1.1":
            raise InvalidProtocol(request.protocol)
        if request.body:
            raise InvalidMessage("the request isn't a valid opening handshake: it has a body")
        headers = request.headers
        if self._checked is not headers:  # a server has done so before it asked the program
            self.process_host(headers)
        check_upgrade(headers)
        key = _single(headers, "Sec-WebSocket-Key")
        if not is_key(key):
            raise InvalidHeaderValue("Sec-WebSocket-Key", key)
        version = _single(headers, VERSION)
        if version != "13":
            raise InvalidHeaderValue(VERSION, version)
        self.process_origin(headers)
        answer, extensions = self.process_extensions(headers)
        subprotocol = self.process_subprotocol(headers)
        self.extensions, self.subprotocol = extensions, subprotocol
        return accept_value(key), answer, subprotocol

    def process_host(self, headers: Headers) -> str:
        """Return the host that is asked for: what a trusted proxy says, or else Host.

        Raises:
            InvalidHeader: Host is missing, there twice, or, where it matters, malformed.
            InvalidHost: it isn't one of ours.
        """
        host = _single(headers, "Host")  # RFC 9112 §3.2: it must be there in any case
        if self.forwarded_host is not None:
            host = self.forwarded_host
        if self.hosts is not None:
            try:
                allowed = is_host_allowed(host, self.hosts)
            except ValueError:
                raise InvalidHeaderValue("Host", host) from None
            if not allowed:
                raise InvalidHost(host)
        self._checked = headers
        return host

    def process_origin(self, headers: Headers) -> str | None:
        """Return the request's Origin, or ``None`` if there is none (§10.2).

        Raises:
            InvalidOrigin: none of our rules accepts it.
        """
        values = headers.get_all("Origin")
        if len(values) > 1:
            raise InvalidOrigin(", ".join(values))
        origin = values[0] if values else None
        host = self.forwarded_host or headers.get("Host", "")
        fetch_site = ", ".join(headers.get_all("Sec-Fetch-Site"))
        if not is_origin_allowed(origin, self.origins, host, fetch_site):
            raise InvalidOrigin(origin)
        return origin

    def process_extensions(self, headers: Headers) -> tuple[str | None, list[Extension]]:
        """Return the header that answers the client's offers, and the extensions.

        Raises:
            InvalidHeaderFormat: the client's header can't be parsed.
        """
        return accept_extensions(headers, self.available_extensions)

    def process_subprotocol(self, headers: Headers) -> str | None:
        """Return the subprotocol to use, or ``None``.

        Raises:
            InvalidHeaderFormat: the client's header can't be parsed.
            NegotiationError: none that is offered can be used.
        """
        offered = offered_subprotocols(headers)
        if self._select_subprotocol is None:
            return self.select_subprotocol(offered)
        chosen = self._select_subprotocol(self, offered)
        if chosen is not None and chosen not in offered:
            raise NegotiationError(f"subprotocol {chosen} was not offered")
        return chosen

    def select_subprotocol(self, subprotocols: Sequence[str]) -> str | None:
        """Return the first of our subprotocols that the client offers.

        Raises:
            NegotiationError: we have some, and the client offers none of them.
        """
        if not self.available_subprotocols:
            return None
        for name in self.available_subprotocols:
            if name in subprotocols:
                return name
        raise NegotiationError(
            f"none of the subprotocols is offered: {', '.join(self.available_subprotocols)}"
        )

    # --- answering it ---

    def send_response(self, response: Response) -> None:
        """Send a response; the connection is open if it is 101, and over if not.

        Raises:
            InvalidState: a response was sent.
            ValueError: the response can't be serialized.
        """
        if self.state is not State.CONNECTING:
            raise InvalidState(f"connection is {self.state.name.lower()}")
        self._output.append(response.serialize())
        if response.status_code == 101:
            self.handshake_exc = None
            self._open()
        else:
            if self.handshake_exc is None:
                status = response.status_code
                self.handshake_exc = InvalidHandshake(f"refused with HTTP {status}")
            self.state = advance(self.state, Transition.REFUSED)
            self._send_eof()

    def _receive_handshake(self, data: bytes) -> None:
        if self._parser is None:
            self._early += data
            return
        try:
            request = self._parser.receive_data(data)
        except (InvalidHandshake, ValueError) as exc:
            self._refuse_message(exc)
        else:
            if request is not None:
                self._early = self._parser.trailing
                self._parser = None
                self._events.append(request)
            elif not self._continued and self._parser.expects_continue:
                self._continued = True
                self._output.append(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _receive_handshake_eof(self) -> None:
        if self._parser is None:
            self.handshake_exc = EOFError("the connection ended before the response")
            return
        try:
            self._parser.receive_eof()
        except EOFError as exc:
            self.handshake_exc = InvalidMessage("the connection ended before a whole request")
            self.handshake_exc.__cause__ = exc

    def _refuse_message(self, exc: Exception) -> None:
        if not isinstance(exc, InvalidHandshake):
            cause, exc = exc, InvalidMessage(f"the request isn't valid HTTP/1.1: {exc}")
            exc.__cause__ = cause
        self.send_response(self.refuse(exc))

    def _refusal(self, exc: Exception) -> Response:
        status, headers = refusal_status(exc)
        if status == 500:
            text = "Failed to open a WebSocket connection: the server failed.\n"
        else:
            text = f"Failed to open a WebSocket connection: {exc}.\n"
        if status == 426:
            text += "\nA WebSocket client, such as a browser's, is needed to use this address.\n"
        return self.reject(status, text, headers)


def _single(headers: Headers, name: str) -> str:
    try:
        return headers[name]
    except KeyError:
        raise InvalidHeader(name) from None
    except MultipleValuesError:
        raise InvalidHeader(name, f"several values: {', '.join(headers.get_all(name))}") from None
