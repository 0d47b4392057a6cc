"""What stands in for the socket of a ``WebSocket``: programs poll it, and then receive."""

from __future__ import annotations

import errno
import functools
import os
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from ...aliases import BytesLike
from ...locks import make_rlock
from ...sansio.frames import Frame
from ...threaded.readiness import Readiness
from .abnf import ABNF
from .raw_frames import RawFrames

if TYPE_CHECKING:
    from .frame_connection import FrameConnection
    from .websocket import WebSocket

__all__ = ["ClientSocket"]


class ClientSocket:
    """The socket of a :class:`~.websocket.WebSocket`, as far as programs may use it.

    Its descriptor is for :mod:`select` and :mod:`selectors` only. It is readable when ``recv()``
    or ``recv_data()`` of the ``WebSocket`` has something, and once the connection is closed; it is
    always writable, as sending waits. After closing it behaves as a closed socket does: the
    descriptor is -1, everything else raises :exc:`OSError`. Any thread may use it.

    Besides the methods below it has what :attr:`syncws.ClientConnection.socket` has: addresses,
    options, what TLS can tell.

    Args:
        owner: whose socket it is; not kept alive.
        connection: its connection.
        taken: control frames that were taken from its inbox, and not received yet.
    """

    def __init__(self, owner: WebSocket, connection: FrameConnection, taken: deque[Frame]) -> None:
        self._owner = weakref.ref(owner)
        self._connection = connection
        self._taken = taken
        self._lock = make_rlock()  # guards those below
        self._readiness: Readiness | None = None
        self._closed = False
        self._sending = make_rlock()  # guards the next; a signal handler may send
        self._raw = RawFrames()

    def __repr__(self) -> str:
        state = "closed " if self._closed else ""
        return f"<{state}{type(self).__name__} {self._connection.remote_address}>"

    def fileno(self) -> int:
        """Return the descriptor for polling; -1 after closing."""
        with self._lock:
            if self._closed:
                return -1
            readiness = self._readiness
            if readiness is None:
                readiness = self._readiness = Readiness(
                    functools.partial(_can_receive, self._connection, self._taken)
                )
                self._connection.add_bell(readiness)
        readiness.update()
        return readiness.fileno()

    def update(self) -> None:
        """Update the descriptor's state after something was received."""
        readiness = self._readiness
        if readiness is not None:
            readiness.update()
            self._connection.keep_reading()

    def pending(self) -> int:
        """Return how many messages, or control frames between them, can be received at once."""
        return self._connection.count_items() + bool(self._taken)

    def send(self, data: BytesLike, flags: int = 0) -> int:
        """Send frames as :meth:`~.abnf.ABNF.format` makes them, even in pieces.

        Each is sent once it is complete, between other messages. Blocks as the ``send()`` of the
        ``WebSocket`` does.

        Args:
            data: the bytes.
            flags: no effect.

        Returns:
            The number of bytes: all of them.

        Raises:
            WebSocketProtocolException: they aren't frames; nothing from there on is sent.
            OSError: the socket is closed.

        Also raises what :meth:`~.websocket.WebSocket.send` does.
        """
        owner = self._owner()
        if self._closed or owner is None:
            raise _closed()
        with self._sending:
            for frame in list(self._raw.feed(bytes(data))):  # none is left for the next call
                owner.send_frame(ABNF(*frame))
        return len(data)

    def sendall(self, data: BytesLike, flags: int = 0) -> None:
        """Send frames; as :meth:`send`."""
        self.send(data, flags)

    def gettimeout(self) -> float | None:
        """Return the timeout of the ``WebSocket``."""
        owner = self._owner()
        timeout = None if owner is None else owner.gettimeout()
        return None if timeout is None else float(timeout)

    def settimeout(self, timeout: float | None) -> None:
        """Set the timeout of the ``WebSocket``, which applies to each of its calls."""
        owner = self._owner()
        if owner is not None:
            owner.settimeout(timeout)

    def setblocking(self, flag: bool) -> None:
        """Set the timeout to ``None``, or to 0."""
        self.settimeout(None if flag else 0)

    def getblocking(self) -> bool:
        """Tell whether the timeout isn't 0."""
        return self.gettimeout() != 0

    def shutdown(self, how: int) -> None:
        """Cut the connection, in both directions. Calls of other threads end.

        Raises:
            OSError: the socket is closed.
        """
        if self._closed:
            raise _closed()
        self._connection.abort()

    def close(self) -> None:
        """Cut the connection, and close the descriptor. Idempotent."""
        self.release()
        self._connection.abort()

    def release(self) -> None:
        """Close the descriptor; the connection stays as it is. Idempotent."""
        with self._lock:
            self._closed = True
            readiness = self._readiness
        if readiness is not None:
            self._connection.remove_bell(readiness)
            readiness.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self._connection.socket, name)
        if not self._closed or not callable(value):
            return value

        def fail(*args: Any, **kwargs: Any) -> Any:
            raise _closed()

        return fail


def _can_receive(connection: FrameConnection, taken: deque[Frame]) -> bool:
    return connection.can_receive or bool(taken)


def _closed() -> OSError:
    return OSError(errno.EBADF, os.strerror(errno.EBADF))
