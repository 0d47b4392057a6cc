"""What a frame's header says, and the rules that it must keep (RFC 6455 §5.2)."""

from __future__ import annotations

import functools

FIN, RSV, OPCODE, MASKED = 0x80, 0x70, 0x0F, 0x80
CONTINUATION, TEXT, BINARY, CLOSE = 0, 1, 2, 8

# Kinds of first bytes.
REFUSED, WHOLE_TEXT, WHOLE_BINARY, START, CONTINUED, CONTROL = range(6)


@functools.cache
def kinds_of_frames(rsv: int) -> bytes:
    """Return the kind of frame that each first byte announces."""
    return bytes(kind_of_frame(first, rsv) for first in range(256))


def kind_of_frame(first: int, rsv: int) -> int:
    """Return the kind of frame that a first byte announces."""
    opcode = first & OPCODE
    if first & RSV & ~rsv:
        return REFUSED
    if opcode in (8, 9, 10):
        return CONTROL if first & FIN and not first & RSV else REFUSED
    if opcode == CONTINUATION:
        # Only the first frame of a message carries an extension's bit (RFC 7692 §6.1).
        return CONTINUED if not first & RSV or rsv != 0x40 else REFUSED
    if opcode in (TEXT, BINARY):
        if first & FIN and not first & RSV:
            return WHOLE_TEXT if opcode == TEXT else WHOLE_BINARY
        return START
    return REFUSED


def complaint(first: int, second: int, kind: int, *, rsv: int, mask_bit: int) -> str:
    """Return what is wrong with the first two bytes of a header that was refused."""
    opcode = first & OPCODE
    if first & RSV & ~rsv:
        return "reserved bits must be 0"
    if opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        return f"opcode {opcode:#x} is reserved"
    if opcode >= 8:
        if not first & FIN:
            return "a control frame is fragmented"
        if first & RSV:
            return "reserved bits of a control frame must be 0"
    elif opcode == CONTINUATION and first & RSV and kind == REFUSED:
        return "reserved bits of a continuation frame must be 0"
    if (second & MASKED) != mask_bit:
        return "a frame isn't masked" if mask_bit else "a frame is masked"
    if opcode >= 8:
        return "a control frame has more than 125 bytes"
    if opcode == CONTINUATION:
        return "a continuation frame without a message to continue"
    return "a new message before the end of the fragmented one"
