"""The members that rooms have in this process, and how far each has been served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Union

from ..aliases import DataLike, LoggerLike
from ..locks import make_rlock
from ..server.broadcasting import broadcast
from ..threaded.blocking import forget_owner
from ..threaded.connection import Connection
from .backend import Batch, Entry, Kind, Member, Position
from .listener import Listener

__all__ = ["LocalRoom", "LocalRooms", "Membership"]

#: Times that what came while a connection caught up is sent without the lock, before the rest is
#: sent with it.
ROUNDS = 8

#: Entries that are kept for a connection that catches up. Above that it goes on reading.
MAX_AWAITING = 1000

Envelope = Callable[[str, Entry], DataLike]

#: A member.
Audience = Union[Connection, Listener]


class Membership:
    """A connection in a room.

    Attributes:
        member: what others can know about it, if that is anything.
        live: whether it gets what comes.
        awaiting: entries that came while it catches up.
        until: the last entry that it reads for itself, before those; once it is live, the last
            that it was sent by then. This process may not have come so far yet.
        since: the place after what it was sent while it catches up.
    """

    __slots__ = ("awaiting", "live", "member", "since", "until")

    def __init__(self, member: Member | None, since: Position | None) -> None:
        self.member = member
        self.live = since is None
        self.awaiting: list[Entry] = []
        self.until = 0
        self.since = since

    def await_entries(self, entries: Sequence[Entry]) -> None:
        """Keep entries that came, or none if there are too many: it reads them for itself then."""
        self.awaiting += entries
        if len(self.awaiting) > MAX_AWAITING:
            self.until = self.awaiting[-1].number
            self.awaiting = []


class LocalRoom:
    """A room with members in this process.

    Attributes:
        name: its name.
        position: the place after the last entry that was passed on; ``None`` if it isn't known
            yet, since the backend can't be reached.
        number: that entry's number.
        members: its connections.
    """

    __slots__ = ("members", "name", "number", "position")

    def __init__(self, name: str, position: Position | None = None, number: int = 0) -> None:
        self.name = name
        self.position = position
        self.number = number
        self.members: dict[Audience, Membership] = {}

    def tracked(self) -> list[Member]:
        """Return members that others can know about."""
        return [m.member for m in self.members.values() if m.member is not None]

    def begin_anew(self, first: int) -> None:
        """Let all members get entries from this number on, whatever they had before."""
        for membership in self.members.values():
            membership.until = min(membership.until, first - 1)


class LocalRooms:
    """All rooms with members in this process. Any thread may use it.

    Args:
        left: called with a room's name and a member that isn't there any more; must not block.
        envelope: makes what a connection is sent of an entry; ``None`` sends its message.
        slow_peers: as for :func:`~syncws.broadcast`.
        logger: where to log what the program's ``envelope`` does wrong.
    """

    def __init__(
        self,
        left: Callable[[str, Member], None],
        envelope: Envelope | None,
        slow_peers: str,
        logger: LoggerLike,
    ) -> None:
        self._left = left
        self._envelope = envelope
        self._slow_peers = slow_peers
        self._logger = logger
        # Guards all below, for a few instructions; sending what doesn't block counts as one.
        # Re-entrant, because a signal handler may use rooms while the main thread does. Nothing
        # takes it that has a connection's locks.
        self._lock = make_rlock()
        self._rooms: dict[str, LocalRoom] = {}
        self._names: dict[Audience, set[str]] = {}

    # --- what there is ---

    def find(self, name: str) -> LocalRoom | None:
        """Return a room, if it has members."""
        with self._lock:
            return self._rooms.get(name)

    def members(self, name: str) -> set[Connection]:
        """Return the members of a room, as of now."""
        with self._lock:
            room = self._rooms.get(name)
            members = [] if room is None else list(room.members)
        return {each for each in members if not isinstance(each, Listener) and each.open}

    def has(self, name: str, connection: Audience) -> bool:
        """Tell whether a connection is a member."""
        with self._lock:
            return name in self._names.get(connection, ())

    def snapshot(self) -> dict[str, LocalRoom]:
        """Return the rooms by name, as of now."""
        with self._lock:
            return dict(self._rooms)

    def count(self) -> tuple[int, int]:
        """Return how many rooms there are, and how many memberships."""
        with self._lock:
            return len(self._rooms), sum(len(room.members) for room in self._rooms.values())

    def tracked(self) -> dict[str, list[Member]]:
        """Return members that others can know about, by room."""
        with self._lock:
            return {name: room.tracked() for name, room in self._rooms.items()}

    # --- joining and leaving ---

    def join(
        self, new: LocalRoom, connection: Audience, membership: Membership
    ) -> LocalRoom | None:
        """Make a connection a member of a room, or of this one if there is none of its name yet.

        Return the room; ``None`` if the connection has ended. A member stays what it is.
        """
        with self._lock:
            room = self._rooms.get(new.name, new)
            if connection in room.members:
                return room
            names = self._names.get(connection)
            if names is None:
                if not connection._call_at_end(lambda: self.end(connection)):
                    return None
                names = self._names[connection] = set()
            elif connection._is_finished:  # it is about to leave its rooms
                return None
            self._rooms[new.name] = room
            names.add(new.name)
            membership.until = room.number
            room.members[connection] = membership
            return room

    def leave(self, name: str, connection: Audience) -> None:
        """Make a connection no member any more. Idempotent."""
        with self._lock:
            names = self._names.get(connection, set())
            if name not in names:
                return
            names.remove(name)
            membership = self._remove(name, connection)
        if membership.member is not None:
            self._left(name, membership.member)

    def end(self, connection: Audience) -> None:
        """Let a connection that has ended leave all rooms."""
        with self._lock:
            names = self._names.pop(connection, set())
            gone = [(name, self._remove(name, connection).member) for name in names]
        for name, member in gone:
            if member is not None:
                self._left(name, member)

    def end_listeners(self) -> None:
        """Close those who aren't connections."""
        with self._lock:
            members = list(self._names)
        for each in members:
            if isinstance(each, Listener):
                each.close()

    def after_fork(self) -> None:
        """Become empty in a forked child: a thread that only the parent has may have the lock."""
        forget_owner(self._lock)
        self._rooms.clear()
        self._names.clear()

    def _remove(self, name: str, connection: Audience) -> Membership:
        room = self._rooms[name]
        membership = room.members.pop(connection)
        if not room.members:
            del self._rooms[name]
        return membership

    # --- passing messages on ---

    def deliver(self, room: LocalRoom, batch: Batch) -> tuple[list[Entry], list[Audience] | None]:
        """Pass entries on to a room's members. For the thread that reads.

        Return the entries, none if the room has no members any more; and the members if something
        is missing before these entries, or else ``None``.
        """
        entries = list(batch.entries)
        with self._lock:
            if self._rooms.get(room.name) is not room or not entries:
                return [], None
            gap = not batch.complete or entries[0].number != room.number + 1
            room.position, room.number = entries[-1].position, entries[-1].number
            first = entries[0].number
            live, ahead = [], []
            for connection, membership in room.members.items():
                if not membership.live:
                    membership.await_entries(entries)
                elif gap or membership.until < first:
                    live.append(connection)
                else:
                    ahead.append((connection, _after(membership.until, entries)))
            if gap:  # numbers may have begun anew
                room.begin_anew(first)
            everybody = list(room.members) if gap else None
        self.send(room.name, live, entries)
        for connection, new in ahead:
            self.send(room.name, [connection], new)
        return entries, everybody

    def send(self, name: str, audience: Sequence[Audience], entries: Sequence[Entry]) -> None:
        """Send entries of a room to some of its members, without waiting for any of them."""
        connections = [each for each in audience if not isinstance(each, Listener)]
        listeners = [each for each in audience if isinstance(each, Listener)]
        for entry in entries:
            if entry.kind != Kind.MESSAGE:
                continue
            if connections:
                try:
                    message = self.wrap(name, entry)
                    broadcast(connections, message, slow_peers=self._slow_peers)
                except Exception:  # the other messages must not be lost for this one
                    self._logger.exception("a message of room %r can't be sent", name)
            for listener in listeners:
                listener._put(entry)

    def wrap(self, name: str, entry: Entry) -> DataLike:
        """Return what connections are sent of an entry."""
        return entry.message if self._envelope is None else self._envelope(name, entry)

    def go_live(
        self, room: LocalRoom, connection: Audience, membership: Membership, read: int
    ) -> bool:
        """Send what came while a connection caught up; from now on it gets what comes.

        Return whether that is so: if not, it has to read on, from where its membership says.

        Args:
            room: the room.
            connection: the connection.
            membership: its membership.
            read: the number of the last entry that it was sent.
        """
        for round_ in range(ROUNDS):
            with self._lock:
                if membership.until > read:
                    return False
                entries = _after(read, membership.awaiting)
                membership.awaiting = []
                if not entries or round_ == ROUNDS - 1:
                    self.send(room.name, [connection], entries)
                    membership.live, membership.until = True, read
                    break
            self.send(room.name, [connection], entries)
            read, membership.since = entries[-1].number, entries[-1].position
        return True


def _after(number: int, entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.number > number]
