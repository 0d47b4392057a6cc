"""Rooms of a single process: what other backends do, with nothing outside of it."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ..locks import make_rlock
from ..threaded.deadline import Deadline, clock
from .backend import Backend, Batch, Entry, Member, Position, Post

__all__ = ["MemoryBackend"]


class _Stream:
    """The entries of a room that are kept.

    They are in a ring, and found by their numbers: whoever reads page after page of a long history,
    with the lock, must not walk through all that is before.
    """

    __slots__ = ("_begin", "_history", "_ring", "newest", "used_at")

    def __init__(self, history: int, newest: int) -> None:
        self._begin = newest + 1
        self._history = history
        self._ring: list[Entry] = []
        self.newest = newest
        self.used_at = 0.0

    def add(self, entry: Entry) -> None:
        """Add the entry of the next number."""
        place = self._find(entry.number)
        self._ring[place : place + 1] = [entry]
        self.newest = entry.number  # last: a signal handler may raise before

    def after(self, number: int, limit: int) -> tuple[list[Entry], bool]:
        """Return entries after a number, and whether none is missing before the first of them."""
        first = max(self._begin, self.newest - self._history + 1)
        start = max(number + 1, first)
        end = min(start + limit, self.newest + 1)
        found = [self._ring[self._find(each)] for each in range(start, end)]
        return found, first <= number + 1 <= self.newest + 1

    def _find(self, number: int) -> int:
        return (number - self._begin) % (self._history + 1)  # one to spare, for add()


class MemoryBackend(Backend):
    """Keeps streams in memory.

    Args:
        history: entries of each room that are kept.
        ttl: seconds after which a room that nobody uses is forgotten.
    """

    def __init__(self, history: int = 1000, ttl: float = 86400.0) -> None:
        self._history = history
        self._ttl = ttl
        self._epoch = uuid.uuid4().hex[:16]
        # Guards all below, for a few instructions; waited on for entries. Re-entrant, because a
        # signal handler may publish while the main thread does.
        self._changed = threading.Condition(make_rlock())
        self._streams: OrderedDict[str, _Stream] = OrderedDict()  # the one used last is last
        self._floor = 0  # numbers up to this one were used by rooms that are forgotten
        self._waited: Mapping[str, Position] = {}  # what was waited for last
        self._news: set[str] = set()  # rooms with entries that nobody has waited for yet
        self._members: dict[str, dict[str, Member]] = {}
        self._woken = False

    def publish(self, posts: Sequence[Post], timeout: float) -> list[Position]:
        """See :meth:`Backend.publish`."""
        positions = []
        with self._changed:
            for post in posts:
                stream = self._use(post.room)
                number = stream.newest + 1
                position = self._position(number)
                stream.add(Entry(number, position, post.message, post.kind))
                positions.append(position)
                self._news.add(post.room)
            self._forget_unused()
            self._changed.notify_all()
        return positions

    def newest(self, room: str) -> tuple[Position, int]:
        """See :meth:`Backend.newest`."""
        with self._changed:
            number = self._use(room).newest
        return self._position(number), number

    def read(self, room: str, since: Position, limit: int) -> Batch:
        """See :meth:`Backend.read`."""
        with self._changed:
            stream = self._streams.get(room) or _Stream(0, self._floor)
            number = self._number(since)
            if number is None or number > stream.newest:
                return Batch(room, stream.after(0, limit)[0], complete=False)
            return Batch(room, *stream.after(number, limit), number)

    def last(self, room: str, limit: int) -> list[Entry]:
        """See :meth:`Backend.last`."""
        with self._changed:
            stream = self._streams.get(room) or _Stream(0, self._floor)
            return stream.after(max(0, stream.newest - limit), limit)[0]

    def wait(self, since: Mapping[str, Position], timeout: float) -> list[Batch]:
        """See :meth:`Backend.wait`."""
        deadline = Deadline(timeout)
        with self._changed:
            while True:
                # Also where a position isn't the one of last time: what was new then may have been
                # read for somebody who had left the room, and not for those who are there now.
                news = self._news.intersection(since)
                news.update(room for room in since if since[room] is not self._waited.get(room))
                self._waited = dict(since)
                self._news -= news
                batches = self._read_all(news, since)
                if batches or self._woken or deadline.expired:
                    self._woken = False
                    return batches
                self._changed.wait(deadline.remaining())

    def _read_all(self, rooms: set[str], since: Mapping[str, Position]) -> list[Batch]:
        """Return what is new in rooms, for those where something is."""
        batches = [self.read(room, since[room], self._history) for room in rooms]
        return [batch for batch in batches if batch.entries]

    def wake(self) -> None:
        """See :meth:`Backend.wake`."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def join(self, room: str, member: Member) -> bool:
        """See :meth:`Backend.join`."""
        with self._changed:
            members = self._members.setdefault(room, {})
            is_news = member.id not in members
            members[member.id] = member
            return is_news

    def leave(self, room: str, member: Member) -> bool:
        """See :meth:`Backend.leave`."""
        with self._changed:
            members = self._members.get(room, {})
            found = members.get(member.id)
            if found is None or found.node != member.node:
                return False
            del members[member.id]
            if not members:
                del self._members[room]
            return True

    def members(self, room: str) -> list[Member]:
        """See :meth:`Backend.members`."""
        with self._changed:
            return list(self._members.get(room, {}).values())

    def beat(self, node: str, lifetime: float, rooms: Sequence[str]) -> bool:
        """See :meth:`Backend.beat`."""
        with self._changed:  # there is one node, which lives while anybody asks
            for room in rooms:
                self._use(room)
        return True

    def living(self, nodes: Sequence[str]) -> set[str]:
        """See :meth:`Backend.living`."""
        return set(nodes)

    def counts(self, rooms: Sequence[str]) -> list[int]:
        """See :meth:`Backend.counts`."""
        with self._changed:
            streams = [self._streams.get(room) for room in rooms]
            return [self._floor if stream is None else stream.newest for stream in streams]

    def close(self) -> None:
        """See :meth:`Backend.close`."""
        self.wake()

    def after_fork(self, node: str) -> None:
        """See :meth:`Backend.after_fork`."""
        self._changed = threading.Condition(make_rlock())

    def _use(self, room: str) -> _Stream:
        """Return the stream of a room that is in use: it is made if there is none."""
        stream = self._streams.get(room)
        if stream is None:
            stream = self._streams[room] = _Stream(self._history, self._floor)
        stream.used_at = clock()
        self._streams.move_to_end(room)
        return stream

    def _forget_unused(self) -> None:
        oldest = clock() - self._ttl
        while True:
            room, stream = next(iter(self._streams.items()))
            if stream.used_at >= oldest:
                return
            del self._streams[room]
            self._news.discard(room)
            self._floor = max(self._floor, stream.newest)

    def _position(self, number: int) -> Position:
        return Position(self._epoch, str(number))

    def _number(self, position: Position) -> int | None:
        """Return the number at a position, or ``None`` if it isn't one of ours."""
        is_ours = position.epoch == self._epoch and position.offset.isdecimal()
        return int(position.offset) if is_ours else None
