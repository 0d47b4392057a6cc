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
    Member,
    Position,
    Post,
)
from .redis_clients import Clients, errors, make_clients
from .redis_publisher import RedisPublisher, make_base
from .redis_reader import Place, RedisReader, decode, split_offset

__all__ = ["RedisBackend"]

#: The epoch of a position where it can't be asked for: whoever comes back with it starts anew.
UNKNOWN = "unknown"

#: A position that isn't known.
NOWHERE = Position(UNKNOWN, "0-0-0")


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
        self._reader = self._make_reader()
        # Guards the flag below, so that a reader is woken once.
        self._lock = threading.Lock()
        self._is_woken = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._commands!r}>"

    def _make_reader(self) -> RedisReader:
        # Of the thread that waits.
        return RedisReader(
            self._reading, self._clients.are_own, lambda room: self.keys(room)[0], self._wake_key
        )

    @property
    def _wake_key(self) -> str:
        return f"{self._prefix}wake:{self._node}"

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
            last_id, number = split_offset(since.offset)
        except ValueError:
            last_id, number = "0-0", -1
        epoch = self._find_epoch()
        is_ours = since.epoch == epoch and number >= 0
        place = Place(last_id)
        entries: list[Entry] = []
        found: Any = True
        while found and not entries:
            with errors():
                # As of one moment: what is published in between is nothing that is missing.
                pipeline = self._commands.pipeline(transaction=True)
                pipeline.xrange(stream, min=f"({place.last_id}", count=limit)
                pipeline.get(counter)
                found, count = pipeline.execute()
                newest = int(count or 0)
                entries = decode(found, place, epoch)  # none: parts of a long message
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
            entries = decode(found[::-1], Place(), epoch)
            if len(entries) >= limit or len(found) < count:
                return entries[-limit:]
            count *= 4  # long messages have several parts

    def wait(self, since: Mapping[str, Position], timeout: float) -> list[Batch]:
        """See :meth:`Backend.wait`."""
        with self._lock:
            self._is_woken = False
        if self._longest is not None:
            timeout = min(timeout, self._longest)
        try:
            with errors():
                found = self._reader.read(since, timeout)
        except HubUnavailable:
            self._epoch = None  # the server may have lost everything
            self._reader.note_failure()
            raise
        self._reader.note_success()
        return self._reader.take(found, self._find_epoch())  # if that fails, nothing counts as read

    def wake(self) -> None:
        """See :meth:`Backend.wake`."""
        with self._lock:
            if self._is_woken:
                return
            self._is_woken = True
        with contextlib.suppress(HubError), errors():  # otherwise nobody can be waiting either
            pipeline = self._commands.pipeline(transaction=False)
            pipeline.xadd(self._wake_key, {"w": b""}, maxlen=1)
            pipeline.pexpire(self._wake_key, 60_000)
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
                client.connection_pool.disconnect()

    def after_fork(self, node: str) -> None:
        """See :meth:`Backend.after_fork`. redis-py makes connections of its own in a child."""
        self._node = node
        self._reader = self._make_reader()
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
