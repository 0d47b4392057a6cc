"""Receiving, and the reading role: who reads the socket.

The right to read and to parse is a *role* that one thread has at a time. A caller that finds no
message and nobody reading takes it and reads on its own thread: no thread switch. Where no caller
does, the reader thread reads, started when first needed: a few times a second the timekeeper looks
for connections that nobody has read from since; it gives the role up as soon as it has served a
caller that can read. Nothing gets stuck: a caller makes itself known as waiting, then looks at the
role; who gives the role up looks for waiting callers after that: one of the two sees the other.
Nothing is lost or doubled: bytes are parsed in the order of the role, and signal handlers, which
raise between any two steps of the main thread, never meet it there: it reads only by one call of
the accelerator, after which all is in the queue, or left over for the reader thread. Under TLS or
compression, with patched sockets, or without the accelerator, the main thread does not read.
"""

from __future__ import annotations

import codecs
import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable

from ..accel import Channel
from ..aliases import Data
from ..exceptions import ConnectionClosed, ConnectionClosedOK, InvalidState
from ..sansio.frames import Frame, Opcode
from ..sansio.state import State
from .attributes import Attributes
from .deadline import Deadline, is_main_thread, release, wait_for_lock
from .fragments import Fragments
from .inbox import Waiter
from .lifecycle import is_exiting
from .reader import start_reader
from .timekeeper import call_later

if TYPE_CHECKING:
    import logging

    from .inbox import Inbox

__all__ = ["Receiving"]

#: What reading by descriptor gives when something came.
READ_SOME = 1

#: What it gives when nothing came in time.
TIMED_OUT = 2

#: What it gives when another thread has the role by now.
LOST_ROLE = 3


class Receiving(Channel, Attributes):
    """The receiving half of a connection.

    A subclass handles what was received: ``_fragment_received``, ``_control_received``,
    ``_decoding_failed``; and the end: ``_finish``, ``_abort``.
    """

    _ended = ConnectionClosedOK

    logger: logging.LoggerAdapter[Any]
    _inbox: Inbox

    def _init_receiving(self) -> None:
        self._early = b""  # what was read, or came with the opening handshake, and isn't decoded
        self._failed = False  # what broke the rules was dealt with
        self._served = False  # a caller that can read by itself was woken
        self._pauses = 0  # looks that found nobody reading because the inbox was full
        self._reader: threading.Thread | None = None
        # The reader thread parks on it; released to wake it.
        self._wakeup = threading.Lock()
        self._wakeup.acquire()

    def _start_receiving(self, early: bytes) -> None:
        """Begin, with bytes that came with the opening handshake."""
        fd = self._transport.descriptor
        parser = self.protocol.decoder.parser
        if fd is None or self.protocol.extensions:
            self._early = early
            return
        if self._go_direct(
            fd,
            parser,
            threading.main_thread().ident,
            self.protocol,
            State.OPEN,
            self._writer.lock,
            self.protocol._output,
            self._transport.backlog,
            self.is_client,
        ):
            self._feed(early)
        else:
            self._early = early

    # --- callers ---

    def recv_streaming(self, decode: bool | None = None) -> Iterator[Data]:
        """Receive the next message in pieces, as its fragments come.

        Blocks until one has begun, and for each piece. Leaving early drops the rest of
        that message only. Several threads may do so, and call :meth:`recv`, at once.

        Args:
            decode: as in :meth:`recv`.

        Raises:
            ConnectionClosed: there is no message, or no more of it, and there will be none.
            UnicodeDecodeError: ``decode`` is true and the message isn't UTF-8.
        """
        receipt: list[Any] = [None]
        try:
            message = self._begin_stream(receipt)
            is_whole = not isinstance(message, Fragments)
            if is_whole and decode is not None and decode != isinstance(message, str):
                is_text = isinstance(message, str)
                message = message.encode() if is_text else str(message, "utf-8")
        except BaseException:
            self._inbox.cancel_stream(receipt)
            raise
        if is_whole:  # no call from here on: a signal handler could raise after it
            yield message
            return
        try:
            text = message.is_text if decode is None else decode
            decoder = codecs.getincrementaldecoder("utf-8")() if text else None
            final = False
            while not final:
                piece, final = self._next_piece(message)
                if decoder is None:
                    yield piece
                    continue
                decoded = decoder.decode(piece, final)  # at the end also without a piece: it checks
                if piece:
                    yield decoded
        finally:
            self._inbox.end_stream(message)

    def _begin_stream(self, receipt: list[Any]) -> Any:
        """Wait for a message to begin, and take it; see :meth:`~.inbox.Inbox.begin_stream`."""
        self._flush_batch()
        inbox = self._inbox
        try:
            while True:
                message = inbox.begin_stream(receipt)
                if message is not None:
                    return message
                self._await(Deadline(None), lambda: inbox.queue.first() is not None, streams=True)
        except EOFError:
            raise self._close_exc() from self.protocol.parser_exc

    def _next_piece(self, message: Fragments) -> tuple[bytes, bool]:
        """Wait for a piece of a message that was taken; return whether it is the last."""
        self._flush_batch()
        inbox = self._inbox
        try:
            while True:
                piece = inbox.take_piece(message)
                if piece is not None:
                    return piece
                self._await(
                    Deadline(None),
                    lambda: bool(message.pieces) or message.complete,
                    streams=True,
                )
        except EOFError:
            raise self._close_exc() from self.protocol.parser_exc

    def _await_message(self, remaining: float | None, timeout: float | None) -> None:
        """Block until there may be a message: what ``recv()`` does when there is none."""
        queue = self._inbox.queue
        try:
            self._await(Deadline(remaining), lambda: queue.count > 0)
        except EOFError:
            raise self._close_exc() from self.protocol.parser_exc
        except TimeoutError:
            raise TimeoutError(f"no message within {timeout} s") from None

    def _await(
        self, deadline: Deadline, ready: Callable[[], bool], *, streams: bool = False
    ) -> None:
        """Block until ``ready`` may hold, reading if nobody else does.

        Raises:
            TimeoutError: it does not hold in time.
            EOFError: it never will.
            InvalidState: the opening handshake goes on, which its own thread reads.
        """
        if self.protocol.state is State.CONNECTING:
            raise InvalidState("connection is connecting")
        inbox = self._inbox
        is_main = is_main_thread()
        waiter = Waiter(self._direct or not is_main, streams)
        try:
            if not inbox.enter(waiter, ready):
                return
            # Known as waiting: who gives the role up from now on wakes us.
            if self._role_is_free:
                if self._direct and not self._has_leftover:
                    inbox.leave(waiter)
                    self._read_by_descriptor(deadline, ready)
                    return
                if not is_main:
                    inbox.leave(waiter)
                    self._read_here(deadline, ready)
                    return
                self._wake_reader()
            if not wait_for_lock(waiter.lock, deadline.lock_timeout()) and not ready():
                raise TimeoutError
            inbox.leave(waiter)
        except BaseException:
            inbox.leave(waiter)  # perhaps again: a signal handler may have raised there
            if waiter.woken:
                self._pass_on()  # perhaps it was to read
            raise

    def _read_by_descriptor(self, deadline: Deadline, ready: Callable[[], bool]) -> None:
        # One call reads and parses, so that the main thread may do so.
        outcome = self._read_direct(deadline.remaining())
        if outcome == TIMED_OUT and not ready():
            raise TimeoutError

    def _pass_on(self) -> None:
        """After giving up the role: let others have what was read, and the role."""
        inbox, queue = self._inbox, self._inbox.queue
        if not queue.waiting:
            return
        reads = inbox.deliver()
        if reads or not queue.waiting or not self._role_is_free or inbox.pass_on():
            return
        # Above the marks the reader thread would come straight back here; a bell rings when there
        # is room, and who waits for it looks for somebody to read.
        if not (self._direct and queue.is_full and queue.bounded) or self._has_leftover:
            self._wake_reader()

    def _leftover(self) -> None:
        """After reading by descriptor: see to what isn't a message, and to the end."""
        if is_main_thread():
            self._wake_reader()
        elif self._take_role():
            self._read_until(None, lambda: True)

    # --- reading: with the role; never on the main thread ---

    def _read_here(self, deadline: Deadline | None, done: Callable[[], bool]) -> None:
        """Read until ``done``, unless another thread has the role.

        Raises:
            TimeoutError: it took too long.
        """
        if self._take_role():
            self._read_until(deadline, done)

    def _read_until(self, deadline: Deadline | None, done: Callable[[], bool]) -> None:
        """Read and deliver until ``done``; then give up the role, or end the connection with it."""
        cause: BaseException | None = None
        alive: bool | None = False
        try:
            alive = self._handle_leftover()
            while alive and not done():
                alive = self._read_once(deadline)
        except OSError as exc:
            if isinstance(exc, TimeoutError) and exc.errno is None:
                alive = True  # the caller's time is over, not the connection's
                raise
            alive, cause = False, exc
        except BaseException as exc:  # a defect of ours: the connection must not hang
            alive, cause = False, exc
            self.logger.exception("reading failed")
        finally:
            if alive:
                self._give_up_role()
                self._pass_on()
            elif alive is not None:
                self._finish(cause)

    def _read_once(self, deadline: Deadline | None) -> bool | None:
        """Wait for data and deliver what it brings.

        Returns:
            Whether the connection goes on; ``None`` if the role is another thread's by now,
            as signal handlers ran.
        """
        if self._direct:
            remaining = None if deadline is None else deadline.remaining()
            outcome = self._read(remaining)
            if outcome == TIMED_OUT:
                raise TimeoutError("timed out while waiting for data")
            if outcome == LOST_ROLE:
                return None
            self._served = self._inbox.deliver() or self._served
            return self._handle_leftover()
        decoder = self.protocol.decoder
        if not decoder.has_more:
            data, self._early = self._early or self._transport.recv(deadline), b""
            if not data:
                return False
            decoder.feed(data)
        # As far as there is room: what is compressed may become a thousand times as much.
        self._deliver(decoder.decode(self._inbox.room))
        self._handle_failure()
        if self._transport.pending:
            self._writer.drain()  # reading left something to write: TLS, or a full pipe
        return True

    def _handle_leftover(self) -> bool:
        """See to what the accelerator read and left to us; return False at the end."""
        if self._has_leftover:
            self._deliver(self.protocol.decoder.convert(self._take_pending()))
        self._handle_failure()
        if self._error_number:
            raise OSError(self._error_number, os.strerror(self._error_number))
        return not self._ended_reading

    def _handle_failure(self) -> None:
        """Fail the connection if what was received broke the rules."""
        if self.protocol.decoder.error is not None and not self._failed:
            is_reader = threading.current_thread() is self._reader
            if not is_reader and self._inbox.queue.bounded and self._inbox.queue.count:
                return  # once the messages before it were taken
            self._failed = True
            self._decoding_failed(wait=is_reader)

    def _deliver(self, events: Sequence[Any]) -> None:
        """Put messages in the inbox, in order; have control frames answered."""
        start = 0
        for index, event in enumerate(events):
            if isinstance(event, Frame):
                if start < index:
                    self._messages_came(events[start:index])
                start = index + 1
                if event.opcode >= Opcode.CLOSE:
                    self._control_received(event)
                else:
                    self._fragment_received(event)
        if start < len(events):
            self._messages_came(events[start:] if start else events)

    def _messages_came(self, messages: Any) -> None:
        self._messages_received += len(messages)
        self._frames_received += len(messages)
        self._served = self._inbox.put(messages) or self._served

    # --- the reader thread ---

    def _wake_reader(self) -> None:
        """Let the reader thread read, unless another thread does. Never blocks."""
        if self.protocol.state is State.CONNECTING:
            return
        if self._reader is not None:
            release(self._wakeup)
        else:
            # Not here: a signal handler that raises would leave us with half a thread.
            call_later(0, self._start_reader)

    def _start_reader(self) -> None:
        """Start the reader thread. Only the timekeeper does."""
        if self._reader is None and not self._closed.is_set() and not is_exiting():
            try:
                self._reader = start_reader(self)
            except RuntimeError as exc:  # no thread is to be had
                if self._take_role():
                    self._finish(exc)
                else:
                    self._abort(exc)
                return
        release(self._wakeup)

    def _run_reader(self) -> None:
        """What the reader thread does until the connection is closed."""
        try:
            while True:
                self._wakeup.acquire()
                if self._closed.is_set():
                    return
                self._served = False
                self._read_here(None, self._is_served)
        finally:
            if not self._closed.is_set():  # a defect of ours: not an open connection without reader
                self._reader = None
                self._abort(RuntimeError("the reader thread ended"))

    def _is_served(self) -> bool:
        """Tell whether the reader thread can leave reading to callers."""
        served, self._served = self._served, False
        if self._has_leftover and not self._failed:
            return False
        queue = self._inbox.queue
        if queue.is_full and queue.bounded:
            if self._direct:
                return True
            self._inbox.wait_for_room()
        return served

    # --- called by the timekeeper ---

    def _look(self) -> None:
        """See to it that somebody reads. A few times a second."""
        queue = self._inbox.queue
        if queue.waiting and queue.count:
            self._inbox.deliver()  # whoever was to do so was interrupted by a signal handler
        if self._was_active():
            return
        if queue.is_full and queue.bounded and not self._has_leftover:
            self._pauses += 1
        else:
            self._wake_reader()

    def _is_paused(self) -> bool:
        """Tell whether nobody reads because nobody takes messages."""
        inbox = self._inbox
        return inbox.waits_for_room or (self._role_is_free and inbox.queue.is_full)

    # --- what a subclass has ---

    def _fragment_received(self, frame: Frame) -> None:
        raise NotImplementedError

    def _control_received(self, frame: Frame) -> None:
        raise NotImplementedError

    def _decoding_failed(self, *, wait: bool) -> None:
        raise NotImplementedError

    def _finish(self, cause: BaseException | None) -> None:
        raise NotImplementedError

    def _abort(self, cause: BaseException | None) -> None:
        raise NotImplementedError

    def _close_exc(self) -> ConnectionClosed:
        raise NotImplementedError
