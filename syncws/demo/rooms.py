"""The chat's rooms: who is in which, what was said there, and who is told of it."""

from __future__ import annotations

import collections
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from ..server.broadcast import Audience, broadcast
from ..server.groups import Group
from .tape import TapedConnection

__all__ = ["Limits", "Member", "Refused", "Rooms", "tell"]

#: The group of all connections of the chat. No room's group has this name, see Room.group.
EVERYBODY = "everybody"


@dataclass(frozen=True)
class Limits:
    """What the chat takes. Each window can only use up its own share.

    Attributes:
        max_name: characters of a name, of a person or a room.
        max_text: characters of what is said.
        max_message: characters of a JSON message.
        max_rooms: rooms at the same time.
        max_members: people in one room.
        history: messages of a room that are kept for those who come later.
        burst: messages of one connection that are taken at once.
        rate: messages per second that are taken from then on.
    """

    max_name: int = 32
    max_text: int = 2000
    max_message: int = 1 << 14
    max_rooms: int = 50
    max_members: int = 50
    history: int = 50
    burst: int = 20
    rate: float = 5.0


class Refused(Exception):
    """What somebody asked for isn't done; they are told why.

    Attributes:
        code: the reason, for programs.
        text: the reason, for people.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


# Compared by identity.
@dataclass(eq=False)
class Member:
    """A connection of the chat; once it has joined, it has a name in a room."""

    ws: TapedConnection
    name: str = ""
    room: Room | None = None

    def group(self, name: str) -> Group:
        """Return a group of the server's."""
        assert self.ws.server is not None
        return self.ws.server.group(name)


@dataclass(eq=False)
class Room:
    """A room with somebody in it."""

    name: str
    history: collections.deque[dict[str, Any]]
    members: dict[str, Member] = field(default_factory=dict)  # by name, case-folded
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def group(self) -> str:
        """The name of the group of its members' connections."""
        return f"room {self.name.casefold()}"


class Rooms:
    """All rooms. A room is made by the first who joins it, and forgotten with the last.

    Any thread may call any method. None waits for a peer.

    Args:
        limits: how many there may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Guards rooms and members, what they have included. Messages are sent while it is held,
        # so that everybody learns of the same things in the same order; broadcast() never waits,
        # and nobody who holds a lock of a connection's takes this one.
        self._lock = threading.Lock()
        self._rooms: dict[str, Room] = {}  # by name, case-folded
        self._members: dict[str, Member] = {}  # by token

    def enter(self, member: Member) -> None:
        """Welcome a connection."""
        limits = self._limits
        with self._lock:
            self._members[member.ws.tape.token] = member
            member.group(EVERYBODY).add(member.ws)
            tell(
                [member.ws],
                type="welcome",
                token=member.ws.tape.token,
                limits={"name": limits.max_name, "text": limits.max_text},
                rooms=self._list_rooms(),
            )

    def end(self, member: Member) -> None:
        """Forget a connection that has ended. Idempotent."""
        with self._lock:
            self._members.pop(member.ws.tape.token, None)
            if member.room is not None:
                self._announce_departure(member, self._take_out(member))
                self._announce_rooms(member)

    def find(self, token: str) -> Member | None:
        """Return the connection that was given a token."""
        with self._lock:
            return self._members.get(token)

    def join(self, member: Member, room_name: str, name: str, resumed: str = "") -> None:
        """Put somebody into a room, in place of the one where they are.

        Args:
            member: who.
            room_name: which room.
            name: the name that they want; a number is appended if somebody else has it.
            resumed: the token of an earlier connection of theirs, which may not have been
                noticed to be dead; it is cut off, and its name is free.

        Raises:
            Refused: there are too many rooms, or people in this one; nothing has changed.
        """
        with self._lock:
            earlier = self._members.get(resumed)
            both = dict.fromkeys((member, earlier))
            leaving = [each for each in both if each is not None and each.room is not None]
            room = self._get_room(room_name, leaving)
            left = [self._take_out(each, into=room) for each in leaving]
            member.name, member.room = self._find_name(room, name), room
            room.members[member.name.casefold()] = member
            # Nobody else needs to know that somebody was gone for a moment.
            here = (room, member.name)
            for place in left:
                if place != here:
                    self._announce_departure(member, place)
            group = member.group(room.group)
            if here not in left:
                tell(group, type="arrived", name=member.name)
            group.add(member.ws)
            tell(
                [member.ws],
                type="joined",
                room=room.name,
                name=member.name,
                members=[each.name for each in room.members.values()],
                history=list(room.history),
            )
            self._announce_rooms(member)
        if earlier is not None and earlier is not member:
            earlier.ws.abort()

    def leave(self, member: Member) -> None:
        """Take somebody out of their room.

        Raises:
            Refused: they are in none.
        """
        with self._lock:
            if member.room is None:
                raise Refused("no-room", "You are in no room.")
            self._announce_departure(member, self._take_out(member))
            tell([member.ws], type="left")
            self._announce_rooms(member)

    def say(self, member: Member, text: str, ref: str = "") -> None:
        """Tell everybody in somebody's room what they say.

        Raises:
            Refused: they are in none.
        """
        with self._lock:
            room = member.room
            if room is None:
                raise Refused("no-room", "Join a room first.")
            said = {
                "text": text,
                "name": member.name,
                "time": time.time(),
                "number": next(room.numbers),
                "ref": ref,
            }
            room.history.append(said)
            tell(member.group(room.group), type="said", **said)

    # --- with the lock held ---

    def _get_room(self, name: str, leaving: list[Member]) -> Room:
        """Return a room with a place in it, once those who leave have left."""
        key = name.casefold()
        room = self._rooms.get(key)
        if room is None:
            if len(self._rooms) >= self._limits.max_rooms:
                raise Refused("too-many-rooms", "There are too many rooms; join one of them.")
            history: collections.deque[dict[str, Any]] = collections.deque(
                maxlen=self._limits.history
            )
            room = self._rooms[key] = Room(name, history)
        staying = len(room.members) - sum(member.room is room for member in leaving)
        if staying >= self._limits.max_members:
            raise Refused("room-full", f"There is no place left in {room.name}.")
        return room

    def _take_out(self, member: Member, *, into: Room | None = None) -> tuple[Room, str]:
        """Take somebody out of their room; return it, and the name that they had there.

        A room without anybody is forgotten, unless it is the one that they go into.
        """
        room = member.room
        assert room is not None
        del room.members[member.name.casefold()]
        member.room = None
        member.group(room.group).discard(member.ws)
        if not room.members and room is not into:
            del self._rooms[room.name.casefold()]
        return room, member.name

    def _find_name(self, room: Room, wanted: str) -> str:
        """Return a name that nobody in the room has."""
        if wanted.casefold() not in room.members:
            return wanted
        for number in itertools.count(2):  # pragma: no branch  # it ends within max_members
            suffix = f" {number}"
            name = wanted[: self._limits.max_name - len(suffix)].rstrip() + suffix
            if name.casefold() not in room.members:
                break
        return name

    def _list_rooms(self) -> list[dict[str, Any]]:
        rooms = sorted(self._rooms.items())
        return [{"name": room.name, "members": len(room.members)} for _, room in rooms]

    def _announce_departure(self, member: Member, place: tuple[Room, str]) -> None:
        room, name = place
        tell(member.group(room.group), type="departed", name=name)

    def _announce_rooms(self, member: Member) -> None:
        tell(member.group(EVERYBODY), type="rooms", rooms=self._list_rooms())


def tell(audience: Audience, **message: Any) -> None:
    """Send connections a JSON message, without waiting for any; those too slow are closed."""
    broadcast(audience, json.dumps(message, ensure_ascii=False, separators=(",", ":")))
