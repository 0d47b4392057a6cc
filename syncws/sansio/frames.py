"""Frames as values (RFC 6455 §5.2); :mod:`syncws.accel` has their bytes."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from ..accel import serialize_frame
from ..aliases import BytesLike
from ..exceptions import ProtocolError

__all__ = ["CONTROL_OPCODES", "DATA_OPCODES", "Frame", "Opcode", "as_bytes", "serialize_header"]


def serialize_header(first: int, size: int) -> bytes:
    """Return the header of an unmasked frame (RFC 6455 §5.2), for a payload that isn't copied."""
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return struct.pack("!BBH", first, 126, size)
    return struct.pack("!BBQ", first, 127, size)


class Opcode(enum.IntEnum):
    """What a frame is (RFC 6455 §11.8)."""

    CONT = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


DATA_OPCODES = frozenset((Opcode.CONT, Opcode.TEXT, Opcode.BINARY))
CONTROL_OPCODES = frozenset((Opcode.CLOSE, Opcode.PING, Opcode.PONG))


@dataclass
class Frame:
    """One frame, its payload unmasked.

    Attributes:
        opcode: what it is.
        data: the payload.
        fin: whether it is the last frame of its message.
        rsv1: reserved bit, set by permessage-deflate on compressed messages.
        rsv2: reserved bit.
        rsv3: reserved bit.
    """

    opcode: Opcode
    data: bytes
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False

    def __str__(self) -> str:
        data = as_bytes(self.data)
        is_text = self.opcode is Opcode.TEXT
        shown = repr(data.decode(errors="replace")) if is_text else data.hex(" ")
        if len(shown) > 75:
            shown = f"{shown[:48]}...{shown[-24:]}"
        flags = "" if self.fin else ", continued"
        return f"{self.opcode.name} {shown} [{len(data)} bytes{flags}]"

    @classmethod
    def from_wire(cls, first: int, payload: bytes) -> Frame:
        """Return the frame with this first byte, as the parser gives it."""
        return cls(
            Opcode(first & 0x0F),
            payload,
            bool(first & 0x80),
            bool(first & 0x40),
            bool(first & 0x20),
            bool(first & 0x10),
        )

    @property
    def first_byte(self) -> int:
        """FIN, reserved bits and opcode, as on the wire."""
        return self.fin << 7 | self.rsv1 << 6 | self.rsv2 << 5 | self.rsv3 << 4 | int(self.opcode)

    def serialize(self, *, masked: bool) -> bytes:
        """Return the frame's bytes.

        Raises:
            ProtocolError: a control frame is fragmented or over 125 bytes (§5.5).
        """
        if self.opcode in CONTROL_OPCODES:
            if len(self.data) > 125:
                raise ProtocolError(f"a control frame has at most 125 bytes, got {len(self.data)}")
            if not self.fin:
                raise ProtocolError("a control frame can't be fragmented")
        return serialize_frame(self.first_byte, self.data, masked)


def as_bytes(data: BytesLike) -> bytes:
    """Return a payload as bytes.

    Raises:
        TypeError: it is something else, such as a number, of which ``bytes()`` makes zeros.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{type(data).__name__} can't be sent; str and bytes can")
    return bytes(data)
