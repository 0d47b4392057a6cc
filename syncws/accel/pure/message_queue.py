"""MessageQueue: the messages that nobody has taken yet.

It may be used by several threads, and interrupted by a signal handler that raises.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, Union

from ...locks import make_rlock

__all__ = ["MessageQueue"]

Message = Union[str, bytes]


class MessageQueue:
    """The received messages that nobody has taken yet, in order, with their number and size.

    Items are whole messages, and objects that stand for a message that comes in fragments:
    these have a method ``message(decode)``. Only the last one can be incomplete.

    Args:
        high: the queue is full with more messages than this; ``None`` is unlimited.
        low: there is room again with this many messages or fewer.
        limit: the queue is full with more bytes than this; there is room again at half of it.

    Attributes:
        count: complete messages.
        size: the bytes of memory that they take; a whole message's is what ``__sizeof__()`` says.
        streamed: bytes of a message under way that a caller streams; they count too.
        waiting: callers that wait for a message, or for a piece of one.
        bounded: whether the marks count; if not, what comes above them is dropped, and all that
            follows, so that there is no gap in what callers take.
        used: whether a message was ever taken.
        room: a held lock, which is released as soon as there is room; or ``None``.
    """

    def __init__(self, high: int | None = None, low: int = 0, limit: int = sys.maxsize) -> None:
        if (high is not None and high < 0) or low < 0 or limit < 0:
            raise ValueError("a mark of the queue is negative")
        self._high, self._low, self._limit = high, low, limit
        # Guards everything below, for a few instructions. Re-entrant, because a signal handler may
        # receive while the main thread does.
        self._lock = make_rlock()
        self._items: deque[tuple[Any, int]] = deque()  # incomplete ones have a size of -1
        self.count = 0
        self.size = 0
        self.streamed = 0
        self.waiting = 0
        self.bounded = True
        self._dropping = False
        self.used = False
        self.room: Any = None

    @property
    def is_full(self) -> bool:
        """Whether the queue is above its marks."""
        if self._high is not None and self.count > self._high:
            return True
        return self.size + self.streamed > self._limit

    def put(self, messages: list[Message]) -> None:
        """Add whole messages, except those that are dropped.

        Raises:
            TypeError: something else is among them.
        """
        if not isinstance(messages, list):
            raise TypeError("messages are a list")
        for message in messages:
            if type(message) is not str and type(message) is not bytes:
                raise TypeError("a message is str or bytes")
            size = message_cost(message)
            with self._lock:
                if self.drops():
                    continue
                self._items.append((message, size))
                self.count += 1
                self.size += size

    def drops(self) -> bool:
        """Return whether to drop what comes now."""
        with self._lock:
            self._dropping = not self.bounded and (self._dropping or self.is_full)
            return self._dropping

    def begin(self, message: Any) -> None:
        """Add a message that isn't complete."""
        with self._lock:
            self._items.append((message, -1))

    def complete(self, message: Any, size: int) -> bool:
        """Count the last message, unless it was taken already; return whether it was counted."""
        with self._lock:
            if not self._items or self._items[-1][0] is not message or self._items[-1][1] >= 0:
                return False
            self._items[-1] = (message, size)
            self.count += 1
            self.size += size
            return True

    def cancel(self) -> None:
        """Remove the last message if it isn't complete."""
        with self._lock:
            if self._items and self._items[-1][1] < 0:
                del self._items[-1]

    def first(self) -> Any:
        """Return the first message, complete or not, or ``None``."""
        with self._lock:
            return self._items[0][0] if self._items else None

    def take(self, message: Any, receipt: list[Any]) -> bool:
        """Remove the first message if it is this one, and put it in ``receipt[0]``.

        Returns:
            Whether it was. The receipt tells as well, even if a signal handler raises.
        """
        with self._lock:
            if not self._items or self._items[0][0] is not message:
                return False
            size = self._items[0][1]
            # No call between these: the interpreter looks for signals after calls.
            receipt[0] = message
            del self._items[0]
            self.used = True
            if size >= 0:
                self.count -= 1
                self.size -= size
            if self.room is not None:
                self.make_room()
            return True

    def restore(self, message: Any, size: int) -> None:
        """Put a message back in front; a size of -1 is one that isn't complete."""
        with self._lock:
            self._items.appendleft((message, size))
            if size >= 0:
                self.count += 1
                self.size += size

    def make_room(self) -> None:
        """Release the lock in ``room`` if there is room, or none is needed."""
        with self._lock:
            low = self._high is None or self.count <= self._low
            low = low and self.size + self.streamed <= self._limit // 2
            if self.room is not None and (low or not self.bounded):
                try:  # noqa: SIM105  # on entering suppress() signal handlers could run
                    self.room.release()
                except RuntimeError:  # a handler has raised right after this
                    pass
                self.room = None


def message_cost(message: Message) -> int:
    """Return the bytes of memory that a message takes: an empty one isn't free."""
    return message.__sizeof__()


def convert(item: Any, decode: bool | None) -> Any:
    """Return a message of the queue as the caller wants it."""
    kind = type(item)
    if kind is not str and kind is not bytes:
        return item.message(decode)
    if decode is None or bool(decode) == (kind is str):
        return item
    return item.encode() if kind is str else str(item, "utf-8")
