"""Incoming bytes to messages: parsing, extensions, limits, UTF-8.

:class:`Decoder` is the receiving half of a connection. It shares nothing with
the sending half, so that whoever reads needs no lock while it works.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

from ..accel import FrameParser, Utf8Error, Utf8Validator
from ..exceptions import PayloadTooBig, ProtocolError
from ..options import split_max_size
from .extensions.interface import Extension
from .failures import as_exception
from .frames import Frame, Opcode
from .state import Role

__all__ = ["Decoder", "DecoderEvent"]

#: A whole message that came in one frame; or a control frame or fragment.
DecoderEvent = Union[str, bytes, Frame]


class Decoder:
    """Turns what an endpoint receives into messages and frames.

    Events are a ``str`` or ``bytes`` for each message that came in one frame, and a
    :class:`Frame`, free of extensions, for each fragment and control frame. They, and
    the error, don't depend on how the input was split. Memory is bounded by the limits,
    which are checked on frame headers and while inflating. Nothing follows a close frame.

    Not thread-safe: one thread reads at a time.

    Args:
        role: the endpoint that receives.
        max_message: limit of a message in bytes, after extensions; ``None`` is unlimited.
        max_fragment: limit of a frame's payload in bytes; ``None`` is unlimited.
        extensions: what was agreed on.

    Attributes:
        error: what broke the rules, once all events before it were returned:
            :exc:`ProtocolError`, :exc:`PayloadTooBig`, :exc:`UnicodeDecodeError`, or
            what an extension raised.
        parser: the parser, for who uses it directly, and then :meth:`convert`.

    Raises:
        ValueError: a limit is negative.
    """

    def __init__(
        self,
        role: Role,
        max_message: int | None = None,
        max_fragment: int | None = None,
        extensions: Sequence[Extension] = (),
    ) -> None:
        split_max_size((max_message, max_fragment))  # it refuses negative ones
        self.error: Exception | None = None
        self._max_message = max_message
        self._max_fragment = max_fragment
        self._extensions = tuple(reversed(extensions))
        rsv = 0
        for extension in extensions:
            rsv |= extension.rsv
        self.parser: FrameParser = FrameParser(
            masked=role is Role.SERVER,
            max_message=max_message,
            max_fragment=max_fragment,
            rsv=rsv,
            raw=any(extension.sees_plain_frames for extension in extensions),
        )
        self._rsv = rsv
        # What was parsed and not decoded yet.
        self._parsed: list[Any] = []
        # The message that passes through extensions, if one is under way.
        self._encoded = False
        self._size = 0
        self._validator: Utf8Validator | None = None

    @property
    def receiving(self) -> bool:
        """Whether a frame has begun and isn't complete."""
        return self.parser.receiving

    def receive(self, data: bytes) -> list[DecoderEvent]:
        """Return what ``data`` completes; look at :attr:`error` afterwards."""
        self.feed(data)
        return self.decode()

    def feed(self, data: bytes) -> None:
        """Parse ``data``, for :meth:`decode`."""
        self._parsed.extend(self.parser.receive(data))

    @property
    def has_more(self) -> bool:
        """Whether :meth:`decode` has something to do."""
        return bool(self._parsed)

    def decode(self, limit: int | None = None) -> list[DecoderEvent]:
        """Return what :meth:`feed` completed; look at :attr:`error` afterwards.

        Args:
            limit: bytes after which to stop, with the message or fragment that passes them: a
                little that is compressed may become very much. ``None`` is no limit.
        """
        if limit is None or not self._extensions:
            parsed, self._parsed = self._parsed, []
            return self.convert(parsed)
        events: list[DecoderEvent] = []
        size = count = 0
        for item in self._parsed:
            count += 1
            if type(item) is not tuple:
                events.append(item)
            else:
                events += self._convert([item])
                if self.error is not None:
                    self._parsed = []
                    return events
            size += _size(events[-1])
            if size > limit:
                break
        del self._parsed[:count]
        if not self._parsed:
            self._note_parser_error()
        return events

    def convert(self, events: list[Any], *, more: bool = False) -> list[DecoderEvent]:
        """Return what the parser gave, free of extensions; look at :attr:`error` afterwards.

        Args:
            events: what it gave.
            more: whether there is more to come before what the parser says of broken rules.
        """
        if self.error is not None:
            return []  # nothing follows what broke the rules
        for index, event in enumerate(events):
            if type(event) is tuple:
                events = events[:index] + self._convert(events[index:])
                break
        if not more:
            self._note_parser_error()
        return events

    def _note_parser_error(self) -> None:
        if self.error is None and self.parser.error is not None:
            self.error = as_exception(self.parser.error)

    def stop(self) -> None:
        """Discard all that comes from now on."""
        self.parser.stop()

    def _convert(self, items: list[Any]) -> list[DecoderEvent]:
        events: list[DecoderEvent] = []
        try:
            for item in items:
                if type(item) is not tuple:
                    events.append(item)
                    continue
                frame = Frame.from_wire(*item)
                events.append(frame if frame.opcode >= Opcode.CLOSE else self._decode(frame))
        except Utf8Error as exc:
            self.error = as_exception((1007, *exc.args))
        except Exception as exc:
            self.error = exc
        if self.error is not None:
            self.stop()
        return events

    def _decode(self, frame: Frame) -> DecoderEvent:
        """Undo what extensions did to a data frame."""
        if frame.opcode is not Opcode.CONT:
            self._encoded = frame.first_byte & self._rsv != 0 or any(
                extension.sees_plain_frames for extension in self._extensions
            )
            self._size = 0
            self._validator = Utf8Validator() if frame.opcode is Opcode.TEXT else None
        if not self._encoded:
            return frame  # checked by the parser
        whole = frame.fin and frame.opcode is not Opcode.CONT
        opcode = frame.opcode
        frame = self._decode_within(frame, self._remaining())
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise ProtocolError("reserved bits must be 0")
        self._size += len(frame.data)
        text = "" if self._validator is None else self._validator.decode(frame.data, frame.fin)
        if whole:
            return text if opcode is Opcode.TEXT else frame.data
        return frame

    def _decode_within(self, frame: Frame, limit: int | None) -> Frame:
        try:
            for extension in self._extensions:
                frame = extension.decode(frame, max_size=limit)
            if limit is not None and len(frame.data) > limit:
                raise PayloadTooBig(len(frame.data), limit)
        except PayloadTooBig as exc:
            if self._size and limit != self._max_fragment:
                exc.set_current_size(self._size)
            raise
        return frame

    def _remaining(self) -> int | None:
        limits = [self._max_fragment]
        if self._max_message is not None:
            limits.append(self._max_message - self._size)
        return min((limit for limit in limits if limit is not None), default=None)


def _size(event: DecoderEvent) -> int:
    return len(event.data if isinstance(event, Frame) else event)
