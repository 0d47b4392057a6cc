"""The server's end of a connection: what a handler gets."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from ..aliases import LoggerLike
from ..exceptions import InvalidHandshake, InvalidState
from ..options import Options
from ..sansio.headers import Headers, HeadersLike
from ..sansio.http11 import Request, Response
from ..sansio.plain_responses import build_response
from ..sansio.server_protocol import ServerProtocol
from ..sansio.state import State
from ..threaded.connection import Connection
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from .opening_handshake import SERVER_HEADER, OpeningHandshake, Upgrade
from .refusal_log import RefusalLog
from .rooms import AnyGroup

if TYPE_CHECKING:
    import socket

    # The one edge back within this room: a connection knows the server that accepted it.
    from .threading_server import ThreadingServer

__all__ = [
    "SERVER_HEADER",
    "ExtraHeaders",
    "Handler",
    "ProcessRequest",
    "ProcessResponse",
    "SelectSubprotocol",
    "ServerConnection",
    "Upgrade",
]

#: Called with the connection, or with connection and path.
Handler = Callable[..., Any]

#: Called with the connection and its request; returns what answers it, or ``None``.
ProcessRequest = Callable[["ServerConnection", Request], Optional[Response]]

#: Called with the connection, its request and the response; returns another one, or ``None``.
ProcessResponse = Callable[["ServerConnection", Request, Response], Optional[Response]]

#: Called with the connection and what the client offers; returns one of these, or ``None``.
SelectSubprotocol = Callable[[Any, Sequence[str]], Optional[str]]

#: Headers of responses; or what returns them, given the request's path and headers.
ExtraHeaders = Union[HeadersLike, Callable[[str, Headers], HeadersLike], None]


class ServerConnection(Connection):
    """A server's connection: what a handler gets.

    During the opening handshake, when ``process_request`` and others are called with it, it isn't
    open yet: ``close()``, ``fail()`` and ``abort()`` cut it without an answer;
    sending, receiving and waiting raise :exc:`~syncws.exceptions.InvalidState`.

    Args:
        sock: a connected socket, or a transport; the connection owns it from now on.
        protocol: the codec, before the opening handshake.
        server: the server that accepted it, if there is one.
        options: limits and times.
        upgrade: how to answer the opening handshake.
        logger: where to log; ``syncws.server`` by default.

    Attributes:
        server: the server that accepted it, or ``None``.
        username: who the client is, if :func:`~syncws.basic_auth`, :func:`~syncws.bearer_auth` or
            the program found out; else ``None``.
    """

    protocol: ServerProtocol
    username: str | None = None
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
        self._opening_handshake = OpeningHandshake(upgrade or Upgrade())
        super().__init__(sock, protocol, options=options, logger=logger)
        self.server = server
        select = self._opening_handshake.upgrade.select_subprotocol
        if select is not None:
            protocol._select_subprotocol = lambda _, offered: select(self, offered)

    @property
    def _refusal_log(self) -> RefusalLog | None:
        """The log that counts refusals, if there is a server."""
        return None if self.server is None else self.server._refusal_log

    @property
    def remote_address(self) -> Any:
        """The other end's address; kept after closing.

        If a trusted proxy says who the client is: a tuple of IP address (or ``"unknown"``, or
        an identifier such as ``"_hidden"``) and port, 0 if the proxy doesn't say.
        """
        client = self._opening_handshake.client
        if client is not None and client.address is not None:
            return client.address
        return super().remote_address

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS: what a trusted proxy says, or else whether this end does."""
        client = self._opening_handshake.client
        if client is not None and client.secure is not None:
            return client.secure
        return super().secure

    @property
    def requested_host(self) -> str | None:
        """The host, and perhaps port, that the client asked for; ``None`` before the request.

        What a trusted proxy says, or else the Host header.
        """
        if self.request is None:
            return None
        return self.protocol.forwarded_host or self.request.headers.get("Host")

    @property
    def hub(self) -> Any:
        """The :class:`~syncws.pubsub.Hub` that its server or integration has, or ``None``."""
        return self._opening_handshake.upgrade.hub

    def group(self, name: str) -> AnyGroup:
        """Return a group of connections that get the same messages; it needn't be created.

        It is a room of the hub, if there is one, or a group of the server's.

        Raises:
            RuntimeError: there is neither.
        """
        if self.hub is not None:
            room: AnyGroup = self.hub.room(name)
            return room
        if self.server is None:
            raise RuntimeError("there is no hub: give one to what makes this connection, hub=")
        return self.server.group(name)

    def respond(
        self, status: int, text: str | bytes = "", headers: HeadersLike | None = None
    ) -> Response:
        """Return a plain HTTP response, for a ``process_request`` function to return.

        Args:
            status: the HTTP status.
            text: the body; a str is sent as UTF-8.
            headers: further headers; they replace those that we would set.
        """
        return build_response(status, text, headers)

    def process_request(self, request: Request) -> Response | None:
        """Return a response in place of the opening handshake's, or ``None`` to go on.

        Calls the server's ``process_request``; a subclass may do something else. It runs for
        every HTTP request, whatever its method.
        """
        process = self._opening_handshake.upgrade.process_request
        return None if process is None else process(self, request)

    def _ask_program(self, request: Request) -> Response | None:
        return self.process_request(request)

    def process_response(self, request: Request, response: Response) -> Response | None:
        """Return a response in place of the given one, or ``None`` to send that.

        Calls the server's ``process_response``; a subclass may do something else.
        """
        process = self._opening_handshake.upgrade.process_response
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
            self._opening_handshake.run(self, Deadline(timeout))
            self._start()
        except BaseException as exc:
            if not self._started:
                self._finish(exc)
            else:  # interrupted just after it was open
                self._abort(exc)
            raise

    def _refusal(self) -> InvalidHandshake | None:
        """Return why this connection can't be opened now, though its request may be fine."""
        return None if self.server is None else self.server.refusal(self)

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
        if self.state is State.CONNECTING:  # no closing handshake is possible yet
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

    def _let_go(self) -> None:
        super()._let_go()
        self.protocol._select_subprotocol = None  # the program's, called with the connection
