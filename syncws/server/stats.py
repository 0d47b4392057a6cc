"""What a server has done so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .upgrade import ServerConnection

__all__ = ["ServerStats", "Tally"]


@dataclass(frozen=True)
class ServerStats:
    """What a server does and has done; ``server.stats()`` returns it.

    Attributes:
        connections_open: connections that are open now.
        connections_opening: opening handshakes under way now.
        connections_accepted: connections accepted so far, also those refused afterwards.
        messages_received: messages received over all connections so far, also closed ones.
        messages_sent: messages sent over them.
        bytes_received: bytes read from the network, with headers and TLS.
        bytes_sent: bytes written to the network.
        refusals: connections refused so far, by reason: ``"full"``, ``"address"`` (it has
            ``max_connections_per_address``), ``"shutdown"``, ``"origin"``, ``"host"``,
            ``"authentication"`` (401), ``"status"`` (another HTTP error, by the program or its
            router), ``"request"`` (not a valid opening handshake), ``"failure"`` (ours), ``"tls"``,
            ``"timeout"``, ``"lost"`` (the client went away). Without those that never occurred.
        threads: threads that the server and its connections have now, without the two that
            the whole process shares.
        uptime: seconds since the server was started, until it is closed; 0 before.
        paused: whether accepting is paused.
    """

    connections_open: int
    connections_opening: int
    connections_accepted: int
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    refusals: dict[str, int]
    threads: int
    uptime: float
    paused: bool


class Tally:
    """Sums over connections that have ended. The server's lock guards it."""

    def __init__(self) -> None:
        self._ended = (0, 0, 0, 0)

    def end(self, connection: ServerConnection) -> None:
        """Add what a connection did, as it ends."""
        self._ended = _add(self._ended, [connection])

    def snapshot(self) -> tuple[int, int, int, int]:
        """Return messages received and sent, bytes received and sent, of those that ended."""
        return self._ended

    @staticmethod
    def add(
        ended: tuple[int, int, int, int], connections: Iterable[ServerConnection]
    ) -> tuple[int, int, int, int]:
        """Return a snapshot with those added that had not ended when it was taken."""
        return _add(ended, connections)


def _add(
    sums: tuple[int, int, int, int], connections: Iterable[ServerConnection]
) -> tuple[int, int, int, int]:
    messages_received, messages_sent, bytes_received, bytes_sent = sums
    for connection in connections:
        stats = connection.stats
        messages_received += stats.messages_received
        messages_sent += stats.messages_sent
        bytes_received += stats.bytes_received
        bytes_sent += stats.bytes_sent
    return messages_received, messages_sent, bytes_received, bytes_sent
