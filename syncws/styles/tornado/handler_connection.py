"""The connection below a handler: its opening handshake asks the application."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Any

from ...options import Deflate, split_max_size
from ...sansio.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from ...sansio.frames import Frame, Opcode
from ...sansio.http11 import Request, Response
from ...server.server_connection import ServerConnection
from ...threaded.fragments import Fragments
from .errors import call

if TYPE_CHECKING:
    from .application import Application
    from .handler import WebSocketHandler

__all__ = ["ControlFrame", "HandlerConnection"]

#: Pings and pongs to keep while a fragmented message comes; if there are more, the newest stay.
MAX_CONTROLS = 64

#: Headers that the opening handshake sets, so handlers can't.
HANDSHAKE_HEADERS = {
    "connection",
    "content-length",
    "content-type",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "upgrade",
}

#: Names of Tornado's compression options, and of ours.
COMPRESSION = {"compression_level": "level", "mem_level": "memory_level"}


class ControlFrame(Fragments):
    """A ping or a pong that waits its turn among the messages.

    Attributes:
        opcode: which of them it is.
        data: its payload.
    """

    __slots__ = ("data", "opcode")

    def __init__(self, frame: Frame) -> None:
        super().__init__(is_text=False)
        self.opcode: Opcode = frame.opcode
        self.data: bytes = frame.data
        self.add(frame.data)
        self.complete = True

    def message(self, decode: bool | None) -> Any:
        """Return itself: what ``recv()`` gives to the handler's loop."""
        return self


class HandlerConnection(ServerConnection):
    """A connection for which an application chooses the handler.

    Args:
        application: the application.
        args: as for :class:`ServerConnection`.
        kwargs: as for :class:`ServerConnection`.

    Attributes:
        web_handler: the handler that the connection is opened for, until it is closed.
    """

    def __init__(self, application: Application, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._application = application
        self.web_handler: WebSocketHandler | None = None
        self._reported: frozenset[Opcode] = frozenset()  # of control frames
        # Belongs to the thread with the reading role:
        self._between_messages = True
        self._unreported: deque[ControlFrame] = deque(maxlen=MAX_CONTROLS)

    def process_request(self, request: Request) -> Response | None:
        """Return the answer of a handler; ``None`` if it is to become a WebSocket."""
        refusal = super().process_request(request)
        return self._application.respond(self, request) if refusal is None else refusal

    def process_response(self, request: Request, response: Response) -> Response | None:
        """Add what the handler set to the response that opens the WebSocket."""
        handler = self.web_handler
        if handler is not None and response.status_code == 101:
            fields = [
                field
                for field in handler._headers.raw_items()
                if field[0].lower() not in HANDSHAKE_HEADERS
            ]
            for name in {name.lower() for name, _ in fields} & set(response.headers):
                del response.headers[name]
            response.headers.update(fields)
        return super().process_response(request, response)

    def prepare_for(self, handler: WebSocketHandler, reported: frozenset[Opcode]) -> None:
        """Take limits, times and compression from a handler, before the handshake's answer.

        Args:
            handler: the handler.
            reported: which control frames it looks at.

        Raises:
            TypeError: an option has a wrong type, or isn't known.
            ValueError: an option is out of its range.
        """
        interval = handler.ping_interval or None
        timeout = handler.ping_timeout
        self.options = dataclasses.replace(
            self.options,
            ping_interval=interval,
            ping_timeout=interval if timeout is None else timeout or None,
        )
        protocol = self.protocol
        protocol.max_message_size = split_max_size(handler.max_message_size)[0]
        compression = handler.get_compression_options()
        if compression is not None:
            protocol.available_extensions.append(_deflate(compression))
        protocol._select_subprotocol = lambda _, offered: (
            call(handler.select_subprotocol, list(offered)) or None
        )
        self._reported = reported
        self.web_handler = handler

    def forget_handler(self) -> None:
        """Drop the reference to the handler, so that it is freed with the last one elsewhere."""
        self.web_handler = None
        self.protocol._select_subprotocol = None

    # --- called by the thread with the reading role ---

    def _control_received(self, frame: Frame) -> None:
        super()._control_received(frame)
        if frame.opcode in self._reported:
            self._unreported.append(ControlFrame(frame))
            self._report()

    def _fragment_received(self, frame: Frame) -> None:
        super()._fragment_received(frame)
        self._between_messages = frame.fin
        if self._unreported:
            self._report()

    def _report(self) -> None:
        """Put control frames in the inbox, between messages.

        There they wait for the handler's thread and count as messages: many of them make reading
        pause.
        """
        if not self._between_messages:
            return  # only the last message there can be incomplete
        while self._unreported:
            frame = self._unreported.popleft()
            self._item_came(frame)


def _deflate(options: dict[str, Any]) -> ServerPerMessageDeflateFactory:
    unknown = sorted(set(options) - set(COMPRESSION))
    if unknown:
        raise TypeError(f"get_compression_options() has {unknown}; it may have {list(COMPRESSION)}")
    settings = {COMPRESSION[name]: value for name, value in options.items()}
    # Of the client as the server's default: most of the gain for little memory.
    return ServerPerMessageDeflateFactory(Deflate(client_max_window_bits=12, **settings))
