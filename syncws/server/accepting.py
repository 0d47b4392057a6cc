"""The accept loop, which nothing from outside can stop."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any, Callable

from ..aliases import LoggerLike
from ..locks import make_rlock
from ..threaded.blocking import forget_owner
from ..threaded.deadline import Deadline
from ..threaded.lifecycle import start_thread
from ..threaded.wakeable_selector import WakeableSelector

__all__ = ["Acceptor", "send_at_once"]

#: Seconds to wait after an error before accepting again.
BACK_OFF = 0.1

#: The client went away before it was accepted, or there was none.
HARMLESS = {errno.ECONNABORTED, errno.EAGAIN, errno.EWOULDBLOCK, errno.EPROTO, errno.EINTR}

#: Clients that are accepted on a socket before the next socket's turn.
BATCH = 64

#: Whether accepted sockets have the TCP_NODELAY of the listening one, and block though it doesn't.
INHERITS = sys.platform == "linux"

#: The process, or the system, has as many descriptors as it may.
NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}


class Acceptor:
    """Accepts connections on several sockets, in one thread.

    Args:
        sockets: listening sockets; closed when accepting stops.
        accepted: called with each connection's socket, and with what :class:`~.transport.Transport`
            takes for ``peer``; must not block.
        logger: where to log errors.
        log_often: called in place of the logger's ``log`` for errors that may come in numbers;
            its first argument, before the level, names the kind of error.
        lacking: called with the socket of a connection for which there is no descriptor but one
            that was kept for this, and with the error; is to close it soon, and must not block.
            Without it none is kept, and clients wait.
        ended: called if the thread ends by itself, which only a defect can cause.

    Attributes:
        paused: whether accepting is paused.
        thread: the thread, once it is started.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        accepted: Callable[[socket.socket, Any], None],
        logger: LoggerLike,
        log_often: Callable[..., None] | None = None,
        lacking: Callable[[socket.socket, OSError], None] | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._sockets = sockets
        self._accepted = accepted
        self._logger = logger
        self._log_often = log_often or (lambda kind, *args: logger.log(*args))
        self._lacking = lacking
        self._ended = ended
        self._spare: int | None = None  # a descriptor, for telling a client that there is none
        self._stopping = False
        self.paused = False
        # Those that all clients have TCP_NODELAY of: none waits that came before it was set.
        self._bequeathing: set[socket.socket] = set()
        self._listening = False  # whether the selector looks at the sockets
        # Held while a connection is accepted, which doesn't block, so that none is accepted
        # once pause() has returned. Re-entrant, because a signal handler may pause the server
        # while the main thread does.
        self._lock = make_rlock()
        self.thread: threading.Thread | None = None
        self._selector: WakeableSelector | None = None

    def start(self) -> None:
        """Start the thread. Once.

        Raises:
            OSError: no descriptor is available.
            RuntimeError: no thread is available.
        """
        thread = threading.Thread(target=self._run, name="syncws-accept")
        try:
            self._selector = WakeableSelector()
            self._keep_spare()
            for sock in self._sockets:
                sock.setblocking(False)
                send_at_once(sock)
            self._listen(not self.paused)
            self.thread = thread
            start_thread(thread)
        except BaseException:
            self.thread = None
            self._release()
            raise

    def stop(self, deadline: Deadline) -> None:
        """Stop accepting and close the sockets, at once; wait for the thread. Idempotent."""
        self._stopping = True
        thread = self.thread
        if thread is None:
            self._close_sockets()
            self._give_up_spare()
            return
        self._wake()
        # A signal handler may call this while the main thread is in start().
        with contextlib.suppress(RuntimeError):
            thread.join(deadline.remaining())

    def pause(self) -> None:
        """Accept no more; once this has returned nothing is accepted. Idempotent; any thread."""
        with self._lock:
            self.paused = True
        self._wake()

    def resume(self) -> None:
        """Accept again. Idempotent; any thread."""
        with self._lock:
            self.paused = False
        self._wake()

    def after_fork(self) -> None:
        """Release the descriptors in a forked child, which does not have the thread."""
        self._stopping = True
        forget_owner(self._lock)
        self.thread = None
        self._close_sockets()
        self._release()

    def _wake(self) -> None:
        if self._selector is not None:
            self._selector.wake()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()

    def _release(self) -> None:
        if self._selector is not None:
            self._selector.close()
        self._give_up_spare()

    def _keep_spare(self) -> None:
        if self._spare is None and self._lacking is not None:
            self._spare = os.open(os.devnull, os.O_RDONLY)

    def _give_up_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)

    def _run(self) -> None:
        try:
            self._accept_all()
        finally:
            self._close_sockets()
            self._release()
            if not self._stopping:
                self._ended()

    def _accept_all(self) -> None:
        assert self._selector is not None
        while not self._stopping:
            try:
                if self._listening is self.paused:
                    self._listen(not self.paused)
                for key in self._selector.select():
                    self._accept_some(key.fileobj)  # type: ignore[arg-type]  # one of ours
            except BaseException as exc:  # whatever it is, the next client deserves an answer
                self._trouble(exc)

    def _listen(self, listening: bool) -> None:
        """Look at the listening sockets from now on, or no longer."""
        assert self._selector is not None
        for sock in self._sockets:
            if listening and sock not in self._selector:
                self._selector.register(sock)
            elif not listening and sock in self._selector:
                self._selector.unregister(sock)
        self._listening = listening

    def _accept_some(self, listener: socket.socket) -> None:
        """Accept those that wait, but not so many that other sockets would have to wait long."""
        for _ in range(BATCH):
            if self._stopping or not self._accept(listener):
                return

    def _accept(self, listener: socket.socket) -> bool:
        """Accept a client; return whether there was one."""
        self._keep_spare()  # or wait, if the last client that got it is still being told
        shortage: OSError | None = None
        try:
            client = self._take(listener)
        except OSError as exc:
            if exc.errno not in NO_DESCRIPTOR or self._spare is None:
                raise
            shortage = exc
            self._give_up_spare()
            client = self._take(listener)
        if client is not None:
            self._hand_over(listener, *client, shortage)
        return client is not None

    def _take(self, listener: socket.socket) -> tuple[socket.socket, Any] | None:
        """Return the socket of a client and its address, or ``None`` if there is none by now."""
        try:
            with self._lock:
                return None if self.paused else listener.accept()
        except OSError as exc:
            if INHERITS and isinstance(exc, BlockingIOError):
                self._bequeathing.add(listener)
            if exc.errno in HARMLESS or isinstance(exc, (BlockingIOError, ConnectionError)):
                return None
            raise

    def _hand_over(
        self, listener: socket.socket, sock: socket.socket, address: Any, shortage: OSError | None
    ) -> None:
        try:
            if listener not in self._bequeathing:
                send_at_once(sock)
            if shortage is None or self._lacking is None:
                self._accepted(sock, address if INHERITS else None)
            else:
                self._lacking(sock, shortage)
        except BaseException:
            sock.close()
            raise

    def _trouble(self, exc: BaseException) -> None:
        """Log an error, and wait a little: out of descriptors, or of threads, perhaps."""
        what = "accepting a connection failed"
        if isinstance(exc, OSError):
            self._log_often(what, logging.ERROR, f"{what}: %s", exc)
        else:
            self._logger.error(what, exc_info=exc)
        assert self._selector is not None
        self._selector.sleep(BACK_OFF)


def send_at_once(sock: socket.socket) -> None:
    """Let small frames go out at once, rather than wait for the answer to the last one."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # the client is gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
