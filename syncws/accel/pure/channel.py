"""Channel: the hot path of a connection, and its reading role.

It may be used by several threads, and interrupted by a signal handler that raises.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

from ...aliases import DataLike
from .message_queue import Message, MessageQueue, convert, message_cost

__all__ = ["Channel", "ChannelIterator", "unattended"]

Self = TypeVar("Self", bound="Channel")
T = TypeVar("T")

now = time.monotonic


class Channel:
    """The hot path of a connection: receiving, the reading role, sending small frames.

    A subclass has these methods:

    - ``_await_message(remaining, timeout)`` returns when there may be a message, and raises if
      there is none in time or ever;
    - ``_pass_on()`` sees to callers that wait while nobody reads;
    - ``_flush_batch()`` sends what the calling thread has collected;
    - ``_drain()`` writes what nobody has to wait for;
    - ``_send(message, text, timeout, compress)`` sends what :meth:`send` doesn't send itself.
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
    #: What broke TLS.
    _tls_error: BaseException | None = None
    #: Whether something that was read waits until it may be inflated.
    _is_holding = False
    #: Whether this thread, which had taken the role, lost it as signal handlers ran in a read.
    _lost_role = False
    #: Whether reading has left something to be written, as TLS may.
    _has_output = False
    _direct_received = _direct_bytes_received = _direct_sent = _direct_bytes_sent = 0

    def __new__(cls: type[Self], *_: Any, **__: Any) -> Self:
        """Make a channel that nobody reads from yet."""
        self = object.__new__(cls)
        self._role = threading.Lock()
        self._role_ended = False
        self._active = False
        return self

    @overload
    def recv(self, timeout: float | None = None, decode: None = None) -> Message: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Message: ...

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Message:
        """Receive the next message: text as ``str``, binary as ``bytes``.

        Blocks until there is one. Several threads may call it: each message goes to one of
        them. After closing, messages that had been received are still returned first.

        Args:
            timeout: seconds to wait; 0 doesn't wait; ``None`` waits forever.
            decode: ``False`` returns text as bytes too, ``True`` binary as str too.

        Raises:
            TimeoutError: no message came in time; none is lost.
            ConnectionClosed: there is no message, and none will come.
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
                    try:
                        message: Message = convert(item, decode)
                    except UnicodeDecodeError:
                        if queue.first() is item:
                            raise
                        continue  # a thread that streams it took a part of a character
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
        Several threads may call it: messages don't mix, not even fragmented ones. Each fragment
        goes out as soon as the iterable gives it; an empty iterable sends nothing.

        Args:
            message: the message.
            text: ``True`` sends bytes, which must be UTF-8, as text; ``False`` sends a str as
                binary, in UTF-8.
            timeout: the most seconds that it may take, for each fragment; ``None`` means the
                connection's ``send_timeout``.
            compress: whether to compress, if permessage-deflate was agreed on; ``None``
                compresses unless the message is small.

        Raises:
            ConnectionClosed: the connection is closed or broken, with the cause.
            SendTimeout: the message was not sent in time. Nothing was written, and the
                connection stays usable. If a part was written, the connection fails instead.
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
        """Read and write by descriptor from now on; return whether that is done."""
        return False

    def _post_now(self, frame: bytes, hold: bool) -> int:
        """Write a frame that many connections send, unless something is in the way.

        Args:
            frame: the message.
            hold: whether the kernel is to hold it back for a moment, to send it with what follows.

        Returns:
            0 if nothing was sent, 1 if all was, -1 if all was and the kernel holds it back
            until :meth:`_push` is called; 2 or more if the writer has to look after it.
        """
        return 0

    def _push(self) -> None:
        """Let the kernel send what it holds back."""

    if TYPE_CHECKING:

        def _feed(self, data: bytes) -> None: ...
        def _drop_held(self) -> None: ...
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
        """Return whether a thread has the role, or had it since the last call."""
        active = self._active or not self._role_is_free
        self._active = False
        return active


def unattended(connections: list[T], thoroughly: bool) -> list[T]:
    """Return those of a list of connections that ``_look()`` is to be called for.

    These are all except those that the C code knows need nothing.

    Args:
        connections: the connections.
        thoroughly: whether to look for more than for somebody who reads: for what a signal
            handler, by raising, may have left half done.
    """
    return connections


class ChannelIterator:
    """The messages of a connection until it is closed normally.

    Not a generator: a signal handler may ask for the next message while the main thread does.
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
