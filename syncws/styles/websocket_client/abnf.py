"""Frames and close codes by the names that websocket-client has for them."""

from __future__ import annotations

import os
import struct
from typing import Any, Callable

from ...accel import apply_mask
from ...aliases import BytesLike
from ...sansio import frames
from ...sansio.close import CloseCode
from ...sansio.frames import Opcode
from .errors import WebSocketProtocolException

__all__ = [
    "ABNF",
    "STATUS_ABNORMAL_CLOSED",
    "STATUS_BAD_GATEWAY",
    "STATUS_GOING_AWAY",
    "STATUS_INVALID_EXTENSION",
    "STATUS_INVALID_PAYLOAD",
    "STATUS_MESSAGE_TOO_BIG",
    "STATUS_NORMAL",
    "STATUS_POLICY_VIOLATION",
    "STATUS_PROTOCOL_ERROR",
    "STATUS_SERVICE_RESTART",
    "STATUS_STATUS_NOT_AVAILABLE",
    "STATUS_TLS_HANDSHAKE_ERROR",
    "STATUS_TRY_AGAIN_LATER",
    "STATUS_UNEXPECTED_CONDITION",
    "STATUS_UNSUPPORTED_DATA_TYPE",
]

STATUS_NORMAL = int(CloseCode.NORMAL_CLOSURE)
STATUS_GOING_AWAY = int(CloseCode.GOING_AWAY)
STATUS_PROTOCOL_ERROR = int(CloseCode.PROTOCOL_ERROR)
STATUS_UNSUPPORTED_DATA_TYPE = int(CloseCode.UNSUPPORTED_DATA)
STATUS_STATUS_NOT_AVAILABLE = int(CloseCode.NO_STATUS_RCVD)
STATUS_ABNORMAL_CLOSED = int(CloseCode.ABNORMAL_CLOSURE)
STATUS_INVALID_PAYLOAD = int(CloseCode.INVALID_DATA)
STATUS_POLICY_VIOLATION = int(CloseCode.POLICY_VIOLATION)
STATUS_MESSAGE_TOO_BIG = int(CloseCode.MESSAGE_TOO_BIG)
STATUS_INVALID_EXTENSION = int(CloseCode.MANDATORY_EXTENSION)
STATUS_UNEXPECTED_CONDITION = int(CloseCode.INTERNAL_ERROR)
STATUS_SERVICE_RESTART = int(CloseCode.SERVICE_RESTART)
STATUS_TRY_AGAIN_LATER = int(CloseCode.TRY_AGAIN_LATER)
STATUS_BAD_GATEWAY = int(CloseCode.BAD_GATEWAY)
STATUS_TLS_HANDSHAKE_ERROR = int(CloseCode.TLS_HANDSHAKE)


#: Codes that a close frame may have, besides 3000 to 4999.
VALID_CLOSE_STATUS = (
    *range(STATUS_NORMAL, STATUS_UNSUPPORTED_DATA_TYPE + 1),
    *range(STATUS_INVALID_PAYLOAD, STATUS_BAD_GATEWAY + 1),
)


class ABNF:
    """A frame (RFC 6455 §5.2).

    Args:
        fin: 1 if it is the last frame of its message.
        rsv1: reserved bit.
        rsv2: reserved bit.
        rsv3: reserved bit.
        opcode: one of ``OPCODE_...``.
        mask_value: 1 if it is to be masked, as those of clients are.
        data: the payload; ``None`` is an empty one.

    Attributes:
        get_mask_key: returns the number of random bytes it is asked for; only :meth:`format` uses
            it, and nothing that is sent.
    """

    OPCODE_CONT = int(Opcode.CONT)
    OPCODE_TEXT = int(Opcode.TEXT)
    OPCODE_BINARY = int(Opcode.BINARY)
    OPCODE_CLOSE = int(Opcode.CLOSE)
    OPCODE_PING = int(Opcode.PING)
    OPCODE_PONG = int(Opcode.PONG)

    #: Every opcode.
    OPCODES = tuple(map(int, Opcode))

    #: Their names.
    OPCODE_MAP = {int(opcode): opcode.name.lower() for opcode in Opcode}  # noqa: RUF012  # as there

    #: Lengths from which the length takes 2 bytes, takes 8 bytes, and is impossible.
    LENGTH_7 = 126
    LENGTH_16 = 1 << 16
    LENGTH_63 = 1 << 63

    def __init__(
        self,
        fin: int = 0,
        rsv1: int = 0,
        rsv2: int = 0,
        rsv3: int = 0,
        opcode: int = OPCODE_TEXT,
        mask_value: int = 1,
        data: str | BytesLike | None = "",
    ) -> None:
        self.fin = fin
        self.rsv1 = rsv1
        self.rsv2 = rsv2
        self.rsv3 = rsv3
        self.opcode = opcode
        self.mask_value = mask_value
        self.data: Any = "" if data is None else data
        self.get_mask_key: Callable[[int], str | bytes] = os.urandom

    def __str__(self) -> str:
        data = self.data if isinstance(self.data, str) else repr(self.data)
        return f"fin={self.fin} opcode={self.opcode} data={data}"

    @staticmethod
    def create_frame(data: str | BytesLike, opcode: int, fin: int = 1) -> ABNF:
        """Return a frame for :meth:`~syncws.styles.WebSocket.send_frame`.

        Args:
            data: the payload; a ``str`` becomes UTF-8 in a text frame, elsewhere it is ASCII.
            opcode: one of ``OPCODE_...``.
            fin: 1 if it is the last frame of its message.
        """
        if opcode == ABNF.OPCODE_TEXT and isinstance(data, str):
            data = data.encode()
        return ABNF(fin, 0, 0, 0, opcode, 1, data)

    def validate(self, skip_utf8_validation: bool = False) -> None:
        """Check what a server must not send.

        Args:
            skip_utf8_validation: whether a close reason may be something other than UTF-8.

        Raises:
            WebSocketProtocolException: a reserved bit is set, there is no such opcode, a ping is a
                fragment, or a close frame is invalid.
        """
        if self.rsv1 or self.rsv2 or self.rsv3:
            raise WebSocketProtocolException("rsv is not implemented, yet")
        if self.opcode not in ABNF.OPCODES:
            raise WebSocketProtocolException(f"Invalid opcode {self.opcode!r}")
        if self.opcode == ABNF.OPCODE_PING and not self.fin:
            raise WebSocketProtocolException("Invalid ping frame.")
        if self.opcode == ABNF.OPCODE_CLOSE and self.data:
            data = as_bytes(self.data, is_text=True)
            if not 2 <= len(data) <= 125:
                raise WebSocketProtocolException("Invalid close frame.")
            try:
                data[2:].decode(errors="ignore" if skip_utf8_validation else "strict")
            except UnicodeDecodeError as exc:
                raise WebSocketProtocolException("Invalid close frame.") from exc
            code = int.from_bytes(data[:2], "big")
            if code not in VALID_CLOSE_STATUS and not 3000 <= code < 5000:
                raise WebSocketProtocolException(f"Invalid close opcode {code!r}")

    def format(self) -> bytes:
        """Return the frame's bytes, masked if ``mask_value`` is 1.

        Raises:
            ValueError: a bit is neither 0 nor 1, or there is no such opcode.
            UnicodeEncodeError: the payload is a ``str`` that isn't Latin-1.
        """
        bits = (self.fin, self.rsv1, self.rsv2, self.rsv3)
        if any(bit not in (0, 1) for bit in bits):
            raise ValueError("not 0 or 1")
        if self.opcode not in ABNF.OPCODES:
            raise ValueError("Invalid OPCODE")
        fin, rsv1, rsv2, rsv3 = map(int, bits)
        first = fin << 7 | rsv1 << 6 | rsv2 << 5 | rsv3 << 4 | self.opcode
        length, mask_bit = len(self.data), int(self.mask_value) << 7
        if length < ABNF.LENGTH_7:
            header = struct.pack("!BB", first, mask_bit | length)
        elif length < ABNF.LENGTH_16:
            header = struct.pack("!BBH", first, mask_bit | 126, length)
        else:
            header = struct.pack("!BBQ", first, mask_bit | 127, length)
        if mask_bit:
            return header + self._get_masked(self.get_mask_key(4))
        return header + (self.data.encode() if isinstance(self.data, str) else bytes(self.data))

    def _get_masked(self, mask_key: str | bytes) -> bytes:
        return _as_latin_1(mask_key) + ABNF.mask(mask_key, self.data)

    @staticmethod
    def mask(mask_key: str | bytes, data: str | BytesLike | None) -> bytes:
        """Return data masked, or unmasked, with a key of 4 bytes; ``str`` is Latin-1."""
        return apply_mask(_as_latin_1("" if data is None else data), _as_latin_1(mask_key))


def _as_latin_1(data: str | BytesLike) -> bytes:
    return data.encode("latin-1") if isinstance(data, str) else frames.as_bytes(data)


def as_bytes(data: str | BytesLike, *, is_text: bool = False) -> bytes:
    """Return a payload as bytes.

    Args:
        data: the payload.
        is_text: whether a ``str`` becomes UTF-8; if not, it must be ASCII, as there is no telling
            which bytes are meant.

    Raises:
        TypeError: it is something else, or a ``str`` that isn't ASCII.
        UnicodeEncodeError: the text has halves of surrogate pairs.
    """
    if isinstance(data, str):
        if not is_text and not data.isascii():
            raise TypeError("binary data is given as bytes; a str is for text")
        return data.encode()
    return frames.as_bytes(data)
