"""A client's connection that also hands out control frames and fragments, in order.

They go through the inbox, between the messages: a receiver gets ``str`` and ``bytes`` as always, a
:class:`~syncws.Frame` for each fragment, if it wants them, and :class:`Controls` for the control
frames that came between two messages. However many these are, they are one item of the inbox, so
that a program that only sends, and never takes them, keeps answering pings.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Any

from ...client.client_connection import ClientConnection
from ...exceptions import ConcurrencyError, InvalidState
from ...sansio.close import Close, CloseCode
from ...sansio.frames import Frame, Opcode
from ...threaded.deadline import Deadline
from ...threaded.inbox import Bell
from ...threaded.pings import Ping
from ...threaded.slow_peers import check_write_limit
from . import tracing

__all__ = ["Controls", "FrameConnection"]

#: Control frames to keep between two messages; the oldest are dropped.
MAX_CONTROLS = 64

#: Bytes of memory that a control frame takes, or a fragment besides its payload.
CONTROL_COST = 256


class Controls:
    """Control frames that came between two messages: one item of an inbox.

    One thread adds to it, and one takes what is there, once. No lock is needed, as the deque's
    methods are atomic.

    Attributes:
        position: messages and fragments that came before.
        cost: bytes that they count in the inbox.
    """

    cost = CONTROL_COST  # of one: a program that only sends must go on reading

    def __init__(self, position: int) -> None:
        self.position = position
        self._frames: deque[Frame] = deque(maxlen=MAX_CONTROLS)
        self._taken = False

    def add(self, frame: Frame) -> bool:
        """Add a frame, unless they were already taken; return whether it will be, or was, taken."""
        self._frames.append(frame)
        if not self._taken:
            return True
        # Taken at this moment: either the taker has seen the frame, or it is still here.
        while True:
            try:
                self._frames.remove(frame)
            except ValueError:
                return True
            except IndexError:  # the taker took another one just then
                continue
            return False

    def take(self) -> list[Frame]:
        """Return the frames."""
        self._taken = True
        frames: list[Frame] = []
        with contextlib.suppress(IndexError):  # there are no more; the last may have been removed
            while True:
                frames.append(self._frames.popleft())
        return frames

    def message(self, decode: bool | None) -> Controls:
        """Return what ``recv()`` returns for it: itself."""
        return self


class _Piece:
    """A fragment: one item of an inbox."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.cost = len(frame.data) + CONTROL_COST

    def message(self, decode: bool | None) -> Frame:
        """Return what ``recv()`` returns for it: the frame."""
        return self._frame


class FrameConnection(ClientConnection):
    """A client's connection whose ``recv()`` also returns control frames and fragments.

    Args:
        *args: as for :class:`~syncws.ClientConnection`.
        sockopt: arguments of :meth:`socket.socket.setsockopt`, for each call of it.
        takes_fragments: whether a fragmented message comes frame by frame.
        ping_payload: payload of keepalive pings; random ones by default.
        **kwargs: as for :class:`~syncws.ClientConnection`.

    Attributes:
        last_ping_at: when the last ping that waits for a pong was sent, as :func:`time.time` gives
            it; or 0.
        last_pong_at: when the last pong came; or 0.
    """

    def __init__(
        self,
        *args: Any,
        sockopt: Any = (),
        takes_fragments: bool = False,
        ping_payload: bytes | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._takes_fragments = takes_fragments
        self._ping_payload = ping_payload
        # Belongs to the thread with the reading role:
        self._controls: Controls | None = None
        self._inside_message = False
        self._held: deque[Frame] = deque(maxlen=MAX_CONTROLS)
        # The server's close frame, if it isn't in the inbox; the deque's methods are atomic.
        self._last: deque[Frame] = deque(maxlen=1)
        self.last_ping_at: float = 0.0
        self.last_pong_at: float = 0.0
        for arguments in sockopt or ():
            try:
                self._transport.sock.setsockopt(*arguments)
            except OSError as exc:  # trying again would not help
                raise ValueError(f"sockopt {arguments!r} can't be set: {exc}") from exc

    def send_ping(self, data: bytes) -> None:
        """Send a ping whose pong nothing waits for; any number may have the same payload.

        Raises:
            ConnectionClosed: the connection is closed.
            ProtocolError: the payload has more than 125 bytes.
            SlowPeer: more than ``write_limit`` bytes wait for the peer already.
        """
        check_write_limit(self)
        try:
            with self._state_lock:
                self.protocol.send_ping(data)
        except InvalidState:
            raise self._close_exc() from self.protocol.parser_exc
        self._writer.drain()

    def begin(self) -> None:
        """Begin to receive over a socket on which the opening handshake is done."""
        self._start()

    def begin_close(self, code: int | None, reason: str) -> None:
        """Start to close; returns at once. The connection is closed within ``close_timeout``.

        Raises:
            ProtocolError: code or reason can't be sent; the connection stays as it is.
        """
        self._begin_close(code, reason, self.options.close_timeout)

    def close_within(self, code: int, reason: str, timeout: float | None) -> None:
        """Close as :meth:`close` does, but within a time other than ``close_timeout``."""
        self._close(code, reason, Deadline(timeout))

    def close_quickly(self) -> None:
        """Close with 1001, in half a second at most: the program is being interrupted."""
        self._close_quickly()

    def take_controls(self) -> list[Frame]:
        """Return the control frames that came before the next message; never blocks."""
        frames: list[Frame] = []
        receipt: list[Any] = [None]
        while isinstance(item := self._queue.first(), Controls):
            if self._queue.take(item, receipt):
                frames += item.take()
        return frames

    def take_close_frame(self) -> Frame | None:
        """Return the server's close frame, once, if it isn't among what was received."""
        try:
            return self._last.popleft()
        except IndexError:
            return None

    @property
    def has_items(self) -> bool:
        """Whether something received waits to be taken."""
        return self._queue.count > 0

    # --- for programs that poll ---

    @property
    def can_receive(self) -> bool:
        """Whether ``recv()`` returns at once, or raises."""
        return self._queue.count > 0 or self._closed.is_set()

    def count_items(self) -> int:
        """Return how many items wait to be taken."""
        return self._queue.count

    def add_bell(self, bell: Bell) -> None:
        """Ring a bell for everything that comes from now on, as long as the bell exists."""
        self._inbox.add_bell(bell)
        self._ensure_reading()

    def remove_bell(self, bell: Bell) -> None:
        """Forget a bell. Idempotent."""
        self._inbox.remove_bell(bell)

    def keep_reading(self) -> None:
        """Make sure that some thread reads, after something was taken. Never blocks."""
        self._ensure_reading()

    def _begin_close(self, code: int | None, reason: str, timeout: float | None) -> None:
        if self.open and tracing.isEnabledForTrace():
            # Before, so that the answer comes after it in the log.
            close = Close(CloseCode.NO_STATUS_RCVD if code is None else code, reason)
            tracing.trace_frame(">", Frame(Opcode.CLOSE, close.serialize()))
        super()._begin_close(code, reason, timeout)

    # --- called by the thread with the reading role ---

    def _fragment_received(self, frame: Frame) -> None:
        if not self._takes_fragments:
            super()._fragment_received(frame)
            self._inside_message = not frame.fin
            while frame.fin and self._held:
                self._add_control(self._held.popleft())
            return
        tracing.trace_frame("<", frame)
        self._frames_received += 1
        self._fragments_received += 1
        self._messages_received += frame.fin
        self._add(_Piece(frame))

    def _control_received(self, frame: Frame) -> None:
        tracing.trace_frame("<", frame)
        is_open = self.open
        super()._control_received(frame)
        if frame.opcode is Opcode.PONG:
            self.last_pong_at = time.time()
        elif frame.opcode is Opcode.PING and is_open:
            tracing.trace_frame(">", Frame(Opcode.PONG, frame.data))
        elif frame.opcode is Opcode.CLOSE:
            if self.protocol.close_rcvd is None:
                return  # it broke the rules, and failed the connection
            if is_open:
                tracing.trace_frame(">", frame)
            if self._inside_message or self._queue.drops():
                self._last.append(frame)  # the message has no end, or the inbox takes no more
                return
        if self._inside_message:
            self._held.append(frame)  # only the last message of an inbox can be incomplete
        else:
            self._add_control(frame)

    def _add_control(self, frame: Frame) -> None:
        position = self._messages_received + self._direct_received + self._fragments_received
        controls = self._controls
        if controls is None or controls.position != position or not controls.add(frame):
            controls = Controls(position)
            # What the inbox doesn't take must not get the next ones.
            self._controls = None if self._queue.drops() else controls
            controls.add(frame)
            self._add(controls)

    def _add(self, item: Any) -> None:
        self._item_came(item)

    # --- called by the timekeeper, for keepalive ---

    def _ping(self, payload: bytes | None, ack_on_close: bool = False) -> Ping | None:
        if self.open:
            self.last_ping_at = time.time()  # not after: the pong may come at once
        ping = None
        if payload is None and self._ping_payload is not None:
            with contextlib.suppress(ConcurrencyError):  # the program waits for one of its own
                ping = super()._ping(self._ping_payload)
        ping = super()._ping(payload, ack_on_close) if ping is None else ping
        if ping is not None:
            tracing.trace_frame(">", Frame(Opcode.PING, ping.data))
        return ping
