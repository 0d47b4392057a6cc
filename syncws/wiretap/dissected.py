"""What :mod:`.dissector` finds in a connection: heads of HTTP and frames, as values to look at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..accel import apply_mask
from ..sansio.close import Close
from ..sansio.frames import Opcode

__all__ = ["DissectedFrame", "HttpHead", "Record", "Unreadable"]

_STATUS_LINE = re.compile(r"HTTP/[0-9.]+ ([0-9]{3})\b")


@dataclass(frozen=True)
class HttpHead:
    """The head of a request or response: start line and headers.

    Attributes:
        text: its lines, each byte a character (Latin-1), without the empty line at the end.
        size: its bytes on the wire.
    """

    text: str
    size: int

    @property
    def lines(self) -> list[str]:
        """The start line and the headers."""
        return self.text.split("\r\n")

    @property
    def status(self) -> int | None:
        """The status of a response; ``None`` for a request."""
        found = _STATUS_LINE.match(self.text)
        return int(found[1]) if found else None

    def get_all(self, name: str) -> list[str]:
        """Return the values of all headers with a name."""
        pairs = (line.partition(":") for line in self.lines[1:])
        return [value.strip(" \t") for key, _, value in pairs if key.lower() == name.lower()]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can say."""
        return {"type": "http", "lines": self.lines, "status": self.status, "size": self.size}


@dataclass(frozen=True)
class DissectedFrame:
    """A frame as it was on the wire (RFC 6455 §5.2), and what it says.

    Attributes:
        fin: whether it is the last frame of its message.
        rsv1: reserved bit, set by permessage-deflate on the first frame of a compressed message.
        rsv2: reserved bit.
        rsv3: reserved bit.
        opcode: what it is, from 0 to 15.
        masking_key: its 4 bytes; ``None`` if the frame isn't masked.
        length: bytes of the payload.
        header: the frame header as on the wire, masking key included.
        payload: the payload, unmasked; not all of it if it is long.
        inflated: what it really says, if it is of a compressed message and can be inflated; not
            all of it if it is long. What the next fragment of a message completes is there.
        inflated_length: bytes that it inflates to; ``None`` if ``inflated`` is.
        message_opcode: opcode of the message that a data frame is of, that of a continuation's
            first frame; ``None`` for control frames, and where there is no such message.
        problem: why a compressed frame isn't inflated, if it isn't.
    """

    fin: bool
    rsv1: bool
    rsv2: bool
    rsv3: bool
    opcode: int
    masking_key: bytes | None
    length: int
    header: bytes
    payload: bytes
    inflated: bytes | None = None
    inflated_length: int | None = None
    message_opcode: int | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """What it is, in a word: ``"TEXT"``; ``"OPCODE 3"`` if that is reserved."""
        try:
            return Opcode(self.opcode).name
        except ValueError:
            return f"OPCODE {self.opcode}"

    @property
    def is_control(self) -> bool:
        """Whether it is a control frame (§5.5)."""
        return self.opcode >= 8

    @property
    def compressed(self) -> bool:
        """Whether it is of a compressed message (RFC 7692)."""
        return self.inflated is not None or self.problem is not None

    @property
    def content(self) -> bytes:
        """What it says, inflated where that is possible; not all of it if it is long."""
        return self.payload if self.inflated is None else self.inflated

    @property
    def content_length(self) -> int:
        """Bytes that it says."""
        return self.length if self.inflated_length is None else self.inflated_length

    @property
    def text(self) -> str | None:
        """What a frame of a text message says; ``None`` for others, or if it can't be inflated.

        Where the frame, or what is kept of it, ends within a character, U+FFFD stands for it.
        """
        if self.message_opcode != Opcode.TEXT or self.problem is not None:
            return None
        return self.content.decode("utf-8", "replace")

    @property
    def close_code(self) -> int | None:
        """The code of a close frame (§5.5.1), be it valid or not; ``None`` if there is none."""
        if self.opcode != Opcode.CLOSE or len(self.payload) < 2:
            return None
        return int.from_bytes(self.payload[:2], "big")

    @property
    def close_reason(self) -> str:
        """The reason of a close frame; empty if there is none."""
        if self.opcode != Opcode.CLOSE:
            return ""
        return self.payload[2:].decode("utf-8", "replace")

    @property
    def wire_payload(self) -> bytes:
        """The payload as on the wire: masked; not all of it if it is long."""
        return apply_mask(self.payload, self.masking_key) if self.masking_key else self.payload

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can say; bytes are in hexadecimal."""
        code = self.close_code
        return {
            "type": "frame",
            "name": self.name,
            "fin": self.fin,
            "rsv1": self.rsv1,
            "rsv2": self.rsv2,
            "rsv3": self.rsv3,
            "opcode": self.opcode,
            "masking_key": None if self.masking_key is None else self.masking_key.hex(),
            "length": self.length,
            "header": self.header.hex(),
            "payload": self.payload.hex(),
            "inflated": None if self.inflated is None else self.inflated.hex(),
            "inflated_length": self.inflated_length,
            "compressed": self.compressed,
            "problem": self.problem,
            "message_opcode": self.message_opcode,
            "text": self.text,
            "truncated": len(self.content) < self.content_length,
            "close_code": code,
            "close_reason": self.close_reason,
            "meaning": None if code is None else str(Close(code)),
        }


@dataclass(frozen=True)
class Unreadable:
    """From here on a direction can't be followed any more.

    Attributes:
        text: why.
    """

    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can say."""
        return {"type": "unreadable", "text": self.text}


@dataclass(frozen=True)
class Record:
    """What was found in one direction of a connection.

    Attributes:
        sent: whether it was sent, rather than received.
        what: what it is.
    """

    sent: bool
    what: HttpHead | DissectedFrame | Unreadable

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can say."""
        return {"sent": self.sent, **self.what.to_dict()}
