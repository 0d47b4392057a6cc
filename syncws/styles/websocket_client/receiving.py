"""The receiving half of a ``WebSocket``, under websocket-client's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...aliases import Data
from ...exceptions import ConnectionClosed
from ...sansio.frames import Frame, Opcode
from ...threaded.deadline import Deadline
from .abnf import ABNF, as_bytes
from .attributes import WebSocketAttributes
from .errors import NothingYet, WebSocketTimeoutException, raise_as_known
from .frame_connection import Controls
from .tracing import isEnabledForTrace, trace_frame

if TYPE_CHECKING:
    from .frame_connection import FrameConnection

__all__ = ["WebSocketReceiving"]


class WebSocketReceiving(WebSocketAttributes):
    """The methods of a :class:`~.websocket.WebSocket` that receive."""

    def recv(self) -> Data:
        """Receive the next message: text as ``str``, binary as ``bytes``. Blocks until it came.

        With ``fire_cont_frame`` fragments are received as ``bytes``, one by one. When the server
        closes the connection ``""`` is received, once, for its close frame.

        Raises:
            WebSocketTimeoutException: there was none in time; none is lost.
            WebSocketConnectionClosedException: there is none, and there will be none.
            WebSocketProtocolException: the same, as the server broke a rule.
            WebSocketPayloadException: the same, as the server sent what isn't UTF-8, or too much.
        """
        message = self._next_message()
        return "" if message is None else message

    def _next_message(self) -> Data | None:
        """Receive the next message; ``None`` for the server's close frame, unless it answers."""
        deadline = self._deadline()
        while True:
            item = self.next_item(deadline)
            if not isinstance(item, Frame):
                return item
            if item.opcode < Opcode.CLOSE:
                return item.data
            if item.opcode is Opcode.CLOSE and not self._closed_here:
                return None

    def recv_data(self, control_frame: bool = False) -> tuple[int, bytes]:
        """Receive the next message as bytes, and what it is.

        When the server closes the connection its close frame is received, once.

        Args:
            control_frame: whether pings and pongs are received as well.

        Returns:
            The opcode and the payload.

        Raises what :meth:`recv` does.
        """
        opcode, frame = self.recv_data_frame(control_frame)
        return opcode, frame.data

    def recv_data_frame(self, control_frame: bool = False) -> tuple[int, ABNF]:
        """Receive the next message as a frame, as :meth:`recv_data`; return opcode and frame."""
        deadline = self._deadline()
        while True:
            item = self.next_item(deadline)
            if isinstance(item, str):
                item = Frame(Opcode.TEXT, item.encode())
            elif isinstance(item, bytes):
                item = Frame(Opcode.BINARY, item)
            if control_frame or item.opcode <= Opcode.CLOSE:
                opcode = int(item.opcode)
                return opcode, ABNF(int(item.fin), 0, 0, 0, opcode, 0, item.data)

    def recv_frame(self) -> ABNF:
        """Receive a message, a ping or a pong, whatever comes next, as :meth:`recv_data`."""
        return self.recv_data_frame(True)[1]

    def next_item(self, deadline: Deadline | None = None) -> Data | Frame:
        """Receive what comes next: a message, or a :class:`~syncws.Frame` that is none.

        Args:
            deadline: when to give up.

        Raises what :meth:`recv` does.
        """
        try:
            return self._next_item(self._get(), deadline)
        finally:
            if self._sock is not None:
                self._sock.update()

    def _next_item(self, connection: FrameConnection, deadline: Deadline | None) -> Data | Frame:
        while True:
            try:
                return self._controls.popleft()
            except IndexError:
                pass  # there are none
            try:
                item: Any = connection.recv(None if deadline is None else deadline.remaining())
            except ConnectionClosed as exc:
                last = connection.take_close_frame()
                if last is not None:
                    return last
                self._forget_sock()
                raise_as_known(exc)
            except TimeoutError as exc:
                kind = WebSocketTimeoutException if self.sock_opt.timeout else NothingYet
                raise kind("Connection timed out") from exc  # what programs look for
            except Exception as exc:
                raise_as_known(exc)
            if isinstance(item, Controls):
                self._controls.extend(item.take())
                continue
            if isEnabledForTrace() and not isinstance(item, Frame):
                opcode = Opcode.TEXT if isinstance(item, str) else Opcode.BINARY
                trace_frame("<", Frame(opcode, as_bytes(item, is_text=True)))
            return item  # type: ignore[no-any-return]  # it is one of these

    def _deadline(self) -> Deadline | None:
        return None if self.sock_opt.timeout is None else Deadline(self.sock_opt.timeout)

    def __iter__(self) -> Iterator[Data]:
        """Receive repeatedly, as :meth:`recv`; it ends when that raises."""
        while True:
            yield self.recv()

    def __next__(self) -> Data:
        return self.recv()

    def next(self) -> Data:
        """Receive the next message; as :meth:`recv`."""
        return self.recv()
