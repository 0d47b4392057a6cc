"""Reading streams of Redis: from where, how much at once, and what their entries are.

A hub asks again for each message that comes, for all its rooms. So what is asked is kept as it is
sent, and only what has changed is made anew: redis-py would take longer to pack the names of a
hundred rooms than for all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from .backend import Batch, Entry, Kind, Message, Position
from .redis_clients import Packed, pack

__all__ = ["Place", "RedisReader", "decode", "split_offset"]

#: Entries of each room that are read at once; fewer, down to one, where the server cuts that.
PAGE = 256

#: Times that reading must succeed before more is read at once again.
STEADY = 100

#: What an entry's field says it is.
KINDS = {b"t": Kind.MESSAGE, b"b": Kind.MESSAGE, b"j": Kind.JOIN, b"l": Kind.LEAVE}


class RedisReader:
    """Reads what comes in rooms. For the thread that waits.

    Args:
        client: the client for that.
        packs: whether its connections send what is packed already, as ours do.
        find_key: returns the key of a room's stream.
        wake_key: the stream by which the thread is woken.
    """

    def __init__(
        self, client: Any, packs: bool, find_key: Callable[[str], str], wake_key: str
    ) -> None:
        self._client = client
        self._packs = packs
        self._find_key = find_key
        self._wake = Place("0-0", "", wake_key)
        self._places: dict[str, Place] = {}  # by room
        self._by_key: dict[bytes, Place] = {}
        self._page = PAGE
        self._most_rooms: int | None = None
        self._turn = self._successes = self._failures = 0

    def read(self, since: Mapping[str, Position], timeout: float) -> Any:
        """Return what redis-py has of the streams after these positions, once there is something.

        Where not all rooms are read at once, that is at once.
        """
        self._go_to(since)
        chosen = self._choose()
        block = max(1, int(timeout * 1000)) if len(chosen) > len(since) else None
        if self._packs:
            return self._client.execute_command("XREAD", self._pack(chosen, block))
        streams: dict[Any, Any] = {place.key: place.last_id for place in chosen}
        return self._client.xread(streams, count=self._page, block=block)

    def _go_to(self, since: Mapping[str, Position]) -> None:
        """Find out where to read on. Most rooms are where they were."""
        places = self._places
        for room, position in since.items():
            place = places.get(room)
            if place is None or place.position is not position:
                self._move(room, position)
        if len(places) > len(since):
            for room in [room for room in places if room not in since]:
                del self._by_key[places.pop(room).key]

    def _move(self, room: str, position: Position) -> None:
        """Read a room on from a position: within a message, perhaps."""
        place = self._places.get(room)
        last_id = split_offset(position.offset)[0]
        if place is None or place.since != last_id:
            place = self._places[room] = Place(last_id, room, self._find_key(room))
            self._by_key[place.key] = place
        place.position = position

    def _choose(self) -> list[Place]:
        """Return what to read now: others have their turn where all rooms are too many."""
        places = list(self._places.values())
        if self._most_rooms is not None and self._most_rooms < len(places):
            self._turn %= len(places)
            start, self._turn = self._turn, self._turn + self._most_rooms
            places = (places + places)[start : self._turn]
        return [*places, self._wake]

    def _pack(self, places: list[Place], block: int | None) -> Packed:
        limits = [b"COUNT", b"%d" % self._page]
        if block is not None:
            limits += [b"BLOCK", b"%d" % block]
        words = [b"XREAD", *limits, b"STREAMS"]
        return Packed(
            b"*%d\r\n" % (len(words) + 2 * len(places))
            + b"".join(map(pack, words))
            + b"".join([place.packed_key for place in places])
            + b"".join([place.packed_id for place in places])
        )

    def take(self, found: Any, epoch: str) -> list[Batch]:
        """Return the entries of what was read; the next time what follows them is read."""
        batches = []
        for key, entries in found.items() if isinstance(found, dict) else found:
            entries = entries[0] if isinstance(found, dict) else entries
            if key == self._wake.key:
                self._wake.go_to(entries[-1][0].decode())
                continue
            place = self._by_key[key]
            decoded = decode(entries, place, epoch)
            if decoded:
                batches.append(Batch(place.room, decoded))
        return batches

    def note_failure(self) -> None:
        """Read less from now on: the answer may have been too much for the server's limit."""
        self._successes = 0
        self._failures += 1
        if self._failures == 1:
            return  # connections break for other reasons
        if self._page > 1:
            self._page = max(1, self._page // 4)
        else:
            rooms = len(self._places)
            self._most_rooms = max(1, min(self._most_rooms or rooms, rooms) // 2)

    def note_success(self) -> None:
        """Read more at once again, after some time."""
        self._failures = 0
        self._successes += 1
        if self._successes % STEADY:
            return
        if self._page < PAGE:
            self._page *= 2
        elif self._most_rooms is not None:
            has_all = self._most_rooms >= len(self._places)
            self._most_rooms = None if has_all else self._most_rooms * 2


class Place:
    """How far a room has been read, with the parts so far of a long message.

    Attributes:
        since: the id of the last whole message.
        last_id: the id of the last entry.
        room: its name.
        key: the stream's key.
        packed_key: the same, as it is sent.
        packed_id: the last entry's id, as it is sent.
        position: where the hub says it is, as of when it last said something new.
    """

    def __init__(self, since: str = "", room: str = "", key: str = "") -> None:
        self.since = since
        self.room = room
        self.key = key.encode()
        self.packed_key = pack(self.key)
        self.position: Position | None = None
        self._number = -1
        self._parts: list[bytes] = []
        self.go_to(since)

    def go_to(self, last_id: str) -> None:
        """Note that all has been read up to an entry."""
        self.last_id = last_id
        self.packed_id = pack(last_id.encode())

    def add(self, number: int, name: bytes, value: bytes) -> Message | None:
        """Take an entry; return the message, unless it goes on or its beginning isn't there.

        Raises:
            KeyError: it isn't one of ours.
            ValueError: the same.
        """
        if name in (b"T", b"B"):
            place, _, value = value.partition(b"\n")
            index, count = map(int, place.split(b"/"))
            if index == 0:
                self._number, self._parts = number, []
            if self._number != number or len(self._parts) != index:
                return None
            self._parts.append(value)
            if len(self._parts) < count:
                return None
            value = b"".join(self._parts)
            self._parts = []
        elif name not in KINDS:
            raise KeyError(name)
        return value if name in (b"b", b"B") else value.decode()


def decode(found: Any, place: Place, epoch: str) -> list[Entry]:
    """Return entries as they were published, parts put together; note that they have been read."""
    entries = []
    last_id = place.last_id
    for raw_id, fields in found:
        last_id = raw_id.decode()
        try:
            number = int(fields.pop(b"n"))
            ((name, value),) = fields.items()
            message = place.add(number, name, value)
        except (KeyError, ValueError):
            continue  # it isn't ours
        if message is not None:
            place.since = last_id
            kind = KINDS.get(name, Kind.MESSAGE)
            position = Position(epoch, f"{last_id}-{number}")
            entries.append(Entry(number, position, message, kind))
    place.go_to(last_id)
    return entries


def split_offset(offset: str) -> tuple[str, int]:
    """Return an entry's id, and its number.

    Raises:
        ValueError: it isn't an offset.
    """
    last_id, _, number = offset.rpartition("-")
    milliseconds, _, sequence = last_id.partition("-")
    for part in (milliseconds, sequence, number):
        if not (part.isascii() and part.isdecimal()):
            raise ValueError(f"{offset!r} isn't an offset")
    return last_id, int(number)
