"""The clock of the whole process: one thread, whatever the number of connections."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
from collections import deque
from typing import Any, Callable

from .deadline import clock, release

__all__ = ["Timer", "call_later"]


#: Timers above which cancelled ones are thrown out; then twice those that are left.
PURGE_ABOVE = 1000


class Timer:
    """Something to be done at a time, unless it is cancelled."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Forget it. Idempotent; any thread may call it."""
        self.callback = None


class _Timekeeper:
    """Timers in order of time, and the thread that runs them, started with the first one.

    Callbacks must not block, since all connections share the thread. Setting a timer takes no
    lock: a signal handler that raises could leave it held, and stop time for all.
    """

    def __init__(self) -> None:
        # Timers that were set and that the thread has not seen yet; its methods are atomic.
        self._new: deque[Timer] = deque()
        # The thread's own.
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._purge_above = PURGE_ABOVE
        # Taken by the thread that runs, for good. Should two be started, the other one ends.
        self._claim = threading.Lock()
        # The thread waits for it, until ``_wakes_at``; released to wake it.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._wakes_at = 0.0

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(clock() + delay, callback)
        self._new.append(timer)
        if not self._claim.locked():
            thread = threading.Thread(target=self._run, name="syncws-timekeeper", daemon=True)
            thread.start()
        # After appending: the thread looks at what is new after setting the time.
        elif timer.when < self._wakes_at or len(self._new) > PURGE_ABOVE:
            release(self._bell)
        return timer

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        while True:
            callback = self._next()
            try:
                callback()
            except Exception:  # one connection's trouble must not stop the others' time
                import logging

                logging.getLogger("syncws").exception("a timer failed")
            del callback  # or an idle thread would keep a connection alive

    def _next(self) -> Callable[[], None]:
        """Wait for the next timer; return what it does."""
        timers = self._timers
        while True:
            self._wakes_at = 0.0
            self._sort_in()
            while timers and timers[0][2].callback is None:
                heapq.heappop(timers)
            when = timers[0][0] if timers else float("inf")
            if when <= clock():
                callback = heapq.heappop(timers)[2].callback
                if callback is not None:
                    return callback
                continue
            self._wakes_at = when
            if not self._new:
                timeout = min(when - clock(), threading.TIMEOUT_MAX)
                self._bell.acquire(timeout=max(0.0, timeout))

    def _sort_in(self) -> None:
        """Take what is new."""
        while self._new:
            timer = self._new.popleft()
            if timer.callback is not None:
                heapq.heappush(self._timers, (timer.when, next(self._numbers), timer))
        if len(self._timers) > self._purge_above:
            # Mostly timers of connections that are long gone, perhaps.
            self._timers[:] = [entry for entry in self._timers if entry[2].callback]
            heapq.heapify(self._timers)
            self._purge_above = max(PURGE_ABOVE, 2 * len(self._timers))


_timekeeper = _Timekeeper()


def call_later(delay: float, callback: Callable[[], None]) -> Timer:
    """Call ``callback`` in ``delay`` seconds, in the timekeeper's thread. It must not block."""
    return _timekeeper.call_later(delay, callback)


def _after_fork(*_: Any) -> None:
    # The child has no timekeeper thread, and perhaps a lock that nobody will release.
    global _timekeeper
    _timekeeper = _Timekeeper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
