"""A room: connections that get the same messages, in all processes that use the same backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..aliases import BytesLike
from ..server.rooms import AnyGroup
from ..threaded.connection import Connection
from .backend import Entry, Member, Position
from .listener import Listener

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["Room"]


class Room(AnyGroup):
    """A room of a hub; :meth:`Hub.room` returns it. It needn't be created or removed.

    All members get a room's messages in the same order, each of them once, for as long as their
    process runs. A connection's membership ends with the connection. Any thread may use a room.

    Attributes:
        name: its name.
    """

    def __init__(self, hub: Hub, name: str) -> None:
        self.name = name
        self._hub = hub

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} with {len(self)} members here>"

    @property
    def connections(self) -> set[Connection]:
        """Same as :attr:`members`."""
        return self.members

    @property
    def members(self) -> set[Connection]:
        """The members in this process, as of now. See :meth:`present` for those of all."""
        return self._hub._rooms.members(self.name)

    @property
    def position(self) -> Position | None:
        """The place after the last message that members in this process were sent.

        ``None`` if there are no members here.
        """
        room = self._hub._rooms.find(self.name)
        return None if room is None else room.position

    def add(
        self,
        connection: Connection,
        *,
        since: Position | str | None = None,
        last: int | None = None,
        data: Any = None,
    ) -> bool:
        """Make a connection a member, unless it is closed: it gets all messages from now on.

        Blocks until the backend has said where the room is. Adding a member again does nothing.

        Args:
            connection: the connection.
            since: send what came after this position first, and what comes meanwhile after that,
                with neither gap nor double. Blocks until the connection has caught up.
            last: send so many of the newest messages first, as far as they are there, and go on in
                the same way. Not if there is ``since``.
            data: what :meth:`present` is to say about it, in all processes: anything but ``None``
                that JSON can express.

        Returns:
            Whether nothing is missing. If what came after ``since`` isn't all there any more, the
            connection is a member all the same, and the program should give it what those messages
            would have told it.

        Raises:
            HubError: the backend refuses.
            HubUnavailable: the backend could not be reached in time; the connection is no member.
            ConnectionClosed: it was closed while it caught up.
            TypeError: ``data`` isn't anything that JSON can express.
            ValueError: ``since`` isn't a position, whatever else it is: clients send it. Or
                ``last`` is less than 1.
        """
        _check("last", last)
        return self._hub._joining.add(
            self.name, connection, since=_parse(since), last=last, data=data
        )

    def discard(self, connection: Connection) -> None:
        """Make a connection no member any more. Never blocks; idempotent."""
        self._hub._rooms.leave(self.name, connection)

    def publish(self, message: str | BytesLike, timeout: float | None = None) -> Position | None:
        """Send a message to all members, in all processes.

        Blocks until the backend has it; members get it a little later, from another thread.

        Args:
            message: a ``str`` is sent as text, bytes as binary.
            timeout: seconds to go on trying while the backend can't be reached; as the hub says
                by default.

        Returns:
            The place just after it. ``None`` if only this process's members got it: see
            ``local_when_lost`` of :class:`Hub`.

        Raises:
            HubError: the backend refuses: it is full, say, or read-only.
            HubUnavailable: it could not be reached in time. It may have got the message or not.
            PayloadTooBig: the message is over the limit.
            TypeError: it is neither text nor bytes.
        """
        return self._hub.publish(self.name, message, timeout)

    def broadcast(self, message: str | BytesLike) -> None:
        """Same as :meth:`publish`, under the name that groups have it by."""
        self.publish(message)

    def present(self) -> list[Member]:
        """Return who is in the room, in all processes: members that were added with ``data``.

        Blocks until the backend has answered. Members of a process that was killed are gone once
        the hub's ``lifetime`` is over.

        Raises:
            HubError: the backend refuses.
            HubUnavailable: it can't be reached.
        """
        return self._hub._presence.present(self.name)

    def listen(
        self, *, since: Position | str | None = None, timeout: float | None = None
    ) -> Listener:
        """Return an iterator over the room's messages, for a program rather than a connection.

        ::

            with room.listen() as entries:
                for entry in entries:
                    print(entry.message)

        It has all messages that are published from now on. Each step blocks until there is one.

        Args:
            since: begin with what came after this position.
            timeout: seconds that a step may take; the iteration ends then.

        Raises:
            HubError: as for :meth:`add`; so for ``since``.
            LookupError: what came after ``since`` isn't all there any more.
            ValueError: as for :meth:`add`.
        """
        listener = Listener(timeout)
        if not self._hub._joining.add(self.name, listener, since=_parse(since)):
            listener.close()
            raise LookupError("messages since that position are not there any more")
        return listener

    def history(self, limit: int = 100) -> list[Entry]:
        """Return the newest messages, up to ``limit``, oldest first. Blocks until they are there.

        Raises:
            HubError: the backend refuses.
            HubUnavailable: it can't be reached.
            ValueError: ``limit`` is less than 1.
        """
        _check("limit", limit)
        return self._hub._joining.find_history(self.name, limit)


def _check(name: str, limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ValueError(f"{name} must be at least 1, got {limit!r}")


def _parse(since: Position | str | None) -> Position | None:
    if since is None or isinstance(since, Position):
        return since
    if not isinstance(since, str):
        raise ValueError(f"{since!r} isn't a position")
    return Position.parse(since)
