"""Entering a room: what a connection has missed first, and then what comes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..exceptions import HubUnavailable, InvalidState
from .backend import Entry, Kind, Member, Position
from .listener import Listener
from .local_rooms import Audience, LocalRoom, Membership

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["Joining"]

#: Entries that are read at once for a connection that catches up.
PAGE = 256


class Joining:
    """Lets connections enter the rooms of a hub, and finds what was said there before.

    Any thread may use it.

    Args:
        hub: the hub.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def add(
        self,
        name: str,
        connection: Audience,
        *,
        since: Position | None,
        last: int | None = None,
        data: Any = None,
    ) -> bool:
        """Make a connection a member: see :meth:`Room.add`."""
        hub = self._hub
        if hub._closed.is_set():
            raise InvalidState("the hub is closed")
        member = None
        if data is not None and not isinstance(connection, Listener):
            json.dumps(data)  # refuse here what can't be told
            member = Member(str(connection.id), data, hub.node)
        if hub._rooms.has(name, connection):
            return True
        hub._start()
        history: list[Entry] = []
        if since is None and last is not None:
            since, history = self._find_last(name, last)
        room = hub._rooms.find(name)
        if room is None:
            room = self._make_room(name)
        membership = Membership(member, since)
        joined = hub._rooms.join(room, connection, membership)
        if joined is None:
            return True
        hub._reading.go_on()
        if joined is room and len(room.members) == 1:
            hub.backend.wake()
        try:
            if member is not None:
                hub._presence.join(name, member)
            self._send_old(name, connection, history)
            if membership.since is None:
                return last is None  # or there is nobody to ask
            return self._catch_up(joined, connection, membership)
        except BaseException:
            hub._rooms.leave(name, connection)
            raise

    def find_history(self, name: str, limit: int) -> list[Entry]:
        """Return the newest messages of a room, up to so many, oldest first."""
        count = limit
        while True:
            entries = self._hub.backend.last(name, count)
            messages = [entry for entry in entries if entry.kind == Kind.MESSAGE]
            if len(messages) >= limit or len(entries) < count:
                return messages[-limit:]
            count *= 4  # joins and leaves are among them

    def _make_room(self, name: str) -> LocalRoom:
        try:
            return LocalRoom(name, *self._hub.backend.newest(name))
        except HubUnavailable:
            if not self._hub._local_when_lost:
                raise
            return LocalRoom(name)

    def _catch_up(self, room: LocalRoom, connection: Audience, membership: Membership) -> bool:
        """Send a new member what came before what is kept for it; then that.

        Return whether nothing is missing.
        """
        while True:
            until = membership.until
            assert membership.since is not None
            batch = self._hub.backend.read(room.name, membership.since, PAGE)
            entries = [entry for entry in batch.entries if entry.number <= until]
            read = until
            if batch.complete:
                for entry in entries:
                    self._send_old(room.name, connection, [entry])
                    membership.since = entry.position
                if entries and entries[-1].number < until:
                    continue
                read = max(until, batch.after)  # this process may not have come so far yet
            if self._hub._rooms.go_live(room, connection, membership, read):
                return batch.complete

    def _send_old(self, name: str, connection: Audience, entries: Iterable[Entry]) -> None:
        """Send one member what came before; a connection may take its time."""
        for entry in entries:
            if isinstance(connection, Listener):
                self._hub._rooms.send(name, [connection], [entry])
            elif entry.kind == Kind.MESSAGE:
                connection.send(self._hub._rooms.wrap(name, entry))

    def _find_last(self, name: str, limit: int) -> tuple[Position | None, list[Entry]]:
        """Return the newest messages of a room, and where to go on after them."""
        try:
            # Before the others: nothing is in between.
            place, number = self._hub.backend.newest(name)
            entries = self.find_history(name, limit)
        except HubUnavailable:
            if not self._hub._local_when_lost:
                raise
            return None, []
        if entries and entries[-1].number > number:
            place = entries[-1].position
        return place, entries
