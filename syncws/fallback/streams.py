"""The two byte streams of a session, by position: what comes again, and what must go again."""

from __future__ import annotations

__all__ = ["Incoming", "Outgoing"]


class Outgoing:
    """Bytes for the other end, kept until it has acknowledged them.

    Attributes:
        acknowledged: how many bytes the other end has.
        end: where the stream ends, once that is known.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self.end: int | None = None
        self._kept = bytearray()  # from the acknowledged position on

    def __len__(self) -> int:
        """Return how many bytes aren't acknowledged."""
        return len(self._kept)

    @property
    def position(self) -> int:
        """Where the next byte goes: how many there have been."""
        return self.acknowledged + len(self._kept)

    def append(self, data: bytes | memoryview) -> None:
        """Add bytes at the end."""
        self._kept += data

    def finish(self) -> None:
        """Note that nothing more comes."""
        self.end = self.position

    def acknowledge(self, position: int) -> bool:
        """Forget what the other end has; return whether it can have so much."""
        if not self.acknowledged <= position <= self.position:
            return False
        del self._kept[: position - self.acknowledged]
        self.acknowledged = position
        return True

    def take(self, position: int, limit: int) -> bytes:
        """Return bytes from a position on that isn't acknowledged yet, at most so many."""
        start = position - self.acknowledged
        with memoryview(self._kept) as view:
            return bytes(view[start : start + limit])


class Incoming:
    """Where the other end's stream is.

    Attributes:
        position: how many of its bytes we have.
    """

    def __init__(self) -> None:
        self.position = 0

    def is_gap(self, position: int) -> bool:
        """Tell whether something is missing before these bytes."""
        return position > self.position

    def cut(self, position: int, data: bytes) -> memoryview:
        """Return the part of some bytes that we don't have yet.

        Args:
            position: of the first of them; not after a gap.
            data: the bytes.
        """
        return memoryview(data)[self.position - position :]
