"""Frames from payloads and from messages (RFC 6455 §5.2)."""

from __future__ import annotations

import struct

from .masking import BytesLike, apply_mask, as_bytes, masking_keys

__all__ = ["serialize_frame", "serialize_messages"]


def serialize_frame(first: int, payload: BytesLike, masked: bool) -> bytes:
    """Return the bytes of a frame (RFC 6455 §5.2).

    Args:
        first: FIN, reserved bits and opcode, as on the wire.
        payload: contiguous bytes.
        masked: whether to mask, with a fresh key.

    Raises:
        TypeError: the payload isn't bytes.
    """
    payload = as_bytes(payload)
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        header = bytes((first, bit | size))
    elif size < 65536:
        header = struct.pack("!BBH", first, bit | 126, size)
    else:
        header = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return b"".join((header, payload))
    key = masking_keys.draw()
    return b"".join((header, key, apply_mask(payload, key)))


def serialize_messages(messages: list[str | BytesLike], masked: bool) -> bytes:
    """Return the bytes of messages, one frame each: a ``str`` is text, bytes are binary.

    Raises:
        TypeError: something else is among them.
        UnicodeEncodeError: a text has surrogates.
    """
    frames = []
    for message in messages:
        if isinstance(message, str):
            frames.append(serialize_frame(0x81, message.encode(), masked))
        elif isinstance(message, (bytes, bytearray, memoryview)):
            frames.append(serialize_frame(0x82, message, masked))
        else:
            raise TypeError(f"{type(message).__name__} can't be sent; str and bytes can")
    return b"".join(frames)
