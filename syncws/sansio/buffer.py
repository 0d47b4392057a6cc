"""Bytes that were received and not parsed yet."""

from __future__ import annotations

from ..exceptions import SecurityError

__all__ = ["ReceiveBuffer"]


class ReceiveBuffer:
    """Keeps received bytes until they are taken, as lines or in pieces.

    A search for the end of a line resumes where the one before stopped, and bytes
    that were taken are dropped when more arrive. Time is therefore linear in the
    number of bytes, even if they arrive one by one.
    """

    __slots__ = ("_data", "_searched", "_start")

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = 0  # what stands before it was taken
        self._searched = 0  # no line ends before it; never before _start

    def __len__(self) -> int:
        return len(self._data) - self._start

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        if self._start:
            del self._data[: self._start]
            self._searched -= self._start
            self._start = 0
        self._data += data

    def take_line(self, max_length: int, too_long: type[SecurityError]) -> bytearray | None:
        """Take a line that ends with CRLF and return it without; ``None`` if it isn't all there.

        A line is refused as soon as it is certain to be too long, or at a bare LF.

        Args:
            max_length: limit in bytes, not counting CRLF.
            too_long: the exception for a longer line.

        Raises:
            SecurityError: the line is over the limit; of type ``too_long``.
            ValueError: the line ends with LF only (RFC 9112 §2.2 lets us refuse).
        """
        data, start = self._data, self._start
        newline = data.find(b"\n", self._searched)
        end = len(data) if newline < 0 else newline
        # A final CR is half of the line's end, or may turn out to be.
        has_cr = data.endswith(b"\r", start, end)
        if end - start - has_cr > max_length:
            raise too_long(f"a line has more than {max_length} bytes")
        if newline < 0:
            self._searched = end
            return None
        if not has_cr:
            raise ValueError("a line ends with LF instead of CRLF")
        self._start = self._searched = newline + 1
        return data[start : newline - 1]

    def take(self, max_length: int) -> bytes:
        """Take and return up to ``max_length`` bytes from the front."""
        end = min(self._start + max_length, len(self._data))
        taken = bytes(self._data[self._start : end])
        self._start = self._searched = end
        return taken

    def take_all(self) -> bytes:
        """Take and return everything."""
        return self.take(len(self))
