"""The clock of the whole process: one thread, whatever the number of connections."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
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

    Callbacks must not block, since all connections share the thread.
    """

    def __init__(self) -> None:
        # Guards all below. Re-entrant, because a signal handler may set a timer while the
        # main thread does; and no Condition, whose methods such a handler could interrupt
        # between taking the lock and giving it back.
        self._lock = threading.RLock()
        # The thread waits for it; released to wake it.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._purge_above = PURGE_ABOVE
        self._thread: threading.Thread | None = None

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(clock() + delay, callback)
        with self._lock:
            if len(self._timers) > self._purge_above:
                # Mostly timers of connections that are long gone, perhaps.
                self._timers = [entry for entry in self._timers if entry[2].callback]
                heapq.heapify(self._timers)
                self._purge_above = max(PURGE_ABOVE, 2 * len(self._timers))
            heapq.heappush(self._timers, (timer.when, next(self._numbers), timer))
            # Without an identity it did not start: there was no thread to be had then.
            if self._thread is None or self._thread.ident is None:
                self._thread = threading.Thread(
                    target=self._run, name="syncws-timekeeper", daemon=True
                )
                self._thread.start()
            elif self._timers[0][2] is timer:
                release(self._bell)
        return timer

    def _run(self) -> None:
        with self._lock:
            # A signal handler may have raised while we were being started, so that there is
            # another by now.
            if self._thread is not threading.current_thread():
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
        while True:
            with self._lock:
                while self._timers and self._timers[0][2].callback is None:
                    heapq.heappop(self._timers)
                remaining = self._timers[0][0] - clock() if self._timers else None
                if remaining is not None and remaining <= 0:
                    callback = heapq.heappop(self._timers)[2].callback
                    if callback is not None:
                        return callback
                    continue
            self._bell.acquire(
                timeout=-1 if remaining is None else min(remaining, threading.TIMEOUT_MAX)
            )


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
