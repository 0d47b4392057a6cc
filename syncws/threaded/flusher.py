"""One thread that tells when sockets can be written to, for peers that read slowly.

It has only the sockets of which the kernel did not take everything, each once: whoever still has
something to write afterwards asks again. Where it can't be woken by a pipe (Windows) the
timekeeper does it, a few times a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Callable

from .guarded_logger import GuardedLogger
from .lifecycle import at_end, start_thread
from .timekeeper import call_later

if TYPE_CHECKING:
    import socket

__all__ = ["call_when_writable"]

#: Seconds after which the timekeeper calls, where this thread can't be.
RETRY_INTERVAL = 0.05

#: Seconds without anything to do after which the thread ends; it is started again when needed.
IDLE_INTERVAL = 0.4

#: Not there on Windows, and where eventlet has taken it away.
_poll: Any = getattr(select, "poll", None)

logger = GuardedLogger(logging.getLogger("syncws"))


class _Flusher:
    def __init__(self) -> None:
        # What is new; its methods are atomic, so that a signal handler may come at any time.
        self._new: deque[tuple[int, Callable[[], None]]] = deque()
        # Both ends of a pipe, which stays; writing to the bell wakes the thread; -1 before that.
        self._ear = self._bell = -1
        # Held by the thread that runs. Should two be started, the other one ends.
        self._claim = threading.Lock()
        self._ended = False

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._new.append((descriptor, callback))
        # After appending: a thread that gives up the claim looks for what is new after that.
        if self._claim.locked():
            self._ring()
        else:
            # Not here: a signal handler that raises would leave us with half a thread.
            call_later(0, self._start)

    def end(self) -> None:
        """Forget what is waited for, and have the thread end."""
        self._ended = True
        if self._claim.locked():
            self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it rings already
            os.write(self._bell, b"\0")

    def _start(self) -> None:
        """Start the thread, unless there is one. Only the timekeeper does."""
        if self._claim.locked() or self._ended:
            return
        try:
            if self._bell < 0:
                self._ear, self._bell = _make_pipe()
            start_thread(threading.Thread(target=self._run, name="syncws-flusher"))
        except (OSError, RuntimeError):  # no descriptor or thread is available: later, perhaps
            call_later(RETRY_INTERVAL, self._start)

    def _run(self) -> None:
        """Call back until there is nothing to do for a while."""
        waiting: dict[int, Callable[[], None]] = {}
        try:
            while self._claim.acquire(blocking=False):
                try:
                    self._call_all(waiting)
                finally:
                    self._claim.release()
                # Otherwise they came while the claim was still ours.
                if self._ended or not self._new:
                    return
        finally:
            # There are some only if a defect of ours ends the thread: forget nobody.
            for callback in waiting.values():
                call_later(RETRY_INTERVAL, callback)
            if self._new:
                call_later(RETRY_INTERVAL, self._start)

    def _call_all(self, waiting: dict[int, Callable[[], None]]) -> None:
        while not self._ended:
            while self._new:
                descriptor, callback = self._new.popleft()
                waiting[descriptor] = callback
            ready = self._wait(waiting)
            if ready is None and not self._new:
                return
            for descriptor in ready or ():
                _call(waiting.pop(descriptor))

    def _wait(self, waiting: dict[int, Callable[[], None]]) -> list[int] | None:
        """Wait for one of them, or for the bell; return those that can be written to, or broke.

        ``None``: there are none, and the bell did not ring for a while.
        """
        poller = _poll()
        poller.register(self._ear, select.POLLIN)
        for descriptor in waiting:
            poller.register(descriptor, select.POLLOUT)
        limit = None if waiting else IDLE_INTERVAL * 1000
        ready = [descriptor for descriptor, _ in poller.poll(limit)]
        if self._ear in ready:
            ready.remove(self._ear)
            with contextlib.suppress(BlockingIOError):
                os.read(self._ear, 4096)
            return ready
        return ready or None


def _make_pipe() -> tuple[int, int]:
    ear, bell = os.pipe()
    os.set_blocking(ear, False)
    os.set_blocking(bell, False)
    return ear, bell


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except BaseException:  # one connection's trouble must not keep us from the others
        logger.exception("writing what was left failed")


_flusher = _Flusher()


def call_when_writable(sock: socket.socket, callback: Callable[[], None]) -> None:
    """Call ``callback`` once a socket can be written to, or is broken. It must not block.

    Any thread may call it. The socket may be closed meanwhile: the callback comes then or later.
    """
    descriptor = sock.fileno()
    if descriptor >= 0 and _poll is not None:
        _flusher.add(descriptor, callback)
    else:
        call_later(RETRY_INTERVAL, callback)


def _after_fork(*_: Any) -> None:
    # The child has no such thread. Its copies of the pipe stay: they are the parent's to use.
    global _flusher
    _flusher = _Flusher()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
at_end(lambda: _flusher.end())
