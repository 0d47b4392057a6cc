"""Many small messages, written in large pieces."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from ..aliases import DataLike

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Batch"]

#: Bytes that are collected before they are written.
PIECE_SIZE = 1 << 16

#: Messages that are collected before they are written, however small.
PIECE_COUNT = 4096


class Batch:
    """What :meth:`~syncws.ClientConnection.batch` returns: collects what one thread sends.

    Belongs to the thread that enters it.

    Args:
        connection: where to send.
        timeout: seconds that each write may take.
    """

    def __init__(self, connection: Connection, timeout: float | None) -> None:
        self._connection = connection
        self._timeout = timeout
        self._messages: list[DataLike] = []
        self._size = 0
        self._depth = 0

    def __enter__(self) -> Batch:
        connection = self._connection
        with connection._state_lock:
            if self._depth == 0:
                if connection._batch() is not None:
                    raise RuntimeError("this thread collects messages already")
                connection._batches[threading.get_ident()] = weakref.ref(self)
                connection._batching = True
            self._depth += 1
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection = self._connection
        try:
            # What was sent was sent, even if the block fails; but Ctrl-C must not wait.
            if exc_type is None or issubclass(exc_type, Exception):
                self.flush()
        finally:
            with connection._state_lock:
                self._depth -= 1
                if self._depth == 0:
                    connection._batches.pop(threading.get_ident(), None)
                    connection._batching = bool(connection._batches)

    def add(self, message: DataLike) -> None:
        """Collect a message, and write all if there are enough.

        Raises what :meth:`flush` does; TypeError and UnicodeError are for this message, which
        is left out.
        """
        if type(message) is not bytes and type(message) is not str:
            message = plain(message)
        elif type(message) is str and not message.isascii():
            message.encode()  # refuse surrogates here, where the message is known
        self._messages.append(message)
        self._size += len(message)
        if self._size >= PIECE_SIZE or len(self._messages) >= PIECE_COUNT:
            self.flush()

    def add_all(self, messages: Iterable[DataLike]) -> None:
        """Collect and write messages; what was taken before something fails is written."""
        try:
            for message in messages:
                self.add(message)
        except Exception:
            self.flush()
            raise
        self.flush()

    def flush(self) -> None:
        """Write what was collected.

        Raises:
            ConnectionClosed: the connection is closed, or broke; what was collected is lost.
            SendTimeout: nothing was written in time; what was collected is lost.
        """
        messages, self._messages, self._size = self._messages, [], 0
        if messages:
            self._connection._send_batch(messages, self._timeout)


def plain(message: DataLike) -> str | bytes:
    """Return a message that can't change any more.

    Raises:
        TypeError: it isn't a message.
        UnicodeEncodeError: it has surrogates.
    """
    if isinstance(message, str):
        message.encode()
        return str.__str__(message)  # without what a subclass makes of str()
    if isinstance(message, memoryview):
        return message.tobytes()
    if isinstance(message, (bytes, bytearray)):
        return bytes(message)
    raise TypeError(f"{type(message).__name__} can't be sent; str and bytes can")
