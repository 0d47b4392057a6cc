"""What goes over a connection, taken apart for people to look at: heads of HTTP, then frames.

A :class:`Dissector` is given the bytes of one direction as they come, and tells what they were; an
:class:`Exchange` joins both directions, so that what the response agreed on (RFC 7692) is known in
both. They only watch: they check nothing that they needn't, answer nothing, and never raise for
what a peer sends. What they keep of a connection is bounded, whatever is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..accel import apply_mask
from ..exceptions import InvalidHeader, NegotiationError, PayloadTooBig, ProtocolError
from ..sansio.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from ..sansio.fields import parse_extension
from ..sansio.frames import Frame, Opcode
from ..sansio.state import Role
from .dissected import DissectedFrame, HttpHead, Record, Unreadable

__all__ = ["DissectedFrame", "Dissector", "Exchange", "HttpHead", "Record", "Unreadable"]

#: Bytes of a payload that are kept.
MAX_PAYLOAD = 1 << 12

#: Bytes of a head that are waited for; those that an endpoint takes are shorter.
MAX_HEAD = 1 << 18

#: Bytes that one message may inflate to. After more, its direction isn't inflated any more.
MAX_INFLATED = 1 << 24

#: Bytes that are inflated at once. They may become a thousand times as many.
INFLATE_SIZE = 1 << 12


class Dissector:
    """Takes one direction of a connection apart. One thread at a time may use it.

    Args:
        max_payload: bytes that are kept of each payload, and of what it inflates to.
        http: whether the opening handshake comes first, rather than frames.

    Attributes:
        error: why the stream can't be followed any more; ``None`` while it can.
    """

    def __init__(self, *, max_payload: int = MAX_PAYLOAD, http: bool = True) -> None:
        self.error: str | None = None
        self._max_payload = max_payload
        self._buffer = bytearray()  # of a head, or of a frame's header
        self._step = self._take_head if http else self._take_header
        self._inflating: _Inflating | None = None
        self._frame: _Unfinished | None = None
        self._message_opcode: int | None = None  # of the message under way
        self._compressed = False  # whether it is

    def receive_data(self, data: bytes) -> list[HttpHead | DissectedFrame]:
        """Take bytes in; return what they complete: a frame comes with its last byte."""
        records: list[HttpHead | DissectedFrame] = []
        pos = 0
        while pos < len(data) and self.error is None:
            pos = self._step(data, pos, records)
        return records

    def agree(self, response: HttpHead, *, from_client: bool) -> None:
        """Take in what the server's response, with a status of 101, or above 199, agrees on.

        Args:
            response: the head of the response.
            from_client: whether this direction is the client's.
        """
        if response.status != 101:
            self.error = f"no WebSocket: the server answered with status {response.status}"
            return
        agreement = _find_deflate(response)
        if agreement is not None:
            # Its own role is that of the end that inflates what this direction brings.
            role = Role.SERVER if from_client else Role.CLIENT
            self._inflating = _Inflating(PerMessageDeflate(role, agreement.agreement))

    # Each step takes some of the data, from a position on, and returns the next position.

    def _take_head(self, data: bytes, pos: int, records: list[Any]) -> int:
        had = len(self._buffer)
        self._buffer += data[pos : pos + MAX_HEAD - had]
        end = self._buffer.find(b"\r\n\r\n", max(had - 3, 0))
        if end < 0:
            if len(self._buffer) == MAX_HEAD:
                self.error = f"the head of HTTP doesn't end within {MAX_HEAD} bytes"
            return len(data)
        head = HttpHead(self._buffer[:end].decode("latin-1"), end + 4)
        self._buffer.clear()
        records.append(head)
        if head.status is None:
            self._step = self._take_header
        elif head.status == 101 or head.status >= 200:  # others come before the real one
            self._step = self._take_header
            self.agree(head, from_client=False)
        return pos + head.size - had

    def _take_header(self, data: bytes, pos: int, records: list[Any]) -> int:
        buffer = self._buffer
        missing = _header_size(buffer) - len(buffer)
        buffer += data[pos : pos + missing]
        if len(buffer) == _header_size(buffer):
            self._begin_frame(bytes(buffer), records)
            buffer.clear()
        return min(pos + missing, len(data))

    def _begin_frame(self, header: bytes, records: list[Any]) -> None:
        frame = _Unfinished(header, self._max_payload)
        if frame.left >> 63:
            self.error = "a frame has a length over 2**63 - 1 bytes"
            return
        opcode = header[0] & 0x0F
        if opcode < 8:
            if opcode:
                self._message_opcode = opcode
                self._compressed = bool(header[0] & 0x40) and self._inflating is not None
            frame.message_opcode = self._message_opcode
            if self._compressed:
                frame.inflating = self._inflating
        self._frame = frame
        self._step = self._take_payload
        if not frame.left:
            self._end_frame(frame, records)

    def _take_payload(self, data: bytes, pos: int, records: list[Any]) -> int:
        frame = self._frame
        assert frame is not None
        piece = data[pos : pos + frame.left]
        frame.add(piece)
        if not frame.left:
            self._end_frame(frame, records)
        return pos + len(piece)

    def _end_frame(self, frame: _Unfinished, records: list[Any]) -> None:
        records.append(frame.finish())
        if frame.message_opcode is not None and frame.header[0] & 0x80:
            self._message_opcode = None
            self._compressed = False
        self._frame = None
        self._step = self._take_header


class Exchange:
    """Takes both directions of a connection apart, from the opening handshake on.

    Each direction may be used by one thread at a time; the two needn't wait for each other, as
    long as a response is given before what follows it, in either direction.

    Args:
        max_payload: bytes that are kept of each payload, and of what it inflates to.
    """

    def __init__(self, *, max_payload: int = MAX_PAYLOAD) -> None:
        self._sent = Dissector(max_payload=max_payload)
        self._received = Dissector(max_payload=max_payload)
        self._reported: set[bool] = set()  # directions that were said to be unreadable

    def sent(self, data: bytes) -> list[Record]:
        """Take in what was sent; return what it completes."""
        return self._take(True, data, self._sent, self._received)

    def received(self, data: bytes) -> list[Record]:
        """Take in what was received; return what it completes."""
        return self._take(False, data, self._received, self._sent)

    def _take(self, sent: bool, data: bytes, own: Dissector, other: Dissector) -> list[Record]:
        records: list[Record] = []
        for what in own.receive_data(data):
            records.append(Record(sent, what))
            status = what.status if isinstance(what, HttpHead) else None
            if status is not None and (status == 101 or status >= 200):
                assert isinstance(what, HttpHead)
                other.agree(what, from_client=True)
        if own.error is not None and data and sent not in self._reported:
            self._reported.add(sent)
            records.append(Record(sent, Unreadable(own.error)))
        return records


class _Unfinished:
    """A frame of which some is still to come."""

    def __init__(self, header: bytes, max_payload: int) -> None:
        self.header = header
        self._key = header[-4:] if header[1] & 0x80 else None
        self.length = self.left = _payload_length(header)
        self._room = max_payload
        self._payload = bytearray()
        self.message_opcode: int | None = None
        self.inflating: _Inflating | None = None
        self._inflated = bytearray()
        self._inflated_length = 0

    def add(self, piece: bytes) -> None:
        """Take in a piece of the payload, as on the wire."""
        kept = self._room - len(self._payload)
        if kept <= 0 and self.inflating is None:
            self.left -= len(piece)
            return
        if self._key is not None:
            shift = (self.length - self.left) % 4
            piece = apply_mask(piece, self._key[shift:] + self._key[:shift])
        self.left -= len(piece)
        self._payload += piece[: max(kept, 0)]
        if self.inflating is not None:
            self._keep(self.inflating.inflate(piece))

    def finish(self) -> DissectedFrame:
        """Return the frame, once all of it is there."""
        first = self.header[0]
        inflated = problem = None
        if self.inflating is not None:
            if first & 0x80:
                self._keep([self.inflating.finish()])
            problem = self.inflating.problem
            inflated = bytes(self._inflated) if problem is None else None
        return DissectedFrame(
            fin=bool(first & 0x80),
            rsv1=bool(first & 0x40),
            rsv2=bool(first & 0x20),
            rsv3=bool(first & 0x10),
            opcode=first & 0x0F,
            masking_key=self._key,
            length=self.length,
            header=self.header,
            payload=bytes(self._payload),
            inflated=inflated,
            inflated_length=None if inflated is None else self._inflated_length,
            message_opcode=self.message_opcode,
            problem=problem,
        )

    def _keep(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._inflated_length += len(piece)
            self._inflated += piece[: self._room - len(self._inflated)]


class _Inflating:
    """Inflates the compressed messages of one direction, until something is too much or broken.

    Args:
        extension: what was agreed on.

    Attributes:
        problem: why nothing is inflated any more; ``None`` while it is.
    """

    def __init__(self, extension: PerMessageDeflate) -> None:
        self._extension = extension
        self._first = True
        self._room = MAX_INFLATED
        self.problem: str | None = None

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """Return what a piece of a message inflates to, in pieces."""
        for start in range(0, len(data), INFLATE_SIZE):
            yield self._decode(data[start : start + INFLATE_SIZE], fin=False)

    def finish(self) -> bytes:
        """Return what the end of the message adds."""
        inflated = self._decode(b"", fin=True)
        self._first = True
        self._room = MAX_INFLATED
        return inflated

    def _decode(self, data: bytes, *, fin: bool) -> bytes:
        if self.problem is not None:
            return b""
        # Pieces of a frame's payload are to the extension what fragments are.
        opcode = Opcode.TEXT if self._first else Opcode.CONT
        frame = Frame(opcode, data, fin, rsv1=self._first)
        self._first = False
        try:
            inflated = self._extension.decode(frame, max_size=self._room).data
        except PayloadTooBig:
            self.problem = f"the message inflates to over {MAX_INFLATED} bytes"
            return b""
        except ProtocolError as exc:
            self.problem = str(exc)
            return b""
        self._room -= len(inflated)
        return inflated


def _header_size(header: bytes | bytearray) -> int:
    """Return the size of the frame header that begins like this; at least, until that is known."""
    if len(header) < 2:
        return 2
    extended = {126: 2, 127: 8}.get(header[1] & 0x7F, 0)
    return 2 + extended + (4 if header[1] & 0x80 else 0)


def _payload_length(header: bytes) -> int:
    length = header[1] & 0x7F
    if length < 126:
        return length
    return int.from_bytes(header[2 : 4 if length == 126 else 10], "big")


def _find_deflate(response: HttpHead) -> PerMessageDeflate | None:
    """Return permessage-deflate as the server's response agrees on it, if it does, validly."""
    try:
        for value in response.get_all("Sec-WebSocket-Extensions"):
            for name, parameters in parse_extension(value):
                if name == PerMessageDeflate.name:
                    factory = ClientPerMessageDeflateFactory()
                    return factory.process_response_params(parameters, ())
    except (InvalidHeader, NegotiationError):
        pass  # the client fails the connection
    return None
