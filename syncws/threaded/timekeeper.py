"""The clock of the whole process: one thread, whatever the number of connections."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
from collections import deque
from typing import Any, Callable

from .blocking import release
from .deadline import clock
from .guarded_logger import GuardedLogger
from .lifecycle import at_end, start_thread

__all__ = ["Timer", "call_later"]


#: Timers above which cancelled ones are thrown out; then twice those that are left.
PURGE_ABOVE = 1000

#: Seconds after which the thread looks whether the timers that are left were cancelled, and ends
#: if nobody sets new ones: so that a program which has closed everything has no thread of ours.
IDLE_INTERVAL = 0.4

logger = GuardedLogger(logging.getLogger("syncws"))


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
    """Timers in order of time, and the thread that runs them, which is there while there are any.

    Callbacks must not block, since all connections share the thread. Setting a timer takes no
    lock: a signal handler that raises could leave it held, and stop time for all.
    """

    def __init__(self) -> None:
        # Timers that were set and that the thread has not seen yet; its methods are atomic.
        self._new: deque[Timer] = deque()
        # Of the thread that has the claim.
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._purge_above = PURGE_ABOVE
        # Held by the thread that runs. Should two be started, the other one ends.
        self._claim = threading.Lock()
        # The thread waits for it, until ``_wakes_at``; released to wake it.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._wakes_at = 0.0
        self._ended = False

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(clock() + delay, callback)
        if self._ended:
            return timer
        self._new.append(timer)
        # After appending: a thread that gives up the claim looks for what is new after that.
        if not self._claim.locked():
            self._start()
        # After appending: the thread looks at what is new after setting the time.
        elif timer.when < self._wakes_at or len(self._new) > PURGE_ABOVE:
            release(self._bell)
        return timer

    def end(self) -> None:
        """Forget all timers, and have the thread end."""
        self._ended = True
        release(self._bell)

    def _start(self) -> None:
        start_thread(threading.Thread(target=self._run, name="syncws-timekeeper"))

    def _run(self) -> None:
        """Run timers until there are none; start another thread if this one ends before."""
        try:
            while self._claim.acquire(blocking=False):
                try:
                    self._run_timers()
                finally:
                    self._claim.release()
                # Otherwise they came while the claim was still ours.
                if self._ended or not self._new:
                    return
        finally:
            if self._timers and not (self._ended or self._claim.locked()):
                self._start()

    def _run_timers(self) -> None:
        while True:
            callback = self._next()
            if callback is None:
                return
            try:
                callback()
            except BaseException:  # one connection's trouble must not stop the others' time
                logger.exception("a timer failed")
            del callback  # or an idle thread would keep a connection alive

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next timer; return what it does, or ``None``: there are none."""
        timers = self._timers
        idle_at = clock() + IDLE_INTERVAL
        while not self._ended:
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
            if clock() >= idle_at:
                self._purge()
                if not (timers or self._new):
                    return None
                idle_at = clock() + IDLE_INTERVAL
            self._wakes_at = when
            if not self._new:
                self._bell.acquire(timeout=max(0.0, min(when, idle_at) - clock()))
        return None

    def _sort_in(self) -> None:
        """Take what is new."""
        while self._new:
            timer = self._new.popleft()
            if timer.callback is not None:
                heapq.heappush(self._timers, (timer.when, next(self._numbers), timer))
        if len(self._timers) > self._purge_above:
            # Mostly timers of connections that are long gone, perhaps.
            self._purge()
            self._purge_above = max(PURGE_ABOVE, 2 * len(self._timers))

    def _purge(self) -> None:
        """Throw out cancelled timers."""
        self._timers[:] = [entry for entry in self._timers if entry[2].callback]
        heapq.heapify(self._timers)


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

at_end(lambda: _timekeeper.end())  # the one that there is by then
