"""One thread that tells when sockets can be written to, for peers that read slowly.

It has only the sockets of which the kernel did not take everything, each once: who still has
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

from .timekeeper import call_later

if TYPE_CHECKING:
    import socket

__all__ = ["call_when_writable"]

#: Seconds after which the timekeeper calls, where this thread can't be.
RETRY_INTERVAL = 0.05

#: Not there on Windows, and where eventlet has taken it away.
_poll: Any = getattr(select, "poll", None)


class _Flusher:
    def __init__(self) -> None:
        # What is new; its methods are atomic, so that a signal handler may come at any time.
        self._new: deque[tuple[int, Callable[[], None]]] = deque()
        self._bell = -1  # writing to it wakes the thread; -1 before that is started

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._new.append((descriptor, callback))
        if self._bell >= 0:
            with contextlib.suppress(BlockingIOError):  # it rings already
                os.write(self._bell, b"\0")
        else:
            # Not here: a signal handler that raises would leave us with half a thread.
            call_later(0, self._start)

    def _start(self) -> None:
        if self._bell >= 0:
            return
        ear = bell = -1
        try:
            ear, bell = os.pipe()
            os.set_blocking(ear, False)
            os.set_blocking(bell, False)
            threading.Thread(
                target=self._run, args=(ear,), name="syncws-flusher", daemon=True
            ).start()
            self._bell = bell
            os.write(bell, b"\0")  # for those who came meanwhile
        except (OSError, RuntimeError):  # no descriptor or thread is to be had: later, perhaps
            for descriptor in (ear, bell):
                if descriptor >= 0:
                    os.close(descriptor)
            call_later(RETRY_INTERVAL, self._start)

    def _run(self, ear: int) -> None:
        waiting: dict[int, Callable[[], None]] = {}
        while True:
            while self._new:
                descriptor, callback = self._new.popleft()
                waiting[descriptor] = callback
            for descriptor in self._wait(ear, waiting):
                _call(waiting.pop(descriptor))

    def _wait(self, ear: int, waiting: dict[int, Callable[[], None]]) -> list[int]:
        """Wait for one of them, or for the bell; return those that can be written to, or broke."""
        poller = _poll()
        poller.register(ear, select.POLLIN)
        for descriptor in waiting:
            poller.register(descriptor, select.POLLOUT)
        ready = [descriptor for descriptor, _ in poller.poll()]
        if ear in ready:
            ready.remove(ear)
            with contextlib.suppress(BlockingIOError):
                os.read(ear, 4096)
        return ready


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # one connection's trouble must not keep us from the others
        logging.getLogger("syncws").exception("writing what was left failed")


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
