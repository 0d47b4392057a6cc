"""The queue of received messages, and the hot path of a connection, in Python.

:class:`MessageQueue` has what was received and nobody took yet. :class:`Channel` is the base
of a connection. It receives messages, and has the *reading role*: the right to read from the
socket and to parse, which one thread has at a time (see :mod:`syncws.threaded.receiving`).

Both may be used by several threads, and interrupted by a signal handler that raises.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Union

from ..aliases import DataLike

__all__ = ["Channel", "MessageQueue", "WriteLock"]

Message = Union[str, bytes]

#: A re-entrant lock that knows whether the calling thread has it.
WriteLock = threading.RLock

now = time.monotonic


class MessageQueue:
    """The received messages that nobody took yet, in order, with their number and size.

    Items are whole messages, and objects that stand for a message that comes in fragments:
    these have a method ``message(decode)``. Only the last one can be incomplete.

    Args:
        high: messages above which the queue is full; ``None`` is unlimited.
        low: messages up to which there is room again.
        limit: bytes above which the queue is full; there is room again at half of that.

    Attributes:
        count: complete messages.
        size: the bytes of memory that they take; a whole message's is what ``__sizeof__()`` says.
        streamed: bytes of a message under way that a caller streams; they count too.
        waiting: callers that wait for a message, or for a piece of one.
        bounded: whether the marks count; if not, what comes above them is dropped, and all that
            follows, so that nothing is missing between what is taken.
        used: whether a message was ever taken.
        room: a lock, held, that is released as soon as there is room; or ``None``.
    """

    def __init__(self, high: int | None = None, low: int = 0, limit: int = sys.maxsize) -> None:
        if (high is not None and high < 0) or low < 0 or limit < 0:
            raise ValueError("a mark of the queue is negative")
        self._high, self._low, self._limit = high, low, limit
        # Guards all below, for a few instructions. Re-entrant, because a signal handler may
        # receive while the main thread does.
        self._lock = threading.RLock()
        self._items: deque[tuple[Any, int]] = deque()  # the size is -1 of incomplete ones
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
        """Add whole messages, but those that are dropped.

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
        """Return whether what comes now is not to be added."""
        with self._lock:
            self._dropping = not self.bounded and (self._dropping or self.is_full)
            return self._dropping

    def begin(self, message: Any) -> None:
        """Add a message that isn't complete."""
        with self._lock:
            self._items.append((message, -1))

    def complete(self, message: Any, size: int) -> bool:
        """Count the last message, unless it was taken already; return whether it was not."""
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
            Whether it was. The receipt tells too, whatever a signal handler raises.
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
        """Release the lock in ``room`` if there is room, or no need for any."""
        with self._lock:
            low = self._high is None or self.count <= self._low
            low = low and self.size + self.streamed <= self._limit // 2
            if self.room is not None and (low or not self.bounded):
                try:  # noqa: SIM105  # entering suppress() would be a point for signal handlers
                    self.room.release()
                except RuntimeError:  # one has raised right after this
                    pass
                self.room = None


class Channel:
    """What is hot in a connection: receiving, the reading role, sending small frames.

    A subclass has ``_await_message(remaining, timeout)``, which returns when there may be a
    message, and raises if there is none in time or ever; and ``_pass_on()``, which sees to
    callers that wait while nobody reads; and ``_flush_batch()``, which sends what the calling
    thread has collected.
    """

    #: The exception that iteration takes for the normal end.
    _ended: ClassVar[type[BaseException]] = EOFError

    _queue: MessageQueue
    # Held by the thread that reads; never by one that signal handlers run in, so that it can't
    # be left held.
    _role: threading.Lock
    _role_ended: bool
    _active: bool  # the role was taken since the last look
    #: Whether a thread collects what it sends.
    _batching = False
    #: Whether the socket is read by descriptor, which is done in C only.
    _direct = False
    _has_leftover = False
    _ended_reading = False
    _error_number = 0
    _direct_received = _direct_bytes_received = _direct_sent = _direct_bytes_sent = 0

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Make the role, which is free."""
        self = object.__new__(cls)
        self._role = threading.Lock()
        self._role_ended = False
        self._active = False
        return self

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Message:
        """Receive the next message: text as ``str``, binary as ``bytes``.

        Blocks until there is one. Several threads may call it: each message goes to one of
        them. After closing, what had been received is still returned first.

        Args:
            timeout: seconds to wait; 0 only looks; ``None`` waits forever.
            decode: ``False`` returns text as bytes too, ``True`` binary as str too.

        Raises:
            TimeoutError: there was none in time; none is lost.
            ConnectionClosed: there is none, and there will be none.
            UnicodeDecodeError: ``decode`` is true and the message isn't UTF-8; it stays first.
        """
        if self._batching:
            self._flush_batch()
        queue = self._queue
        receipt: list[Any] = [None]
        end = None if timeout is None else now() + max(timeout, 0.0)
        try:
            while True:
                item = queue.first() if queue.count else None
                if item is not None and queue.count:
                    if queue.waiting and self._role_is_free:
                        self._pass_on()
                    message: Message = convert(item, decode)
                    if queue.take(item, receipt):
                        return message
                else:
                    remaining = None if end is None else max(0.0, end - now())
                    self._await_message(remaining, timeout)
        except BaseException:
            # A signal handler may have raised after the message was removed.
            item = receipt[0]
            if item is not None:
                plain = type(item) is str or type(item) is bytes
                queue.restore(item, message_cost(item) if plain else item.cost)
            raise

    def __iter__(self) -> Iterator[Message]:
        """Receive messages until the connection is closed normally."""
        return ChannelIterator(self)

    def send(
        self,
        message: DataLike | Iterable[DataLike],
        *,
        text: bool | None = None,
        timeout: float | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message: a ``str`` as text, bytes as binary, an iterable of these in fragments.

        Blocks until the kernel has taken it, so that a slow peer slows the program down.
        Several threads may call it; messages don't mix, fragmented ones neither. Fragments go
        out one by one, each when it is there; an empty iterable sends nothing.

        Args:
            message: the message.
            text: ``True`` sends bytes, which must be UTF-8, as text; ``False`` sends a str as
                binary, in UTF-8.
            timeout: seconds that it may take, for each fragment; ``None`` means the
                connection's ``send_timeout``.
            compress: whether to compress, if permessage-deflate was agreed on; ``None``
                compresses unless the message is small.

        Raises:
            ConnectionClosed: the connection is closed, or broke; with its cause.
            SendTimeout: it was not sent in time. Nothing was written, and the connection
                stays usable. If a part was written the connection fails instead.
            TypeError: the message can't be sent; nothing was.
            UnicodeError: the text isn't UTF-8, or has surrogates; nothing was sent.
        """
        self._send(message, text, timeout, compress)

    def _send(
        self,
        message: DataLike | Iterable[DataLike],
        text: bool | None,
        timeout: float | None,
        compress: bool | None,
    ) -> None:
        raise NotImplementedError

    def _await_message(self, remaining: float | None, timeout: float | None) -> None:
        raise NotImplementedError

    def _pass_on(self) -> None:
        raise NotImplementedError

    def _flush_batch(self) -> None:
        raise NotImplementedError

    # --- what is done in C only ---

    def _go_direct(self, *settings: Any) -> bool:
        """Read and write by descriptor from now on; return whether that is so."""
        return False

    def _post_now(self, frame: bytes, hold: bool) -> int:
        """Write a frame that many connections send, unless something is in the way.

        Args:
            frame: the message.
            hold: whether the kernel is to wait for more before it sends it, a moment only.

        Returns:
            0 if nothing was sent, 1 if all was, -1 if all was and the kernel holds it back
            until :meth:`_push` is called; more if the writer has to look after it.
        """
        return 0

    def _push(self) -> None:
        """Let the kernel send what it holds back."""

    if TYPE_CHECKING:

        def _feed(self, data: bytes) -> None: ...
        def _take_pending(self) -> list[Any]: ...
        def _read(self, timeout: float | None) -> int: ...
        def _read_direct(self, timeout: float | None) -> int: ...

    # --- the reading role ---

    @property
    def _role_is_free(self) -> bool:
        return not self._role.locked() and not self._role_ended

    def _take_role(self) -> bool:
        """Take the right to read, unless a thread has it; return whether it is ours."""
        if not self._role.acquire(blocking=False):
            return False
        if self._role_ended:
            self._role.release()
            return False
        self._active = True
        return True

    def _give_up_role(self) -> None:
        """Let others read. Does nothing once the role has ended."""
        if not self._role_ended:
            self._active = True
            self._role.release()

    def _end_role(self) -> None:
        """Let nobody read any more, and leave the descriptor alone."""
        self._role_ended = True

    def _was_active(self) -> bool:
        """Tell whether a thread has the role, or had it since the last call."""
        active = self._active or not self._role_is_free
        self._active = False
        return active


class ChannelIterator:
    """The messages of a connection until it is closed normally.

    No generator: a signal handler may ask for the next message while the main thread does.
    """

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel: Channel | None = channel

    def __iter__(self) -> ChannelIterator:
        return self

    def __next__(self) -> Message:
        channel = self._channel
        if channel is None:
            raise StopIteration
        try:
            return channel.recv()
        except channel._ended:
            self._channel = None
            raise StopIteration from None


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
