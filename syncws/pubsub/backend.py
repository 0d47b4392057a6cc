"""What carries the messages of rooms, as an interface that others can implement.

A room is a stream: messages in one order, each with a number that is the one before it plus one.
Of that a backend keeps the newest. Whoever reads says which position was read last, and goes on
from there: so nothing is lost while a backend can't be reached, and what is lost shows, as a
number that is missing.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union

from ..exceptions import HubError

__all__ = [
    "Backend",
    "Batch",
    "Entry",
    "Kind",
    "Member",
    "Position",
    "Post",
]

Message = Union[str, bytes]


class Kind:
    """What an entry of a room's stream is."""

    MESSAGE = "message"
    JOIN = "join"
    LEAVE = "leave"


class Position(NamedTuple):
    """A place in a room's stream, just after a message.

    Programs keep it, give it to clients, and take it back; only backends know what is in it.

    Attributes:
        epoch: which stream it is of; another one begins when a backend has lost all it had.
        offset: where in that stream.
    """

    epoch: str
    offset: str

    def __str__(self) -> str:
        return f"{self.epoch}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that ``str()`` made this text of.

        Raises:
            ValueError: it isn't one.
        """
        epoch, slash, offset = text.partition("/")
        if not (epoch and slash and offset) or len(text) > 200:
            raise ValueError(f"{text[:200]!r} isn't a position")
        return cls(epoch, offset)


class Entry(NamedTuple):
    """Something in a room's stream.

    Attributes:
        number: that of the entry before it, plus one.
        position: the place just after it.
        message: what was published; of a join or leave, the member as JSON.
        kind: one of :class:`Kind`.
    """

    number: int
    position: Position
    message: Message
    kind: str = Kind.MESSAGE


class Post(NamedTuple):
    """Something to publish.

    Attributes:
        room: the room's name.
        message: a str, or bytes.
        kind: one of :class:`Kind`.
    """

    room: str
    message: Message
    kind: str = Kind.MESSAGE


class Batch(NamedTuple):
    """Entries of a room that follow each other.

    Attributes:
        room: the room's name.
        entries: the entries, oldest first.
        complete: whether nothing is missing before the first of them.
        after: the number at the position that was read from, if it is complete.
    """

    room: str
    entries: Sequence[Entry]
    complete: bool = True
    after: int = 0


class Member(NamedTuple):
    """Somebody who is in a room.

    Attributes:
        id: who it is; not there twice in a room.
        data: what the program said about it: anything that JSON can express.
        node: the process that it is connected to.
    """

    id: str
    data: Any
    node: str


class Backend(abc.ABC):
    """Carries the messages of rooms, and knows who is in them.

    Any thread may call any method, but :meth:`wait` has one caller at a time. All block for a
    bounded time. Where the engine can't be reached they raise :exc:`~syncws.HubUnavailable`, and
    :exc:`~syncws.HubError` if it refuses; the hub tries again, waits between tries, and tells the
    program.
    """

    #: Bytes that a message may have.
    max_message_size = 2**24

    #: Why rooms can't be read that are in one part of the engine, as of the end of :meth:`wait`,
    #: which goes on for the others.
    trouble: HubError | None = None

    @abc.abstractmethod
    def publish(self, posts: Sequence[Post], timeout: float) -> list[Position]:
        """Add entries to the streams of their rooms, in this order, each of them once.

        Args:
            posts: what to add.
            timeout: seconds to go on trying while the engine can't be reached.

        Returns:
            The place after each.
        """

    @abc.abstractmethod
    def newest(self, room: str) -> tuple[Position, int]:
        """Return the place after the newest entry of a room, and that entry's number."""

    @abc.abstractmethod
    def read(self, room: str, since: Position, limit: int) -> Batch:
        """Return up to ``limit`` entries of a room that come after a position, oldest first.

        ``complete`` is false if any between the position and the first of them is not there any
        more, or the position is of another stream: the entries are then the oldest that are there.
        """

    @abc.abstractmethod
    def last(self, room: str, limit: int) -> list[Entry]:
        """Return the newest entries of a room, up to ``limit``, oldest first."""

    @abc.abstractmethod
    def wait(self, since: Mapping[str, Position], timeout: float) -> list[Batch]:
        """Wait for entries after these positions, by name of the room; return what there is.

        Returns at once if there is something, an empty list after ``timeout`` seconds or once
        :meth:`wake` was called. ``complete`` and ``after`` needn't be right: the numbers tell.
        """

    @abc.abstractmethod
    def wake(self) -> None:
        """Have :meth:`wait` return soon; if nobody is in it, the next call. Never blocks long."""

    @abc.abstractmethod
    def join(self, room: str, member: Member) -> bool:
        """Note that somebody is in a room; return whether that is news. Replaces older data."""

    @abc.abstractmethod
    def leave(self, room: str, member: Member) -> bool:
        """Note that somebody has left a room, by that node; return whether that is news."""

    @abc.abstractmethod
    def members(self, room: str) -> list[Member]:
        """Return who is in a room, those of nodes that are gone included."""

    @abc.abstractmethod
    def beat(self, node: str, lifetime: float, rooms: Sequence[str]) -> bool:
        """Note that a node lives, for so many seconds, and that it uses these rooms.

        Return whether it was known to live: if not, others may have removed its members.
        """

    @abc.abstractmethod
    def living(self, nodes: Sequence[str]) -> set[str]:
        """Return which of these nodes live."""

    @abc.abstractmethod
    def counts(self, rooms: Sequence[str]) -> list[int]:
        """Return the number of the newest entry of each room."""

    def ping(self) -> None:
        """Find out whether the engine answers."""
        self.living(["nobody"])

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of everything; calls that block return. Idempotent."""

    @abc.abstractmethod
    def after_fork(self, node: str) -> None:
        """Begin anew in a forked child, for a hub with this name: what is open is the parent's."""
