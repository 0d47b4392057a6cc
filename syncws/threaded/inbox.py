"""Messages between the threads that read and those that call ``recv()``.

The inbox is bounded in messages and in bytes: above its marks nobody reads,
and the peer is slowed down by TCP. What one read brings is put in as a whole,
so that the marks may be passed by that much. A message that is under way
doesn't count until it is complete, or a caller streams it; its size has a limit
of its own.

Whole messages are in a :class:`~syncws.accel.MessageQueue`, where callers find
them without a lock of ours. Here are the callers that wait, and messages in
fragments. Each waiting thread has a lock of its own to block on, so that no
thread ever blocks while it holds the inbox's lock, and a signal that interrupts
a wait finds nothing half done.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Callable

from ..accel import MessageQueue
from ..aliases import Data
from ..locks import make_rlock
from ..options import MaxQueue, split_max_queue
from .blocking import forget_owner, release
from .deadline import Deadline
from .fragments import Fragments

__all__ = ["Bell", "Inbox", "Waiter"]


class Waiter:
    """A thread that waits: ``lock`` is held until it is woken.

    Attributes:
        reads: whether the thread can read by itself, once woken.
        streams: whether it waits for a piece of a message.
    """

    __slots__ = ("lock", "reads", "streams", "woken")

    def __init__(self, reads: bool, streams: bool) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.woken = False
        self.reads = reads
        self.streams = streams

    def wake(self) -> None:
        """Let the thread go on. Idempotent."""
        if not self.woken:
            release(self.lock)
            self.woken = True  # not before: a signal handler may raise in between


class Bell:
    """What a thread waits on that takes nothing: it rings for every message, whoever gets it.

    It also rings when there is room again, so that somebody has to read. One bell may be in
    many inboxes, which forget it with the thread's last reference to it.

    Attributes:
        lock: held until it rings.
    """

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()

    def ring(self) -> None:
        """Let it ring. Idempotent. With an inbox's lock: must not block, or ask for one."""
        release(self.lock)


class Inbox:
    """The bounded queue of received messages.

    :meth:`put`, :meth:`put_fragment` and the waits for room and for idle callers belong to who
    has the reading role; everything else may be called from any thread.

    Args:
        max_queue: messages above which reading pauses, and where it resumes.
        read_limit: bytes above which reading pauses; it resumes at half of that.

    Attributes:
        queue: the messages.
        waits_for_room: whether the reader waits in :meth:`wait_for_room`.
        pauses: how often it did.
    """

    def __init__(self, max_queue: MaxQueue = 16, read_limit: int = 2**16) -> None:
        high, low = split_max_queue(max_queue)
        self.queue = MessageQueue(high, low, read_limit)
        self._read_limit = read_limit
        # Guards all below, for a few instructions at a time. Re-entrant, because a signal
        # handler may close the connection whose inbox the main thread is in.
        self._lock = make_rlock()
        self._assembling: Fragments | None = None
        self._closed = False
        self._waiters: list[Waiter] = []  # empty, a deque takes 600 bytes
        self._bells: list[weakref.ref[Bell]] = []  # replaced, never changed
        self._idler: Any = None  # a lock: the thread that reads waits for callers to be done
        self.waits_for_room = False
        self.pauses = 0

    # --- the thread that reads ---

    @property
    def room(self) -> int:
        """Bytes that may come before reading pauses; where it doesn't any more, at one time."""
        queue = self.queue
        return self._read_limit - (queue.size + queue.streamed if queue.bounded else 0)

    def put(self, messages: list[Data]) -> bool:
        """Add whole messages, and wake callers; return what :meth:`deliver` does."""
        self.queue.put(messages)
        return self.deliver()

    def put_item(self, item: Any) -> bool:
        """Add what stands for something else than a message; return what :meth:`deliver` does.

        There must be no incomplete message before it.

        Args:
            item: has a ``cost``, its bytes of memory, and ``message(decode)``, what callers get.
        """
        queue = self.queue
        if not queue.drops():
            queue.begin(item)
            queue.complete(item, item.cost)
        return self.deliver()

    def deliver(self) -> bool:
        """Wake callers for what is there; return whether one of them can read by itself."""
        if not self.queue.waiting:
            return False
        with self._lock:
            return self._wake(self.queue.count)

    def put_fragment(self, data: bytes, *, is_text: bool | None, fin: bool) -> bool:
        """Add a fragment; return what :meth:`deliver` does.

        Args:
            data: its payload.
            is_text: what a new message is; ``None`` continues one.
            fin: whether it is the last.
        """
        queue = self.queue
        with self._lock:
            message = self._assembling
            if message is None:
                message = self._assembling = Fragments(bool(is_text))
                message.dropped = queue.drops()
                if not message.dropped:
                    queue.begin(message)
            message.add(data)
            if fin:
                message.complete = True
                self._assembling = None
                if not message.dropped:
                    queue.complete(message, message.cost)
            self._count_streamed()
            return self._wake(queue.count)

    def wait_for_room(self) -> None:
        """Block while the inbox is above its marks; :meth:`close` and :meth:`unbind` end it."""
        queue = self.queue
        room = threading.Lock()
        room.acquire()
        queue.room = room
        # Looking after that misses nothing: whoever takes a message from now on releases it.
        if queue.is_full and queue.bounded:
            self.pauses += 1
            self.waits_for_room = True
            room.acquire()
            self.waits_for_room = False
        queue.room = None

    def wait_until_idle(self, deadline: Deadline) -> None:
        """Block until callers have taken every message and came back for more.

        Returns at once if nobody ever took one and none is there. :meth:`close` and
        :meth:`unbind` end it, and the deadline.
        """
        with self._lock:
            if self._is_idle():
                return
            self._idler = idler = threading.Lock()
            idler.acquire()
        idler.acquire(timeout=deadline.lock_timeout())
        with self._lock:
            self._idler = None

    # --- callers ---

    def enter(self, waiter: Waiter, ready: Callable[[], bool]) -> bool:
        """Begin to wait, unless there is no need to; return whether there is.

        Args:
            waiter: what to wait for, and to :meth:`leave` with, whatever happens here.
            ready: whether there is something already; called with the inbox's lock.

        Raises:
            EOFError: there will be nothing.
        """
        with self._lock:
            if ready():
                return False
            if self._closed:
                raise EOFError
            self._waiters.append(waiter)
            self._count_waiting()
            # Once more: who delivers looks for waiting callers, without the lock, after adding.
            if ready():
                self._waiters.remove(waiter)
                self._count_waiting()
                return False
            self._wake_idler()
            return True

    def leave(self, waiter: Waiter) -> None:
        """Stop waiting. Idempotent."""
        if waiter.woken and not self._waiters:
            return  # taken off the list already, and nobody else is on it
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.woken and self.queue.count:
                # Woken for a message, but leaving for another reason; or there are more.
                self._wake(1)
            self._count_waiting()

    def pass_on(self) -> bool:
        """Wake a caller that can read by itself, as nobody reads; return whether there is one."""
        with self._lock:
            waiter = next((each for each in self._waiters if each.reads), None)
            if waiter is None:
                return False
            waiter.wake()
            self._waiters.remove(waiter)
            self._count_waiting()
            return True

    def add_bell(self, bell: Bell) -> None:
        """Ring a bell for all that comes, until :meth:`remove_bell`; not for what is there."""
        with self._lock:
            self._bells = [*self._bells, weakref.ref(bell)]
            self._count_waiting()
            self._wake_idler()

    def remove_bell(self, bell: Bell) -> None:
        """Forget a bell. Idempotent."""
        with self._lock:
            self._count_waiting(forgotten=bell)

    def ring(self) -> None:
        """Ring every bell."""
        with self._lock:
            self._ring()

    def begin_stream(self, receipt: list[Any]) -> Any:
        """Take the first message, complete or not, for :meth:`take_piece`; ``None``: it is gone.

        Args:
            receipt: gets the message too, whatever a signal handler raises.
        """
        with self._lock:
            message = self.queue.first()
            if message is None or not self.queue.take(message, receipt):
                return None
            if isinstance(message, Fragments):
                message.taken = True
                self._count_streamed()
            return message

    def cancel_stream(self, receipt: list[Any]) -> None:
        """Put back what :meth:`begin_stream` took, if it did, and nobody saw it."""
        with self._lock:
            message = receipt[0]
            if isinstance(message, Fragments):
                message.taken = False
                self.queue.restore(message, message.cost if message.complete else -1)
                self._count_streamed()
            elif message is not None:
                self.queue.restore(message, message.__sizeof__())
            self._wake(1)

    def take_piece(self, message: Fragments) -> tuple[bytes, bool] | None:
        """Take a piece of a message that is streamed, and whether it is the last, if there is one.

        ``None`` means that the caller has to wait.
        """
        with self._lock:
            if message.pieces:
                piece = message.pieces.pop(0)  # there are few
                message.size -= len(piece)
                self._make_room()
                return bytes(piece), message.complete and not message.pieces
            return (b"", True) if message.complete else None

    def end_stream(self, message: Any) -> None:
        """Drop what is left of a message that was streamed."""
        if isinstance(message, Fragments):
            with self._lock:
                message.drop()
                self._make_room()

    def is_interrupted(self) -> bool:
        """Tell whether the caller, a signal handler, interrupted a call that has the lock."""
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return,unused-ignore]

    def unbind(self) -> None:
        """Let reading go on whatever piles up: what is above the marks is discarded.

        So is all that follows, so that what callers get has no gaps.

        For closing: the peer's close frame may stand behind messages that nobody takes.
        """
        with self._lock:
            self.queue.bounded = False
            self.queue.make_room()
            self._wake_idler()
            self._ring()

    def close(self) -> None:
        """Say that nothing follows: callers get what is there, then EOFError. Idempotent."""
        with self._lock:
            self._closed = True
            self.queue.bounded = False
            self.queue.cancel()
            self.queue.make_room()
            self._wake_idler()
            self._wake(len(self._waiters))

    def after_fork(self) -> None:
        """Give up what is here, in a forked child: whoever waits goes on, and finds nothing."""
        forget_owner(self._lock)
        self._closed = True
        for waiter in list(self._waiters):  # of threads that the parent has, but for one at most
            waiter.wake()
        self._ring()

    # --- with the lock held ---

    def _is_idle(self) -> bool:
        queue = self.queue
        if self._closed or not queue.bounded:
            return True
        came_back = bool(self._waiters or self._bells)
        return not queue.count and (came_back or not queue.used)

    def _wake_idler(self) -> None:
        if self._idler is not None and self._is_idle():
            release(self._idler)
            self._idler = None

    def _count_streamed(self) -> None:
        message = self._assembling
        streamed = message is not None and message.taken
        self.queue.streamed = message.size if message is not None and streamed else 0

    def _make_room(self) -> None:
        """Let reading go on if less that is streamed makes enough room."""
        queue = self.queue
        was_full = queue.is_full
        self._count_streamed()
        queue.make_room()
        if was_full and not queue.is_full:
            self._ring()

    def _count_waiting(self, forgotten: Bell | None = None) -> None:
        if self._bells:
            self._bells = [ref for ref in self._bells if ref() not in (None, forgotten)]
        # Setting it is a full fence: what is looked at after that is no older.
        self.queue.waiting = len(self._waiters) + len(self._bells)

    def _ring(self) -> None:
        for ref in self._bells:
            bell = ref()
            if bell is not None:
                bell.ring()

    def _wake(self, messages: int) -> bool:
        """Wake as many callers as there are messages, and all that look for pieces; ring bells.

        Returns:
            Whether one of them can read by itself.
        """
        reads = False
        if messages > 0:
            self._ring()
        for waiter in list(self._waiters):
            if waiter.streams or messages > 0:
                messages -= not waiter.streams
                reads = reads or waiter.reads
                # A signal handler may raise, or receive, at any of these points: whoever waits
                # is on the list until it is woken.
                waiter.wake()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        self._count_waiting()
        return reads
