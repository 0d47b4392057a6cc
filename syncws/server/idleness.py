"""The end of connections over which no messages go."""

from __future__ import annotations

from collections import OrderedDict

from ..locks import make_rlock
from ..sansio.close import CloseCode
from ..threaded.deadline import clock
from ..threaded.timekeeper import call_later
from .server_connection import ServerConnection

__all__ = ["IdleWatch"]

#: How often a connection is looked at within the timeout. It may end one such part too late.
LOOKS = 4


class _Entry:
    __slots__ = ("activity", "due", "since", "waits")

    def __init__(self, activity: tuple[int, int | None], since: float, due: float) -> None:
        self.activity = activity
        self.since = since  # when it was seen first
        self.due = due  # when to look again
        self.waits = False  # a message did, for our handler, at the last look


class IdleWatch:
    """Closes idle connections (1001, ``"idle timeout"``), in the timekeeper's thread.

    Each connection is looked at a few times within the timeout, in the order of the last look:
    one timer, whatever their number, and no clock is read for a message.

    Args:
        timeout: seconds without a message, after which a connection is closed.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._interval = timeout / LOOKS
        # Guards both, for a few instructions; taken by the connections' threads and the
        # timekeeper, never by signal handlers.
        self._lock = make_rlock()
        self._entries: OrderedDict[ServerConnection, _Entry] = OrderedDict()  # by due
        self._armed = False

    def add(self, connection: ServerConnection) -> None:
        """Look after a connection from now on."""
        now = clock()
        entry = _Entry(connection._activity(), now, now + self._interval)
        with self._lock:
            self._entries[connection] = entry
        self._arm()

    def discard(self, connection: ServerConnection) -> None:
        """Stop looking after a connection. Idempotent."""
        with self._lock:
            self._entries.pop(connection, None)

    def _arm(self) -> None:
        with self._lock:
            if self._armed or not self._entries:
                return
            self._armed = True
            due = next(iter(self._entries.values())).due
        try:
            call_later(max(0.0, due - clock()), self._look)
        except BaseException:  # no thread is available
            self._armed = False
            raise

    def _look(self) -> None:
        try:
            self._look_at_all()
        finally:
            self._armed = False
            self._arm()

    def _look_at_all(self) -> None:
        now = clock()
        while True:
            with self._lock:
                connection, entry = next(iter(self._entries.items()), (None, None))
                if connection is None or entry is None or entry.due > now:
                    return
                entry.due = now + self._interval
                self._entries.move_to_end(connection)
            self._look_at(connection, entry, now)

    def _look_at(self, connection: ServerConnection, entry: _Entry, now: float) -> None:
        activity, before = connection._activity(), entry.activity
        moves = None not in (activity[1], before[1]) and activity[1] != before[1]
        waited, entry.waits = entry.waits, connection._queue.count > 0
        entry.activity = activity
        # A message that waits for our handler doesn't make the peer idle. If it was taken meanwhile
        # that may have been just now, since looks may come late.
        if activity[0] != before[0] or moves or waited or entry.waits:
            entry.since = now
        elif now - entry.since >= self._timeout and connection.open:
            if _is_writing(connection):
                entry.since = now
                return
            timeout = connection.options.close_timeout
            try:
                connection._begin_close(CloseCode.GOING_AWAY, "idle timeout", timeout)
            except Exception:  # one connection's trouble must not keep others open
                connection.logger.exception("closing an idle connection failed")


def _is_writing(connection: ServerConnection) -> bool:
    """Tell whether a thread sends: a message that is large counts only when all of it went."""
    writer = connection._writer
    if not writer.lock.acquire(blocking=False):
        return True
    writer.lock.release()
    writer.drain()  # a thread that came in between found the lock taken
    return False
