"""One of several processes that serve the same sockets: what it has of its supervisor.

It inherits the listening sockets, and two pipes. On one it says, once, that it serves; on the other
it is told how to end. That one breaks if the supervisor is gone, which is an order to end, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
from typing import NamedTuple

from ..sansio.close import CloseCode
from ..server.inheriting import open_inherited
from ..server.threading_server import ThreadingServer
from ..threaded.deadline import Deadline
from .terminating import TERMINATED_TIMEOUT

__all__ = ["Order", "Worker", "worker"]

#: Seconds that clients have at a reload, if they are accepted and not open yet, to be so.
OPENING_TIMEOUT = 2.0

#: Seconds between looks at that: a client that was just accepted counts by the second one.
LOOK_INTERVAL = 0.05


class Order(NamedTuple):
    """How a worker is to end.

    Attributes:
        code: the close code that its clients get: 1012 asks them to come back.
        drain_seconds: the time over which they do.
        timeout: seconds that closing may take after that.
    """

    code: int = CloseCode.GOING_AWAY
    drain_seconds: float = 0.0
    timeout: float = TERMINATED_TIMEOUT

    def to_line(self) -> bytes:
        """Return it as it goes through the pipe."""
        return f"{self.code:d} {self.drain_seconds} {self.timeout}\n".encode()

    @classmethod
    def from_line(cls, line: str) -> Order:
        """Return what was a line."""
        code, drain_seconds, timeout = line.split()
        return cls(int(code), float(drain_seconds), float(timeout))


class Worker:
    """What this process has of its supervisor; at the end of ``with`` it has no sockets any more.

    Args:
        sockets: descriptors of the listening sockets.
        ready: the pipe's end on which to say that it serves.
        orders: the pipe's end that has orders.

    Attributes:
        sockets: the listening sockets.

    Raises:
        ValueError: these aren't such descriptors.
    """

    def __init__(self, sockets: list[int], ready: int, orders: int) -> None:
        try:
            for number in (ready, orders):  # programs that this one starts don't get them
                os.set_inheritable(number, False)
        except OSError as exc:
            raise ValueError(f"descriptor {number} is not there") from exc
        self.sockets = open_inherited(sockets)
        self._ready = ready
        self._orders = orders

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *args: object) -> None:
        for sock in self.sockets:
            sock.close()

    def announce(self, text: str) -> None:
        """Tell the supervisor that this process serves, and what to tell people of that."""
        with contextlib.suppress(OSError):  # it is gone: the other pipe shows that
            os.write(self._ready, text.encode())
        os.close(self._ready)

    def obey(self, server: ThreadingServer, drain_seconds: float) -> None:
        """From now on end the server when that is ordered.

        Args:
            server: the server.
            drain_seconds: the time over which its connections are closed if the supervisor is
                gone.
        """
        arguments = (server, drain_seconds)
        threading.Thread(
            target=self._obey, args=arguments, name="syncws-orders", daemon=True
        ).start()

    def _obey(self, server: ThreadingServer, drain_seconds: float) -> None:
        with open(self._orders, encoding="ascii") as lines:
            for line in lines:
                _end(server, Order.from_line(line))
        _end(server, Order(drain_seconds=drain_seconds))


def _end(server: ThreadingServer, order: Order) -> None:
    """Begin to close a server. Never blocks for long."""
    if order.code == CloseCode.SERVICE_RESTART:  # others accept; no client of ours is to be refused
        server.pause()
        deadline = Deadline(OPENING_TIMEOUT)
        while not (server.wait_closed(LOOK_INTERVAL) or deadline.expired):
            if not server.stats().connections_opening:
                break
    server.stop(code=order.code, drain_seconds=order.drain_seconds or None, timeout=order.timeout)


def worker(text: str) -> Worker:
    """Return what an argument says of the supervisor.

    Raises:
        ArgumentTypeError: it isn't one that a supervisor gives.
    """
    try:
        sockets, ready, orders = text.split(":")
        return Worker([int(number) for number in sockets.split(",")], int(ready), int(orders))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"it is for processes of --processes: {exc}") from None
