"""The rooms of a process."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Callable, NamedTuple

from ..aliases import BytesLike, DataLike, LoggerLike
from ..exceptions import HubError, HubUnavailable, InvalidState, PayloadTooBig
from ..locks import make_rlock
from ..threaded import lifecycle
from ..threaded.connection import Connection
from ..threaded.deadline import Deadline, clock
from ..threaded.guarded_logger import GuardedLogger
from ..threaded.latch import Latch
from .backend import Backend, Entry, Member, Position, Post
from .health import Health
from .joining import Joining
from .listener import Listener
from .local_rooms import Audience, LocalRooms
from .memory_backend import MemoryBackend
from .presence import Presence
from .reading import Reading
from .room import Room

__all__ = ["PREFIX", "Hub", "HubStats"]

#: What all keys of the engine begin with, unless a hub has another prefix.
PREFIX = "syncws:"


class HubStats(NamedTuple):
    """What a hub has done, and how far behind it is.

    Attributes:
        rooms: rooms with members in this process.
        members: memberships in this process.
        published: messages that this hub has published.
        received: messages that it has read, each counted once however many members got it.
        gaps: times that messages were lost, because the backend had dropped them.
        losses: times that the backend could not be reached.
        deaf_for: seconds since it could be reached; 0 while it can.
        lag_messages: messages of this process's rooms that are published and not read yet; ``None``
            while the backend can't be reached.
        lag_seconds: seconds since everything had been read.
    """

    rooms: int
    members: int
    published: int
    received: int
    gaps: int
    losses: int
    deaf_for: float
    lag_messages: int | None
    lag_seconds: float


class Hub:
    """Rooms that this process shares with all others that use the same backend.

    Any thread may use it. One thread of its own reads for all rooms that have members here, and
    another one looks after who is present; both are there from the first member on. Closing it, or
    the end of a ``with`` block, ends them.

    Args:
        url: where the messages are: ``redis://``, ``rediss://`` or ``unix://``, as redis-py has
            them; ``redis+cluster://`` or ``rediss+cluster://``, with one or more nodes of a
            cluster; a ``redis.Redis`` or ``redis.RedisCluster`` object; a :class:`Backend`;
            ``None``: in this process.
        history: messages of each room that are kept, more or less.
        ttl: seconds after which a room that nobody uses is forgotten.
        prefix: of the engine's keys. Hubs with different ones don't hear each other.
        publish_timeout: seconds that publishing goes on trying while the engine can't be reached.
        lifetime: seconds after which members of a process that was killed are present no more.
        envelope: called with a room's name and an :class:`Entry`, returns what connections are
            sent: JSON with the message and its position, say. Must not block.
        on_join: called with a room and a :class:`Member` that is present now, in each process with
            members in that room. Like the next two, on the thread that reads: must not block.
        on_leave: the same, for one that is present no more.
        on_resync: called with a room and a connection that has missed messages, because the backend
            had dropped them before they were read.
        slow_peers: as for :func:`~syncws.broadcast`.
        local_when_lost: whether messages go to this process's members at least when the engine
            can't be reached, instead of an exception.
        logger: where to log; ``syncws.hub`` by default.

    Attributes:
        backend: what carries the messages.
        node: this hub's name among all.

    Raises:
        ImportError: a URL needs a package that isn't installed.
        ValueError: the URL can't be one, a number isn't positive, or ``{}`` is in the prefix.
    """

    def __init__(
        self,
        url: str | Backend | Any = None,
        *,
        history: int = 1000,
        ttl: float = 86400.0,
        prefix: str = PREFIX,
        publish_timeout: float = 10.0,
        lifetime: float = 15.0,
        envelope: Callable[[str, Entry], DataLike] | None = None,
        on_join: Callable[[Room, Member], None] | None = None,
        on_leave: Callable[[Room, Member], None] | None = None,
        on_resync: Callable[[Room, Connection], None] | None = None,
        slow_peers: str = "close",
        local_when_lost: bool = False,
        logger: LoggerLike | None = None,
    ) -> None:
        for name, value in (
            ("history", history),
            ("ttl", ttl),
            ("publish_timeout", publish_timeout),
            ("lifetime", lifetime),
        ):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")
        if slow_peers not in ("close", "skip"):
            raise ValueError(f"slow_peers is 'close' or 'skip', not {slow_peers!r}")
        if "{}" in prefix:  # a cluster would not keep the keys of a room together
            raise ValueError(f"{{}} can't be in a prefix: {prefix!r}")
        self.node = _make_name()
        self.backend = _make_backend(url, self.node, history=history, ttl=ttl, prefix=prefix)
        self.logger = GuardedLogger(logger or logging.getLogger("syncws.hub"))
        self._publish_timeout = publish_timeout
        self._on_resync = on_resync
        self._local_when_lost = local_when_lost
        self._presence = Presence(self, lifetime, on_join, on_leave)
        self._rooms = LocalRooms(self._presence.left, envelope, slow_peers, self.logger)
        self._reading = Reading(self)
        self._joining = Joining(self)
        self._health = Health(self.backend)
        self._published = 0
        self._begin()
        _hubs.add(self)

    def _begin(self) -> None:
        """Begin without threads: at first, and in a forked child."""
        # Held while threads are started. Re-entrant, because a signal handler may use the hub while
        # the main thread does. Not waited for with any other lock.
        self._starting = make_rlock()
        self._closed = Latch()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.node} by {self.backend!r}>"

    def __enter__(self) -> Hub:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def room(self, name: str) -> Room:
        """Return the room of this name. It needn't be created or removed."""
        if not isinstance(name, str):
            raise TypeError(f"the name of a room is a str, not {name!r}")
        return Room(self, name)

    def publish(
        self, room: str, message: str | BytesLike, timeout: float | None = None
    ) -> Position | None:
        """Send a message to all members of a room: see :meth:`Room.publish`."""
        (position,) = self.publish_many([(room, message)], timeout)
        return position

    def publish_many(
        self, messages: Iterable[tuple[str, str | BytesLike]], timeout: float | None = None
    ) -> list[Position] | list[None]:
        """Send many messages in one go, which costs much less than one by one.

        Args:
            messages: names of rooms, and messages.
            timeout: as for :meth:`Room.publish`, for all of them together.

        Returns:
            The place after each message in its room.

        Raises:
            HubError: as for :meth:`Room.publish`; those before the refused one may be published.
            HubUnavailable: as there.
            PayloadTooBig: as there; nothing was published.
            TypeError: as there; nothing was published.
        """
        if self._closed.is_set():
            raise InvalidState("the hub is closed")
        posts = [self._make_post(room, message) for room, message in messages]
        if not posts:
            return []
        try:
            limit = self._publish_timeout if timeout is None else timeout
            positions = self.backend.publish(posts, limit)
        except HubUnavailable:
            if not self._local_when_lost:
                raise
            for post in posts:
                entry = Entry(0, Position("", ""), post.message)
                self._rooms.send(post.room, list(self._rooms.members(post.room)), [entry])
            return [None] * len(posts)
        self._published += len(posts)
        return positions

    def stats(self) -> HubStats:
        """Return what the hub has done, and how far behind it is. Asks the backend."""
        rooms = self._rooms.snapshot()
        lag: int | None = None
        with contextlib.suppress(HubError):
            newest = self.backend.counts(list(rooms))
            lag = sum(max(0, n - room.number) for n, room in zip(newest, rooms.values()))
        now, reading = clock(), self._reading
        lost_at = reading.lost_at
        return HubStats(
            *self._rooms.count(),
            self._published,
            reading.received,
            reading.gaps,
            reading.losses,
            0.0 if lost_at is None else now - lost_at,
            lag,
            0.0 if lag == 0 else now - reading.caught_up_at,
        )

    def ping(self, timeout: float = 1.0) -> float:
        """Ask the backend whether it answers; return the seconds that it took.

        For health checks: any thread may ask as often as it likes. Blocks ``timeout`` seconds at
        most.

        Raises:
            HubError: the backend refuses.
            HubUnavailable: it doesn't answer in time; or this process can't read at the moment, so
                that members here get nothing.
        """
        if self._closed.is_set():
            raise InvalidState("the hub is closed")
        seconds = self._health.ask(timeout)
        lost_at = self._reading.lost_at
        if lost_at is not None:
            raise HubUnavailable(f"nothing could be read for {clock() - lost_at:.1f} s")
        return seconds

    def close(self, timeout: float = 5.0) -> None:
        """End the hub: its members here are present no more, and get no more messages.

        Connections stay open. Blocks until its threads have ended, at most ``timeout`` seconds.
        Idempotent; any thread may call it.
        """
        deadline = Deadline(timeout)
        self._stop()
        self._rooms.end_listeners()
        self._presence.close(deadline)
        with contextlib.suppress(HubError):
            self.backend.wake()
        self._reading.join(deadline)
        self.backend.close()
        lifecycle.unregister(self)

    def _stop(self) -> None:
        self._closed.set()
        self._reading.go_on()

    def _make_post(self, room: str, message: str | BytesLike) -> Post:
        if not isinstance(room, str):
            raise TypeError(f"the name of a room is a str, not {room!r}")
        if not isinstance(message, str):
            try:
                message = bytes(memoryview(message))
            except TypeError:
                name = type(message).__name__
                raise TypeError(f"{name} can't be published; str and bytes can") from None
        size = len(message.encode() if isinstance(message, str) else message)
        if size > self.backend.max_message_size:
            raise PayloadTooBig(size, self.backend.max_message_size)
        return Post(room, message)

    def _start(self) -> None:
        """Start the threads, unless they are there."""
        with self._starting:
            if self._reading.thread is None:
                self._reading.start()
                lifecycle.register(self)
            self._presence.start()

    # --- what the threads do ---

    def _tell_missed(self, name: str, members: Iterable[Audience]) -> None:
        """Tell the program which connections have missed messages of a room."""
        if self._on_resync is not None:
            for each in members:
                if not isinstance(each, Listener):
                    self._call(self._on_resync, self.room(name), each)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function of the program's: what it raises keeps nobody else from being told."""
        try:
            function(*args)
        except Exception:
            self.logger.exception("a function of a hub failed")

    # --- the process ---

    def begin_exit(self) -> None:
        """Have the threads end, at the interpreter's exit. Never blocks."""
        self._stop()
        self._presence.begin_close()

    def end_exit(self, deadline: Deadline) -> None:
        """Tell others, at the interpreter's exit, that the members here are present no more."""
        # Closing connections may have taken all of the time.
        self._presence.close(Deadline(lifecycle.EXIT_TIMEOUT))

    def after_fork(self) -> None:
        """Nothing left to do in a forked child: there all hubs begin anew, started or not."""

    def _begin_anew(self) -> None:
        """Begin anew in a forked child: threads and members are the parent's."""
        is_closed = self._closed.is_set()
        self.node = _make_name()
        self._begin()
        self._reading.begin()
        self._health.begin()
        self._rooms.after_fork()
        self._presence.after_fork()
        self.backend.after_fork(self.node)
        if is_closed:
            self._stop()


def _make_name() -> str:
    return uuid.uuid4().hex[:16]


#: All hubs. In a forked child each must have a name of its own, whether or not it has begun.
_hubs: weakref.WeakSet[Hub] = weakref.WeakSet()


def _begin_anew() -> None:
    for hub in list(_hubs):
        hub._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _make_backend(
    url: str | Backend | Any, node: str, *, history: int, ttl: float, prefix: str
) -> Backend:
    if url is None:
        return MemoryBackend(history, ttl)
    if isinstance(url, Backend):
        return url
    from .redis_clients import find_cluster

    cluster = find_cluster(url)
    if cluster is not None:
        from .cluster_backend import ClusterBackend

        return ClusterBackend(cluster, node, history=history, ttl=ttl, prefix=prefix)
    from .redis_backend import RedisBackend

    return RedisBackend(url, node, history=history, ttl=ttl, prefix=prefix)
