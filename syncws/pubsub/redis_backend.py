"""Rooms of all processes that use the same Redis or Valkey server: each is a stream there.

The keys of a room have its name in braces, so that a cluster keeps them together:

===================  ===============================================================
``{room}``           the stream: ``n`` is an entry's number, ``t`` or ``b`` its text or bytes, ``j``
                     and ``l`` are joins and leaves; ``T`` and ``B`` are parts of a long message,
                     after their place among how many
``{room}:n``         the newest number
``{room}:p:NODE``    the last thing that a hub has published: see :mod:`.redis_publisher`
``{room}:m``         who is present: a hash
``node:NODE``        there while a hub lives
``wake:NODE``        a stream, by which a hub wakes its own thread
``epoch``            made once, and lost if all is lost
===================  ===============================================================
"""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ..exceptions import HubError, HubUnavailable
from .backend import (
    Backend,
    Batch,
    Entry,
    Kind,
    Member,
    Message,
    Position,
    Post,
)
from .redis_clients import Clients, errors, make_clients
from .redis_publisher import RedisPublisher, make_base

__all__ = ["RedisBackend"]

#: Entries of each room that are read at once; fewer, down to one, where the server cuts that.
PAGE = 256

#: Times that reading must succeed before more is read at once again.
STEADY = 100

#: The epoch of a position where it can't be asked for: whoever comes back with it starts anew.
UNKNOWN = "unknown"

#: A position that isn't known.
NOWHERE = Position(UNKNOWN, "0-0-0")

#: What an entry's field says it is.
KINDS = {b"t": Kind.MESSAGE, b"b": Kind.MESSAGE, b"j": Kind.JOIN, b"l": Kind.LEAVE}


class RedisBackend(Backend):
    """Keeps streams in Redis or Valkey.

    Args:
        url: the server's URL, or a ``redis.Redis`` object, whose settings are used for both
            connections; it must not decode responses. Or the clients themselves.
        node: the hub's name.
        history: entries of each room that are kept, more or less.
        ttl: seconds after which a room that nobody uses is forgotten.
        prefix: of all keys.

    Raises:
        TypeError: the object decodes responses, or isn't one of redis-py's.
        ValueError: the URL can't be one.
    """

    def __init__(
        self, url: str | Clients | Any, node: str, *, history: int, ttl: float, prefix: str
    ) -> None:
        self._node = node
        self._ttl = max(1, int(ttl * 1000))
        self._prefix = prefix
        self._clients = url if isinstance(url, Clients) else make_clients(url, node)
        self._commands, self._reading = self._clients.commands, self._clients.reading
        self._publisher = RedisPublisher(
            self._commands, errors, self.keys, history=history, ttl=self._ttl
        )
        self._publisher.renew(node)
        timeout = self._reading.get_connection_kwargs().get("socket_timeout")
        self._longest = None if timeout is None else timeout / 2
        self._epoch: str | None = None
        self._page = PAGE
        self._most_rooms: int | None = None
        self._turn = self._successes = self._failures = 0
        self._woken = "0-0"
        # How far rooms have been read. Of the thread that waits.
        self._rooms_read: dict[str, _Reading] = {}
        # Guards the flag below, so that a reader is woken once.
        self._lock = threading.Lock()
        self._is_woken = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._commands!r}>"

    def keys(self, room: str) -> tuple[str, str, str]:
        """Return the keys of a room: stream, newest number, who is present."""
        tag = room.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
        stream = f"{self._prefix}{{{tag}}}"
        return stream, f"{stream}:n", f"{stream}:m"

    # --- publishing and reading ---

    def publish(self, posts: Sequence[Post], timeout: float) -> list[Position]:
        """See :meth:`Backend.publish`."""
        ids = self._publisher.publish(posts, timeout)
        try:
            epoch = self._find_epoch()
        except HubUnavailable:
            epoch = UNKNOWN  # it is published all the same
        return [Position(epoch, offset) if offset else NOWHERE for offset in ids]

    def newest(self, room: str) -> tuple[Position, int]:
        """See :meth:`Backend.newest`."""
        stream, counter, _ = self.keys(room)
        with errors():
            pipeline = self._commands.pipeline(transaction=True)
            pipeline.set(counter, make_base(), nx=True, px=self._ttl)
            pipeline.get(counter)
            pipeline.xrevrange(stream, count=1)
            _, number, last = pipeline.execute()
        last_id = last[0][0].decode() if last else "0-0"
        return Position(self._find_epoch(), f"{last_id}-{int(number)}"), int(number)

    def read(self, room: str, since: Position, limit: int) -> Batch:
        """See :meth:`Backend.read`."""
        stream, counter, _ = self.keys(room)
        try:
            last_id, number = _split(since.offset)
        except ValueError:
            last_id, number = "0-0", -1
        epoch = self._find_epoch()
        is_ours = since.epoch == epoch and number >= 0
        reading = _Reading(last_id)
        entries: list[Entry] = []
        found: Any = True
        while found and not entries:
            with errors():
                # As of one moment: what is published in between is nothing that is missing.
                pipeline = self._commands.pipeline(transaction=True)
                pipeline.xrange(stream, min=f"({reading.last_id}", count=limit)
                pipeline.get(counter)
                found, count = pipeline.execute()
                newest = int(count or 0)
                entries = _decode(found, reading, epoch)  # none: parts of a long message
        complete = is_ours and (entries[0].number == number + 1 if entries else newest == number)
        return Batch(room, entries, complete, number)

    def last(self, room: str, limit: int) -> list[Entry]:
        """See :meth:`Backend.last`."""
        stream, _, _ = self.keys(room)
        epoch = self._find_epoch()
        count = limit
        while True:
            with errors():
                found = self._commands.xrevrange(stream, count=count)
            entries = _decode(found[::-1], _Reading(), epoch)
            if len(entries) >= limit or len(found) < count:
                return entries[-limit:]
            count *= 4  # long messages have several parts

    def wait(self, since: Mapping[str, Position], timeout: float) -> list[Batch]:
        """See :meth:`Backend.wait`."""
        with self._lock:
            self._is_woken = False
        rooms = self._choose(list(since))
        reading = {each.key: each for each in [self._resume(room, since[room]) for room in rooms]}
        streams: dict[Any, Any] = {key: each.last_id for key, each in reading.items()}
        wake = f"{self._prefix}wake:{self._node}".encode()
        streams[wake] = self._woken
        if self._longest is not None:
            timeout = min(timeout, self._longest)
        block = max(1, int(timeout * 1000)) if len(rooms) == len(since) else None
        try:
            with errors():
                found = self._reading.xread(streams, count=self._page, block=block)
        except HubUnavailable:
            # Perhaps this was too much at once for the server's limit on what clients are sent.
            self._read_less(len(since))
            raise
        self._read_more(len(since))
        epoch = self._find_epoch()  # if that fails, nothing counts as read
        batches = []
        for key, entries in found.items() if isinstance(found, dict) else found:
            entries = entries[0] if isinstance(found, dict) else entries
            if key == wake:
                self._woken = entries[-1][0]
                continue
            decoded = _decode(entries, reading[key], epoch)
            if decoded:
                batches.append(Batch(reading[key].room, decoded))
        for room in [room for room in self._rooms_read if room not in since]:
            del self._rooms_read[room]
        return batches

    def _resume(self, room: str, position: Position) -> _Reading:
        """Return where to read on: within a message, perhaps. For most rooms nothing is new."""
        reading = self._rooms_read.get(room)
        if reading is None or reading.position is not position:
            last_id = _split(position.offset)[0]
            if reading is None or reading.since != last_id:
                reading = self._rooms_read[room] = _Reading(last_id, room, self.keys(room)[0])
            reading.position = position
        return reading

    def _choose(self, rooms: list[str]) -> list[str]:
        """Return the rooms to read now: others have their turn where all are too many."""
        if self._most_rooms is None or self._most_rooms >= len(rooms):
            return rooms
        self._turn %= len(rooms)
        chosen = (rooms + rooms)[self._turn : self._turn + self._most_rooms]
        self._turn += self._most_rooms
        return chosen

    def _read_less(self, rooms: int) -> None:
        """Note that reading failed: the answer may have been too much for the server's limit."""
        self._epoch = None  # it may have lost everything
        self._successes = 0
        self._failures += 1
        if self._failures == 1:
            return  # connections break for other reasons
        if self._page > 1:
            self._page = max(1, self._page // 4)
        else:
            self._most_rooms = max(1, min(self._most_rooms or rooms, rooms) // 2)

    def _read_more(self, rooms: int) -> None:
        """Note that reading succeeded."""
        self._failures = 0
        self._successes += 1
        if self._successes % STEADY:
            return
        if self._page < PAGE:
            self._page *= 2
        elif self._most_rooms is not None:
            self._most_rooms = None if self._most_rooms >= rooms else self._most_rooms * 2

    def wake(self) -> None:
        """See :meth:`Backend.wake`."""
        with self._lock:
            if self._is_woken:
                return
            self._is_woken = True
        key = f"{self._prefix}wake:{self._node}"
        with contextlib.suppress(HubError), errors():  # otherwise nobody can be waiting either
            pipeline = self._commands.pipeline(transaction=False)
            pipeline.xadd(key, {"w": b""}, maxlen=1)
            pipeline.pexpire(key, 60_000)
            pipeline.execute()

    def counts(self, rooms: Sequence[str]) -> list[int]:
        """See :meth:`Backend.counts`."""
        if not rooms:
            return []
        with errors():
            pipeline = self._commands.pipeline(transaction=False)
            for room in rooms:
                pipeline.get(self.keys(room)[1])
            return [int(number or 0) for number in pipeline.execute()]

    # --- presence ---

    def join(self, room: str, member: Member) -> bool:
        """See :meth:`Backend.join`."""
        _, _, members = self.keys(room)
        with errors():
            pipeline = self._commands.pipeline(transaction=False)
            value = json.dumps({"data": member.data, "node": member.node})
            pipeline.hset(members, member.id, value)
            pipeline.pexpire(members, self._ttl)
            return bool(pipeline.execute()[0])

    def leave(self, room: str, member: Member) -> bool:
        """See :meth:`Backend.leave`."""
        with errors():
            return bool(self._commands.hdel(self.keys(room)[2], member.id))

    def members(self, room: str) -> list[Member]:
        """See :meth:`Backend.members`."""
        with errors():
            found = self._commands.hgetall(self.keys(room)[2])
        return [Member(name.decode(), **json.loads(value)) for name, value in found.items()]

    def beat(self, node: str, lifetime: float, rooms: Sequence[str]) -> bool:
        """See :meth:`Backend.beat`."""
        with errors():
            pipeline = self._commands.pipeline(transaction=False)
            key = f"{self._prefix}node:{node}"
            pipeline.set(key, b"", px=int(lifetime * 1000), get=True)
            self._use(pipeline, rooms)
            return pipeline.execute()[0] is not None

    def use(self, rooms: Sequence[str]) -> None:
        """Note that these rooms are in use, as :meth:`beat` does."""
        with errors():
            pipeline = self._commands.pipeline(transaction=False)
            self._use(pipeline, rooms)
            pipeline.execute()

    def _use(self, pipeline: Any, rooms: Sequence[str]) -> None:
        for room in rooms:
            for name in self.keys(room):
                pipeline.pexpire(name, self._ttl)

    def living(self, nodes: Sequence[str]) -> set[str]:
        """See :meth:`Backend.living`."""
        if not nodes:
            return set()
        with errors():
            pipeline = self._commands.pipeline(transaction=False)
            for node in nodes:
                pipeline.exists(f"{self._prefix}node:{node}")
            lives = pipeline.execute()
        return {node for node, alive in zip(nodes, lives) if alive}

    # --- the end ---

    def close(self) -> None:
        """See :meth:`Backend.close`."""
        with contextlib.suppress(Exception):
            self._commands.delete(f"{self._prefix}node:{self._node}")
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connections, unless they are the program's; calls that block end."""
        for client in self._clients[:2] if self._clients.are_own else ():
            with contextlib.suppress(Exception):
                client.close()

    def after_fork(self, node: str) -> None:
        """See :meth:`Backend.after_fork`. redis-py makes connections of its own in a child."""
        self._node = node
        self._woken = "0-0"
        self._rooms_read = {}
        self._is_woken = False
        self._lock = threading.Lock()
        self._publisher.renew(node)

    def _find_epoch(self) -> str:
        epoch = self._epoch  # another thread may forget it meanwhile
        if epoch is None:
            with errors():
                key = f"{self._prefix}epoch"
                self._commands.set(key, uuid.uuid4().hex[:16], nx=True)
                self._epoch = epoch = self._commands.get(key).decode()
        return epoch


def _decode(found: Any, reading: _Reading, epoch: str) -> list[Entry]:
    """Return entries as they were published: parts are put together."""
    entries = []
    for raw_id, fields in found:
        last_id = reading.last_id = raw_id.decode()
        try:
            number = int(fields.pop(b"n"))
            ((name, value),) = fields.items()
            message = reading.add(number, name, value)
        except (KeyError, ValueError):
            continue  # it isn't ours
        if message is not None:
            reading.since = last_id
            kind = KINDS.get(name, Kind.MESSAGE)
            position = Position(epoch, f"{last_id}-{number}")
            entries.append(Entry(number, position, message, kind))
    return entries


class _Reading:
    """How far a room has been read, with the parts so far of a long message.

    Attributes:
        since: the id of the last whole message.
        last_id: the id of the last entry.
        room: its name.
        key: the stream's key.
        position: where the hub says it is, as of when it last said something new.
    """

    def __init__(self, since: str = "", room: str = "", key: str = "") -> None:
        self.since = self.last_id = since
        self.room = room
        self.key = key.encode()
        self.position: Position | None = None
        self._number = -1
        self._parts: list[bytes] = []

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


def _split(offset: str) -> tuple[str, int]:
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
