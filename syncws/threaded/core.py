"""A connection's inner works: what the reader, the timekeeper and the process call."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import weakref
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from ..aliases import LoggerLike
from ..exceptions import ConnectionClosed, InvalidState, ProtocolError
from ..options import Options
from ..sansio.close import CloseCode
from ..sansio.frames import Frame, Opcode
from ..sansio.http11 import Request, Response
from ..sansio.protocol import Protocol
from ..sansio.state import State
from . import lifecycle
from .deadline import Deadline, Latch, clock, forget_owner, is_main_thread, release
from .guarded_logger import GuardedLogger
from .inbox import Inbox
from .keepalive import FAILURE, Keepalive, Vitals
from .pings import PendingPings, Ping
from .receiving import Receiving
from .timekeeper import Timer, call_later
from .transport import Transport
from .watch import unwatch, watch
from .writer import Lock, Writer

if TYPE_CHECKING:
    import socket
    import uuid

    from .batch import Batch

__all__ = ["Core"]

#: Seconds that the program has to answer the messages before one that fails the connection.
FAILURE_GRACE = 0.5

#: Seconds that a peer has to close TCP when nothing more is expected: both close frames are
#: there, or the connection failed.
LINGER_TIMEOUT = 1.0

#: Seconds for the reader to notice that the socket was shut down.
READER_GRACE = 5.0

#: Pings, unasked pongs and empty fragments that a peer may send within so many seconds. Each costs
#: it two to six bytes, and us the time of a message: in larger numbers they are an attack.
MAX_CHEAP_FRAMES = 10_000
CHEAP_FRAMES_TIME = 5.0

#: Close reason of a connection with more.
FLOOD = "too many pings, pongs or empty fragments"

_numbers = itertools.count(1)


class Core(Receiving):
    """The connection without the methods that programs call; these are in a subclass.

    Args:
        sock: a connected socket, or a transport; the connection owns it from now on.
        protocol: the codec, in the state in which the opening handshake left it.
        options: limits and times.
        logger: where to log; records carry the connection as ``websocket``.
    """

    def __init__(
        self,
        sock: socket.socket | Transport,
        protocol: Protocol,
        *,
        options: Options | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        self._transport = sock if isinstance(sock, Transport) else Transport(sock)
        self.protocol = protocol
        protocol.defer_frames = True  # the reader decodes them
        self.options = options or Options()
        self.number = next(_numbers)
        self.logger = GuardedLogger(
            logger or logging.getLogger(f"syncws.{self.side}"), {"websocket": self}
        )
        self.request: Request | None = None
        self.response: Response | None = None
        self.data: dict[Any, Any] = {}
        self.latency: float = 0.0
        self._id: uuid.UUID | None = None
        # Guards the protocol (all but its decoder), the pings and the timer, for calls that
        # compute. Taken after the write lock, never before. Re-entrant, because a signal
        # handler may close the connection while the main thread has it.
        self._state_lock: Lock = threading.RLock()  # type: ignore[assignment]
        self._writer = self._make_writer()
        self._inbox = Inbox(self.options.max_queue, self.options.read_limit)
        self._queue = self._inbox.queue
        self._pings = PendingPings()
        self._closed = Latch()
        self._cause: BaseException | None = None  # why we cut it; first one wins
        self._keepalive: Keepalive | None = None
        self._close_timer: Timer | None = None
        # Of each thread; changed with the state lock. Weak: a batch whose block a signal handler
        # left without __exit__() collects nothing any more.
        self._batches: dict[int, weakref.ref[Batch]] = {}
        # Of messages that others are sent too; None where their bytes are this connection's own.
        self._share_key: Hashable = None
        self._started = False
        # Written by who has the reading role:
        self._messages_received = self._frames_received = self._fragments_received = 0
        self._cheap_frames = 0  # since a moment
        self._cheap_since = 0.0
        self._cheap_pauses = 0
        self._init_receiving()

    def _start(self) -> None:
        """Begin to receive and to keep alive: the opening handshake has succeeded."""
        lifecycle.register(self)
        self._start_receiving(self.protocol.take_early())
        self._share_key = None if self.is_client else self.protocol.share_key
        self._started = True
        try:
            interval = self.options.ping_interval
            if interval is not None:
                self._keepalive = Keepalive(self, interval, self.options.ping_timeout)
                self._keepalive.start()
            watch(self)
        except BaseException as exc:  # no thread to be had, or a signal handler raised
            if self._take_role():
                self._finish(exc)
            else:
                self._abort(exc)
            raise

    # --- called by who has the reading role ---

    def _fragment_received(self, frame: Frame) -> None:
        if not (frame.data or frame.fin):
            self._count_cheap()
        self._frames_received += 1
        self._fragments_received += 1
        self._messages_received += frame.fin
        is_text = None if frame.opcode is Opcode.CONT else frame.opcode is Opcode.TEXT
        served = self._inbox.put_fragment(frame.data, is_text=is_text, fin=frame.fin)
        self._served = served or self._served

    def _control_received(self, frame: Frame) -> None:
        self._frames_received += 1
        ping = None
        with self._state_lock:
            self.protocol.receive_event(frame)
            if frame.opcode is Opcode.PONG:
                ping = self._pings.answer(frame.data)
                if ping is not None and ping.latency is not None:
                    self.latency = ping.latency
        if ping is None:
            self._count_cheap()
        self._writer.drain()
        if self.protocol.close_expected():
            self._closing(self.options.close_timeout)
            self._expect_eof()

    def _count_cheap(self) -> None:
        """Count a frame that costs its sender nothing: a ping, an empty fragment. Not too many."""
        pauses = self._pauses + self._inbox.pauses
        if pauses != self._cheap_pauses:  # what piled up meanwhile comes all at once
            self._cheap_frames, self._cheap_pauses = 0, pauses
        self._cheap_frames += 1
        if self._cheap_frames == 1:
            self._cheap_since = clock()
        elif self._cheap_frames > MAX_CHEAP_FRAMES:
            self._cheap_frames = 0
            if clock() - self._cheap_since < CHEAP_FRAMES_TIME:
                with self._state_lock:
                    if self.protocol.parser_exc is None and self.open:
                        self.protocol.parser_exc = ProtocolError(FLOOD)
                self._fail(CloseCode.POLICY_VIOLATION, FLOOD)

    def _decoding_failed(self, *, wait: bool) -> None:
        if wait:
            # What came before the violation was fine: let the program answer it first.
            self._inbox.wait_until_idle(Deadline(FAILURE_GRACE))
        with self._state_lock:
            self.protocol.receive_error()
        self._write_and_end(self._linger_timeout())

    # --- called by the timekeeper ---

    def _keepalive_ping(self, previous: Ping | None) -> Ping | None:
        if previous is not None and not previous.is_set():  # and no timeout
            if self._writer.is_behind:
                return previous  # perhaps it was not even sent
            with self._state_lock:
                self._pings.discard(previous)
        # Not ping(): that waits for the end of a connection that is closing, and this is the
        # thread that sees to it that there is one.
        ping = self._ping(None)
        self._ensure_reading()
        return ping

    def _keepalive_failed(self) -> None:
        with self._state_lock:
            if self.protocol.parser_exc is None:
                self.protocol.parser_exc = TimeoutError("no pong came in time")
            self.protocol.fail(*FAILURE)
        self._writer.drain()
        # Who does not answer pings won't answer this either.
        self._abort(None)

    def _look(self) -> None:
        """Mend what a signal handler that raised has left half done, and see who reads."""
        if self._writer.is_behind:
            self._writer.drain()
        if self._close_timer is None and self.protocol.state is State.CLOSING:
            self._closing(self.options.close_timeout)
        super()._look()

    def _vitals(self) -> Vitals:
        """Return what there is to be seen of the peer; see :mod:`.keepalive`."""
        transport = self._transport
        return Vitals(
            transport.bytes_received + self._direct_bytes_received,
            transport.bytes_sent + self._direct_bytes_sent,
            transport.unacknowledged(),
            self._writer.is_behind,
            self._pauses,
            self._is_paused(),
        )

    # --- what the connection sends by itself ---

    def _flush_batch(self) -> None:
        """Write what this thread has collected."""
        batch = self._batch() if self._batching else None
        if batch is not None:
            batch.flush()

    def _batch(self) -> Batch | None:
        """Return what collects this thread's messages, if something does."""
        batch = self._batches.get(threading.get_ident())
        return None if batch is None else batch()

    def _ping(self, payload: bytes | None, ack_on_close: bool = False) -> Ping | None:
        """Send a ping, unless the connection isn't open. Never blocks."""
        with self._state_lock:
            if self.protocol.state is not State.OPEN:
                return None
            ping = self._pings.add(payload, self._ensure_reading, ack_on_close)
            try:
                self.protocol.send_ping(ping.data)
            except BaseException:
                self._pings.discard(ping)
                raise
        self._writer.drain()
        return ping

    def _ensure_reading(self) -> None:
        """See to it at once that somebody reads: an answer is waited for."""
        if self._role_is_free:
            self._wake_reader()

    def _make_writer(self) -> Writer:
        return Writer(
            self.protocol, self._state_lock, self._transport, self._abort, self._fail_fragmented
        )

    def _fail_fragmented(self) -> None:
        if self.open:  # otherwise it ends already, and what it waits for still counts
            self._fail(CloseCode.INTERNAL_ERROR, "error in fragmented message")

    # --- the end ---

    def _close(self, code: int | None, reason: str, deadline: Deadline) -> None:
        self._begin_close(code, reason, deadline.remaining())
        if self._is_interrupted():
            return  # the reader needs what the interrupted call holds
        if not self._await_closed(deadline):
            self._abort(TimeoutError("timed out while closing connection"))
            self._await_closed(Deadline(READER_GRACE))

    def _await_closed(self, deadline: Deadline, *, reads: bool = False) -> bool:
        """Block until the connection is closed; return whether it is.

        Args:
            deadline: until when to wait.
            reads: whether to read on this thread even if it is the main one.
        """
        if self._closed.is_set():
            return True
        if self._started and (reads or not is_main_thread()):
            with contextlib.suppress(TimeoutError):
                self._read_here(deadline, self._closed.is_set)
        else:
            self._ensure_reading()
        return self._closed.wait(deadline.remaining())

    def _begin_close(self, code: int | None, reason: str, timeout: float | None) -> None:
        """Send a close frame, and see to it that the connection ends in time. Never blocks."""
        with self._state_lock:
            if self.protocol.state is State.OPEN:
                if self.protocol.fragmenting:
                    self.protocol.fail(CloseCode.INTERNAL_ERROR, "close during fragmented message")
                else:
                    self.protocol.send_close(code, reason)
        self._write_and_end(timeout)

    def _is_interrupted(self) -> bool:
        """Tell whether this is a signal handler, and the call it interrupted holds a lock."""
        return (
            self._writer.lock._is_owned()
            or self._state_lock._is_owned()
            or self._inbox.is_interrupted()
        )

    def _fail(self, code: int, reason: str) -> None:
        with self._state_lock:
            self.protocol.fail(code, reason)
        self._write_and_end(self._linger_timeout())

    def _write_and_end(self, timeout: float | None) -> None:
        """Write what is left, and see to it that the connection ends in time. Never blocks."""
        self._inbox.unbind()  # before the peer answers
        try:
            self._writer.drain()  # before the timer: there may be no time at all
        finally:  # a signal handler may have raised
            self._closing(timeout)

    def _closing(self, timeout: float | None) -> None:
        """See to it that a connection that is closing ends within ``timeout`` seconds."""
        self._inbox.unbind()
        with self._state_lock:
            if timeout is None or self.protocol.state is State.CLOSED:
                return
            timer = self._close_timer
            if timer is None or timer.when > clock() + timeout:
                self._close_timer = call_later(timeout, self._close_timed_out)
                if timer is not None:
                    timer.cancel()

    def _expect_eof(self) -> None:
        """See to it that the peer closes TCP soon, as nothing more is expected."""
        if self.protocol.state is State.CLOSED:
            return
        if self._writer.is_behind:
            # Our own close frame waits for a frame that is being written, perhaps.
            call_later(LINGER_TIMEOUT, self._expect_eof)
        else:
            self._closing(self._linger_timeout())

    def _linger_timeout(self) -> float:
        timeout = self.options.close_timeout
        return LINGER_TIMEOUT if timeout is None else min(timeout, LINGER_TIMEOUT)

    def _close_timed_out(self) -> None:
        self._abort(TimeoutError("timed out while closing connection"))

    def _abort(self, cause: BaseException | None) -> None:
        """Cut the connection; whoever reads then ends it. Never blocks."""
        if self._cause is None:
            self._cause = cause
        self._inbox.unbind()
        self._transport.abort()
        if not self._started:
            self._finish(cause)
        else:
            self._ensure_reading()

    def _finish(self, cause: BaseException | None) -> None:
        """End the connection: the last act of who has the reading role."""
        self._end_role()
        unwatch(self)
        self._transport.abort()
        if self._keepalive is not None:
            self._keepalive.stop()
        with self._state_lock:
            protocol = self.protocol
            cause = self._cause or cause
            complete = protocol.close_rcvd_then_sent is not None  # how TCP ends tells nothing more
            if not complete and protocol.parser_exc is None and isinstance(cause, Exception):
                protocol.parser_exc = cause
            protocol.receive_eof()
            self._pings.abandon(self._close_exc)
            if self._close_timer is not None:
                self._close_timer.cancel()
        self._inbox.close()
        self._writer.close()
        lifecycle.unregister(self)
        self._closed.set()
        self._inbox.ring()
        release(self._wakeup)  # the reader thread, if there is one, has nothing left to do

    def _close_exc(self) -> ConnectionClosed:
        """Return what to raise, after waiting for the end of a connection that is closing.

        Only with no locks held: at the interpreter's exit threads stay here.

        Raises:
            InvalidState: it isn't open yet.
        """
        if self.protocol.state is State.CONNECTING:
            raise InvalidState("connection is connecting")
        if not self._await_closed(Deadline(self.options.close_timeout)):
            self._close_timed_out()
            self._await_closed(Deadline(READER_GRACE))
        lifecycle.stay_at_exit()
        return self.protocol.close_exc

    # --- the process ---

    def begin_exit(self) -> None:
        """Start to close, at the interpreter's exit. Never blocks."""
        self._begin_close(CloseCode.GOING_AWAY, "", lifecycle.EXIT_TIMEOUT)

    def end_exit(self, deadline: Deadline) -> None:
        """Finish closing, at the interpreter's exit."""
        # On this thread, as others can't be started any more.
        if not self._await_closed(deadline, reads=True):
            self._abort(TimeoutError("the program ended"))
            self._await_closed(Deadline(lifecycle.EXIT_TIMEOUT), reads=True)

    def after_fork(self) -> None:
        """Become unusable in a forked child, and leave the parent's connection alone."""
        # A signal handler may have forked. So the call that it interrupted goes on afterwards, on
        # what it had in its hands: that must not wait for threads that only the parent has.
        protocol, inbox, writer = self.protocol, self._inbox, self._writer
        self._end_role()
        forget_owner(self._state_lock)
        self._keepalive = self._close_timer = None
        protocol.parser_exc = RuntimeError("the process forked; its parent has the connection")
        protocol.receive_eof()
        protocol.data_to_send()  # nothing is ever written
        self._writer = self._make_writer()
        self._inbox = Inbox()
        self._queue = self._inbox.queue
        self._inbox.close()
        self._transport.after_fork()
        self._closed.set()
        self._pings.abandon(self._close_exc)
        inbox.after_fork()
        writer.after_fork()
