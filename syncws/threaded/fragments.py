"""A message that comes in fragments, on its way through the inbox."""

from __future__ import annotations

from ..aliases import Data

__all__ = ["MAX_PIECES", "Fragments"]

#: Bytes of memory that a fragmented message takes besides its payload: this object and its list.
OVERHEAD = 1024

#: Pieces of a fragmented message that are kept apart; from there on they are joined, so that
#: many small ones take no more memory than their bytes.
MAX_PIECES = 64


class Fragments:
    """A fragmented message, complete or under way.

    Attributes:
        is_text: whether it is text.
        complete: whether the last fragment is there.
        taken: whether a caller streams it.
        dropped: whether that caller lost interest.
        size: bytes of payload that nobody took yet.
    """

    __slots__ = ("complete", "dropped", "is_text", "pieces", "size", "taken")

    def __init__(self, is_text: bool) -> None:
        self.is_text = is_text
        self.pieces: list[bytes | bytearray] = []
        self.complete = False
        self.taken = False
        self.dropped = False
        self.size = 0

    def add(self, data: bytes) -> None:
        """Add a fragment's payload."""
        if self.dropped or not data:
            return
        self.size += len(data)
        if len(self.pieces) < MAX_PIECES:
            self.pieces.append(data)
            return
        last = self.pieces[-1]
        if not isinstance(last, bytearray):
            self.pieces[-1] = last = bytearray(last)
        last += data

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes: an empty one isn't free."""
        return self.size + OVERHEAD

    def message(self, decode: bool | None) -> Data:
        """Return the message as a whole; it stays here.

        What comes of a message that another thread begins to stream meanwhile is of no use.

        Raises:
            UnicodeDecodeError: ``decode`` is true and the message isn't UTF-8.
        """
        data = b"".join(self.pieces[:])  # of a copy: we have no lock, and it takes pieces
        as_text = self.is_text if decode is None else decode
        return str(data, "utf-8") if as_text else data

    def drop(self) -> None:
        """Drop what is here, and what comes later."""
        self.dropped = True
        self.pieces.clear()
        self.size = 0
