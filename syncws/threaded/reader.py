"""The reader thread of a connection, which reads where no caller does."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from ..sansio.state import State
from .blocking import release
from .lifecycle import is_exiting, start_thread
from .timekeeper import call_later

if TYPE_CHECKING:
    from .connection import Connection
    from .reading import Reading

__all__ = ["ReaderThread"]


class ReaderThread:
    """The thread: started when it is first needed, parked when it isn't.

    Args:
        connection: what it reads.
        reading: how it reads.

    Attributes:
        thread: the thread, once there is one.
    """

    __slots__ = ("_connection", "_reading", "_served", "_wakeup", "thread")

    def __init__(self, connection: Connection, reading: Reading) -> None:
        self._connection = connection
        self._reading = reading
        self._served = False  # a caller that can read by itself was woken
        self.thread: threading.Thread | None = None
        # The thread parks on it; released to wake it.
        self._wakeup = threading.Lock()
        self._wakeup.acquire()

    def note(self, served: bool) -> None:
        """Take note of whether a caller was woken that can read by itself. With the role."""
        self._served = served or self._served

    def is_current(self) -> bool:
        """Tell whether this is the calling thread."""
        return threading.current_thread() is self.thread

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self.thread is not None and self.thread.is_alive()

    def wake(self) -> None:
        """Let the thread read, unless another one does. Never blocks."""
        connection = self._connection
        if connection.protocol.state is State.CONNECTING:
            return
        if self.thread is not None:
            release(self._wakeup)
        elif not connection._closed.is_set():  # from then on we have no reference of our own
            # Not here: a signal handler that raises would leave us with half a thread.
            call_later(0, partial(self._start, connection))

    def end(self) -> None:
        """Let the thread return: the connection is closed."""
        release(self._wakeup)

    def let_go(self, connection: Connection) -> None:
        """Refer to the connection weakly; see :meth:`Connection._let_go`."""
        self._connection = connection

    def _start(self, connection: Connection) -> None:
        """Start the thread. Only the timekeeper does."""
        if self.thread is None and not connection._closed.is_set() and not is_exiting():
            name = f"syncws-reader-{connection.side}-{connection.number}"
            try:
                thread = threading.Thread(target=self._run, args=(connection,), name=name)
                start_thread(thread, connection._stack_size)
            except RuntimeError as exc:
                if not is_exiting():  # no thread is available
                    connection._give_up(exc)
                return
            self.thread = thread
        release(self._wakeup)

    def _run(self, connection: Connection) -> None:
        try:
            while True:
                self._wakeup.acquire()
                if connection._closed.is_set():
                    return
                self._served = False
                self._reading.read_here(None, self._is_done)
        finally:
            # A defect of ours: not an open connection without a reader.
            if not connection._closed.is_set():
                self.thread = None
                connection._abort(RuntimeError("the reader thread ended"))

    def _is_done(self) -> bool:
        """Tell whether reading can be left to callers."""
        served, self._served = self._served, False
        if self._reading.must_go_on:
            return False
        inbox = self._connection._inbox
        if inbox.queue.is_full and inbox.queue.bounded:
            if self._connection._direct:
                return True
            inbox.wait_for_room()
        return served
