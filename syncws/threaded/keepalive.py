"""Keepalive: a ping now and then, and the end of a connection whose peer is gone.

A pong that doesn't come in time is no proof: on a slow link the ping stands behind what was sent
before it, in our buffers, the kernel's, and those of proxies on the way. So time doesn't run

- while we have paused reading, as the pong can't be seen then;
- while anything is received: a peer that sends is alive;
- while bytes in front of the ping get away: from our buffers, and from the kernel's, which tells
  what the other end has not acknowledged yet (Linux). They do so in steps, as a kernel opens its
  window only when it has room for much. A peer has the time of two steps, going by the longest
  that was seen, and by how much it has taken since the last pong; at least ``ping_timeout``, at
  most three times that;
- while it goes on taking what is sent after the ping, if it is much that no pong has confirmed: the
  buffers of a peer that doesn't read are full some time.

What was acknowledged may still be on the way: proxies acknowledge as well. So once nothing is in
front of the ping, the bytes that no pong has confirmed yet are given time: as long as they take
at the rate at which those in front of the ping got away, or, for what is more than
:data:`COMMON_BUFFER`, at :data:`ASSUMED_RATE`; but ten times ``ping_timeout`` at most, or as long
as those in front took. A connection that sends little gets none of it: its dead peer is noticed
within ``ping_interval + ping_timeout``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from ..sansio.close import CloseCode
from . import lifecycle
from .deadline import clock
from .timekeeper import Timer, call_later

if TYPE_CHECKING:
    from .connection import Connection
    from .pings import Ping

__all__ = ["Keepalive", "Vitals"]

#: Bytes per second that a slow link takes, where nothing is known of it.
ASSUMED_RATE = 1 << 14

#: Bytes that may be on the way at any time, and count for nothing.
COMMON_BUFFER = 1 << 16

#: Bytes that a receiver's window opens by, at most, as kernels have it by default.
WINDOW_STEP = 1 << 17

#: Times ``ping_timeout`` that a step may take of which only its size is known.
STEP_TIMEOUTS = 3

#: Times ``ping_timeout`` that is given to bytes that are on the way, perhaps.
ASSUMED_TIMEOUTS = 10

#: Bytes that the ping itself takes, at most, with TLS; not in front of it.
PING_SIZE = 256

#: Connections of a process above which the first ping of each further one comes up to half an
#: interval early, so that those that open at the same time don't all ping at the same time.
SPREAD_ABOVE = 100

#: How much of that half: the golden ratio's multiples lie evenly, however many there are.
SPREAD_STEP = (5**0.5 - 1) / 2

#: Looks at the peer within ``ping_timeout``.
LOOKS = 4

#: Close code and reason of a connection whose peer does not answer.
FAILURE = (CloseCode.INTERNAL_ERROR, "keepalive ping timeout")

_numbers = itertools.count(1)


class Vitals(NamedTuple):
    """What a connection shows of its peer at one moment.

    Attributes:
        received: bytes received so far.
        sent: bytes given to the kernel so far.
        unacknowledged: those of them that the other end has not taken yet; ``None``: unknown.
        is_behind: whether some wait for the kernel to take them, pings among them perhaps.
        pauses: changes whenever we don't read because our program doesn't.
        is_paused: whether we are not reading now.
    """

    received: int
    sent: int
    unacknowledged: int | None
    is_behind: bool
    pauses: int
    is_paused: bool

    @property
    def taken(self) -> int:
        """Bytes that the other end is known to have taken."""
        return self.sent - (self.unacknowledged or 0)


class _Wait:
    """The wait for one pong: whether there are signs that the peer is alive.

    Args:
        vitals: those of the moment when the ping was sent.
        now: that moment.
        confirmed: bytes that earlier pongs have confirmed.
        confirmed_at: when the last of their pings was sent, or the connection began.

    Attributes:
        position: bytes up to the ping's end, or more; ``None`` as long as that can't be told.
        confirms: bytes that its pong confirms, or less.
    """

    def __init__(self, vitals: Vitals, now: float, confirmed: int, confirmed_at: float) -> None:
        self._started_at = self._alive_at = self._looked_at = now
        self._vitals = vitals
        self._taken = vitals.taken  # the most so far
        self.confirms = vitals.sent
        self._confirmed = confirmed
        self._confirmed_at = confirmed_at
        self._gap = 0.0  # the longest between two signs
        self.position: int | None = None
        self._in_front = 0  # bytes, when the ping was given to the kernel
        self._in_front_at = now
        self._rate: float | None = None  # bytes per second that got away from in front of the ping
        self._drained_at: float | None = None
        self._note_position(vitals, now)

    def look(self, vitals: Vitals, now: float) -> None:
        """Take note of what has changed."""
        before, self._vitals, self._looked_at = self._vitals, vitals, now
        alive = vitals.received != before.received
        alive = alive or vitals.is_paused or vitals.pauses != before.pauses
        waited = self.position is None or self._drained_at is None
        if self.position is None:
            self._note_position(vitals, now)
        if vitals.taken > self._taken:
            self._taken = vitals.taken
            alive = alive or waited or vitals.taken - self._confirmed > COMMON_BUFFER
        if self.position is not None and self._drained_at is None:
            self._measure(self._left(vitals), now)
        if alive:
            self._gap = max(self._gap, now - self._alive_at)
            self._alive_at = now

    def deadline(self, timeout: float) -> float:
        """Return when the peer is taken for dead, going by what is known now."""
        if self.position is None or self._drained_at is None:
            return self._alive_at + max(timeout, self._time_of_steps(timeout))
        return self._alive_at + timeout + self._time_on_the_way(timeout)

    def _note_position(self, vitals: Vitals, now: float) -> None:
        if not vitals.is_behind:
            self.position = vitals.sent
            self._in_front, self._in_front_at = self._left(vitals), now
            self._measure(self._in_front, now)

    def _left(self, vitals: Vitals) -> int:
        """Return the bytes in front of the ping that the other end has not taken yet."""
        assert self.position is not None
        return self.position - PING_SIZE - vitals.taken

    def _measure(self, left: int, now: float) -> None:
        if left <= 0:
            self._drained_at = now
        elif left < self._in_front:
            # When the rest got away we can't tell, only that it was before a look.
            self._rate = (self._in_front - left) / max(now - self._in_front_at, 0.001)

    def _time_of_steps(self, timeout: float) -> float:
        """Return the seconds that the peer's kernel may need for two steps of its window."""
        taken, step = self._vitals.taken - self._confirmed, self._gap
        if self._vitals.unacknowledged is not None and taken > 0:
            step = max(step, WINDOW_STEP * (self._looked_at - self._confirmed_at) / taken)
        return min(2 * step, STEP_TIMEOUTS * timeout)

    def _time_on_the_way(self, timeout: float) -> float:
        """Return the seconds that bytes may need that were taken, and perhaps not by the peer."""
        assert self.position is not None
        assert self._drained_at is not None
        size = self.position - self._confirmed
        seconds = max(0, size - COMMON_BUFFER) / ASSUMED_RATE
        if self._rate is not None:
            seconds = max(seconds, size / self._rate)
        limit = max(ASSUMED_TIMEOUTS * timeout, self._drained_at - self._started_at)
        return min(seconds, limit)


class Keepalive:
    """The keepalive of one connection. Runs in the timekeeper's thread.

    Args:
        connection: what is kept alive.
        interval: seconds between pings.
        timeout: seconds in which a pong must come; with ``None`` pings go on without.
    """

    def __init__(self, connection: Connection, interval: float, timeout: float | None) -> None:
        self._connection = connection
        self._interval = interval
        self._timeout = timeout
        self._ping: Ping | None = None
        self._wait: _Wait | None = None  # of the last ping
        self._confirmed = 0  # bytes that were sent before a ping that was answered
        self._confirmed_at = clock()
        self._stopped = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Start with the first interval."""
        early = 0.0
        if lifecycle.count_alive() > SPREAD_ABOVE:
            early = next(_numbers) * SPREAD_STEP % 1 / 2
        self._schedule(self._interval * (1 - early))

    def stop(self) -> None:
        """Stop. Idempotent; any thread may call it."""
        self._stopped = True
        timer = self._timer
        if timer is not None:
            timer.cancel()

    def _schedule(self, delay: float) -> None:
        self._timer = call_later(max(0.0, delay), self._tick)
        if self._stopped:
            self._timer.cancel()

    def _tick(self) -> None:
        if self._stopped:
            return
        try:
            self._check()
        except BaseException as exc:  # a defect of ours, or tracing: not without keepalive
            self._connection._abort(exc)
            raise

    def _check(self) -> None:
        now = clock()
        ping, wait = self._ping, self._wait
        if ping is not None and not ping.is_set() and wait is not None:
            assert self._timeout is not None
            wait.look(self._vitals(), now)
            left = wait.deadline(self._timeout) - now
            if left <= 0:
                self._fail()
            else:
                self._schedule(min(self._interval, left, self._timeout / LOOKS))
            return
        if ping is not None and ping.is_set() and wait is not None:
            self._confirmed, self._confirmed_at = wait.confirms, ping.sent_at
        if ping is not None and now < ping.sent_at + self._interval:
            self._schedule(ping.sent_at + self._interval - now)
            return
        self._ping = self._send_ping(ping)
        if self._ping is None:
            return
        if self._timeout is None:
            self._schedule(self._interval)
        else:
            self._wait = _Wait(self._vitals(), now, self._confirmed, self._confirmed_at)
            self._schedule(min(self._interval, self._timeout / LOOKS))

    def _send_ping(self, previous: Ping | None) -> Ping | None:
        """Send the next ping; return ``None`` if the connection isn't open."""
        connection = self._connection
        if previous is not None and not previous.is_set():  # and no timeout
            if connection._writer.is_behind:
                return previous  # perhaps it was not even sent
            with connection._state_lock:
                connection._pings.discard(previous)
        # Not ping(): that waits for the end of a connection that is closing, and this is the
        # thread that makes it end.
        ping = connection._ping(None)
        connection._ensure_reading()
        return ping

    def _fail(self) -> None:
        """Cut the connection: a peer that doesn't answer pings won't answer a close frame."""
        connection = self._connection
        with connection._state_lock:
            if connection.protocol.parser_exc is None:
                connection.protocol.parser_exc = TimeoutError("no pong came in time")
            connection.protocol.fail(*FAILURE)
        connection._writer.drain()
        connection._abort(None)

    def _vitals(self) -> Vitals:
        connection = self._connection
        transport, reading = connection._transport, connection._reading
        return Vitals(
            transport.bytes_received + connection._direct_bytes_received,
            transport.bytes_sent + connection._direct_bytes_sent,
            transport.unacknowledged(),
            connection._writer.is_behind,
            reading.pauses,
            reading.is_paused,
        )
