"""WebSocket handlers in Tornado's style: an instance for each connection, in its own thread."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from ...exceptions import ConcurrencyError, ConnectionClosed, InvalidHandshake
from ...sansio.close import CloseCode
from ...sansio.frames import Opcode
from ...sansio.origins import SAME_ORIGIN, is_origin_allowed
from ...sansio.state import State
from ...server.handling import is_end_of
from ...server.server_connection import ServerConnection
from .errors import call
from .handler_connection import ControlFrame, HandlerConnection
from .request_handler import RequestHandler

if TYPE_CHECKING:
    from ...aliases import BytesLike

__all__ = ["WebSocketClosedError", "WebSocketHandler", "run_handler"]

#: Seconds between keepalive pings, unless the settings have others.
PING_INTERVAL = 20.0

#: Bytes that a message may have, unless the settings have others.
MAX_MESSAGE_SIZE = 10 * 2**20

#: What methods raise once the connection is closed: the same as everywhere else here.
WebSocketClosedError = ConnectionClosed


class WebSocketHandler(RequestHandler):
    """Handles one WebSocket connection; subclasses have ``on_message()``, and whatever they need.

    ::

        class Echo(WebSocketHandler):
            def on_message(self, message):
                self.write_message("you said: " + message)

        Application([(r"/echo", Echo)]).listen(8888)
        run_forever()

    There is an instance for each connection. Its methods are called in the connection's own thread,
    one at a time and in the order of events, and may block:
    ``initialize()``, ``prepare()``, ``get()``, ``check_origin()`` and ``select_subprotocol()``
    during the opening handshake, then ``open()``, ``on_message()``, ``on_ping()`` and
    ``on_pong()``, and finally ``on_close()``, once, if ``open()`` was called. Exceptions that
    these raise are logged with their traceback; the first one closes the connection with 1011.

    :meth:`write_message`, :meth:`ping` and :meth:`close` may be called from any thread.

    Attributes:
        close_code: in ``on_close()`` and later, the code that the client sent; ``None`` if it
            sent none.
        close_reason: the reason that came with it; ``None`` without one.
        open_args: positional arguments of ``open()``.
        open_kwargs: keyword arguments of ``open()``.
    """

    close_code: int | None = None
    close_reason: str | None = None
    open_args: tuple[Any, ...] = ()
    open_kwargs: dict[str, Any] = {}  # noqa: RUF012  # replaced, never changed
    _ws_connection: HandlerConnection | None = None  # from open() on

    # --- what subclasses have ---

    def open(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing; subclasses do here what is due when the connection opens.

        Arguments are the groups of the pattern, percent-decoded: by name, if they have names;
        ``None`` for those that took no part in the match.
        """

    def on_message(self, message: Any) -> None:
        """Handle a message, a ``str`` or ``bytes``. Subclasses must have it.

        The next message waits until it returns.
        """
        raise NotImplementedError(f"{type(self).__name__} has no on_message()")

    def on_close(self) -> None:
        """Do nothing; subclasses do here what is due when the connection is closed."""

    def on_ping(self, data: bytes) -> None:
        """Do nothing; subclasses may look at pings. They are answered without this, at once."""

    def on_pong(self, data: bytes) -> None:
        """Do nothing; subclasses may look at pongs, including answers to keepalive pings."""

    def check_origin(self, origin: str) -> bool:
        """Return whether pages of this origin may connect; if not, they are refused with 403.

        Called, after ``prepare()``, for each request that has an Origin: browsers send it.
        This method accepts the host that the request is for, and asks :meth:`check_trusted_origin`
        about others.
        """
        fetch_site = ", ".join(self.request.headers.get_all("Sec-Fetch-Site"))
        if is_origin_allowed(origin, (SAME_ORIGIN,), self.request.host, fetch_site):
            return True
        return bool(call(self.check_trusted_origin, origin))

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Return the subprotocol to use, or ``None``: this returns ``None``.

        Args:
            subprotocols: what the client offers; may be empty.
        """
        return None

    def get_compression_options(self) -> dict[str, Any] | None:
        """Return how to compress; ``None``, as here, means not to compress.

        A dict, which may be empty, compresses by permessage-deflate where the client offers
        it. It may have ``compression_level`` (-1 to 9) and ``mem_level`` (1 to 9).
        """
        return None

    @property
    def ping_interval(self) -> float | None:
        """Seconds between keepalive pings, of ``websocket_ping_interval``; by default 20.

        0 and ``None`` send none.
        """
        interval: float | None = self.settings.get("websocket_ping_interval", PING_INTERVAL)
        return interval

    @property
    def ping_timeout(self) -> float | None:
        """Seconds in which the pong must come, of ``websocket_ping_timeout``.

        0 waits forever; ``None``, the default, is the interval.
        """
        timeout: float | None = self.settings.get("websocket_ping_timeout")
        return timeout

    @property
    def max_message_size(self) -> int | None:
        """Bytes that a message may have, of ``websocket_max_message_size``; by default 10 MiB.

        Larger ones close the connection with 1009. ``None`` is no limit.
        """
        size: int | None = self.settings.get("websocket_max_message_size", MAX_MESSAGE_SIZE)
        return size

    def get(self, *args: Any, **kwargs: Any) -> None:
        """Continue the opening handshake; ``open()`` gets these arguments.

        Subclasses that refuse some requests call it for the others.
        """
        self.open_args, self.open_kwargs = args, kwargs
        connection = self.request.connection
        assert isinstance(connection, HandlerConnection)
        origin = self.request.headers.get("Origin")
        if origin is not None and not call(self.check_origin, origin):
            connection._refused_for = "origin"
            connection.protocol.handshake_exc = InvalidHandshake(
                f"check_origin() refuses {origin}, which asks for {self.request.host}"
            )
            self.set_status(403)
            self.finish("Pages of this origin may not connect.\n")
            return
        connection.prepare_for(self, _wanted(type(self)))
        self._ws_upgrading = True

    # --- what subclasses call, from any thread ---

    @property
    def ws_connection(self) -> ServerConnection | None:
        """The connection while it is open, such as for :func:`~syncws.broadcast`."""
        connection = self._ws_connection
        return connection if connection is not None and connection.open else None

    @property
    def selected_subprotocol(self) -> str | None:
        """The subprotocol that was agreed on, or ``None``."""
        return _opened(self).subprotocol

    def write_message(
        self, message: str | BytesLike | dict[str, Any], binary: bool = False
    ) -> None:
        """Send a message, as text unless ``binary``; a dict as JSON.

        Blocks until the kernel has taken it, so that a slow client slows down the sender;
        :func:`~syncws.broadcast` doesn't wait. Messages of several threads don't mix.

        Raises:
            WebSocketClosedError: the connection is closed, closing, or not open yet.
            TypeError: the message can't be sent.
            UnicodeError: bytes that are to be text aren't UTF-8; nothing was sent.
        """
        if isinstance(message, dict):
            message = json.dumps(message)
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            kind = type(message).__name__
            raise TypeError(f"write_message() takes str, bytes and dict, not {kind}")
        _opened(self).send(message, text=not binary)

    def ping(self, data: str | BytesLike = b"") -> None:
        """Send a ping; ``on_pong()`` gets the answer. Doesn't block while the connection is open.

        A ping with the same data that waits for its pong stands for this one too.

        Args:
            data: at most 125 bytes.

        Raises:
            WebSocketClosedError: the connection is closed, closing, or not open yet.
            ProtocolError: the data is too long.
            SlowPeer: too much waits for the client already.
        """
        connection = _opened(self)
        with contextlib.suppress(ConcurrencyError):
            connection.ping(data)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Begin to close the connection, and return at once. Idempotent.

        ``on_close()`` is called when it is closed, after what came in between. Before
        ``open()`` it does nothing.

        Args:
            code: the close code; 1000 if there is only a reason, and by default none at all.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ProtocolError: code or reason can't be sent; the connection stays as it is.
        """
        connection = self._ws_connection
        if connection is None:
            return
        if code is None and reason is not None:
            code = CloseCode.NORMAL_CLOSURE
        connection._begin_close(code, reason or "", connection.options.close_timeout)

    def set_nodelay(self, value: bool) -> None:
        """Do nothing: small messages are always sent at once."""


class NotOpenYet(ConnectionClosed):
    """Nothing can be sent before ``open()`` is called."""

    def __str__(self) -> str:
        return "the connection isn't open before open() is called"


def _opened(handler: WebSocketHandler) -> HandlerConnection:
    """Return the connection, unless it is closing; a closed one says so itself.

    Raises:
        WebSocketClosedError: it is closing, or not open yet.
    """
    connection = handler._ws_connection
    if connection is None:
        raise NotOpenYet(None, None)
    if connection.state is State.CLOSING:
        # At once: a thread that sends to many must not wait for the end of one.
        protocol = connection.protocol
        rcvd, sent = protocol.close_rcvd, protocol.close_sent
        first = None if rcvd is None or sent is None else protocol.close_rcvd_then_sent
        raise ConnectionClosed(rcvd, sent, first) from protocol.parser_exc
    return connection


def _wanted(cls: type[WebSocketHandler]) -> frozenset[Opcode]:
    """Return the opcodes of the control frames that a class looks at."""
    wanted = set()
    if cls.on_ping is not WebSocketHandler.on_ping:
        wanted.add(Opcode.PING)
    if cls.on_pong is not WebSocketHandler.on_pong:
        wanted.add(Opcode.PONG)
    return frozenset(wanted)


def _converse(handler: WebSocketHandler, connection: HandlerConnection) -> None:
    """Handle what comes until the connection is closed."""
    call(handler.open, *handler.open_args, **handler.open_kwargs)
    for message in connection:
        if not isinstance(message, ControlFrame):
            call(handler.on_message, message)
        elif message.opcode is Opcode.PING:
            call(handler.on_ping, message.data)
        else:
            call(handler.on_pong, message.data)


def _is_end_of(connection: HandlerConnection, exc: BaseException) -> bool:
    """Tell whether an exception is what calls raise once this connection is closed, or closing."""
    if is_end_of(connection, exc):
        return True
    sent = connection.protocol.close_sent
    return isinstance(exc, ConnectionClosed) and sent is not None and exc.sent is sent


def _end(handler: WebSocketHandler, connection: HandlerConnection) -> None:
    """Tell a handler of the end, once."""
    received = connection.protocol.close_rcvd
    if received is not None:
        # 1005 stands for a close frame without a code.
        has_code = received.code != CloseCode.NO_STATUS_RCVD
        handler.close_code = int(received.code) if has_code else None
        handler.close_reason = received.reason or None
    connection.forget_handler()
    call(handler.on_close)


def run_handler(connection: HandlerConnection) -> None:
    """Run the handler of an open connection; the server's threads call this."""
    handler = connection.web_handler
    if handler is None:  # a process_response replaced a refusal by a 101
        raise LookupError("no handler was chosen")
    handler._ws_connection = connection
    handler._ws_open = True
    code = CloseCode.NORMAL_CLOSURE
    try:
        _converse(handler, connection)
    except BaseException as exc:
        if not _is_end_of(connection, exc):
            code = CloseCode.INTERNAL_ERROR
            handler.log_exception(type(exc), exc, exc.__traceback__)
    finally:
        connection.close(code)
        _end(handler, connection)  # what on_close() raises is logged by the server
