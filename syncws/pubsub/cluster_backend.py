"""Rooms in a Redis cluster: some parts of it, and a room is in one of them, by its name.

Redis reads several streams at once only if they are in the same slot, whichever node that is on. So
rooms don't have a slot each, or each would need a connection that waits: they have 16 together. All
keys of such a part begin with the same text in braces, by which the cluster keeps them in one slot,
and in it they are the same as on a single server: see :mod:`.redis_backend`. The 16 slots are
spread evenly, so that each node has some, as long as there aren't more nodes than that.

A part has a thread of its own that waits, so that one whose node is away holds up no other.
"""

from __future__ import annotations

import functools
import queue
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable, TypeVar

from ..exceptions import HubUnavailable
from ..locks import make_rlock
from ..threaded.blocking import forget_owner
from ..threaded.deadline import Deadline
from ..threaded.latch import Latch
from .backend import Backend, Batch, Entry, Member, Position, Post
from .cluster_map import SLOTS, find_slot
from .cluster_reader import News, PartReader
from .redis_backend import RedisBackend
from .redis_clients import COMMAND_TIMEOUT, Cluster, is_moving

__all__ = ["ClusterBackend"]

#: Parts that rooms are in. All hubs must agree on it.
PARTS = 16

#: Seconds between tries while a slot moves.
MOVING_PAUSE = 0.02

T = TypeVar("T")


def _find_part(name: str) -> int:
    """Return the part that a room or a hub is in."""
    return find_slot(name) * PARTS // SLOTS


def _make_tags() -> list[str]:
    """Return what the keys of each part have in braces: the smallest number with such a slot."""
    tags: dict[int, str] = {}
    number = 0
    while len(tags) < PARTS:
        tags.setdefault(_find_part(str(number)), str(number))
        number += 1
    return [tags[part] for part in range(PARTS)]


TAGS = _make_tags()


class ClusterBackend(Backend):
    """Keeps streams in a Redis or Valkey cluster.

    Args:
        cluster: the cluster.
        node: the hub's name.
        history: entries of each room that are kept, more or less.
        ttl: seconds after which a room that nobody uses is forgotten.
        prefix: of all keys.
    """

    def __init__(
        self, cluster: Cluster, node: str, *, history: int, ttl: float, prefix: str
    ) -> None:
        self._cluster = cluster
        self._node = node
        self._history = history
        self._ttl = ttl
        self._prefix = prefix
        self._lock = make_rlock()  # guards making parts
        self._parts: dict[int, RedisBackend] = {}  # those that were used
        self._is_closed = False
        # The methods of a queue are atomic. ``None`` is said by whoever wakes.
        self._news: queue.SimpleQueue[News | None] = queue.SimpleQueue()
        self._readers: dict[int, PartReader] = {}  # of the thread that waits

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._cluster!r}>"

    def keys(self, room: str) -> tuple[str, str, str]:
        """Return the keys of a room: stream, newest number, who is present."""
        return self._get_part(_find_part(room)).keys(room)

    # --- publishing and reading ---

    def publish(self, posts: Sequence[Post], timeout: float) -> list[Position]:
        """See :meth:`Backend.publish`."""
        deadline = Deadline(timeout)
        places: dict[int, list[int]] = {}
        for place, post in enumerate(posts):
            places.setdefault(_find_part(post.room), []).append(place)
        found: dict[int, Position] = {}
        for part, of_part in places.items():
            own = [posts[place] for place in of_part]
            left = deadline.remaining() or 0.0
            found.update(zip(of_part, self._get_part(part).publish(own, left)))
        return [found[place] for place in range(len(posts))]

    def newest(self, room: str) -> tuple[Position, int]:
        """See :meth:`Backend.newest`."""
        return self._follow(room, lambda part: part.newest(room))

    def read(self, room: str, since: Position, limit: int) -> Batch:
        """See :meth:`Backend.read`."""
        return self._follow(room, lambda part: part.read(room, since, limit))

    def last(self, room: str, limit: int) -> list[Entry]:
        """See :meth:`Backend.last`."""
        return self._follow(room, lambda part: part.last(room, limit))

    def wait(self, since: Mapping[str, Position], timeout: float) -> list[Batch]:
        """See :meth:`Backend.wait`."""
        deadline = Deadline(timeout)
        divided = {
            part: {room: since[room] for room in rooms} for part, rooms in _divide(since).items()
        }
        readers = {part: self._find_reader(part) for part in divided}
        batches: list[Batch] = []
        is_over = False
        while not (batches or is_over):
            for part, own in divided.items():
                readers[part].ask(own)
            try:
                news = self._news.get(timeout=deadline.remaining())
                while True:
                    if news is None:
                        is_over = True
                    else:
                        is_over |= (news.error is None) is not (news.reader.error is None)
                        batches += news.reader.take(news, since)
                    news = self._news.get_nowait()
            except queue.Empty:
                is_over |= deadline.expired
        errors = [reader.error for reader in readers.values()]
        self.trouble = next((error for error in errors if error is not None), None)
        return batches

    def wake(self) -> None:
        """See :meth:`Backend.wake`. Parts are woken by whoever waits, once it has other rooms."""
        self._news.put(None)

    def counts(self, rooms: Sequence[str]) -> list[int]:
        """See :meth:`Backend.counts`."""
        found: dict[str, int] = {}
        for own in _divide(rooms).values():
            counts = self._follow(own[0], functools.partial(RedisBackend.counts, rooms=own))
            found.update(zip(own, counts))
        return [found[room] for room in rooms]

    # --- presence ---

    def join(self, room: str, member: Member) -> bool:
        """See :meth:`Backend.join`."""
        return self._follow(room, lambda part: part.join(room, member))

    def leave(self, room: str, member: Member) -> bool:
        """See :meth:`Backend.leave`."""
        return self._follow(room, lambda part: part.leave(room, member))

    def members(self, room: str) -> list[Member]:
        """See :meth:`Backend.members`."""
        return self._follow(room, lambda part: part.members(room))

    def beat(self, node: str, lifetime: float, rooms: Sequence[str]) -> bool:
        """See :meth:`Backend.beat`. That a node lives is noted in the part of its name."""
        divided = _divide(rooms)
        own = divided.pop(_find_part(node), [])
        is_known = self._follow(node, lambda part: part.beat(node, lifetime, own))
        for others in divided.values():
            self._follow(others[0], functools.partial(RedisBackend.use, rooms=others))
        return is_known

    def living(self, nodes: Sequence[str]) -> set[str]:
        """See :meth:`Backend.living`."""
        found: set[str] = set()
        for own in _divide(nodes).values():
            found |= self._follow(own[0], functools.partial(RedisBackend.living, nodes=own))
        return found

    def ping(self) -> None:
        """See :meth:`Backend.ping`. Asks for the parts that are in use."""
        for part in list(self._parts.values()) or [self._get_part(_find_part(self._node))]:
            part.ping()

    # --- the end ---

    def close(self) -> None:
        """See :meth:`Backend.close`."""
        with self._lock:
            is_first = not self._is_closed
            self._is_closed = True
            parts = dict(self._parts)
        own = parts.pop(_find_part(self._node), None)
        if own is not None and is_first:
            own.close()
        for part in parts.values():
            part.disconnect()
        readers = list(self._readers.values())
        for reader in readers:
            reader.end()
        deadline = Deadline(COMMAND_TIMEOUT)
        for reader in readers:
            reader.join(deadline)

    def after_fork(self, node: str) -> None:
        """See :meth:`Backend.after_fork`."""
        self._node = node
        forget_owner(self._lock)
        self._cluster.map.after_fork()
        self._news = queue.SimpleQueue()
        self._readers = {}
        self.trouble = None
        for part in self._parts.values():
            part.after_fork(node)

    # --- parts ---

    def _get_part(self, part: int) -> RedisBackend:
        found = self._parts.get(part)
        if found is not None:
            return found
        with self._lock:
            if part not in self._parts:
                prefix = f"{self._prefix}{{{TAGS[part]}}}"
                self._parts[part] = RedisBackend(
                    self._cluster.make_clients(find_slot(prefix), self._node),
                    self._node,
                    history=self._history,
                    ttl=self._ttl,
                    prefix=prefix,
                )
            return self._parts[part]

    def _follow(self, name: str, call: Callable[[RedisBackend], T]) -> T:
        """Do something in the part that a room or a hub is in; again, if that just moves."""
        part = self._get_part(_find_part(name))
        deadline = Deadline(COMMAND_TIMEOUT)
        while True:
            try:
                return call(part)
            except HubUnavailable as exc:
                if deadline.expired or not is_moving(exc):
                    raise
            Latch().wait(MOVING_PAUSE)

    def _find_reader(self, part: int) -> PartReader:
        if part not in self._readers:
            self._readers[part] = PartReader(self._get_part(part), self._news)
        return self._readers[part]


def _divide(names: Iterable[str]) -> dict[int, list[str]]:
    """Return names by the part that they are in."""
    found: dict[int, list[str]] = {}
    for name in names:
        found.setdefault(_find_part(name), []).append(name)
    return found
