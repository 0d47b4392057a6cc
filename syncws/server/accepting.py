"""The accept loop, which nothing from outside can stop."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
from collections.abc import Sequence
from typing import Callable

from ..aliases import LoggerLike
from ..threaded.deadline import Deadline

__all__ = ["Acceptor"]

#: Seconds to wait after an error before accepting again.
BACK_OFF = 0.1

#: The client went away before it was accepted, or there was none.
HARMLESS = {errno.ECONNABORTED, errno.EAGAIN, errno.EWOULDBLOCK, errno.EPROTO, errno.EINTR}


class Acceptor:
    """Accepts connections on several sockets, in one thread.

    Args:
        sockets: listening sockets; closed when accepting stops.
        accepted: called with each connection's socket; must not block.
        logger: where to log errors.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        accepted: Callable[[socket.socket], None],
        logger: LoggerLike,
    ) -> None:
        self._sockets = sockets
        self._accepted = accepted
        self._logger = logger
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._waker: socket.socket | None = None

    def start(self) -> None:
        """Start the thread."""
        receiver, self._waker = socket.socketpair()
        self._thread = threading.Thread(
            target=self._run, args=(receiver,), name="syncws-accept", daemon=True
        )
        self._thread.start()

    def stop(self, deadline: Deadline) -> None:
        """Stop accepting and close the sockets, at once; wait for the thread. Idempotent."""
        self._stopping = True
        if self._thread is None:
            for sock in self._sockets:
                sock.close()
            return
        waker = self._waker
        if waker is not None:
            with contextlib.suppress(OSError):  # woken, and gone
                waker.send(b"\0")
        if self._thread is not threading.current_thread():
            self._thread.join(deadline.remaining())

    def _run(self, receiver: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, receiver, self._waker:  # type: ignore[union-attr]
            for sock in self._sockets:
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ)
            receiver.setblocking(False)
            selector.register(receiver, selectors.EVENT_READ)
            while not self._stopping:
                try:
                    for key, _ in selector.select():
                        if key.fileobj is not receiver and not self._stopping:
                            self._accept(key.fileobj)  # type: ignore[arg-type]  # one of ours
                except BaseException as exc:  # whatever it is, the next client deserves an answer
                    self._trouble(exc, receiver)
            for sock in self._sockets:
                sock.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as exc:
            if exc.errno in HARMLESS or isinstance(exc, (BlockingIOError, ConnectionError)):
                return
            raise
        try:
            self._accepted(sock)
        except BaseException:
            sock.close()
            raise

    def _trouble(self, exc: BaseException, receiver: socket.socket) -> None:
        """Log an error, and wait a little: out of descriptors, or of threads, perhaps."""
        if isinstance(exc, OSError):
            self._logger.error("accepting a connection failed: %s", exc)
        else:
            self._logger.error("accepting a connection failed", exc_info=exc)
        receiver.settimeout(BACK_OFF)
        with contextlib.suppress(OSError):  # the timeout: nobody stops us
            receiver.recv(1, socket.MSG_PEEK)
        receiver.setblocking(False)
