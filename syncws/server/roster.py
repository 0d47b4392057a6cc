"""Who is connected to a server: connections that are opening or open, and their threads.

The lock and what it guards stand here together. Whether the server closes is noted here as well:
letting connections in and closing them must agree about it. See :mod:`.shutdown`.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from ..locks import make_rlock
from ..threaded.blocking import forget_owner
from .admission import Admission, Refusal, Seat, shutting_down
from .groups import Groups
from .server_connection import ServerConnection
from .stats import Tally

__all__ = ["Job", "Roster"]

#: Plain HTTP requests that may be answered at the same time above ``max_connections``, so that
#: it can be asked whether a full server is well.
MAX_PLAIN = 8


class Job:
    """What a connection's thread is at.

    Attributes:
        connection: the connection, once there is one.
        refusal: why it can't become a WebSocket; it is there for a plain answer only.
        seat: what it counts for.
    """

    __slots__ = ("connection", "refusal", "seat")

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.connection: ServerConnection | None = None
        self.refusal = refusal
        self.seat = Seat()


class Snapshot(NamedTuple):
    """What a roster knows at one moment."""

    accepted: int
    opening: int  # those included whose thread has not come so far yet
    known: list[ServerConnection]  # open, closing, or adopted
    running: list[Job]
    ended: tuple[int, int, int, int]  # sums over connections that have ended


class Roster:
    """The connections of a server. Any thread may use it.

    Args:
        admission: how many there may be.

    Attributes:
        lock: guards all below, for a few instructions at a time. Re-entrant, because a signal
            handler may use the server while the main thread does. Taken before the locks of
            groups and of the log of refusals, never after.
        opening: connections that are shaking hands.
        open: open connections, adopted ones included, and those that are closing or whose handler
            still runs.
        running: threads of connections.
        accepted: how many connections were accepted so far.
        closing: whether the server closes, or is closed: nothing opens any more.
        farewell: what connections are told that open while the server closes them: code and reason.
        groups: the groups of open connections; they have a lock of their own.
    """

    def __init__(self, admission: Admission) -> None:
        self.lock = make_rlock()
        self.opening: set[ServerConnection] = set()
        self.open: set[ServerConnection] = set()
        self.running: dict[threading.Thread, Job] = {}
        self.accepted = 0
        self.closing = False
        self.farewell: tuple[int, str] | None = None
        self.groups = Groups()
        self._admission = admission
        self._plain = 0  # jobs that only answer
        self._tally = Tally()

    # --- threads ---

    def admit(self, thread: threading.Thread, job: Job, key: bytes | None) -> Refusal | None:
        """Enter the thread of a connection that was accepted; return why it can't be let in.

        Args:
            thread: the thread, which isn't started yet.
            job: what it will be at.
            key: the address that the connection counts for, if it does.
        """
        with self.lock:
            self.accepted += 1
            refusal = self._admission.admit(job.seat, key)
            if refusal is None:
                self.running[thread] = job
        return refusal

    def note_accepted(self) -> None:
        """Count a connection that was accepted and can't be admitted."""
        with self.lock:
            self.accepted += 1

    def admit_plain(self, thread: threading.Thread, job: Job) -> bool:
        """Enter a thread that only gives a plain answer; return whether there was room for it."""
        with self.lock:
            if self._plain >= MAX_PLAIN or self.closing:
                return False
            self._plain += 1
            self.running[thread] = job
        return True

    def give_up_seat(self, job: Job) -> None:
        """Count a connection no more that is nobody's yet; its thread will end soon."""
        with self.lock:
            self._admission.release(job.seat)

    def end(self, thread: threading.Thread) -> None:
        """Forget a thread, and count what its connection did."""
        with self.lock:
            job = self.running.pop(thread)
            self._admission.release(job.seat)
            self._plain -= job.refusal is not None
            if job.connection is not None:
                self._tally.end(job.connection)

    def own_connection(self) -> ServerConnection | None:
        """Return the connection whose handler this is, if it is one."""
        return self.connection_of(threading.current_thread())

    def connection_of(self, thread: threading.Thread | None) -> ServerConnection | None:
        """Return the connection that a thread is for, if it is for one."""
        with self.lock:
            job = None if thread is None else self.running.get(thread)
        return None if job is None else job.connection

    # --- connections ---

    def begin_opening(self, connection: ServerConnection, job: Job) -> None:
        """Enter a connection whose opening handshake begins."""
        with self.lock:
            job.connection = connection
            self.opening.add(connection)

    def end_opening(self, connection: ServerConnection) -> None:
        """Note that an opening handshake has ended, well or not."""
        with self.lock:
            self.opening.discard(connection)

    def refusal(self, connection: ServerConnection) -> Refusal | None:
        """Return why a connection that asks to be opened can't be. For its own thread."""
        if self.closing:
            return shutting_down()
        address = connection.remote_address  # not with the lock: a subclass may do something else
        with self.lock:
            job = self.running.get(threading.current_thread())
            if job is None or job.connection is not connection:
                return None
            return job.refusal or self._admission.admit_forwarded(job.seat, address)

    def enter(self, connection: ServerConnection) -> tuple[int, str] | None:
        """Enter an open connection; return code and reason if it is to be closed again at once."""
        with self.lock:
            self.open.add(connection)
            farewell = self.farewell
        self.groups.enter(connection)
        return farewell

    def leave(self, connection: ServerConnection) -> None:
        """Forget an open connection. Idempotent."""
        with self.lock:
            self.open.discard(connection)
        self.groups.end(connection)

    # --- what there is ---

    def known(self) -> set[ServerConnection]:
        """Return open connections, and those that are closing or whose handler still runs."""
        with self.lock:
            return set(self.open)

    def snapshot(self) -> Snapshot:
        """Return what there is now; nothing is missing, and nothing is there twice."""
        with self.lock:
            return Snapshot(
                self.accepted,
                len(self.opening) + sum(job.connection is None for job in self.running.values()),
                list(self.open),
                list(self.running.values()),
                self._tally.snapshot(),
            )

    def after_fork(self) -> None:
        """Become empty in a forked child, which has none of the threads."""
        forget_owner(self.lock)
        self.groups.after_fork()
        self.closing = True
        for connection in self.opening:  # open ones look after themselves
            connection._transport.close()  # this process's descriptor only
        self.running.clear()
        self.open.clear()
        self.opening.clear()
