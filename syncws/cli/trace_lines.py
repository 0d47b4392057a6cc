"""What goes over the wire, in lines from which one can learn how WebSocket works.

::

    12:03:22.123456  →  TEXT   fin=1 rsv=000 opcode=1 mask=37fa213d length=5    "Hello"
                        81 85 37 fa 21 3d | 7f 9f 4d 51 58                header | masked payload

Heads of HTTP are shown line by line, without the values of headers that have credentials.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Callable, TextIO

from ..foreign import SECRET_HEADERS
from ..sansio.close import Close
from ..sansio.frames import Opcode
from ..wiretap.dissector import DissectedFrame, Exchange, HttpHead, Record
from ..wiretap.tap import Observe
from .showing import escape

__all__ = ["Tracer", "trace_lines", "uses_colour"]

#: Bytes of a payload that are shown, and characters of a text.
MAX_HEX = 12
MAX_TEXT = 60

#: Columns of a time, and of the bytes before what they are called.
TIME_WIDTH = 15
HEX_WIDTH = 48

#: What each end calls a direction: sent, received; and where a terminal has no arrows.
ARROWS = ("\N{RIGHTWARDS ARROW}", "\N{LEFTWARDS ARROW}")
ASCII_ARROWS = (">", "<")

#: Colours of a terminal: sent, received, the bytes; and none.
SENT, RECEIVED, FAINT, PLAIN = "\x1b[36m", "\x1b[33m", "\x1b[2m", "\x1b[0m"


def uses_colour(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal on which colours are wanted (https://no-color.org/)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()


def trace_lines(
    record: Record,
    when: datetime,
    *,
    label: str = "",
    arrows: Sequence[str] = ARROWS,
    colour: bool = False,
) -> list[str]:
    """Return the lines that show a record: safe to print, without their ends.

    Args:
        record: what was found.
        when: when it was complete.
        label: what the lines begin with, to tell connections apart.
        arrows: what stands for sent, and for received.
        colour: whether to use the colours of a terminal.
    """
    what = record.what
    if isinstance(what, HttpHead):
        texts, bytes_line = [_hide(line) for line in what.lines], None
    elif isinstance(what, DissectedFrame):
        texts, bytes_line = [_fields(what)], _bytes(what)
    else:
        texts, bytes_line = [f"({what.text}; what follows isn't shown)"], None
    return _arrange(record.sent, texts, bytes_line, when, label, arrows, colour)


def _arrange(
    sent: bool,
    texts: Sequence[str],
    bytes_line: str | None,
    when: datetime,
    label: str,
    arrows: Sequence[str],
    colour: bool,
) -> list[str]:
    arrow = arrows[0] if sent else arrows[1]
    begin, faint, end = ("", "", "")
    if colour:
        begin, faint, end = (SENT if sent else RECEIVED, FAINT, PLAIN)
    time, lines = f"{when:%H:%M:%S.%f}", []
    for text in texts:
        lines.append(f"{label}{time:{TIME_WIDTH}}  {begin}{arrow}  {escape(text)}{end}")
        time = ""
    if bytes_line is not None:
        lines.append(f"{label}{'':{TIME_WIDTH}}     {faint}{bytes_line}{end}")
    return lines


def _hide(line: str) -> str:
    """Return a header line without the credentials in it."""
    name, colon, _ = line.partition(":")
    return f"{name}: (not shown)" if colon and name.lower() in SECRET_HEADERS else line


def _fields(frame: DissectedFrame) -> str:
    """Return a frame's name and fields, and what it means."""
    mask = "none" if frame.masking_key is None else frame.masking_key.hex()
    fields = (
        f"{frame.name:6} fin={frame.fin:d} rsv={frame.rsv1:d}{frame.rsv2:d}{frame.rsv3:d}"
        f" opcode={frame.opcode:X} mask={mask:8} length={frame.length:<4}"
    )
    return f"{fields} {_meaning(frame)}".rstrip()


def _bytes(frame: DissectedFrame) -> str:
    """Return a frame's bytes, as on the wire, and what they are."""
    shown, names = frame.header.hex(" "), "header"
    if frame.length:
        shown = f"{shown} | {frame.wire_payload[:MAX_HEX].hex(' ')}"
        if frame.length > MAX_HEX:
            shown += " ..."
        names += " | payload" if frame.masking_key is None else " | masked payload"
    return f"{shown:{HEX_WIDTH}}  {names}"


def _meaning(frame: DissectedFrame) -> str:
    if frame.opcode == Opcode.CLOSE:
        return _meaning_of_close(frame)
    if frame.opcode == Opcode.PING:
        return f"asks for a pong with {_payload(frame)}"
    if frame.opcode == Opcode.PONG:
        return f"answers a ping with {_payload(frame)}"
    if frame.is_control or frame.message_opcode not in (None, Opcode.TEXT, Opcode.BINARY):
        return "not defined by RFC 6455"
    return ", ".join(filter(None, (_content(frame), _place(frame))))


def _meaning_of_close(frame: DissectedFrame) -> str:
    code = frame.close_code
    if code is None:
        return "half a close code" if frame.length else "no close code"
    reason = f", reason {_quote(frame.close_reason)}" if frame.close_reason else ""
    return f"close code {Close(code)}{reason}"


def _payload(frame: DissectedFrame) -> str:
    """Return the payload of a ping or pong: whatever its sender likes."""
    if not frame.length:
        return "no payload"
    if frame.payload.isascii() and frame.payload.decode("ascii").isprintable():
        return f"the payload {_quote(frame.payload.decode('ascii'))}"
    return f"the payload {frame.payload[:MAX_HEX].hex(' ')}"


def _content(frame: DissectedFrame) -> str:
    """Return what a data frame says."""
    if frame.problem is not None:
        return f"compressed, not inflated: {frame.problem}"
    text = frame.text
    if not frame.compressed:
        return _count(frame.length) if text is None else _quote(text, frame)
    if text is not None:
        return f"compressed, {_count(frame.content_length)} of text: {_quote(text, frame)}"
    more = " ..." if frame.content_length > MAX_HEX else ""
    return f"compressed, {_count(frame.content_length)}: {frame.content[:MAX_HEX].hex(' ')}{more}"


def _count(size: int) -> str:
    return f"{size} byte{'' if size == 1 else 's'}"


def _place(frame: DissectedFrame) -> str:
    """Return what a frame is of a message in several frames."""
    kind = {Opcode.TEXT: "text", Opcode.BINARY: "binary"}.get(frame.message_opcode)  # type: ignore[call-overload]
    if frame.opcode != Opcode.CONT:
        return "" if frame.fin else f"begins a {kind} message"
    if kind is None:
        return "continues no message: none has begun"
    return f"{'ends' if frame.fin else 'continues'} the {kind} message"


def _quote(text: str, frame: DissectedFrame | None = None) -> str:
    """Return text in quotes, shortened."""
    cut = len(text) > MAX_TEXT
    if frame is not None:
        cut = cut or len(frame.content) < frame.content_length
    more = "..." if cut else ""
    return f'"{text[:MAX_TEXT]}"{more}'


class Tracer:
    """Writes what goes over connections to a stream. Any thread may use it.

    Args:
        stream: where to.
        clock: tells the time.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], datetime] = datetime.now) -> None:
        self._stream = stream
        self._clock = clock
        self._colour = uses_colour(stream)
        self.arrows = ARROWS if _can_print("".join(ARROWS), stream) else ASCII_ARROWS
        # Keeps the lines of one record together where there are several connections. It guards
        # the next attribute as well.
        self._lock = threading.Lock()
        self._broken = False

    def observer(self, label: str = "") -> Observe:
        """Return what is called with the bytes of a connection; see :mod:`~syncws.wiretap.tap`.

        Args:
            label: what its lines begin with.
        """
        exchange = Exchange()

        def observe(sent: bool, data: bytes) -> None:
            if not data:
                self.say(sent, "(end of the stream)", label)
            for record in exchange.sent(data) if sent else exchange.received(data):
                now = self._clock()
                self._write(
                    trace_lines(record, now, label=label, arrows=self.arrows, colour=self._colour)
                )

        return observe

    def say(self, sent: bool, text: str, label: str = "") -> None:
        """Write a line about one direction of a connection."""
        now = self._clock()
        self._write(_arrange(sent, [text], None, now, label, self.arrows, self._colour))

    def tell(self, text: str, label: str = "") -> None:
        """Write a line about a connection."""
        self._write([f"{label}{self._clock():%H:%M:%S.%f}  {escape(text)}"])

    def _write(self, lines: list[str]) -> None:
        with self._lock:
            if self._broken:
                return
            try:
                self._stream.write("".join(f"{line}\n" for line in lines))
                self._stream.flush()
            except OSError:  # who read it is gone; connections go on
                self._broken = True


def _can_print(text: str, stream: TextIO) -> bool:
    if stream.encoding is None:  # it keeps text as it is
        return True
    try:
        text.encode(stream.encoding)
    except (UnicodeError, LookupError):
        return False
    return True
