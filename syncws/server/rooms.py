"""What a server needs of a hub, and what its own groups and a hub's rooms have in common."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, Protocol

from ..threaded.connection import Connection

__all__ = ["AnyGroup", "HasRooms"]


class AnyGroup(Protocol):
    """A group of a server's, or a room of a hub."""

    name: str

    def __len__(self) -> int: ...
    def __contains__(self, connection: object) -> bool: ...
    def __iter__(self) -> Iterator[Any]: ...

    @property
    def connections(self) -> Set[Connection]:
        """The members in this process, as of now."""

    def add(self, connection: Any) -> object:
        """Make a connection a member, unless it is closed."""

    def discard(self, connection: Any) -> None:
        """Make a connection no member any more."""

    def publish(self, message: Any) -> object:
        """Send a message to all members."""

    def broadcast(self, message: Any) -> None:
        """Send a message to all members."""


class HasRooms(Protocol):
    """A :class:`~syncws.pubsub.Hub`."""

    def room(self, name: str) -> Any:
        """Return the room of this name."""
