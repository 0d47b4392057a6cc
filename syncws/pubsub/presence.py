"""Who is in a room, over all processes: told by each for its own members, for as long as it lives.

A node says now and then that it lives. Whoever finds a member whose node doesn't removes it and
tells the others; the backend lets only one of them do so.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import TYPE_CHECKING, Callable

from ..exceptions import HubError
from ..locks import make_rlock
from ..threaded import lifecycle
from ..threaded.deadline import Deadline
from .backend import Entry, Kind, Member, Post

if TYPE_CHECKING:
    from .hub import Hub
    from .room import Room

__all__ = ["Presence"]

#: Signs of life in a node's lifetime.
BEATS = 3

#: Seconds to go on trying to tell that a member has come or gone.
TELL_TIMEOUT = 5.0


class Presence:
    """Tells who comes and goes, and that this node lives.

    Args:
        hub: the hub.
        lifetime: seconds after which a node that says nothing is taken for dead.
        on_join: see :class:`Hub`.
        on_leave: see there.
    """

    def __init__(
        self,
        hub: Hub,
        lifetime: float,
        on_join: Callable[[Room, Member], None] | None,
        on_leave: Callable[[Room, Member], None] | None,
    ) -> None:
        self._hub = hub
        self._lifetime = lifetime
        self._callbacks = {Kind.JOIN: on_join, Kind.LEAVE: on_leave}
        # Those who left, and whom nobody was told of yet. Its methods are atomic, so that a
        # connection's end waits for nothing.
        self._gone: deque[tuple[str, Member]] = deque()
        self._untold: list[Post] = []  # of those who are removed; with the lock below
        self._news = threading.Event()
        # Held while a member's coming or going is told, so that who leaves and comes back at once
        # isn't told of in the other order. Re-entrant, because a signal handler may use rooms while
        # the main thread does. Nothing takes it that has the rooms' lock.
        self._telling = make_rlock()
        self._closing = self._has_beaten = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it is there. With the hub's lock for that."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="syncws-presence")
            lifecycle.start_thread(thread)
            self._thread = thread

    def join(self, room: str, member: Member) -> None:
        """Say that somebody is in a room.

        Raises:
            HubError: the backend refuses, or can't be reached.
        """
        if not self._has_beaten:  # others must not take it for dead
            self._beat()
        backend = self._hub.backend
        with self._telling:
            self._tell_gone()
            if backend.join(room, member):
                backend.publish([Post(room, _dump(member), Kind.JOIN)], TELL_TIMEOUT)

    def left(self, room: str, member: Member) -> None:
        """Note that somebody has left a room, to be told soon. Never blocks; any thread."""
        self._gone.append((room, member))
        self._news.set()

    def present(self, room: str) -> list[Member]:
        """Return who is in a room.

        Raises:
            HubError: the backend refuses, or can't be reached.
        """
        return self._find_members(room)[0]

    def tell(self, name: str, entry: Entry) -> None:
        """Call the program's function for one who has come or gone."""
        callback = self._callbacks.get(entry.kind)
        if callback is not None:
            member = Member(**json.loads(entry.message))
            self._hub._call(callback, self._hub.room(name), member)

    def begin_close(self) -> None:
        """Have it said that all members here are gone, and the thread end. Idempotent."""
        if not self._closing:
            self._closing = True
            for name, members in self._hub._rooms.tracked().items():
                self._gone.extend((name, member) for member in members)
            self._news.set()

    def close(self, deadline: Deadline) -> None:
        """Wait until that is done."""
        self.begin_close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(deadline.remaining())

    def after_fork(self) -> None:
        """Forget everything in a forked child."""
        self._telling = make_rlock()
        self._gone.clear()
        self._news = threading.Event()
        self._thread = None
        self._closing = self._has_beaten = False

    def _run(self) -> None:
        while True:
            self._news.wait(self._lifetime / BEATS)
            self._news.clear()
            closing = self._closing
            try:
                self._tell_gone()
                if closing:
                    return
                self._beat()
                self._sweep()
            except HubError as exc:
                if closing:
                    return
                # The thread that reads warns; here it goes on as soon as it can.
                self._hub.logger.debug("presence can't be told: %s", exc)
                self._hub._closed.wait(self._lifetime / BEATS)
            except Exception:  # a defect, of the backend's perhaps
                self._hub.logger.exception("telling who is present failed")
                if closing:
                    return

    def _tell_gone(self) -> None:
        with self._telling:
            self._tell_each_gone()

    def _tell_each_gone(self) -> None:
        while self._gone or self._untold:
            if not self._untold:
                self._remove(*self._gone[0])
                self._gone.popleft()
            self._tell_all()

    def _beat(self) -> None:
        rooms = list(self._hub._rooms.snapshot())
        was_alive = self._hub.backend.beat(self._hub.node, self._lifetime, rooms)
        self._has_beaten = True
        if not was_alive:
            for name, members in self._hub._rooms.tracked().items():
                for member in members:
                    self.join(name, member)

    def _sweep(self) -> None:
        """Remove the members of nodes that are dead, from rooms with members here."""
        for name, tracked in self._hub._rooms.tracked().items():
            if not tracked and self._callbacks[Kind.LEAVE] is None:
                continue  # nobody here wants to know
            _, dead = self._find_members(name)
            with self._telling:
                for member in dead:
                    self._remove(name, member)
                self._tell_all()

    def _find_members(self, room: str) -> tuple[list[Member], list[Member]]:
        """Return the members of a room whose nodes live, and those of nodes that are dead."""
        backend = self._hub.backend
        members = backend.members(room)
        living = backend.living(sorted({member.node for member in members}))
        alive = [member for member in members if member.node in living]
        return alive, [member for member in members if member.node not in living]

    def _remove(self, room: str, member: Member) -> None:
        if self._hub.backend.leave(room, member):
            self._untold.append(Post(room, _dump(member), Kind.LEAVE))

    def _tell_all(self) -> None:
        if self._untold:
            self._hub.backend.publish(list(self._untold), TELL_TIMEOUT)
            self._untold.clear()


def _dump(member: Member) -> str:
    return json.dumps(member._asdict())
