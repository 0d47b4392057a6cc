"""Messages between the thread that reads and those that call ``recv()``.

The inbox is bounded in messages and in bytes: above its marks the reader
waits in :meth:`Inbox.wait_for_room`, and the peer is slowed down by TCP. What
one read brings is put in as a whole, so that the marks may be passed by that
much. A message that is under way doesn't count until it is complete, or a
caller streams it; its size has a limit of its own.

Each waiting thread has a lock of its own to block on, so that no thread ever
blocks while it holds the inbox's lock, and a signal that interrupts a wait
finds nothing half done.
"""

from __future__ import annotations

import codecs
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from ..aliases import Data
from ..options import MaxQueue, split_max_queue
from .deadline import Deadline, clock, wait_for_lock
from .fragments import Fragments

__all__ = ["Inbox"]


class _Waiter:
    """A thread that waits: ``lock`` is held until it is woken."""

    __slots__ = ("lock", "woken")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.woken = False

    def wake(self) -> None:
        if not self.woken:
            self.woken = True
            self.lock.release()


class Inbox:
    """The bounded queue of received messages.

    :meth:`put`, :meth:`put_fragment` and :meth:`wait_for_room` belong to the one thread that
    reads; everything else may be called from any thread.

    Args:
        max_queue: messages above which reading pauses, and where it resumes.
        read_limit: bytes above which reading pauses; it resumes at half of that.

    Attributes:
        paused: whether the reader waits for room.
        resumed_at: when it last stopped waiting, by :data:`~.deadline.clock`.
    """

    def __init__(self, max_queue: MaxQueue = 16, read_limit: int = 2**16) -> None:
        self._high, self._low = split_max_queue(max_queue)
        self._read_limit = read_limit
        # Guards everything below, for a few instructions at a time. Re-entrant, because a
        # signal handler may close the connection whose inbox the main thread is in.
        self._lock = threading.RLock()
        # A whole message in a tuple of its own, so that it can be told from an equal one, or
        # fragments. Only the last item can be incomplete.
        self._queue: deque[Any] = deque()
        self._count = 0  # complete messages in the queue
        self._size = 0  # their bytes
        self._assembling: Fragments | None = None
        self._closed = False
        self._bounded = True
        self._waiters: deque[_Waiter] = deque()  # for a whole message
        self._streamers: deque[_Waiter] = deque()  # for a piece of one
        self._reader: _Waiter | None = None  # waits for room
        self._idler: _Waiter | None = None  # the reader too, but for callers to be done
        self._used = False  # a message was taken
        self.paused = False
        self.resumed_at = 0.0

    # --- the thread that reads ---

    def put(self, messages: Sequence[Data]) -> None:
        """Add whole messages, and wake callers."""
        with self._lock:
            for message in messages:
                if self._is_full() and not self._bounded:
                    break  # we are closing, and nobody takes them
                size = _size(message)
                self._queue.append((message, size))
                self._count += 1
                self._size += size
            self._wake(len(messages))

    def put_fragment(self, data: bytes, *, is_text: bool | None, fin: bool) -> None:
        """Add a fragment.

        Args:
            data: its payload.
            is_text: what a new message is; ``None`` continues one.
            fin: whether it is the last.
        """
        with self._lock:
            message = self._assembling
            if message is None:
                message = self._assembling = Fragments(bool(is_text))
                message.dropped = self._is_full() and not self._bounded
                if not message.dropped:
                    self._queue.append(message)
            message.add(data)
            if fin:
                message.complete = True
                self._assembling = None
                if not message.taken and not message.dropped:
                    self._count += 1
                    self._size += message.size
            self._wake(int(fin))

    def wait_for_room(self) -> None:
        """Block while the inbox is above its marks; :meth:`close` and :meth:`unbind` end it."""
        with self._lock:
            if not self._is_full() or not self._bounded or self._closed:
                return
            self._reader = waiter = _Waiter()
            self.paused = True
        waiter.lock.acquire()
        with self._lock:
            self._reader = None
            self.paused = False
            self.resumed_at = clock()

    def wait_until_idle(self, deadline: Deadline) -> None:
        """Block until callers have taken every message and came back for more.

        Returns at once if nobody ever took one and none is there. :meth:`close` and
        :meth:`unbind` end it, and the deadline.
        """
        with self._lock:
            if self._is_idle() or not self._bounded or self._closed:
                return
            self._idler = waiter = _Waiter()
        waiter.lock.acquire(timeout=deadline.lock_timeout())
        with self._lock:
            self._idler = None

    # --- callers ---

    def get(self, deadline: Deadline, decode: bool | None = None) -> Data:
        """Take the next message; block until there is one.

        Args:
            deadline: until when to wait.
            decode: ``False`` returns text as bytes, ``True`` binary as str.

        Raises:
            TimeoutError: none came in time; none is lost.
            EOFError: there will be none.
            UnicodeDecodeError: ``decode`` is true and the message, which stays, isn't UTF-8.
        """
        message: Data = self._take(deadline, lambda cell: _convert(cell, decode), self._waiters)
        return message

    def stream(self, deadline: Deadline, decode: bool | None = None) -> Iterator[Data]:
        """Take the next message in pieces, as they come; block until there is one.

        A caller that stops in the middle drops the rest of that message, and no other.

        Args:
            deadline: until when to wait for the message to begin.
            decode: as in :meth:`get`.

        Raises:
            TimeoutError: none began in time; none is lost.
            EOFError: there will be none, or no more of this one.
            UnicodeDecodeError: ``decode`` is true and the message isn't UTF-8.
        """
        cell: Any = None
        try:
            cell = self._take(deadline, None, self._streamers)
            if not isinstance(cell, Fragments):
                yield _convert(cell, decode)
                return
            text = cell.is_text if decode is None else decode
            decoder = codecs.getincrementaldecoder("utf-8")() if text else None
            final = False
            while not final:
                piece, final = self._take_piece(cell)
                if decoder is None:
                    yield piece
                    continue
                decoded = decoder.decode(piece, final)  # at the end also without a piece: it checks
                if piece:
                    yield decoded
        finally:
            if isinstance(cell, Fragments):
                with self._lock:
                    cell.drop()
                    self._make_room()

    def is_interrupted(self) -> bool:
        """Tell whether the caller, a signal handler, interrupted a call that has the lock."""
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return,unused-ignore]

    def unbind(self) -> None:
        """Let reading go on whatever piles up: what is above the marks is discarded.

        For closing: the peer's close frame may stand behind messages that nobody takes.
        """
        with self._lock:
            self._bounded = False
            self._make_room()
            self._wake_idler()

    def close(self) -> None:
        """Say that nothing follows: callers get what is there, then EOFError. Idempotent."""
        with self._lock:
            self._closed = True
            if self._assembling is not None and self._assembling in self._queue:
                self._queue.remove(self._assembling)
            self._make_room()
            self._wake_idler()
            self._wake(len(self._waiters))

    # --- taking ---

    def _take(
        self,
        deadline: Deadline,
        convert: Callable[[Any], Data] | None,
        waiters: deque[_Waiter],
    ) -> Any:
        """Wait for the first message and take it.

        Args:
            deadline: until when to wait.
            convert: makes the result, before the message is removed; ``None`` returns the
                queue's own cell as soon as the message has begun.
            waiters: where to wait.
        """
        cell: Any = None
        waiter: _Waiter | None = None
        try:
            try:
                while True:
                    with self._lock:
                        if self._count or (self._queue and convert is None):
                            cell = self._queue[0]
                            message = cell if convert is None else convert(cell)
                            self._remove_first()
                            return message
                        if self._closed:
                            raise EOFError
                        waiter = _Waiter()
                        waiters.append(waiter)
                        self._wake_idler()
                    if not wait_for_lock(waiter.lock, deadline.lock_timeout()):
                        raise TimeoutError(f"no message within {deadline.timeout} s")
            finally:
                if waiter is not None:
                    self._leave(waiter, waiters)
        except BaseException:
            # A signal handler may have raised anywhere: between removing a message and
            # returning it, or before the waiter was taken off the list.
            with self._lock:
                if waiter is not None and waiter in waiters:
                    waiters.remove(waiter)
                if cell is not None and not (self._queue and self._queue[0] is cell):
                    self._queue.appendleft(cell)
                self._recount()
            raise

    def _take_piece(self, message: Fragments) -> tuple[bytes, bool]:
        """Wait for a piece of a message that was taken; return whether it is the last."""
        waiter: _Waiter | None = None
        try:
            while True:
                with self._lock:
                    if message.pieces:
                        piece = message.pieces.popleft()
                        message.size -= len(piece)
                        self._make_room()
                        return bytes(piece), message.complete and not message.pieces
                    if message.complete:
                        return b"", True
                    if self._closed:
                        raise EOFError
                    waiter = _Waiter()
                    self._streamers.append(waiter)
                    self._wake_idler()
                wait_for_lock(waiter.lock, -1)
        finally:
            if waiter is not None:
                self._leave(waiter, self._streamers)

    def _leave(self, waiter: _Waiter, waiters: deque[_Waiter]) -> None:
        with self._lock:
            if waiter in waiters:
                waiters.remove(waiter)
            elif self._count:
                # Woken for a message, but leaving for another reason; or there are more.
                self._wake(1)

    # --- with the lock held ---

    def _is_full(self) -> bool:
        if self._high is not None and self._count > self._high:
            return True
        return self._size + self._streamed() > self._read_limit

    def _is_idle(self) -> bool:
        return not self._count and (bool(self._waiters or self._streamers) or not self._used)

    def _wake_idler(self) -> None:
        if self._idler is not None and (self._is_idle() or not self._bounded or self._closed):
            self._idler.wake()

    def _streamed(self) -> int:
        message = self._assembling
        return message.size if message is not None and message.taken else 0

    def _make_room(self) -> None:
        """Wake the reader if there is room, or no need for any."""
        if self._reader is None:
            return
        low = self._high is None or self._count <= self._low
        low = low and self._size + self._streamed() <= self._read_limit // 2
        if low or not self._bounded or self._closed:
            self._reader.wake()

    def _wake(self, messages: int) -> None:
        """Wake as many callers as there are new messages, and all that look for pieces."""
        while self._waiters and messages > 0:
            self._waiters.popleft().wake()
            messages -= 1
        while self._streamers:
            self._streamers.popleft().wake()

    def _remove_first(self) -> None:
        cell = self._queue[0]
        if type(cell) is not tuple:
            cell.taken = True
        del self._queue[0]
        self._used = True
        if type(cell) is tuple or cell.complete:
            self._count -= 1
            self._size -= cell[1] if type(cell) is tuple else cell.size
        self._make_room()

    def _recount(self) -> None:
        """Mend the sums after an interruption, and wake whoever may have been forgotten."""
        complete = [cell for cell in self._queue if type(cell) is tuple or cell.complete]
        self._count = len(complete)
        self._size = sum(cell[1] if type(cell) is tuple else cell.size for cell in complete)
        if self._queue and type(self._queue[0]) is not tuple:
            self._queue[0].taken = False
        self._make_room()
        if self._count:
            self._wake(1)


def _size(message: Data) -> int:
    """Return the bytes that a message takes."""
    if type(message) is bytes or message.isascii():
        return len(message)
    return message.__sizeof__()


def _convert(cell: Any, decode: bool | None) -> Data:
    """Return a message of the queue as the caller wants it."""
    if type(cell) is tuple:
        message: Data = cell[0]
    else:
        message = b"".join(cell.pieces)
        if cell.is_text and decode is not False:
            return str(message, "utf-8")
    if decode is None or decode == isinstance(message, str):
        return message
    return str(message, "utf-8") if isinstance(message, bytes) else message.encode()
