"""The reading role: which thread reads the socket, and what it does with what came.

The right to read and to parse is a *role* that one thread has at a time. A caller that finds no
message and nobody reading takes it and reads on its own thread: no thread switch. Where no caller
does, the reader thread reads (:mod:`.reader`), started when first needed: a few times a second the
timekeeper looks for connections that nobody has read from since; it gives the role up as soon as
it has served a caller that can read. Nothing gets stuck: a caller makes itself known as waiting,
then looks at the role; a thread that gives the role up looks for waiting callers after that: one
of the two sees the other. Nothing is lost or doubled: bytes are parsed in the order of the role,
and signal handlers, which raise between any two steps of the main thread, never meet it there: it
reads only by one call of the accelerator, after which all is in the queue, or left over for the
reader thread. Under TLS in TLS, with other extensions than permessage-deflate, with patched
sockets, or without the accelerator, the main thread does not read.

The role itself, and reading by descriptor, are the channel's (:class:`~syncws.accel.Channel`),
which is the connection's base, as C must reach them fast.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import ConcurrencyError, InvalidState
from ..sansio.frames import Frame, Opcode
from ..sansio.state import State
from .blocking import is_main_thread, wait_for_lock
from .deadline import Deadline
from .inbox import Waiter
from .reader import ReaderThread
from .tracebacks import drop_frames

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Reading"]

#: What a handler is told that would wait for what it keeps from being read.
INTERRUPTED = "a signal handler can't wait for messages while it interrupts TLS"

#: What reading by descriptor gives when something came.
READ_SOME = 1

#: What it gives when nothing came in time.
TIMED_OUT = 2

#: What it gives when another thread has the role by now.
LOST_ROLE = 3


class Reading:
    """How a connection is read.

    Args:
        connection: what is read.

    Attributes:
        reader: the thread that reads where no caller does.
        pauses: looks that found nobody reading because the inbox was full.
    """

    __slots__ = ("_connection", "_early", "_failed", "pauses", "reader")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._early = b""  # what was read, or came with the opening handshake, and isn't decoded
        self._failed = False  # what broke the rules was dealt with
        self.pauses = 0
        self.reader = ReaderThread(connection, self)

    def let_go(self, connection: Connection) -> None:
        """Refer to the connection weakly; see :meth:`Connection._let_go`."""
        self._connection = connection
        self.reader.let_go(connection)

    def start(self, early: bytes) -> None:
        """Begin, with bytes that came with the opening handshake."""
        connection = self._connection
        transport, protocol = connection._transport, connection.protocol
        compression = protocol.compression
        if (
            transport.descriptor is not None
            and (compression is not None or not protocol.extensions)
            and connection._go_direct(
                transport.descriptor,
                protocol.decoder.parser,
                threading.main_thread().ident,
                protocol,
                State.OPEN,
                connection._writer.lock,
                protocol._output,
                transport.backlog,
                connection.is_client,
                transport.tls,
                compression,
            )
        ):
            connection._feed(early)
        else:
            self._early = early

    # --- callers ---

    def wait(self, deadline: Deadline, ready: Callable[[], bool], *, streams: bool = False) -> None:
        """Block until ``ready`` may hold, reading if nobody else does.

        Raises:
            TimeoutError: it does not hold in time.
            EOFError: it never will.
            InvalidState: the opening handshake goes on, which its own thread reads.
            ConcurrencyError: others can't read, as this signal handler interrupts TLS.
        """
        connection = self._connection
        if connection.protocol.state is State.CONNECTING:
            raise InvalidState("connection is connecting")
        inbox = connection._inbox
        is_main = is_main_thread()
        waiter = Waiter(connection._direct or not is_main, streams)
        try:
            if not inbox.enter(waiter, ready):
                return
            # Known as waiting: a thread that gives the role up from now on wakes us.
            if connection._role_is_free:
                if connection._direct and not connection._has_leftover:
                    inbox.leave(waiter)
                    self._read_by_descriptor(deadline, ready)
                    return
                if not is_main:
                    inbox.leave(waiter)
                    self.read_here(deadline, ready)
                    return
                self.reader.wake()
            if is_main and not connection._direct and connection._transport.is_interrupted():
                raise ConcurrencyError(INTERRUPTED)
            if not wait_for_lock(waiter.lock, deadline.lock_timeout()) and not ready():
                raise TimeoutError
            inbox.leave(waiter)
        except BaseException:
            inbox.leave(waiter)  # perhaps again: a signal handler may have raised there
            if waiter.woken:
                self.pass_on()  # perhaps it was to read
            raise

    def _read_by_descriptor(self, deadline: Deadline, ready: Callable[[], bool]) -> None:
        # One call reads and parses, so that the main thread may do so.
        outcome = self._connection._read_direct(deadline.remaining())
        if outcome == TIMED_OUT and not ready():
            raise TimeoutError

    def pass_on(self) -> None:
        """After giving up the role: let others have what was read, and the role."""
        connection = self._connection
        inbox, queue = connection._inbox, connection._inbox.queue
        if not queue.waiting:
            return
        reads = inbox.deliver()
        if reads or not queue.waiting or not connection._role_is_free or inbox.pass_on():
            return
        # Above the marks the reader thread would come straight back here; a bell rings when there
        # is room, and whoever waits for it looks for somebody to read.
        paused = connection._direct and queue.is_full and queue.bounded
        if not paused or connection._has_leftover:
            self.reader.wake()

    def take_leftover(self) -> None:
        """After reading by descriptor: deal with what isn't a message, and with the end."""
        if is_main_thread():
            self.reader.wake()
        elif self._connection._take_role():
            self._read_until(None, lambda: True)

    # --- reading: with the role; never on the main thread ---

    def read_here(self, deadline: Deadline | None, done: Callable[[], bool]) -> None:
        """Read until ``done``, unless another thread has the role.

        Raises:
            TimeoutError: it took too long.
        """
        if self._connection._take_role():
            self._read_until(deadline, done)

    def _read_until(self, deadline: Deadline | None, done: Callable[[], bool]) -> None:
        """Read and deliver until ``done``; then give up the role, or end the connection with it."""
        connection = self._connection
        cause: BaseException | None = None
        alive: bool | None = False
        try:
            alive = self._read_on(deadline, done)
        except BaseException as exc:
            if connection._lost_role:  # a signal handler raised, in the middle of a read
                alive = None
                raise
            if isinstance(exc, TimeoutError) and exc.errno is None:
                alive = True  # the caller's time is over, not the connection's
                raise
            alive, cause = False, exc
            if isinstance(exc, OSError):
                drop_frames(exc)
                connection._writer.drain()  # TLS may tell the peer why
            else:
                # A defect of ours: the connection must not hang.
                connection.logger.exception("reading failed")
        finally:
            if alive:
                connection._give_up_role()
                self.pass_on()
            elif alive is not None:
                connection._finish(cause)

    def _read_on(self, deadline: Deadline | None, done: Callable[[], bool]) -> bool | None:
        alive: bool | None = self._handle_leftover()
        while alive and not done():
            alive = self._read_once(deadline)
        return alive

    def _read_once(self, deadline: Deadline | None) -> bool | None:
        """Wait for data and deliver what it brings.

        Returns:
            Whether the connection goes on; ``None`` if the role is another thread's by now,
            as signal handlers ran.
        """
        connection = self._connection
        if connection._direct:
            remaining = None if deadline is None else deadline.remaining()
            outcome = connection._read(remaining)
            if outcome == TIMED_OUT:
                raise TimeoutError("timed out while waiting for data")
            if outcome == LOST_ROLE:
                return None
            self.reader.note(connection._inbox.deliver())
            if connection._has_output:
                connection._writer.drain()
            return self._handle_leftover()
        decoder, transport = connection.protocol.decoder, connection._transport
        if not decoder.has_more:
            data, self._early = self._early or transport.recv(deadline), b""
            if not data:
                return False
            decoder.feed(data)
        # As far as there is room: what is compressed may become a thousand times as much.
        self._deliver(decoder.decode(connection._inbox.room))
        self._handle_failure()
        if transport.pending:
            connection._writer.drain()  # reading left something to write: TLS, or a full pipe
        return True

    def _handle_leftover(self) -> bool:
        """Deal with what the accelerator read and left to us; return False at the end."""
        connection = self._connection
        if connection._has_leftover:
            if connection._cause is None:
                # Before answers fail, which TLS can't encrypt any more.
                connection._cause = connection._tls_error
            decoder, pending = connection.protocol.decoder, connection._take_pending()
            self._deliver(decoder.convert(pending, more=connection._is_holding))
            if decoder.error is not None and connection._is_holding:
                connection._drop_held()  # it comes after what broke the rules
        if not self._handle_failure() or connection._is_holding:
            return True  # what comes before the end
        if connection._tls_error is not None:
            raise connection._tls_error
        if connection._error_number:
            raise OSError(connection._error_number, os.strerror(connection._error_number))
        return not connection._ended_reading

    def _handle_failure(self) -> bool:
        """Fail the connection if what was received broke the rules; return False if not yet."""
        connection = self._connection
        if connection.protocol.decoder.error is not None and not self._failed:
            is_reader = self.reader.is_current()
            queue = connection._inbox.queue
            if not is_reader and queue.bounded and queue.count:
                return False  # once the messages before it were taken
            self._failed = True
            connection._decoding_failed(wait=is_reader)
        return True

    def _deliver(self, events: Sequence[Any]) -> None:
        """Put messages in the inbox, in order; have control frames answered."""
        connection = self._connection
        start = 0
        for index, event in enumerate(events):
            if isinstance(event, Frame):
                if start < index:
                    connection._messages_came(events[start:index])
                start = index + 1
                if event.opcode >= Opcode.CLOSE:
                    connection._control_received(event)
                else:
                    connection._fragment_received(event)
        if start < len(events):
            connection._messages_came(events[start:] if start else events)

    # --- looking at it, on any thread ---

    @property
    def must_go_on(self) -> bool:
        """Whether something was read that nobody has dealt with yet."""
        return self._connection._has_leftover and not self._failed

    @property
    def is_paused(self) -> bool:
        """Whether nobody reads because nobody takes messages."""
        connection = self._connection
        inbox = connection._inbox
        return inbox.waits_for_room or (connection._role_is_free and inbox.queue.is_full)

    def look(self) -> None:
        """Ensure that somebody reads. The timekeeper calls it where nobody does, or may."""
        connection = self._connection
        queue = connection._inbox.queue
        if queue.waiting and queue.count:
            # Whoever was to do so was interrupted by a signal handler.
            connection._inbox.deliver()
        if connection._was_active():
            return
        if queue.is_full and queue.bounded and not connection._has_leftover:
            self.pauses += 1
        else:
            self.reader.wake()
