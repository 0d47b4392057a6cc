"""Opening a connection for a thread that may stop waiting for it."""

from __future__ import annotations

import threading
from typing import Callable

from ...locks import make_rlock
from ...threaded.latch import Latch
from ...threaded.lifecycle import start_thread
from ...threaded.timekeeper import call_later
from .frame_connection import FrameConnection

__all__ = ["Attempt"]


class Attempt:
    """A connection that is being opened in a thread of its own.

    Opening can't be interrupted: a server that doesn't answer is given up only when its time is
    over. A thread that does not want to wait that long abandons the attempt.

    Args:
        open_connection: opens the connection.
        done: set when it is open, or can't be opened.
    """

    def __init__(self, open_connection: Callable[[], FrameConnection], done: Latch) -> None:
        self._open = open_connection
        self._done = done
        self._lock = make_rlock()  # guards those below
        self._outcome: FrameConnection | BaseException | None = None
        self._abandoned = False

    def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: no thread can be started.
        """
        # Not here: a signal handler that raises would leave us with half a thread.
        call_later(0, self._start)

    def connection(self) -> FrameConnection | None:
        """Return the connection, ``None`` if it isn't open yet; raise why it can't be opened."""
        with self._lock:
            outcome = self._outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def abandon(self) -> None:
        """Cut the connection as soon as it is open. Idempotent."""
        with self._lock:
            self._abandoned = True
            outcome = self._outcome
        if isinstance(outcome, FrameConnection):
            outcome.abort()

    def _start(self) -> None:
        """Start the thread. Only the timekeeper does."""
        if self._abandoned:
            return
        try:
            start_thread(threading.Thread(target=self._run, name="syncws-app-connect"))
        except RuntimeError as exc:  # no thread can be started
            self._end(exc)

    def _run(self) -> None:
        try:
            self._end(self._open())
        except BaseException as exc:
            self._end(exc)

    def _end(self, outcome: FrameConnection | BaseException) -> None:
        with self._lock:
            self._outcome = outcome
            abandoned = self._abandoned
        if abandoned and isinstance(outcome, FrameConnection):
            outcome.abort()
        self._done.set()
