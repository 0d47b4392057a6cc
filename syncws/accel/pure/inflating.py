"""Inflater: compressed payloads in, what they mean out (RFC 7692 §7.2.2)."""

from __future__ import annotations

import sys
from typing import Any, Callable

__all__ = ["Inflater"]

#: What ends the compressed data of a message, and does not travel (§7.2.1).
EMPTY_BLOCK = b"\x00\x00\xff\xff"

#: Streams that may begin within one frame; more are an attack: each costs a new object.
MAX_STREAMS = 16

#: What breaks the rules: a close code, and what an exception says. See ``FrameParser.error``.
Failure = tuple[Any, ...]


class Inflater:
    """Inflates the messages that a connection receives, one after the other.

    One thread at a time may use it.

    Args:
        make: returns an object such as :func:`zlib.decompressobj` does; called when the first
            message needs one, as it costs tens of KiB.
        error: what that object raises if data is broken.
        forgets: whether each message is compressed apart from those before.
    """

    __slots__ = ("_error", "_forgets", "_make", "_object")

    def __init__(self, make: Callable[[], Any], error: type[Exception], forgets: bool) -> None:
        self._make = make
        self._error = error
        self._forgets = forgets
        self._object: Any = None

    def inflate(self, data: bytes, fin: bool, max_size: int | None) -> bytes | Failure:
        """Return what a frame's payload inflates to; or why it can't be, at once if it is too big.

        Args:
            data: the payload.
            fin: whether the message ends with it.
            max_size: limit of the result in bytes; ``None`` is unlimited.
        """
        if max_size is not None and max_size < 0:
            raise ValueError(f"max_size is negative: {max_size}")
        if fin:
            data += EMPTY_BLOCK
        pieces: list[bytes] = []
        size = streams = 0
        while data:
            if self._object is None:
                if data in (EMPTY_BLOCK, b"\x00" + EMPTY_BLOCK):
                    break  # nothing, and not worth an object
                streams += 1
                if streams > MAX_STREAMS:
                    return 1002, "compressed data has too many final blocks"
                self._object = self._make()
            # One byte over the limit tells "at the limit" from "above it"; 0 is no limit.
            room = 0 if max_size is None else min(max_size - size + 1, sys.maxsize)
            try:
                piece = self._object.decompress(data, room)
            except self._error as exc:
                return 1002, f"compressed data is broken: {exc}", exc
            size += len(piece)
            if max_size is not None and size > max_size:
                return 1009, None, max_size, None
            pieces.append(piece)
            if not self._object.eof:
                break
            # A block with BFINAL ends the stream; what follows starts a new one (§7.2.3.4).
            data = self._object.unused_data
            self._object = None
        if fin and self._forgets:
            self._object = None
        return b"".join(pieces)
