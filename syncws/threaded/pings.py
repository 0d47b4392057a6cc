"""Pings that wait for their pongs (RFC 6455 §5.5.2, §5.5.3)."""

from __future__ import annotations

import os
from typing import Callable

from ..exceptions import ConcurrencyError, ConnectionClosed
from .deadline import clock
from .latch import Latch

__all__ = ["PendingPings", "Ping"]


class Ping:
    """A ping that was sent: what :meth:`~syncws.Connection.ping` returns.

    Used like a :class:`threading.Event` that is set when the pong comes.

    Attributes:
        data: its payload.
        latency: seconds until the pong came; ``None`` until then.
    """

    def __init__(
        self, data: bytes, ensure_reading: Callable[[], None], ack_on_close: bool = False
    ) -> None:
        self.data = data
        self._ensure_reading = ensure_reading
        self._ack_on_close = ack_on_close
        self.latency: float | None = None
        self.sent_at: float = clock()
        self._done = Latch()
        self._closed: Callable[[], ConnectionClosed] | None = None

    def is_set(self) -> bool:
        """Tell whether the pong came; or, with ``ack_on_close``, the connection is closed."""
        return self.latency is not None or (self._ack_on_close and self._closed is not None)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the pong comes, at most ``timeout`` seconds; return whether it did.

        Any thread may call it.

        Raises:
            ConnectionClosed: the connection is closed, so none will come.
        """
        if not self._done.is_set():
            self._ensure_reading()
            self._done.wait(timeout)
        if self._closed is not None and not self._ack_on_close:
            raise self._closed()
        return self.is_set()

    def _answer(self, now: float) -> None:
        self.latency = now - self.sent_at
        self._done.set()

    def _abandon(self, closed: Callable[[], ConnectionClosed]) -> None:
        self._closed = closed
        self._done.set()


class PendingPings:
    """The pings of one connection that wait for an answer, oldest first.

    Guarded by the connection's state lock.
    """

    def __init__(self) -> None:
        self._pings: dict[bytes, Ping] = {}

    def add(
        self,
        data: bytes | None,
        ensure_reading: Callable[[], None],
        ack_on_close: bool = False,
    ) -> Ping:
        """Return a new ping, with a random payload if none is given.

        Args:
            data: the payload.
            ensure_reading: called before a thread waits for the pong.
            ack_on_close: whether the end of the connection counts as the pong.

        Raises:
            ConcurrencyError: a ping with that payload waits already.
        """
        if data is None:
            data = os.urandom(4)
            while data in self._pings:
                data = os.urandom(4)
        elif data in self._pings:
            raise ConcurrencyError(f"a ping with payload {data!r} waits for its pong already")
        ping = self._pings[data] = Ping(data, ensure_reading, ack_on_close)
        return ping

    def discard(self, ping: Ping) -> None:
        """Forget a ping that could not be sent, or that nobody waits for any more."""
        self._pings.pop(ping.data, None)

    def answer(self, data: bytes, note: Callable[[float], None]) -> bool:
        """Take a pong; it answers older pings too. Return whether it matches any.

        Args:
            data: its payload.
            note: called with the seconds that it took, before anyone is woken.
        """
        ping = self._pings.get(data)
        if ping is None:
            return False
        now = clock()
        note(now - ping.sent_at)
        for older in list(self._pings):
            self._pings.pop(older)._answer(now)
            if older == data:
                break
        return True

    def abandon(self, closed: Callable[[], ConnectionClosed]) -> None:
        """Wake whoever waits: no pong will come."""
        while self._pings:
            self._pings.popitem()[1]._abandon(closed)
