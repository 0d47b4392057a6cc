"""The chat, as terminals see it: one room, and lines of text.

What somebody says goes to all others, with their name. Lines that begin with ``*`` are the chat's
own. A connection is a guest with a number, unless ``?name=`` of its URI, or a line ``/name NAME``,
says otherwise.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Container
from typing import Any
from urllib.parse import parse_qs

from ..foreign import escape
from ..server.server_connection import ServerConnection
from .rooms import Limits, Manners, Member, Refused, Rooms

__all__ = ["LineChat"]

ROOM = "room"

LIMITS = Limits(max_name=30, max_rooms=1, max_members=sys.maxsize, history=0)


class LineChat:
    """The handler of a server that is a chat. Any thread may call it."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        manners = Manners(write_line, self._choose_name, hear_themselves=False)
        self._rooms = Rooms(LIMITS, manners)

    def __call__(self, ws: ServerConnection) -> None:
        """Let somebody in, pass on what they say, and see them off."""
        member = Member(ws, str(ws.id))
        self._rooms.enter(member)
        try:
            self._rooms.join(member, ROOM, _wanted_name(ws))
            for message in ws:
                if not isinstance(message, str):
                    ws.send("* Only text is passed on here.")
                elif message.startswith("/name "):
                    self._rename(member, message[len("/name ") :].strip())
                else:
                    self._rooms.say(member, message)
        finally:
            self._rooms.end(member)

    def _rename(self, member: Member, name: str) -> None:
        try:
            if not _is_name(name):
                raise Refused("bad-name", "That is no name.")
            self._rooms.rename(member, name)
        except Refused:
            shown = escape(name[: LIMITS.max_name])
            member.ws.send(f"* {shown!r} can't be had; you are still {member.name}.")

    def _choose_name(self, wanted: str, taken: Container[str]) -> str:
        """Return the name that is wanted, or a guest's if it is taken or can't be a name."""
        if _is_name(wanted) and wanted.casefold() not in taken:
            return wanted
        guests = (f"guest-{number}" for number in self._numbers)
        return next(name for name in guests if name not in taken)


def write_line(event: dict[str, Any]) -> str | None:
    """Return an event as a terminal shows it."""
    kind, name = event["type"], event.get("name")
    if kind == "joined":
        others = ", ".join(each for each in event["members"] if each != name) or "nobody else"
        return f"* You are {name}; /name NAME changes that. Here: {others}."
    if kind == "arrived":
        return f"* {name} came."
    if kind == "departed":
        return f"* {name} left."
    if kind == "renamed":
        return f"* {event['before']} is {name} now."
    if kind == "said":
        return f"{name}: {event['text']}"
    return None  # there is nothing to tell of rooms where there is only one


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LIMITS.max_name and text.isprintable() and not text.startswith("*")


def _wanted_name(ws: ServerConnection) -> str:
    # Not urlsplit(), which raises for some paths that anybody may ask for, such as "//[".
    query = "" if ws.request is None else ws.request.path.partition("?")[2]
    return parse_qs(query).get("name", [""])[0].strip()
