"""The bytes of frames, as a client sends them, parsed again (RFC 6455 §5.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ...accel import apply_mask
from .errors import WebSocketProtocolException

__all__ = ["RawFrames"]


class RawFrames:
    """Frames that come in pieces. For one thread at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, int, int, int, bytes]]:
        """Yield the frames that these bytes complete.

        Each is what :class:`~.abnf.ABNF` takes: FIN, three reserved bits, opcode, whether it was
        masked, and the payload without the mask.

        Raises:
            WebSocketProtocolException: a frame isn't masked, as clients' frames are (§5.3); what is
                not taken yet is dropped.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 2:
            first, second = buffer[0], buffer[1]
            if not second & 0x80:
                buffer.clear()
                raise WebSocketProtocolException("what is sent over a socket are masked frames")
            length, start = second & 0x7F, 2
            if length > 125:
                code, start = ("!H", 4) if length == 126 else ("!Q", 10)
                if len(buffer) < start:
                    return
                (length,) = struct.unpack_from(code, buffer, 2)
            end = start + 4 + length
            if len(buffer) < end:
                return
            payload = apply_mask(bytes(buffer[start + 4 : end]), bytes(buffer[start : start + 4]))
            del buffer[:end]
            bits = (first >> 7 & 1, first >> 6 & 1, first >> 5 & 1, first >> 4 & 1)
            yield (*bits, first & 0x0F, 1, payload)
