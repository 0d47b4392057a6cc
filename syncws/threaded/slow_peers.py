"""Peers that read too slowly: what more they would get is refused, and they may be closed (1008).

Only what doesn't wait for the peer comes here: broadcasts, pings and pongs. ``send()`` waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import SlowPeer
from ..sansio.close import CloseCode

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["check_write_limit", "close_slow"]

#: Close reason.
TOO_SLOW = "too slow"


def check_write_limit(connection: Connection) -> None:
    """Return if the peer isn't too slow.

    Raises:
        SlowPeer: more than ``write_limit`` bytes wait for it.
    """
    limit = connection.options.write_limit
    if connection._writer.is_behind and connection.buffered_amount > limit:
        raise SlowPeer(connection.buffered_amount, limit)


def close_slow(connection: Connection, exc: SlowPeer) -> None:
    """Fail the connection to a peer that is too slow, with 1008. Never blocks."""
    with connection._state_lock:
        if connection.protocol.parser_exc is None:
            connection.protocol.parser_exc = exc
    connection._fail(CloseCode.POLICY_VIOLATION, TOO_SLOW)
