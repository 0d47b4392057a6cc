"""The client's side of the opening handshake (RFC 6455 §4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..exceptions import (
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidState,
    InvalidStatus,
    InvalidUpgrade,
    MultipleValuesError,
)
from ..options import MaxSize
from .extensions.interface import ClientExtensionFactory, Extension
from .fields import (
    build_authorization_basic,
    build_host,
    build_subprotocol,
    parse_connection,
    parse_upgrade,
    validate_subprotocols,
)
from .handshake import accept_value, generate_key
from .header_limits import MAX_HEADER_SIZE
from .headers import Headers
from .http11 import Request, Response
from .http_parser import ResponseParser
from .negotiation import (
    EXTENSIONS,
    SUBPROTOCOL,
    agreed_extensions,
    agreed_subprotocol,
    offer_extensions,
)
from .protocol import Protocol
from .state import Role, State, Transition, advance
from .uri import WebSocketURI, parse_uri

__all__ = ["ClientProtocol", "check_upgrade"]


class ClientProtocol(Protocol):
    """The client's endpoint of a connection, without I/O.

    Send what :meth:`connect` returns with :meth:`send_request`; the response comes as an
    event. The connection is then open, or :attr:`handshake_exc` says why not.

    Args:
        uri: where to connect to.
        origin: value of the Origin header.
        extensions: what to offer, most wanted first.
        subprotocols: what to offer, most wanted first.
        state: ``State.OPEN`` skips the opening handshake.
        max_size: as in :class:`Protocol`.
        max_header_size: bytes that the status line and each header of the response may have; all
            headers together may have four times as many. ``None`` is no limit.
        logger: as in :class:`Protocol`.

    Raises:
        InvalidURI: the URI isn't one of a WebSocket endpoint.
        TypeError: ``subprotocols`` is a str, or has an item that isn't one.
        ValueError: a subprotocol isn't a token, or is there twice; ``max_header_size`` isn't
            positive.
    """

    # What the base declares, again for type checkers that would infer what is assigned here.
    state: State
    extensions: list[Extension]
    subprotocol: str | None
    handshake_exc: Exception | None

    def __init__(
        self,
        uri: str | WebSocketURI,
        *,
        origin: str | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        state: State = State.CONNECTING,
        max_size: MaxSize = 2**20,
        max_header_size: int | None = MAX_HEADER_SIZE,
        logger: Any = None,
    ) -> None:
        super().__init__(Role.CLIENT, state=state, max_size=max_size, logger=logger)
        if subprotocols is not None:
            validate_subprotocols(subprotocols)
        self.uri: WebSocketURI = uri if isinstance(uri, WebSocketURI) else parse_uri(uri)
        self.origin = origin
        self.available_extensions: list[ClientExtensionFactory] = list(extensions or ())
        self.available_subprotocols: list[str] = list(subprotocols or ())
        self.key: str = generate_key()
        self._parser = ResponseParser(max_header_size)

    @property
    def subprotocols(self) -> list[str]:
        """Same as ``available_subprotocols``: what is offered."""
        return self.available_subprotocols

    def connect(self) -> Request:
        """Return the request of the opening handshake, for :meth:`send_request`.

        Raises:
            ValueError: the origin or the URI's user name can't be sent.
        """
        uri = self.uri
        headers = Headers()
        headers["Host"] = build_host(uri.host, uri.port, uri.secure)
        headers.add_parsed(
            [
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Key", self.key),
                ("Sec-WebSocket-Version", "13"),
            ]
        )
        if self.origin is not None:
            headers["Origin"] = self.origin
        offer = offer_extensions(self.available_extensions)
        if offer is not None:
            headers[EXTENSIONS] = offer
        if self.available_subprotocols:
            headers[SUBPROTOCOL] = build_subprotocol(self.available_subprotocols)
        if uri.user_info is not None:
            headers["Authorization"] = build_authorization_basic(*uri.user_info)
        return Request(uri.resource_name, headers)

    def send_request(self, request: Request) -> None:
        """Send the request of the opening handshake.

        Raises:
            ValueError: the request can't be serialized.
        """
        self._output.append(request.serialize())

    def process_response(self, response: Response) -> None:
        """Check the server's answer (§4.1), and keep what was agreed on.

        Raises:
            InvalidStatus: the status isn't 101.
            InvalidHandshake: the answer doesn't accept our request.
        """
        if response.status_code != 101:
            raise InvalidStatus(response)
        headers = response.headers
        check_upgrade(headers)
        try:
            accept = headers["Sec-WebSocket-Accept"]
        except KeyError:
            raise InvalidHeader("Sec-WebSocket-Accept") from None
        except MultipleValuesError:
            raise InvalidHeader("Sec-WebSocket-Accept", "several values") from None
        if accept != accept_value(self.key):
            raise InvalidHeaderValue("Sec-WebSocket-Accept", accept)
        self.extensions = self.process_extensions(headers)
        self.subprotocol = self.process_subprotocol(headers)

    def accept(self, headers: Headers) -> None:
        """Open the connection on what was agreed on otherwise than by a response of 101.

        Args:
            headers: what of a response says so: ``Sec-WebSocket-Extensions`` and
                ``Sec-WebSocket-Protocol``.

        Raises:
            InvalidHandshake: that wasn't offered; the connection stays as it is.
        """
        self.extensions = self.process_extensions(headers)
        self.subprotocol = self.process_subprotocol(headers)
        self._open()

    def process_extensions(self, headers: Headers) -> list[Extension]:
        """Return the extensions that the server accepted.

        Raises:
            InvalidHeaderFormat: the header can't be parsed.
            NegotiationError: it has what wasn't offered, or parameters that don't fit.
        """
        return agreed_extensions(headers, self.available_extensions)

    def process_subprotocol(self, headers: Headers) -> str | None:
        """Return the subprotocol that the server chose, or ``None``.

        Raises:
            InvalidHeaderFormat: the header can't be parsed.
            InvalidHeaderValue: there are several.
            NegotiationError: it was not offered.
        """
        return agreed_subprotocol(headers, self.available_subprotocols)

    @property
    def partial_response(self) -> Response | None:
        """The part of the response that came, if its body is still under way."""
        return self._parser.partial

    def _receive_handshake(self, data: bytes) -> None:
        try:
            response = self._parser.receive_data(data)
        except (InvalidHandshake, ValueError) as exc:
            partial = self._parser.partial
            if partial is not None:  # what is wrong is the body; the status says more
                refusal = InvalidStatus(partial)
                refusal.__cause__ = exc
                self._refuse(refusal)
            elif isinstance(exc, InvalidHandshake):
                self._refuse(exc)
            else:
                self._refuse_message(exc)
        else:
            if response is not None:
                self._receive_response(response)

    def _receive_handshake_eof(self) -> None:
        try:
            response = self._parser.receive_eof()
        except (EOFError, InvalidState) as exc:  # a signal handler raised after the last byte
            self._refuse_message(exc)
        else:
            self._receive_response(response)

    def _receive_response(self, response: Response) -> None:
        self._events.append(response)
        try:
            self.process_response(response)
        except Exception as exc:  # InvalidHandshake, or what an extension's factory raised
            self._refuse(exc)
        else:
            self._early = self._parser.trailing
            self._open()

    def _refuse_message(self, cause: Exception) -> None:
        exc = InvalidMessage(f"the server's response isn't valid HTTP/1.1: {cause}")
        exc.__cause__ = cause
        self._refuse(exc)

    def _refuse(self, exc: Exception) -> None:
        self.handshake_exc = exc
        self.state = advance(self.state, Transition.REFUSED)


def check_upgrade(headers: Headers) -> None:
    """Check that the headers ask for, or agree to, an upgrade (§4.1, §4.2.1).

    Raises:
        InvalidHeaderFormat: one can't be parsed.
        InvalidUpgrade: they don't.
    """
    connection: list[str] = []
    for value in headers.get_all("Connection"):
        connection += parse_connection(value)
    if "upgrade" not in [token.lower() for token in connection]:
        raise InvalidUpgrade("Connection", ", ".join(connection) if connection else None)
    upgrade: list[str] = []
    for value in headers.get_all("Upgrade"):
        upgrade += parse_upgrade(value)
    if len(upgrade) != 1 or upgrade[0].lower() != "websocket":
        raise InvalidUpgrade("Upgrade", ", ".join(upgrade) if upgrade else None)
