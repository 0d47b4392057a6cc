"""websocket-client's ``frame_buffer`` and ``continuous_frame``: for programs that use them alone.

The library's own connections don't use these: they are for bytes that a program gets by itself.
"""

from __future__ import annotations

from typing import Any, Callable

from ...locks import make_rlock
from .abnf import ABNF
from .errors import WebSocketPayloadException, WebSocketProtocolException
from .utilities import validate_utf8

__all__ = ["continuous_frame", "frame_buffer"]

#: Bytes that are asked for at once.
READ_SIZE = 16384

_MASK, _LENGTH = 5, 6  # in a header


class frame_buffer:
    """Frames read by a function, one by one.

    What was read of a frame when the function raises is kept for the next call.

    Args:
        recv_fn: called with a number of bytes; returns at most that many, but at least one.
        skip_utf8_validation: whether close reasons may be something other than UTF-8.

    Attributes:
        header: FIN, three reserved bits, opcode, mask bit and the seven bits of the length, of a
            frame that is under way; else ``None``.
        length: bytes of its payload, once they are known.
        mask_value: its masking key, once it is known; ``""`` without one.
        recv_buffer: bytes that were read but not used yet.
    """

    def __init__(self, recv_fn: Callable[[int], Any], skip_utf8_validation: bool) -> None:
        self.recv = recv_fn
        self.skip_utf8_validation = skip_utf8_validation
        self.recv_buffer: list[bytes] = []
        self.lock = make_rlock()
        self.clear()

    def clear(self) -> None:
        """Forget the frame that is under way."""
        self.header: tuple[int, int, int, int, int, int, int] | None = None
        self.length: int | None = None
        self.mask_value: bytes | str | None = None

    def needs_header(self) -> bool:
        """Tell whether the header comes next."""
        return self.header is None

    def recv_header(self) -> None:
        """Read the first two bytes."""
        first, second = self.recv_strict(2)
        bits = (first >> 7 & 1, first >> 6 & 1, first >> 5 & 1, first >> 4 & 1)
        self.header = (*bits, first & 0x0F, second >> 7 & 1, second & 0x7F)

    def has_mask(self) -> int:
        """Tell whether the frame is masked."""
        return self.header[_MASK] if self.header else False

    def needs_length(self) -> bool:
        """Tell whether the length isn't known."""
        return self.length is None

    def recv_length(self) -> None:
        """Read the length, if it isn't in the header."""
        assert self.header is not None
        length = self.header[_LENGTH]
        if length > 125:
            length = int.from_bytes(self.recv_strict(2 if length == 126 else 8), "big")
        self.length = length

    def needs_mask(self) -> bool:
        """Tell whether the masking key isn't known."""
        return self.mask_value is None

    def recv_mask(self) -> None:
        """Read the masking key, if there is one."""
        self.mask_value = self.recv_strict(4) if self.has_mask() else ""

    def recv_frame(self) -> ABNF:
        """Read a frame. Blocks as the function does; one thread at a time.

        Raises:
            WebSocketProtocolException: no server may send it; see :meth:`~.abnf.ABNF.validate`.
        """
        with self.lock:
            if self.needs_header():
                self.recv_header()
            if self.needs_length():
                self.recv_length()
            if self.needs_mask():
                self.recv_mask()
            assert self.header is not None
            assert self.length is not None
            payload = self.recv_strict(self.length)
            if self.mask_value:
                payload = ABNF.mask(self.mask_value, payload)
            fin, rsv1, rsv2, rsv3, opcode, masked, _ = self.header
            frame = ABNF(fin, rsv1, rsv2, rsv3, opcode, masked, payload)
            self.clear()
            frame.validate(self.skip_utf8_validation)
        return frame

    def recv_strict(self, bufsize: int) -> bytes:
        """Return this many bytes; fewer if the function returns none, or something else.

        Raises:
            ValueError: it isn't a number.
        """
        if not isinstance(bufsize, int):
            raise ValueError(f"bufsize is a number, not {bufsize!r}")
        missing = bufsize - sum(map(len, self.recv_buffer))
        while missing > 0:
            piece = self.recv(min(READ_SIZE, missing))
            if not (isinstance(piece, bytes) and piece):
                break
            self.recv_buffer.append(piece)
            missing -= len(piece)
        data = b"".join(self.recv_buffer)
        self.recv_buffer = [data[bufsize:]] if len(data) > bufsize else []
        return data[:bufsize]


class continuous_frame:
    """Fragments, put together into messages.

    Args:
        fire_cont_frame: whether each fragment is handed out by itself.
        skip_utf8_validation: whether text may be something other than UTF-8.
    """

    def __init__(self, fire_cont_frame: bool, skip_utf8_validation: bool) -> None:
        self.fire_cont_frame = fire_cont_frame
        self.skip_utf8_validation = skip_utf8_validation
        self.cont_data: list[Any] | None = None  # opcode and payload so far
        self.recving_frames: int | None = None  # the opcode of a message that isn't complete

    def validate(self, frame: ABNF) -> None:
        """Check that a frame may come now.

        Raises:
            WebSocketProtocolException: it continues nothing, or comes within another message.
        """
        if bool(self.recving_frames) is not (frame.opcode == ABNF.OPCODE_CONT):
            raise WebSocketProtocolException("Illegal frame")

    def add(self, frame: ABNF) -> None:
        """Add a data frame."""
        if self.cont_data:
            self.cont_data[1] += frame.data
        else:
            if frame.opcode != ABNF.OPCODE_CONT:
                self.recving_frames = frame.opcode
            self.cont_data = [frame.opcode, frame.data]
        if frame.fin:
            self.recving_frames = None

    def is_fire(self, frame: ABNF) -> bool | int:
        """Tell whether something is to be handed out after this frame."""
        return frame.fin or self.fire_cont_frame

    def extract(self, frame: ABNF) -> tuple[int, ABNF]:
        """Return the opcode, and the frame with the payload of all.

        Raises:
            WebSocketPayloadException: the text isn't UTF-8.
            WebSocketProtocolException: there is nothing.
        """
        data, self.cont_data = self.cont_data, None
        if data is None:
            raise WebSocketProtocolException("No continuation data available")
        opcode, frame.data = data
        is_text = opcode == ABNF.OPCODE_TEXT and not self.fire_cont_frame
        if is_text and not self.skip_utf8_validation and not validate_utf8(frame.data):
            raise WebSocketPayloadException(f"cannot decode: {frame.data!r}")
        return opcode, frame
