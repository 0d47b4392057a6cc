"""FrameParser: received bytes in, messages and frames out (RFC 6455 §5).

This module knows bytes, not meanings: no exceptions of the library, no frame class.
:class:`FrameParser` turns what was read into a list with, in order of arrival:

- a ``str`` or ``bytes`` for each whole message in one plain data frame,
- a tuple ``(first_byte, payload)`` for every other frame, unmasked.

What broke the rules ends up in :attr:`FrameParser.error`, after everything that came before it
was returned. From then on input is discarded, as it is after a close frame. Results and errors
do not depend on how the bytes were split.

How it works: the kind of a frame is looked up in a table of all first bytes, so that the usual
frame costs one look. A frame that is complete in the buffer is sliced out of it. The payload of
one that isn't is unmasked, and decoded if it is text, as it comes: each byte is touched once,
however slowly they drip in, and invalid text is noticed at once.
"""

from __future__ import annotations

import io
from typing import Any

from ..utf8 import Utf8Error, Utf8Validator
from .frame_header import (
    CLOSE,
    CONTINUED,
    CONTROL,
    FIN,
    MASKED,
    OPCODE,
    REFUSED,
    RSV,
    START,
    TEXT,
    WHOLE_BINARY,
    WHOLE_TEXT,
    complaint,
    kinds_of_frames,
)
from .masking import apply_mask

__all__ = ["FrameParser"]

#: (1002, text), (1007, reason, position) or (1009, size, max_size, current_size).
ParseError = tuple[Any, ...]

#: The most room that is made for a frame when it begins.
FIRST_BUFFER = 1 << 20


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
        self._kinds = kinds_of_frames(rsv)
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
        self._buffer = io.BytesIO()  # getvalue() doesn't copy it
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
        """Discard everything from now on: after a close frame nothing counts."""
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
                text = complaint(first, second, kind, rsv=self._rsv, mask_bit=mask_bit)
                self.error = (1002, text)
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
        # alone must not cost the memory that it promises.
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
