"""Closing many connections over some time, so that their clients don't all come back at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable

from ..threaded.deadline import clock
from ..threaded.latch import Latch
from .server_connection import ServerConnection

__all__ = ["drain"]


def drain(
    connections: Iterable[ServerConnection],
    seconds: float,
    close: Callable[[ServerConnection], None],
    ended: Latch,
) -> None:
    """Close connections one by one, at even intervals and in no order. Blocks.

    Args:
        connections: what to close.
        seconds: the time from now in which to do so.
        close: begins to close one; must not block.
        ended: when it is set, this returns, whatever is left.
    """
    import random  # it loads OpenSSL, and most programs never get here

    left = list(connections)
    random.shuffle(left)
    interval = seconds / len(left) if left else 0.0
    start = clock()
    for number, connection in enumerate(left):
        if ended.wait(max(0.0, start + number * interval - clock())):
            return
        close(connection)
    ended.wait(max(0.0, start + seconds - clock()))
