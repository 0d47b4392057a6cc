"""What a server needs of a hub, and what its own groups and a hub's rooms have in common."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Set
from typing import Any, Protocol

from ..threaded.connection import Connection

__all__ = ["AnyGroup", "HasRooms"]


class AnyGroup(abc.ABC):
    """A group of a server's, or a room of a hub: a collection of connections.

    Attributes:
        name: its name.
    """

    name: str

    def __len__(self) -> int:
        return len(self.connections)

    def __contains__(self, connection: object) -> bool:
        return connection in self.connections

    def __iter__(self) -> Iterator[Any]:
        return iter(self.connections)

    @property
    @abc.abstractmethod
    def connections(self) -> Set[Connection]:
        """The members in this process, as of now."""

    @abc.abstractmethod
    def add(self, connection: Any) -> object:
        """Make a connection a member, unless it is closed."""

    @abc.abstractmethod
    def discard(self, connection: Any) -> None:
        """Make a connection no member any more."""

    @abc.abstractmethod
    def publish(self, message: Any) -> object:
        """Send a message to all members."""

    @abc.abstractmethod
    def broadcast(self, message: Any) -> None:
        """Send a message to all members."""


class HasRooms(Protocol):
    """A :class:`~syncws.pubsub.Hub`."""

    def room(self, name: str) -> Any:
        """Return the room of this name."""
