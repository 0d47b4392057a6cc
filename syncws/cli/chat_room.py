"""A chat: what somebody says goes to all others, with their name."""

from __future__ import annotations

import itertools
import threading
from urllib.parse import parse_qs

from ..server.broadcast import broadcast
from ..server.upgrade import ServerConnection
from .showing import escape

__all__ = ["ChatRoom"]

#: Characters of a name.
MAX_NAME = 30


class ChatRoom:
    """The handler of a server that is a chat. Any thread may call it.

    A connection is a guest with a number, unless ``?name=`` of its URI, or a line ``/name NAME``,
    say otherwise. Lines that begin with ``*`` are the room's own.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        # Guards the names. Broadcasting, which doesn't block, is done with it too, so that all
        # see who comes, speaks and goes in one order.
        self._lock = threading.Lock()
        self._names: dict[ServerConnection, str] = {}

    def __call__(self, ws: ServerConnection) -> None:
        """Let somebody in, pass on what they say, and see them off."""
        self._enter(ws, _wanted_name(ws))
        try:
            for message in ws:
                if not isinstance(message, str):
                    ws.send("* Only text is passed on here.")
                elif message.startswith("/name "):
                    self._rename(ws, message[len("/name ") :])
                else:
                    self._say(ws, message)
        finally:
            self._leave(ws)

    def _enter(self, ws: ServerConnection, wanted: str) -> None:
        with self._lock:
            name = wanted.strip()
            if not self._is_free(name):
                names = (f"guest-{number}" for number in self._numbers)
                name = next(each for each in names if self._is_free(each))
            others = ", ".join(self._names.values()) or "nobody else"
            self._tell(f"* {name} came.")
            self._names[ws] = name
            broadcast([ws], f"* You are {name}; /name NAME changes that. Here: {others}.")

    def _is_free(self, name: str) -> bool:
        """Tell whether somebody may have a name; with the lock held."""
        fine = 0 < len(name) <= MAX_NAME and name.isprintable() and not name.startswith("*")
        return fine and name not in self._names.values()

    def _rename(self, ws: ServerConnection, wanted: str) -> None:
        with self._lock:
            before, name = self._names[ws], wanted.strip()
            free = self._is_free(name)
            if free:
                self._names[ws] = name
                self._tell(f"* {before} is {name} now.")
        if not free:
            ws.send(f"* {escape(name[:MAX_NAME])!r} can't be had; you are still {before}.")

    def _say(self, ws: ServerConnection, text: str) -> None:
        with self._lock:
            self._tell(f"{self._names[ws]}: {text}", besides=ws)

    def _leave(self, ws: ServerConnection) -> None:
        with self._lock:
            name = self._names.pop(ws, None)
            if name is not None:  # not before it was in
                self._tell(f"* {name} left.")

    def _tell(self, text: str, besides: ServerConnection | None = None) -> None:
        """Send a line to all, or to all others; with the lock held."""
        broadcast([ws for ws in self._names if ws is not besides], text)


def _wanted_name(ws: ServerConnection) -> str:
    # Not urlsplit(), which raises for some paths that anybody may ask for, such as "//[".
    query = "" if ws.request is None else ws.request.path.partition("?")[2]
    return parse_qs(query).get("name", [""])[0]
