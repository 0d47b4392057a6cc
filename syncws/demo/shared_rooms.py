"""The chat's rooms over several processes, by a hub.

What is said in a room goes through a room of the hub, which has the windows of all processes as
members, and the last messages. Who is in which room is told by who is present in one more room of
the hub: each process learns of all people from that, and keeps a list.

It is the same for windows as :mod:`.rooms`, with these exceptions: two people who choose a name at
the same moment, in different processes, may both get it; and who was in a process that was killed
stays for a few seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from typing import Any, NamedTuple

from ..aliases import DataLike
from ..exceptions import HubError
from ..pubsub.backend import Entry
from ..pubsub.backend import Member as Present
from ..pubsub.hub import PREFIX, Hub
from ..pubsub.room import Room as HubRoom
from .rooms import AnyRooms, Limits, Manners, Member, Refused

__all__ = ["ROOM", "SharedRooms"]

#: The hub's rooms: of all people; and of each room of the chat, before its name.
PEOPLE = "demo/people"
ROOM = "demo/room/"

#: Who has said what didn't come from a window.
OUTSIDER = "somebody outside"


class Person(NamedTuple):
    """Somebody who is in a room.

    Attributes:
        room: the room's name.
        name: theirs.
        key: proves nothing, but tells whose token it is, without being the token.
    """

    room: str
    name: str
    key: str


class SharedRooms(AnyRooms):
    """All rooms. Any thread may call any method; joining, leaving and saying wait for the hub.

    Args:
        limits: how many there may be.
        manners: how they are told what happens, and named.
        url: where the hub is.
        prefix: of its keys.

    Raises:
        HubError: the hub can't be used.
    """

    def __init__(
        self, limits: Limits, manners: Manners, url: str | Any, prefix: str = PREFIX
    ) -> None:
        super().__init__(limits, manners)
        # Held while somebody of this process joins, hub and all: names are theirs by then. The
        # hub is not asked with the other lock, but for the list of people as a whole: what comes is
        # then newer than that. The other one is taken after this one.
        self._joining = threading.Lock()
        self._people: dict[str, Person] = {}  # of all processes, by the connection's id
        self._has_missed = True  # whether the list may be wrong
        self._hub = Hub(
            url,
            prefix=prefix,
            envelope=self._write,
            on_join=lambda room, present: self._hear(room, present, _read_person(present)),
            on_leave=lambda room, present: self._hear(room, present, None),
            on_resync=self._resync,
        )
        try:
            self._listener = self._hub.room(PEOPLE).listen()  # or nobody would tell us
            self._learn()
        except BaseException:
            self._hub.close()
            raise

    def close(self) -> None:
        """Let others know that all people of this process are gone. Idempotent."""
        self._hub.close()

    # --- as of Rooms ---

    def enter(self, member: Member) -> None:
        """Welcome a connection."""
        with contextlib.suppress(HubError):  # the list is a little old then
            self._learn()
        with self._lock:
            self._welcome(member, self._list_rooms())

    def end(self, member: Member) -> None:
        """Forget a connection that has ended. Idempotent."""
        with self._lock:
            self._members.pop(member.token, None)
            person = self._people.get(_id(member))
            self._set(_id(member), None)
        self._discard(member, person)

    def join(self, member: Member, room_name: str, name: str, resumed: str = "") -> None:
        """Put a member into a room, in place of the one they are in.

        Args:
            member: the member.
            room_name: the room.
            name: the name that they want; they get another one if it is taken.
            resumed: the token of an earlier connection of theirs, in any process: its name is free.

        Raises:
            Refused: there are too many rooms, or people in this one, and nothing has changed; or
                the hub can't be used, and they are in no room.
        """
        with self._joining:
            with self._lock:
                before = self._people.get(_id(member))
                person = self._find_place(member, room_name, name, _make_key(resumed))
            try:
                history = self._move(member, before, person)
            except HubError as exc:
                with self._lock:
                    self._set(_id(member), None)
                self._discard(member, person)
                raise _unreachable(exc) from exc
            with self._lock:
                member.name = person.name
                self._set(_id(member), person)
                self.tell(
                    [member.ws],
                    type="joined",
                    room=person.room,
                    name=person.name,
                    members=list(dict.fromkeys(each.name for each in self._people_in(person.room))),
                    history=history,
                )
                earlier = self._members.get(resumed)
        if earlier is not None and earlier is not member:
            earlier.ws.abort()

    def leave(self, member: Member) -> None:
        """Take a member out of their room.

        Raises:
            Refused: they are in none.
        """
        with self._lock:
            person = self._find_person(member, "You are in no room.")
            self._set(_id(member), None)
            self.tell([member.ws], type="left")
        self._discard(member, person)

    def say(self, member: Member, text: str, ref: str = "") -> None:
        """Tell everybody in a member's room what they say.

        Raises:
            Refused: they are in none, or the hub can't be used.
        """
        with self._lock:
            person = self._find_person(member, "Join a room first.")
        said = {"text": text, "name": person.name, "time": time.time(), "ref": ref}
        try:
            self._room(person).publish(json.dumps(said))
        except HubError as exc:
            raise _unreachable(exc) from exc

    # --- with the hub, and without a lock of its own ---

    def _room(self, person: Person) -> HubRoom:
        return self._hub.room(ROOM + person.room.casefold())

    def _move(self, member: Member, before: Person | None, person: Person) -> list[dict[str, Any]]:
        """Make a connection a member of the hub's rooms; return what was said there last."""
        people, room = self._hub.room(PEOPLE), self._room(person)
        if before is not None and before != person:
            people.discard(member.ws)
            if self._room(before).name != room.name:
                self._room(before).discard(member.ws)
        room.add(member.ws)
        people.add(member.ws, data=person._asdict())
        return [_read_said(entry) for entry in room.history(self._limits.history)]

    def _discard(self, member: Member, person: Person | None) -> None:
        if person is not None:
            self._hub.room(PEOPLE).discard(member.ws)
            self._room(person).discard(member.ws)

    def _learn(self) -> None:
        """Ask for the list of people, if what came meanwhile may not be all.

        Raises:
            HubError: the hub can't be used.
        """
        with self._lock:
            if not self._has_missed:
                return
            found = {
                present.id: person
                for present in self._hub.room(PEOPLE).present()
                for person in [_read_person(present)]
                if person is not None
            }
            own = {_id(member) for member in self._members.values()}
            for each in {*self._people, *found} - own:
                self._set(each, found.get(each))
            self._has_missed = False

    # --- on the thread that reads ---

    def _write(self, room: str, entry: Entry) -> DataLike:
        """Return what windows are sent of a message."""
        return self._manners.write({"type": "said", **_read_said(entry)}) or ""

    def _hear(self, room: HubRoom, present: Present, person: Person | None) -> None:
        """Take note that somebody has come, or gone."""
        if room.name == PEOPLE and present.node != self._hub.node:  # of our own we know
            with self._lock:
                self._set(present.id, person)

    def _resync(self, room: HubRoom, ws: Any) -> None:
        if room.name == PEOPLE:
            self._has_missed = True
        else:
            self.tell([ws], type="error", code="lost", text="Something was said that is lost.")

    # --- with the lock held ---

    def _set(self, who: str, person: Person | None) -> None:
        """Note where somebody is, and tell those here whom it concerns."""
        before = self._people.get(who)
        if before == person:
            return
        where = {each[:2] for each in self._people.values()}
        self._people.pop(who, None)
        if person is not None:
            self._people[who] = person
        here = {each[:2] for each in self._people.values()}
        for room, name in where - here:
            self.tell(self._windows_in(room), type="departed", name=name)
        for room, name in here - where:
            others = [ws for ws in self._windows_in(room) if str(ws.id) != who]
            self.tell(others, type="arrived", name=name)
        everybody = [member.ws for member in self._members.values()]
        self.tell(everybody, type="rooms", rooms=self._list_rooms())

    def _people_in(self, room: str) -> list[Person]:
        key = room.casefold()
        return [each for each in self._people.values() if each.room.casefold() == key]

    def _windows_in(self, room: str) -> list[Any]:
        """Return the connections of this process whose people are in a room."""
        key = room.casefold()
        windows = []
        for member in self._members.values():
            person = self._people.get(_id(member))
            if person is not None and person.room.casefold() == key:
                windows.append(member.ws)
        return windows

    def _find_person(self, member: Member, otherwise: str) -> Person:
        person = self._people.get(_id(member))
        if person is None:
            raise Refused("no-room", otherwise)
        return person

    def _find_place(self, member: Member, room: str, name: str, resumed: str) -> Person:
        """Return who somebody would be in a room, if there is a place for them."""
        keys = (_make_key(member.token), resumed)
        others = [each for each in self._people.values() if each.key not in keys]
        rooms = {each.room.casefold(): each.room for each in others}
        if room.casefold() not in rooms and len(rooms) >= self._limits.max_rooms:
            raise Refused("too-many-rooms", "There are too many rooms; join one of them.")
        taken = [each.name.casefold() for each in others if each.room.casefold() == room.casefold()]
        if len(taken) >= self._limits.max_members:
            raise Refused("room-full", f"There is no place left in {room}.")
        chosen = self._manners.choose_name(name, taken)
        return Person(rooms.get(room.casefold(), room), chosen, keys[0])

    def _list_rooms(self) -> list[dict[str, Any]]:
        rooms: dict[str, tuple[str, set[str]]] = {}
        for person in self._people.values():
            _, names = rooms.setdefault(person.room.casefold(), (person.room, set()))
            names.add(person.name)
        return [{"name": name, "members": len(names)} for _, (name, names) in sorted(rooms.items())]


def _id(member: Member) -> str:
    """Return how the hub calls a member."""
    return str(member.ws.id)


def _make_key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:16]


def _unreachable(exc: HubError) -> Refused:
    return Refused("hub", f"The other processes can't be told: {exc}.")


def _read_person(present: Present) -> Person | None:
    try:
        return Person(**present.data)
    except TypeError:
        return None  # it isn't one of a chat


def _read_said(entry: Entry) -> dict[str, Any]:
    """Return what was said: by a window, or by anybody who publishes."""
    try:
        said = json.loads(entry.message)
        found = {key: said[key] for key in ("text", "name", "time", "ref")}
    except (ValueError, TypeError, KeyError):
        text = entry.message if isinstance(entry.message, str) else entry.message.hex(" ")
        found = {"text": text, "name": OUTSIDER, "time": time.time(), "ref": ""}
    return {"number": entry.number, **found}
