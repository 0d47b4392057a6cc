"""Waiting for messages of several connections at once.

A thread that waits has one bell, in the inbox of every connection, which rings whenever a message
comes, room is made or the connection is closed. A bell says only that it is worth looking
again; what counts is what is there then. It takes nothing, so nothing gets lost or stuck:

- Whoever delivers rings the bells besides waking callers of ``recv()``, one for each message. A
  bell uses up no message, so it takes no caller's wake-up; and a caller that takes the message
  leaves the bell where it was, for the next one.
- The bell is there before we look for messages, and rings after they are put in: one of the two
  sees the other. It counts among those that wait (``queue.waiting``), so that the accelerator
  tells of what it read, and whoever gives up the reading role looks for somebody to read.
- The bell is also there before we look at the role. If it is free, the reader thread is woken.
  That keeps the role as long as no caller of ``recv()`` waits, as a bell can't read; if it, or a
  caller, gives it up, it does so before looking for bells, and wakes the reader thread again.
- Above the marks nobody needs to read. A message that is there makes the connection ready; if it
  is a streamed one that takes the room, the bell rings once that is taken or dropped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TypeVar

from ..exceptions import ConnectionClosed
from .blocking import is_main_thread, wait_for_lock
from .connection import Connection
from .deadline import Deadline
from .inbox import Bell
from .reading import READ_SOME

__all__ = ["wait"]

C = TypeVar("C", bound=Connection)

#: Seconds after which a look at one connection ends though more comes, but no message: a peer that
#: sends pings all the time must not keep us from looking at the others.
LOOK_LIMIT = 0.05


def wait(connections: Iterable[C], timeout: float | None = None) -> list[C]:
    """Wait for connections that ``recv()`` returns a message of, or raises for, without blocking.

    These have a complete message, or are closed. Blocks until there is one; takes nothing: the
    messages stay for ``recv()``. Any thread may call it, several at once, even for the same
    connections, and while others receive from them; these may take the message first, so that a
    ``recv(timeout=0)`` is for programs where several threads receive::

        while connections:
            for ws in wait(connections):
                try:
                    handle(ws, ws.recv())
                except ConnectionClosed:
                    connections.remove(ws)

    The reader threads of the connections read meanwhile. What this thread has collected by
    ``batch()`` is sent first.

    Args:
        connections: clients' or servers' connections, or both. One that is given twice
            counts once, where it comes first. Without any nothing is waited for.
        timeout: seconds to wait; 0, or less, only looks; ``None`` waits forever.

    Returns:
        All that are ready, in the order given; none of them if the time is over.

    Raises:
        TypeError: something else than connections is given; nothing was done.
        SendTimeout: what was collected was not sent in time.
    """
    deadline = Deadline(timeout)
    chosen = _choose(connections)
    for connection in chosen:
        if connection._batching:
            with contextlib.suppress(ConnectionClosed):  # recv() will raise it
                connection._flush_batch()
    ready = [connection for connection in chosen if _look(connection)]
    if ready or not chosen or deadline.remaining() == 0:
        return ready
    bell = Bell()
    inboxes = [connection._inbox for connection in chosen]
    try:
        for inbox in inboxes:
            inbox.add_bell(bell)
        ready = _listen(chosen, bell, deadline)
        for inbox in inboxes:
            inbox.remove_bell(bell)
    except BaseException:
        for inbox in inboxes:
            inbox.remove_bell(bell)  # perhaps again: a signal handler may have raised there
        raise
    return ready


def _choose(connections: Iterable[C]) -> list[C]:
    """Return the connections, each once.

    Raises:
        TypeError: there is something else.
    """
    if isinstance(connections, Connection):  # iterating would take its messages
        raise TypeError(f"{connections!r} is one connection; wait() takes a list of them")
    chosen: dict[int, C] = {}
    for connection in connections:
        if not isinstance(connection, Connection):
            raise TypeError(f"{connection!r} is not a connection")
        chosen.setdefault(id(connection), connection)
    return list(chosen.values())


def _is_ready(connection: Connection) -> bool:
    return connection._queue.count > 0 or connection._closed.is_set()


def _look(connection: Connection) -> bool:
    """Tell whether it is ready; if nobody reads, read what has come, as ``recv(0)`` does."""
    if _is_ready(connection) or not connection._role_is_free:
        return _is_ready(connection)
    queue = connection._queue
    limit = Deadline(LOOK_LIMIT)

    def is_done() -> bool:
        # Above the marks nobody reads: here, while a message is streamed that takes the room.
        is_full = queue.is_full and queue.bounded
        return is_full or _is_ready(connection) or limit.expired

    # Not as a caller that waits: one that leaves at once could be woken instead of one that stays.
    while connection._direct and not connection._has_leftover:
        if is_done() or connection._read_direct(0.0) != READ_SOME:
            return _is_ready(connection)
    if is_main_thread():
        connection._ensure_reading()
    else:
        with contextlib.suppress(TimeoutError):
            connection._reading.read_here(Deadline(0.0), is_done)
    return _is_ready(connection)


def _listen(connections: list[C], bell: Bell, deadline: Deadline) -> list[C]:
    """Wait until a connection is ready, with the bell in the inbox of each."""
    while True:
        ready = [connection for connection in connections if _is_ready(connection)]
        if ready or deadline.remaining() == 0:
            return ready
        for connection in connections:
            connection._ensure_reading()
        wait_for_lock(bell.lock, deadline.lock_timeout())
