"""What a server has done so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..sansio.extensions.permessage_deflate import PerMessageDeflate
from .server_connection import ServerConnection

__all__ = ["ServerStats", "Tally", "sum_compressors"]


@dataclass(frozen=True)
class ServerStats:
    """What a server does and has done; ``server.stats()`` returns it.

    Attributes:
        connections_open: connections that are open now.
        connections_opening: opening handshakes under way now.
        connections_accepted: connections accepted so far, including those refused afterwards.
        messages_received: messages received over all connections so far, closed ones included.
        messages_sent: messages sent over them.
        bytes_received: bytes read from the network, with headers and TLS.
        bytes_sent: bytes written to the network.
        refusals: connections refused so far, by reason: ``"full"``, ``"address"`` (it has
            ``max_connections_per_address``), ``"resources"`` (no thread, descriptor or memory was
            left), ``"shutdown"``, ``"origin"``, ``"host"``,
            ``"authentication"`` (401), ``"status"`` (another HTTP error, by the program or its
            router), ``"request"`` (not a valid opening handshake), ``"failure"`` (ours), ``"tls"``,
            ``"timeout"``, ``"lost"`` (the client went away). Those that never occurred are absent.
        threads: threads that the server and its connections have now, without the two that
            the whole process shares.
        uptime: seconds since the server was started, until it is closed; 0 before.
        paused: whether accepting is paused.
        compressors: compressors that the open connections have, and others of the process with
            the same ``Deflate.memory_limit``.
        compressor_memory: bytes that these take, about.
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
    compressors: int
    compressor_memory: int


def sum_compressors(connections: Iterable[ServerConnection]) -> tuple[int, int]:
    """Return how many compressors share memory with those of connections, and how much."""
    budgets = {
        extension.budget
        for connection in connections
        for extension in connection.protocol.extensions
        if isinstance(extension, PerMessageDeflate)
    }
    return sum(each.count for each in budgets), sum(each.used for each in budgets)


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
