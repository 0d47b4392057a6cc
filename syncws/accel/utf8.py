"""Text that comes in pieces, checked as it comes.

Both implementations need it: messages that an extension inflates are checked here. What the
accelerator parses itself, it checks in C.
"""

from __future__ import annotations

import codecs

__all__ = ["Utf8Error", "Utf8Validator"]

Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Utf8Error(Exception):
    """Not UTF-8; ``args`` are the reason and the position in the message."""


class Utf8Validator:
    """Decodes text as it comes, and fails at the first byte that can't be part of a text.

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
