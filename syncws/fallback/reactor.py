"""One thread for many sockets: what is called when one of them is ready, or when time has come.

HTTP requests that wait for messages have no threads of their own: an idle session costs none.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Callable

from ..aliases import LoggerLike
from ..locks import make_rlock
from ..threaded import lifecycle
from ..threaded.deadline import Deadline, clock
from ..threaded.wakeable_selector import WakeableSelector

if TYPE_CHECKING:
    import socket

__all__ = ["Reactor"]


class Reactor:
    """A thread that waits for sockets.

    :meth:`call`, :meth:`stop` and :meth:`join` are for any thread, the rest is for functions that
    it calls, which must not block.

    Args:
        logger: where to log what these raise: a defect, which must not end the thread.
        at_end: called last, on the thread.
    """

    def __init__(self, logger: LoggerLike, at_end: Callable[[], object]) -> None:
        self._logger = logger
        self._at_end = at_end
        self._reset()

    def _reset(self) -> None:
        # Guards the beginning and the end: what is called after the end would never run.
        # Re-entrant, because a signal handler may close the server while the main thread does.
        self._lock = make_rlock()
        self._calls: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._selector: WakeableSelector | None = None
        self._stop_by: float | None = None
        self._is_done: Callable[[], bool] = lambda: True
        self._ended = False
        self.thread: threading.Thread | None = None

    def call(self, function: Callable[[], object]) -> None:
        """Have a function called, in order, as soon as possible. The first call starts the thread.

        Raises:
            OSError: no descriptor is available.
            RuntimeError: no thread is available, or it was stopped.
        """
        with self._lock:
            if self._ended:
                raise RuntimeError("the server is closed")
            if self.thread is None:
                self._start()
            self._calls.append(function)
            selector = self._selector
        assert selector is not None
        if threading.current_thread() is not self.thread:
            selector.wake()

    def _start(self) -> None:
        self._selector = selector = WakeableSelector()
        thread = threading.Thread(target=self._run, args=(selector,), name="syncws-fallback")
        try:
            lifecycle.start_thread(thread)
        except BaseException:
            self._selector = None
            selector.close()
            raise
        self.thread = thread

    def stop(self, seconds: float, is_done: Callable[[], bool]) -> None:
        """End the thread once ``is_done()``, in so many seconds at the latest. Never blocks.

        Args:
            seconds: how long it may take.
            is_done: asked, on the thread, whether nothing is left to be done.
        """
        with self._lock:
            due = clock() + seconds
            self._stop_by = due if self._stop_by is None else min(due, self._stop_by)
            self._is_done = is_done
            if self.thread is None:
                self._ended = True
            elif self._selector is not None:
                self._selector.wake()

    def join(self, deadline: Deadline) -> None:
        """Block until the thread has ended, after :meth:`stop`."""
        thread = self.thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(deadline.remaining())

    def after_fork(self) -> None:
        """Begin anew in a forked child, which does not have the thread."""
        if self._selector is not None:
            self._selector.close()
        self._reset()

    # --- on the thread ---

    def watch(
        self,
        sock: socket.socket,
        ready: Callable[[], object],
        *,
        read: bool = False,
        write: bool = False,
    ) -> None:
        """Call ``ready()`` whenever a socket can be read, or written; neither ends that."""
        assert self._selector is not None
        self._selector.watch(sock, ready, read=read, write=write)

    def call_at(self, when: float, function: Callable[[], object]) -> None:
        """Call a function at a time of :func:`~syncws.threaded.deadline.clock`."""
        heapq.heappush(self._timers, (when, next(self._numbers), function))

    def _run(self, selector: WakeableSelector) -> None:
        try:
            while not self._has_ended():
                for key in selector.select(self._timeout()):
                    self._guard(key.data)
                while self._calls:
                    self._guard(self._calls.popleft())
                now = clock()
                while self._timers and self._timers[0][0] <= now:
                    self._guard(heapq.heappop(self._timers)[2])
        finally:
            with self._lock:
                self._ended = True
            self._guard(self._at_end)
            with self._lock:
                self._selector = None
            selector.close()

    def _timeout(self) -> float | None:
        due = self._stop_by
        if self._timers and (due is None or self._timers[0][0] < due):
            due = self._timers[0][0]
        return None if due is None else max(0.0, due - clock())

    def _has_ended(self) -> bool:
        with self._lock:
            due = self._stop_by
            if due is None or self._calls:
                return False
            self._ended = clock() >= due or self._is_done()
            return self._ended

    def _guard(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception:
            try:
                self._logger.exception("the fallback failed")
            except Exception:  # the program's logging
                import traceback

                traceback.print_exc()
