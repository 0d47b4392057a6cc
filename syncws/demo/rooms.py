"""A chat's rooms: their members, what was said there, and who is told of it.

Windows of the demo's page and terminals have the same rooms, and manners of their own: how they
are told, and what becomes of a name that somebody else has. See :mod:`.chat` and
:mod:`.line_chat`.
"""

from __future__ import annotations

import collections
import itertools
import threading
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from ..server.broadcasting import Audience, broadcast
from ..server.rooms import AnyGroup
from ..server.server_connection import ServerConnection

__all__ = ["AnyRooms", "Limits", "Manners", "Member", "Refused", "Rooms"]

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
    """A request that isn't granted; the member is told why.

    Attributes:
        code: the reason, for programs.
        text: the reason, for people.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Manners:
    """How the people of a chat are told what happens, and named.

    Attributes:
        write: returns the message that tells of an event, which has a ``"type"``; ``None`` if
            they aren't told of it.
        choose_name: given the name that a member wants, and the names that are taken, case-folded;
            returns a name that is free.
        hear_themselves: whether they are sent what they say.
        welcome: what the welcome says besides what all of them say.
    """

    write: Callable[[dict[str, Any]], str | None]
    choose_name: Callable[[str, Container[str]], str]
    hear_themselves: bool
    welcome: Mapping[str, Any] = field(default_factory=dict)


# Compared by identity.
@dataclass(eq=False)
class Member:
    """A connection of the chat; once it has joined, it has a name in a room.

    Attributes:
        ws: the connection.
        token: names it; not another's.
        name: its name.
        room: its room.
    """

    ws: ServerConnection
    token: str
    name: str = ""
    room: Room | None = None

    def group(self, name: str) -> AnyGroup:
        """Return a group of the server's."""
        assert self.ws.server is not None
        return self.ws.server.group(name)


@dataclass(eq=False)
class Room:
    """A room that has members."""

    name: str
    history: collections.deque[dict[str, Any]]
    members: dict[str, Member] = field(default_factory=dict)  # by name, case-folded
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def group(self) -> str:
        """The name of the group of its members' connections."""
        return f"room {self.name.casefold()}"


class AnyRooms:
    """The connections of a chat in this process, and telling them what happens.

    Args:
        limits: how many rooms, and people in them, there may be.
        manners: how they are told what happens, and named.
    """

    def __init__(self, limits: Limits, manners: Manners) -> None:
        self._limits = limits
        self._manners = manners
        # Guards members and rooms, what they have included. Messages are sent while it is held,
        # so that everybody learns of the same things in the same order; broadcast() never waits,
        # and no thread that holds a lock of a connection takes this one.
        self._lock = threading.Lock()
        self._members: dict[str, Member] = {}  # by token

    def find(self, token: str) -> Member | None:
        """Return the connection of this process that was given a token."""
        with self._lock:
            return self._members.get(token)

    def tell(self, audience: Audience, **event: Any) -> None:
        """Tell connections of an event, without waiting for any; those too slow are closed."""
        message = self._manners.write(event)
        if message is not None:
            broadcast(audience, message)

    def _welcome(self, member: Member, rooms: list[dict[str, Any]]) -> None:
        """Take a connection in, with the lock held; there are these rooms."""
        limits = self._limits
        self._members[member.token] = member
        self.tell(
            [member.ws],
            type="welcome",
            token=member.token,
            limits={"name": limits.max_name, "text": limits.max_text},
            rooms=rooms,
            **self._manners.welcome,
        )


class Rooms(AnyRooms):
    """All rooms. The first member makes a room, and it is forgotten when the last one leaves.

    Any thread may call any method. None waits for a peer.
    """

    def __init__(self, limits: Limits, manners: Manners) -> None:
        super().__init__(limits, manners)
        self._rooms: dict[str, Room] = {}  # by name, case-folded

    def enter(self, member: Member) -> None:
        """Welcome a connection."""
        with self._lock:
            member.group(EVERYBODY).add(member.ws)
            self._welcome(member, self._list_rooms())

    def end(self, member: Member) -> None:
        """Forget a connection that has ended. Idempotent."""
        with self._lock:
            self._members.pop(member.token, None)
            if member.room is not None:
                self._announce_departure(member, self._take_out(member))
                self._announce_rooms(member)

    def join(self, member: Member, room_name: str, name: str, resumed: str = "") -> None:
        """Put a member into a room, in place of the one they are in.

        Args:
            member: the member.
            room_name: the room.
            name: the name that they want; they get another one if it is taken.
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
            member.name = self._manners.choose_name(name, room.members)
            member.room = room
            room.members[member.name.casefold()] = member
            # The others needn't know that a member was gone for a moment.
            here = (room, member.name)
            for place in left:
                if place != here:
                    self._announce_departure(member, place)
            group = member.group(room.group)
            if here not in left:
                self.tell(group, type="arrived", name=member.name)
            group.add(member.ws)
            self.tell(
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

    def rename(self, member: Member, name: str) -> None:
        """Give a member another name; everybody in the room is told.

        Raises:
            Refused: they are in no room, or the name is taken there.
        """
        with self._lock:
            room, before = member.room, member.name
            if room is None:
                raise Refused("no-room", "Join a room first.")
            if name.casefold() in room.members:
                raise Refused("bad-name", "Somebody has that name.")
            del room.members[before.casefold()]
            room.members[name.casefold()] = member
            member.name = name
            self.tell(member.group(room.group), type="renamed", before=before, name=name)

    def leave(self, member: Member) -> None:
        """Take a member out of their room.

        Raises:
            Refused: they are in none.
        """
        with self._lock:
            if member.room is None:
                raise Refused("no-room", "You are in no room.")
            self._announce_departure(member, self._take_out(member))
            self.tell([member.ws], type="left")
            self._announce_rooms(member)

    def say(self, member: Member, text: str, ref: str = "") -> None:
        """Tell everybody in a member's room what they say.

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
            audience: Audience = member.group(room.group)
            if not self._manners.hear_themselves:
                audience = [each.ws for each in room.members.values() if each is not member]
            self.tell(audience, type="said", **said)

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
        """Take a member out of their room; return it, and the name that they had there.

        A room without anybody is forgotten, unless it is the one that they join.
        """
        room = member.room
        assert room is not None
        del room.members[member.name.casefold()]
        member.room = None
        member.group(room.group).discard(member.ws)
        if not room.members and room is not into:
            del self._rooms[room.name.casefold()]
        return room, member.name

    def _list_rooms(self) -> list[dict[str, Any]]:
        rooms = sorted(self._rooms.items())
        return [{"name": room.name, "members": len(room.members)} for _, room in rooms]

    def _announce_departure(self, member: Member, place: tuple[Room, str]) -> None:
        room, name = place
        self.tell(member.group(room.group), type="departed", name=name)

    def _announce_rooms(self, member: Member) -> None:
        self.tell(member.group(EVERYBODY), type="rooms", rooms=self._list_rooms())
