"""Named sets of a server's connections, to send them messages."""

from __future__ import annotations

from typing import Any

from ..aliases import DataLike
from ..locks import make_rlock
from ..threaded.blocking import forget_owner
from .broadcasting import broadcast
from .rooms import AnyGroup
from .server_connection import ServerConnection

__all__ = ["Group", "Groups"]


class Group(AnyGroup):
    """Connections that get the same messages; ``server.group(name)`` returns it.

    A connection's membership ends with the connection. Any thread may use a group.

    Attributes:
        name: its name.
    """

    def __init__(self, name: str, groups: Groups) -> None:
        self.name = name
        self._groups = groups

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {len(self)}>"

    @property
    def connections(self) -> set[ServerConnection]:
        """The members, as of now."""
        return self._groups.members(self.name)

    def add(self, connection: ServerConnection) -> None:
        """Make a connection a member, unless it is closed. Idempotent.

        Raises:
            ValueError: it isn't one of the server's.
        """
        self._groups.join(self.name, connection)

    def discard(self, connection: ServerConnection) -> None:
        """Make a connection no member any more. Idempotent."""
        self._groups.leave(self.name, connection)

    def broadcast(self, message: DataLike, **kwargs: Any) -> None:
        """Send a message to the members, as :func:`~syncws.broadcast` does, with its arguments."""
        broadcast(self.connections, message, **kwargs)

    def publish(self, message: DataLike) -> None:
        """Same as :meth:`broadcast`, under the name that rooms of a hub have it by."""
        self.broadcast(message)


class Groups:
    """All groups of a server. A group without members takes no memory."""

    def __init__(self) -> None:
        # Guards all below, for a few instructions. Re-entrant, because a signal handler may use
        # groups while the main thread does.
        self._lock = make_rlock()
        self._members: dict[str, set[ServerConnection]] = {}
        self._open: set[ServerConnection] = set()  # the server's open connections
        self._names: dict[ServerConnection, set[str]] = {}  # of those that have joined some

    def enter(self, connection: ServerConnection) -> None:
        """Let a connection join groups from now on."""
        with self._lock:
            self._open.add(connection)

    def end(self, connection: ServerConnection) -> None:
        """Let a connection leave all groups for good. Idempotent."""
        with self._lock:
            self._open.discard(connection)
            for name in self._names.pop(connection, ()):
                self._remove(name, connection)

    def members(self, name: str) -> set[ServerConnection]:
        """Return the members of a group, as of now."""
        with self._lock:
            members = list(self._members.get(name, ()))
        return {connection for connection in members if connection.open}

    def join(self, name: str, connection: ServerConnection) -> None:
        """Add a connection to a group.

        Raises:
            ValueError: it isn't open, and never was.
        """
        with self._lock:
            if connection in self._open:
                self._names.setdefault(connection, set()).add(name)
                self._members.setdefault(name, set()).add(connection)
            elif not connection.closed:
                raise ValueError("the connection isn't one of this server's")

    def leave(self, name: str, connection: ServerConnection) -> None:
        """Remove a connection from a group. Idempotent."""
        with self._lock:
            names = self._names.get(connection, set())
            if name in names:
                names.remove(name)
                self._remove(name, connection)

    def after_fork(self) -> None:
        """Become empty in a forked child: a thread that only the parent has may have the lock."""
        forget_owner(self._lock)
        self._members.clear()
        self._names.clear()
        self._open.clear()

    def _remove(self, name: str, connection: ServerConnection) -> None:
        members = self._members[name]
        members.discard(connection)
        if not members:
            del self._members[name]
