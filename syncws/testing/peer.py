"""A peer that sends and expects frames as a test says, and does nothing else."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..accel import serialize_frame
from ..exceptions import ProtocolError
from ..sansio.close import Close, CloseCode
from ..sansio.frames import CONTROL_OPCODES, Frame, Opcode, as_bytes
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..sansio.messages import Decoder, DecoderEvent
from ..sansio.state import Role
from ..threaded.deadline import Deadline
from .link import Link, shorten

if TYPE_CHECKING:
    from ..aliases import DataLike

__all__ = ["Peer", "replace_headers"]

#: Bytes of a payload up to which the transcript has (some of) it.
MAX_SHOWN = 1000


class Peer(Link):
    """One end of a WebSocket connection that does what a test tells it, and nothing else.

    Each call blocks until it is done, at most ``timeout`` seconds. What goes wrong is an
    :exc:`AssertionError` that says what was expected, what came instead, and what was sent
    and received before. The opening handshake is done by the first call that needs it. The
    peer reads only while it expects something. Only one thread may use it.

    Args:
        sock: a connected socket; the peer owns it from now on.
        timeout: seconds that each call may wait for the other end.
        name: what errors begin with.

    Attributes:
        answers_pings: whether pings that come while something else is expected are answered; they
            are, unless a test sets this to ``False``.
        request: the opening handshake's request, once there is one.
        response: the opening handshake's response, once there is one.
    """

    _role: Role

    def __init__(self, sock: socket.socket, timeout: float, name: str = "") -> None:
        super().__init__(sock, timeout, name)
        self.answers_pings = True
        self.request: Request | None = None
        self.response: Response | None = None
        self._is_open = False
        self._decoder = Decoder(self._role)
        self._events: deque[DecoderEvent] = deque()
        self._close_sent = False
        self._close_received = False

    def _open(self) -> None:
        """Shake hands."""
        raise NotImplementedError

    # --- sending ---

    def send(self, message: DataLike) -> None:
        """Send a message in one frame: text of a str, binary of bytes."""
        opcode, data = _encode(message)
        self.send_frame(Frame(opcode, data))

    def send_fragments(self, pieces: Sequence[DataLike]) -> None:
        """Send a message in this many frames (RFC 6455 §5.4)."""
        for number, piece in enumerate(pieces):
            opcode, data = _encode(piece)
            last = number == len(pieces) - 1
            self.send_frame(Frame(Opcode.CONT if number else opcode, data, fin=last))

    def send_part(self, message: DataLike, size: int) -> None:
        """Send only the first ``size`` bytes of the frame with this message.

        The frame begins with a header: 2 bytes for short messages, and 4 more of a client's.
        A negative size leaves out that many bytes at the end.
        """
        self._ensure_open()
        frame = Frame(*_encode(message))
        data = self._serialize(frame)[:size]
        self._note(f"> the first {len(data)} bytes of {_show(frame)}")
        self._write(data)

    def ping(self, data: bytes = b"") -> None:
        """Send a ping, without waiting for the pong."""
        self.send_frame(Frame(Opcode.PING, data))

    def pong(self, data: bytes = b"") -> None:
        """Send a pong, asked for or not."""
        self.send_frame(Frame(Opcode.PONG, data))

    def send_close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Send a close frame, without waiting for the answer.

        Args:
            code: the close code; 1005 sends a frame without one.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ProtocolError: code or reason can't be sent; :meth:`send_frame` can.
        """
        self.send_frame(Frame(Opcode.CLOSE, Close(code, reason).serialize()))

    def send_frame(self, frame: Frame, *, masked: bool | None = None) -> None:
        """Send a frame as it is, valid or not.

        Args:
            frame: the frame.
            masked: whether it is masked; by default as this role requires.
        """
        self._ensure_open()
        self._note(f"> {_show(frame)}")
        if frame.opcode is Opcode.CLOSE:
            self._close_sent = True
        self._write(self._serialize(frame, masked))

    def _serialize(self, frame: Frame, masked: bool | None = None) -> bytes:
        if masked is None:
            masked = self._role is Role.CLIENT
        return serialize_frame(frame.first_byte, frame.data, masked)  # checks nothing

    # --- receiving ---

    def recv(self) -> str | bytes:
        """Return the next message, whole."""
        return self._recv("a message")

    def expect(self, message: str | bytes) -> None:
        """Receive the next message, which must be this one."""
        wanted = shorten(message)
        received = self._recv(wanted)
        if received != message:
            self._fail(f"expected {wanted}, got {shorten(received)}")

    def expect_ping(self) -> bytes:
        """Wait for a ping, and return its payload; answered as ``answers_pings`` says."""
        return self._next_frame("a ping", Opcode.PING).data

    def expect_pong(self, data: bytes | None = None) -> bytes:
        """Wait for a pong, with this payload if there is one; return the payload."""
        received = self._next_frame("a pong", Opcode.PONG).data
        if data is not None and received != data:
            self._fail(f"expected a pong with {data!r}, got one with {received!r}")
        return received

    def expect_close(self, code: int | None = None, *, answer: bool = True) -> Close:
        """Wait for a close frame, with this code if there is one; return code and reason.

        Args:
            code: the code that it must have.
            answer: whether to answer it, unless this end has sent one before, and to end the
                connection (RFC 6455 §7.1.1).
        """
        wanted = "a close frame" if code is None else f"a close frame with {code}"
        frame = self._next_frame(wanted, Opcode.CLOSE)
        try:
            close = Close.parse(frame.data)
        except (ProtocolError, UnicodeDecodeError) as exc:
            self._fail(f"expected {wanted}, got an invalid one: {exc}", exc)
        if code is not None and close.code != code:
            self._fail(f"expected {wanted}, got one with {close}")
        if answer:
            if not self._close_sent:
                self.send_close(close.code)
            self._end()
        return close

    def expect_end(self) -> None:
        """Wait for the end of the TCP connection; nothing may come before, not even a close frame.

        A client does not shake hands for this.
        """
        wanted = "the end of the connection"
        if self._role is Role.SERVER:
            self._ensure_open()
        if self._is_open:
            event = self._next(wanted, Deadline(self.timeout))
        else:
            event = self._read(Deadline(self.timeout), wanted) or None
        if event is not None:
            self._fail(f"expected {wanted}, got {_describe(event)}")
        self.cut()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection with a closing handshake, ignoring messages that still come.

        Args:
            code: the close code; 1005 sends none.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ProtocolError: code or reason can't be sent.
        """
        if not self._close_sent:
            self.send_close(code, reason)
        deadline = Deadline(self.timeout)
        while not self._close_received:
            if self._next("the answer to the close frame", deadline) is None:
                break
        self._end()

    def _end(self) -> None:
        """End TCP, after both close frames: the server does so first (§7.1.1)."""
        if self._role is Role.CLIENT:
            deadline = Deadline(self.timeout)
            while self._read(deadline, "the end of the connection after the close frames"):
                pass
        self.cut()

    def _recv(self, wanted: str) -> str | bytes:
        deadline = Deadline(self.timeout)
        event = self._next(wanted, deadline)
        if isinstance(event, Frame) and event.opcode not in CONTROL_OPCODES:
            event = self._join(event, wanted, deadline)
        if event is None or isinstance(event, Frame):
            self._fail(f"expected {wanted}, got {_describe(event)}")
        return event

    def _join(self, frame: Frame, wanted: str, deadline: Deadline) -> str | bytes | Frame | None:
        """Return the message that begins with this frame; or what came within it instead."""
        pieces = [frame.data]
        is_text = frame.opcode is Opcode.TEXT
        while not frame.fin:
            event = self._next(wanted, deadline)
            if not isinstance(event, Frame) or event.opcode is not Opcode.CONT:
                return event
            frame = event
            pieces.append(frame.data)
        data = b"".join(pieces)
        return data.decode() if is_text else data

    def _next_frame(self, wanted: str, opcode: Opcode) -> Frame:
        """Return the next event, which must be a control frame of this kind."""
        event = self._next(wanted, Deadline(self.timeout), opcode)
        if not isinstance(event, Frame) or event.opcode is not opcode:
            self._fail(f"expected {wanted}, got {_describe(event)}")
        return event

    def _next(
        self, wanted: str, deadline: Deadline, opcode: Opcode | None = None
    ) -> DecoderEvent | None:
        """Return what comes next, ``None`` at the end.

        Pings are answered, if they are to be; they and pongs are passed over, unless they are
        what ``opcode`` says.
        """
        self._ensure_open()
        while True:
            event = self._next_event(wanted, deadline)
            if not isinstance(event, Frame):
                return event
            if event.opcode is Opcode.PING and self.answers_pings:
                self.pong(event.data)
            self._close_received = self._close_received or event.opcode is Opcode.CLOSE
            if event.opcode is opcode or event.opcode not in (Opcode.PING, Opcode.PONG):
                return event

    def _next_event(self, wanted: str, deadline: Deadline) -> DecoderEvent | None:
        while not self._events:
            error = self._decoder.error
            if error is not None:
                self._fail(f"expected {wanted}, got what breaks the protocol: {error}", error)
            if self._close_received:
                return None  # nothing counts after it
            data = self._read(deadline, wanted)
            if not data:
                self._note("< the end of the connection")
                return None
            self._receive(data)
        event = self._events.popleft()
        self._note(f"< {_show(event) if isinstance(event, Frame) else shorten(event)}")
        return event

    def _receive(self, data: bytes) -> None:
        """Take in bytes that come after the opening handshake."""
        self._events.extend(self._decoder.receive(data))

    def _ensure_open(self) -> None:
        if not self._is_open:
            self._open()
            self._is_open = True


def replace_headers(headers: Headers, more: Headers) -> None:
    """Set headers in place of those of the same names."""
    for name in set(more):
        if name in headers:
            del headers[name]
    headers.update(more)


def _encode(message: DataLike) -> tuple[Opcode, bytes]:
    if isinstance(message, str):
        return Opcode.TEXT, message.encode()
    return Opcode.BINARY, as_bytes(message)


def _show(frame: Frame) -> str:
    """Return a frame as text, a large one without looking at all of it."""
    size = len(frame.data)
    return str(frame) if size <= MAX_SHOWN else f"{frame.opcode.name} [{size} bytes]"


def _describe(event: DecoderEvent | None) -> str:
    if event is None:
        return "the end of the connection"
    if isinstance(event, Frame):
        if event.opcode is Opcode.CLOSE:
            return f"a close frame with {_describe_close(event.data)}"
        return f"the frame {_show(event)}"
    return shorten(event)


def _describe_close(payload: bytes) -> str:
    try:
        return str(Close.parse(payload))
    except (ProtocolError, UnicodeDecodeError):
        return repr(payload)
