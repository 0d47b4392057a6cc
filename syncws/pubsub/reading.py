"""The thread that reads for all rooms with members in this process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..exceptions import HubError, HubUnavailable
from ..threaded import lifecycle
from ..threaded.deadline import Deadline, clock
from .backend import Batch, Kind, Position
from .local_rooms import LocalRoom

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["Reading"]

#: Seconds after which it asks again, so that a connection to the engine that is dead shows.
PROBE_INTERVAL = 5.0

#: Seconds between tries, at first and at most.
BACK_OFF = (0.05, 2.0)


class Reading:
    """Reads what comes, passes it on, and says when the engine is lost and found.

    Args:
        hub: the hub.

    Attributes:
        thread: the thread, once there is one.
        received: messages that were read.
        gaps: times that messages were lost, because the backend had dropped them.
        losses: times that the backend could not be reached.
        lost_at: since when it can't; ``None`` while it can.
        caught_up_at: when all had been read. It writes these; others read them.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.begin()
        self.received = self.gaps = self.losses = 0
        self.lost_at: float | None = None
        self.caught_up_at = clock()

    def begin(self) -> None:
        """Begin without a thread: at first, and in a forked child."""
        self.thread: threading.Thread | None = None
        self._filled = threading.Event()  # there are rooms to read for, or the hub is closed

    def start(self) -> None:
        """Start the thread, unless it is there. With the hub's lock for that."""
        if self.thread is None:
            thread = threading.Thread(target=self._run, name="syncws-hub")
            lifecycle.start_thread(thread)
            self.thread = thread

    def go_on(self) -> None:
        """Have it look whether there are rooms, or the hub is closed. Never blocks."""
        self._filled.set()

    def join(self, deadline: Deadline) -> None:
        """Wait for the thread's end, unless this is it."""
        thread = self.thread
        if thread is not None and thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):  # it is just being started
                thread.join(deadline.remaining())

    def _run(self) -> None:
        hub, (delay, most) = self._hub, BACK_OFF
        while not hub._closed.is_set():
            rooms = hub._rooms.snapshot()
            if not rooms:
                self._filled.clear()
                if not hub._rooms.snapshot() and not hub._closed.is_set():
                    self._filled.wait()
                continue
            try:
                positions, problem = self._find_positions(rooms)
                batches = hub.backend.wait(positions, PROBE_INTERVAL)
            except HubError as exc:
                self._lost(exc)
                hub._closed.wait(delay)
                delay = min(2 * delay, most)
                continue
            except Exception as exc:  # a defect, of the backend's perhaps
                hub.logger.exception("reading for rooms failed")
                self._lost(HubError(f"reading failed: {exc!r}"))
                hub._closed.wait(most)
                continue
            delay = BACK_OFF[0]
            trouble = problem or hub.backend.trouble
            if trouble is None:
                self._found()
            else:
                self._lost(trouble)
            for batch in batches:
                try:
                    self._pass_on(rooms[batch.room], batch)
                except Exception:  # a defect, which costs no other room anything
                    hub.logger.exception("passing on messages of room %r failed", batch.room)
            if trouble is None:
                self.caught_up_at = clock()

    def _find_positions(
        self, rooms: Mapping[str, LocalRoom]
    ) -> tuple[dict[str, Position], HubUnavailable | None]:
        """Return where rooms are to be read from, and why that isn't known of some."""
        found = {}
        problem: HubUnavailable | None = None
        for name, room in rooms.items():
            if room.position is None and problem is None:
                try:
                    room.position, room.number = self._hub.backend.newest(name)
                except HubUnavailable as exc:
                    problem = exc
            if room.position is not None:
                found[name] = room.position
        if problem is not None and not found:
            raise problem
        return found, problem

    def _pass_on(self, room: LocalRoom, batch: Batch) -> None:
        hub = self._hub
        entries, missed = hub._rooms.deliver(room, batch)
        self.received += sum(entry.kind == Kind.MESSAGE for entry in entries)
        if missed is not None:
            self.gaps += 1
            hub.logger.warning("messages of room %r are lost: they were dropped unread", room.name)
            hub._tell_missed(room.name, missed)
        for entry in entries:
            if entry.kind != Kind.MESSAGE:
                hub._presence.tell(room.name, entry)

    def _lost(self, exc: HubError) -> None:
        if self.lost_at is None:
            self.lost_at = clock()
            self.losses += 1
            extra = {"ws_hub": self._hub.node, "ws_error": exc}
            self._hub.logger.warning("hub can't be reached: %s", exc, extra=extra)

    def _found(self) -> None:
        lost_at, self.lost_at = self.lost_at, None
        if lost_at is not None:
            seconds = clock() - lost_at
            extra = {"ws_hub": self._hub.node, "ws_lost": seconds}
            self._hub.logger.warning("hub is back after %.1f s", seconds, extra=extra)
