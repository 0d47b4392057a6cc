"""Parsing a stream of server-sent events (the HTML standard, §9.2.6)."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Event", "EventParser"]

#: Characters of an event: four thirds of the most that a server sends at once, and some more.
MAX_EVENT = 1 << 20

_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """An event.

    Attributes:
        name: its type; empty if it has none.
        data: its data, lines separated by LF.
        id: its own id, or ``None``: that of an earlier one doesn't count.
    """

    name: str
    data: str
    id: str | None


class EventParser:
    """Takes a stream in pieces, and finds its events.

    Comments and unknown fields are passed over, as is an event without data.

    Args:
        max_size: bytes that one event may have.

    Attributes:
        comments: how many comments there were.
    """

    def __init__(self, max_size: int = MAX_EVENT) -> None:
        self.comments = 0
        self._max_size = max_size
        self._begun = False
        self._rest = b""  # a line that isn't all there
        self._after_cr = False  # the stream so far ends with CR: LF would belong to it
        self._size = 0
        self._clear()

    def _clear(self) -> None:
        self._size = 0
        self._name = ""
        self._data: list[str] = []
        self._id: str | None = None

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes in; return the events that are complete with them.

        Raises:
            ValueError: an event is too long, or isn't UTF-8.
        """
        if not data:
            return []
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
            if not data:
                return []
        self._after_cr = data.endswith(b"\r")
        data = self._rest + data
        if not self._begun:
            if _BOM.startswith(data):  # its beginning, or all of it
                self._rest = data
                return []
            self._begun = True
            data = data.removeprefix(_BOM)
        lines = data.splitlines(keepends=True)
        self._rest = b"" if not lines or lines[-1].endswith((b"\n", b"\r")) else lines.pop()
        events = []
        for line in lines:
            event = self._take_line(line.rstrip(b"\r\n"))
            if event is not None:
                events.append(event)
        if self._size + len(self._rest) > self._max_size:
            raise ValueError(f"an event has more than {self._max_size} bytes")
        return events

    def _take_line(self, line: bytes) -> Event | None:
        if not line:
            event = Event(self._name, "\n".join(self._data), self._id) if self._data else None
            self._clear()
            return event
        self._size += len(line)
        if self._size > self._max_size:
            raise ValueError(f"an event has more than {self._max_size} bytes")
        if line.startswith(b":"):
            self._size -= len(line)  # it is part of no event
            self.comments += 1
            return None
        name, _, value = line.decode().partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None
