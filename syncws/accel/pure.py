"""The hot loops in Python: parsing, unmasking and serializing frames (RFC 6455 §5).

This module knows bytes, not meanings: no exceptions of the library, no frame
class. :class:`FrameParser` turns what was read into a list with, in order of
arrival:

- a ``str`` or ``bytes`` for each whole message in one plain data frame,
- a tuple ``(first_byte, payload)`` for every other frame, unmasked.

What broke the rules ends up in :attr:`FrameParser.error`, after everything
that came before it was returned; from then on input is discarded, as it is
after a close frame. Results and errors do not depend on how the bytes were split.

How it works: header fields are looked up in a table of the 256 first bytes, so
that the usual frame costs one look; a frame that is complete in the buffer is
sliced out of it; for one that is not, the payload is unmasked (and, if it is
text, decoded) as it comes, so that each byte is touched once however slowly it
drips, and invalid text is noticed at once.
"""

from __future__ import annotations

import codecs
import functools
import io
import os
import struct
from collections.abc import Iterator
from typing import Any, Union

__all__ = ["FrameParser", "apply_mask", "serialize_frame", "serialize_messages"]

BytesLike = Union[bytes, bytearray, memoryview]

#: (1002, text), (1007, reason, position) or (1009, size, max_size, current_size).
ParseError = tuple[Any, ...]

# --- masking -----------------------------------------------------------------------

#: Large payloads are masked in blocks of this size, so that the integers stay in the cache.
MASK_BLOCK = 1 << 13


def apply_mask(data: BytesLike, key: bytes) -> bytes:
    """Return ``data`` masked, or unmasked, with a key of 4 bytes (RFC 6455 §5.3).

    Raises:
        TypeError: the data isn't bytes.
        ValueError: the key doesn't have 4 bytes.
    """
    if len(key) != 4:
        raise ValueError(f"a masking key has 4 bytes, got {len(key)}")
    data = _as_bytes(data)
    size = len(data)
    if size < 2 * MASK_BLOCK:
        return _xor(data, key, size)
    mask = int.from_bytes(key * (MASK_BLOCK // 4), "little")
    view, end = memoryview(data), size - size % MASK_BLOCK
    blocks = []
    for start in range(0, end, MASK_BLOCK):
        block = int.from_bytes(view[start : start + MASK_BLOCK], "little") ^ mask
        blocks.append(block.to_bytes(MASK_BLOCK, "little"))
    blocks.append(_xor(view[end:], key, size - end))
    return b"".join(blocks)


def _as_bytes(data: BytesLike) -> bytes:
    # Integers can be made of a list of numbers too, and a view may count larger items.
    return data if type(data) is bytes else memoryview(data).tobytes()


def _xor(data: BytesLike, key: bytes, size: int) -> bytes:
    # Whole integers: the loop over the bytes is the interpreter's own, in C.
    words = (size + 3) // 4
    mask = int.from_bytes(key * words, "little")
    return (int.from_bytes(data, "little") ^ mask).to_bytes(4 * words, "little")[:size]


KEYS_PER_BLOCK = 1024


class _MaskingKeys:
    """Masking keys from the system's randomness, drawn in blocks (RFC 6455 §5.3, §10.3).

    Thread-safe: ``next()`` of the iterator is one step of the interpreter's.
    """

    def __init__(self) -> None:
        self._keys: Iterator[tuple[Any, ...]] = iter(())

    def draw(self) -> bytes:
        """Return 4 bytes that nobody could predict, never the same block twice."""
        key: bytes
        for (key,) in self._keys:
            return key
        keys = struct.iter_unpack("4s", os.urandom(4 * KEYS_PER_BLOCK))
        key = next(keys)[0]
        self._keys = keys
        return key

    def forget(self) -> None:
        """Drop what was drawn: after a fork both processes would use the same keys."""
        self._keys = iter(())


_masking_keys = _MaskingKeys()
if hasattr(os, "register_at_fork"):  # pragma: no branch
    os.register_at_fork(after_in_child=_masking_keys.forget)


# --- serializing -------------------------------------------------------------------


def serialize_frame(first: int, payload: BytesLike, masked: bool) -> bytes:
    """Return the bytes of a frame (RFC 6455 §5.2).

    Args:
        first: FIN, reserved bits and opcode, as on the wire.
        payload: contiguous bytes.
        masked: whether to mask, with a fresh key.

    Raises:
        TypeError: the payload isn't bytes.
    """
    payload = _as_bytes(payload)
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
    key = _masking_keys.draw()
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


# --- parsing -----------------------------------------------------------------------

FIN, RSV, OPCODE, MASKED = 0x80, 0x70, 0x0F, 0x80
CONTINUATION, TEXT, BINARY, CLOSE = 0, 1, 2, 8

# Kinds of first bytes.
REFUSED, WHOLE_TEXT, WHOLE_BINARY, START, CONTINUED, CONTROL = range(6)

#: Room that is made for a frame at its beginning, at most.
FIRST_BUFFER = 1 << 20

Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Utf8Error(Exception):
    """Not UTF-8; ``args`` are the reason and the position in the message."""


class Utf8Validator:
    """Decodes text as it comes and fails at the first byte that can't be part of any.

    Attributes:
        size: bytes decoded so far.
    """

    def __init__(self) -> None:
        self._decoder = Utf8Decoder()
        self.size = 0

    def decode(self, data: bytes, final: bool = False) -> str:
        """Return the text that is complete.

        Raises:
            Utf8Error: the text isn't UTF-8, or ends within a character.
        """
        decoder = self._decoder
        pending: bytes = decoder.getstate()[0]
        try:
            text: str = decoder.decode(data, final)
        except UnicodeDecodeError as exc:
            position = self.size - len(pending) + exc.start
            raise Utf8Error(exc.reason, position) from None
        self.size += len(data)
        pending = decoder.getstate()[0]
        # The interpreter waits for the third byte of a surrogate before it complains.
        if len(pending) == 2 and pending[0] == 0xED and pending[1] >= 0xA0:
            raise Utf8Error("invalid continuation byte", self.size - 2)
        return text


class FrameParser:
    """Parses the frames that one endpoint receives.

    Not thread-safe: one thread reads at a time.

    Args:
        masked: whether frames must be masked (a server's input) or must not (a client's).
        max_message: limit of a message's size in bytes; ``None`` is unlimited.
        max_fragment: limit of a frame's size in bytes; ``None`` is unlimited.
        rsv: reserved bits that extensions use, as in the first byte.
        raw: return every frame as a tuple, and leave text unchecked: an extension wants
            to see them all.

    Attributes:
        error: what broke the rules, or ``None``: ``(1002, text)``, ``(1007, reason,
            position in the message)`` or ``(1009, size, max_size, current_size)``;
            ``(1000, text)`` after a close frame or :meth:`stop`.
    """

    def __init__(
        self,
        *,
        masked: bool,
        max_message: int | None = None,
        max_fragment: int | None = None,
        rsv: int = 0,
        raw: bool = False,
    ) -> None:
        for name, limit in (("max_message", max_message), ("max_fragment", max_fragment)):
            if limit is not None and limit < 0:
                raise ValueError(f"{name} is negative: {limit}")
        self.error: ParseError | None = None
        self._mask_bit = MASKED if masked else 0
        self._max_message = max_message
        self._max_fragment = max_fragment
        self._rsv = rsv
        self._raw = raw
        self._kinds = _kinds(rsv)
        self._tail = b""  # less than a header
        # The message under way, if fragmented: its size so far, and its text's state.
        self._in_message = False
        self._unchecked = False
        self._message_size = 0
        self._validator: Utf8Validator | None = None
        # The frame under way: header, payload so far (unmasked), bytes that are missing.
        self._missing = 0
        self._first = 0
        self._key = b""
        self._buffer = io.BytesIO()  # gives its content away without copying it
        self._text: Utf8Validator | None = None  # checks the frame

    @property
    def receiving(self) -> bool:
        """Whether a frame has begun and isn't complete."""
        return self.error is None and (self._missing > 0 or bool(self._tail))

    def receive(self, data: bytes) -> list[Any]:
        """Return what ``data`` completes. See the module's docstring."""
        events: list[Any] = []
        if self.error is not None:
            return events
        try:
            if self._missing:
                data = self._continue_frame(data, events)
            if data and self.error is None:
                self._parse(self._tail + data if self._tail else data, events)
        except Utf8Error as exc:
            self.error = (1007, *exc.args)
        return events

    def stop(self) -> None:
        """Discard all that comes from now on: after a close frame nothing counts."""
        if self.error is None:
            self.error = (1000, "stopped")

    def _parse(self, buffer: bytes, events: list[Any]) -> None:
        kinds, mask_bit, raw = self._kinds, self._mask_bit, self._raw
        start, end = 0, len(buffer)
        header_size = 6 if mask_bit else 2
        while end - start >= 2:
            first, second = buffer[start], buffer[start + 1]
            kind = kinds[first]
            size = second & 0x7F
            if (
                kind == REFUSED
                or (second & MASKED) != mask_bit
                or (kind == CONTROL and size > 125)
                or (kind != CONTROL and (kind == CONTINUED) != self._in_message)
            ):
                self.error = (1002, self._complaint(first, second, kind))
                return
            payload_start = start + header_size
            if size > 125:
                width = 2 if size == 126 else 8
                payload_start += width
                if end - start < 2 + width:
                    break
                size = int.from_bytes(buffer[start + 2 : start + 2 + width], "big")
                if size < 126 or (width == 8 and not 65536 <= size < 1 << 63):
                    self.error = (1002, f"length {size} isn't in its shortest form")
                    if size >= 1 << 63:
                        self.error = (1002, "the most significant bit of a length is set")
                    return
            if kind != CONTROL and not self._fits(first, size):
                return
            if payload_start > end:
                break
            key = buffer[payload_start - 4 : payload_start] if mask_bit else b""
            next_start = payload_start + size
            if next_start > end:
                self._begin_frame(first, key, size)
                self._continue_frame(buffer[payload_start:], events)
                self._tail = b""
                return
            payload = buffer[payload_start:next_start]
            if mask_bit and size:
                payload = apply_mask(payload, key)
            if kind == WHOLE_TEXT and not raw:
                events.append(_decode(payload))
            elif kind == WHOLE_BINARY and not raw:
                events.append(payload)
            else:
                self._finish_frame(first, payload, events)
                if self.error is not None:
                    return
            start = next_start
        self._tail = buffer[start:]

    # --- rules ---

    def _complaint(self, first: int, second: int, kind: int) -> str:
        opcode = first & OPCODE
        if first & RSV & ~self._rsv:
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
        if (second & MASKED) != self._mask_bit:
            return "a frame isn't masked" if self._mask_bit else "a frame is masked"
        if opcode >= 8:
            return "a control frame has more than 125 bytes"
        if opcode == CONTINUATION:
            return "a continuation frame without a message to continue"
        return "a new message before the end of the fragmented one"

    def _fits(self, first: int, size: int) -> bool:
        """Check the limits on the header, before the payload is buffered."""
        before = self._message_size
        # Compressed data may be a little larger than what it inflates to; the exact
        # check is then the extension's, while it inflates.
        unchecked = self._raw or bool(first & RSV) or self._unchecked
        slack = (size >> 3) + 64 if unchecked else 0
        limit, fragment = self._max_message, self._max_fragment
        if fragment is not None and size - slack > fragment:
            self.error = (1009, size, fragment, None)
        elif limit is not None and unchecked and size - slack > limit:
            self.error = (1009, size, limit, None)
        elif limit is not None and not unchecked and before + size > limit:
            self.error = (1009, size, limit - before, before or None)
        return self.error is None

    # --- a frame that comes in pieces ---

    def _begin_frame(self, first: int, key: bytes, size: int) -> None:
        self._first, self._key, self._missing = first, key, size
        # Room for all of it at once, but no more than the first piece of a large one: a header
        # alone shall not cost the memory that it promises.
        self._buffer = buffer = io.BytesIO()
        buffer.seek(min(size, FIRST_BUFFER) - 1)
        buffer.write(b"\0")
        buffer.seek(0)
        kind = self._kinds[first]
        if kind == WHOLE_TEXT and not self._raw:
            self._text = Utf8Validator()
        elif kind == START and first & OPCODE == TEXT and not first & RSV and not self._raw:
            self._validator = Utf8Validator()

    def _continue_frame(self, data: bytes, events: list[Any]) -> bytes:
        """Take what belongs to the frame under way; return the rest."""
        size = self._missing
        piece = data[:size] if len(data) > size else data
        taken = len(piece)
        plain = piece
        if self._key and taken:
            plain = apply_mask(piece, self._key)
            turn = taken & 3
            self._key = self._key[turn:] + self._key[:turn]
        self._missing = size - taken
        final = not self._missing
        if self._text is not None:
            self._text.decode(plain, final)
        elif self._validator is not None and not self._first & 8:
            self._validator.decode(plain, final and bool(self._first & FIN))
        self._buffer.write(plain)
        if final:
            self._end_frame(events)
        return data[taken:]

    def _end_frame(self, events: list[Any]) -> None:
        first, payload = self._first, self._buffer.getvalue()
        self._key = b""
        self._buffer = io.BytesIO()
        if self._text is not None:
            self._text = None
            events.append(str(payload, "utf-8"))
        elif self._kinds[first] == WHOLE_BINARY and not self._raw:
            events.append(payload)
        else:
            self._finish_frame(first, payload, events, validated=True)

    def _finish_frame(
        self, first: int, payload: bytes, events: list[Any], validated: bool = False
    ) -> None:
        """Return a frame as a tuple, and keep track of the message that it is part of."""
        if not first & 8:
            if first & OPCODE:  # a new message
                self._unchecked = self._raw or bool(first & RSV)
                if first & OPCODE == TEXT and not self._unchecked and not validated:
                    self._validator = Utf8Validator()
            if self._validator is not None and not validated:
                self._validator.decode(payload, bool(first & FIN))
            if first & FIN:
                self._in_message, self._unchecked, self._message_size = False, False, 0
                self._validator = None
            else:
                self._in_message = True
                self._message_size += len(payload)
        events.append((first, payload))
        if first & OPCODE == CLOSE:
            self.stop()


def _decode(payload: bytes) -> str:
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError as exc:
        raise Utf8Error(exc.reason, exc.start) from None


@functools.cache
def _kinds(rsv: int) -> bytes:
    """Return the kind of frame that each first byte announces."""
    return bytes(_kind(first, rsv) for first in range(256))


def _kind(first: int, rsv: int) -> int:
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
