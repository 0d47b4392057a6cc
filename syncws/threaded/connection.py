"""The connection: send, receive, ping, close, from any thread."""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
from collections.abc import Hashable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Literal, TypeVar, overload

from ..accel import Channel
from ..aliases import BytesLike, Data, DataLike, LoggerLike
from ..exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidState,
    ProtocolError,
    SendTimeout,
    SlowPeer,
)
from ..locks import make_rlock
from ..options import Options
from ..sansio.close import CloseCode
from ..sansio.frames import Frame, Opcode, as_bytes
from ..sansio.http11 import Request, Response
from ..sansio.protocol import Protocol
from ..sansio.state import State
from . import lifecycle, slow_peers
from .absent import CONNECTION_HINTS, explain_absence
from .attributes import Attributes
from .batch import Batch
from .blocking import Lock, forget_owner
from .closing_handshake import ClosingHandshake
from .deadline import Deadline
from .floods import FLOOD, CheapFrames
from .guarded_logger import ConnectionLogger, own_logger
from .inbox import Inbox
from .keepalive import Keepalive
from .latch import Latch
from .outgoing import as_message, encode
from .pings import PendingPings, Ping
from .reading import Reading
from .streaming import stream
from .tracebacks import drop_frames
from .transport import Transport
from .watch import unwatch, watch
from .writer import Broken, Writer

if TYPE_CHECKING:
    import socket
    import uuid

__all__ = ["Connection"]

#: Seconds that closing may take when the program is being interrupted (Ctrl-C).
INTERRUPTED_CLOSE_TIMEOUT = 0.5

#: Seconds that the program has to answer the messages before one that fails the connection.
FAILURE_GRACE = 0.5

_numbers = itertools.count(1)

Self = TypeVar("Self", bound="Connection")


@explain_absence(CONNECTION_HINTS)
class Connection(Channel, Attributes):
    """A WebSocket connection with blocking calls.

    All methods may be called from any thread, several at once. As a context manager it
    closes at the end of the block; iterating over it receives messages until it is closed.

    Args:
        sock: a connected socket, or a transport; the connection owns it from now on.
        protocol: the codec, in the state in which the opening handshake left it.
        options: limits and times.
        logger: where to log; records carry the connection as ``websocket``.

    Attributes:
        protocol: the codec. Its methods are not for other threads.
        request: the opening handshake's request, once there is one.
        response: the opening handshake's response, once there is one.
        data: for the program's own use; the library never looks at it.
        latency: seconds that the last pong took to come; 0 before the first.
    """

    _ended = ConnectionClosedOK

    # Of the class until they change: an object with more than 30 attributes of its own takes
    # 1.3 KiB more.
    _id: uuid.UUID | None = None
    _cause: BaseException | None = None  # why we cut it; first one wins
    _is_finished = False
    _at_end: tuple[Callable[[], object], ...] = ()  # called then; changed with the state lock
    _stack_size: int | None = None  # of its threads: bytes, if the server has an opinion
    # Written by the thread that has the reading role:
    _messages_received = _frames_received = _fragments_received = 0

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
        protocol.defer_frames = True  # the thread that reads decodes them
        self.options: Options = options or Options()
        self.number: int = next(_numbers)
        self.logger: ConnectionLogger = ConnectionLogger(logger or own_logger(self.side), self)
        self.request: Request | None = None
        self.response: Response | None = None
        self.data: dict[Any, Any] = {}
        self.latency: float = 0.0
        # Guards the protocol (all but its decoder), the pings and the close timer, for calls that
        # compute. Taken after the write lock, never before. Re-entrant, because a signal
        # handler may close the connection while the main thread has it.
        self._state_lock: Lock = make_rlock()
        self._writer = self._make_writer()
        self._inbox = Inbox(self.options.max_queue, self.options.read_limit)
        self._queue = self._inbox.queue
        self._reading = Reading(self)
        self._closing = ClosingHandshake(self)
        self._pings = PendingPings()
        self._keepalive: Keepalive | None = None
        self._closed = Latch()
        self._started = False
        # Of each thread; changed with the state lock. Weak: a batch whose block a signal handler
        # left without __exit__() collects nothing any more.
        self._batches: dict[int, weakref.ref[Batch]] = {}
        # Of messages that others are sent too; None where their bytes are this connection's own.
        self._share_key: Hashable = None
        self._cheap_frames = CheapFrames()

    def _start(self) -> None:
        """Begin to receive and to keep alive: the opening handshake has succeeded."""
        lifecycle.register(self)
        self._reading.start(self.protocol.take_early())
        self._share_key = None if self.is_client else self.protocol.share_key
        self._started = True
        try:
            interval = self.options.ping_interval
            if interval is not None:
                keepalive = Keepalive(self, interval, self.options.ping_timeout)
                self._keepalive = keepalive
                keepalive.start()
            watch(self)
            if self._is_finished:  # meanwhile, before it was watched perhaps
                unwatch(self)
                self._stop_keepalive()
        except BaseException as exc:  # no thread is available, or a signal handler raised
            self._give_up(exc)
            raise

    # --- receiving ---

    @overload
    def recv_streaming(self, decode: None = None) -> Iterator[Data]: ...
    @overload
    def recv_streaming(self, decode: Literal[True]) -> Iterator[str]: ...
    @overload
    def recv_streaming(self, decode: Literal[False]) -> Iterator[bytes]: ...
    @overload
    def recv_streaming(self, decode: bool | None = None) -> Iterator[Data]: ...

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
        return stream(self, decode)

    # --- sending ---

    def _send(
        self,
        message: DataLike | Iterable[DataLike],
        text: bool | None,
        timeout: float | None,
        compress: bool | None,
    ) -> None:
        """Send a message that could not be sent at once: what :meth:`send` does then."""
        if self._batching:
            batch = self._batch()
            if batch is not None:
                if compress is None and isinstance(message, (str, bytes, bytearray, memoryview)):
                    batch.add(as_message(message, text))
                    return
                batch.flush()
        if timeout is None:
            timeout = self.options.send_timeout
        writer = self._writer
        try:
            if isinstance(message, (str, bytes, bytearray, memoryview)):
                opcode, data = encode(message, text)
                writer.send(opcode, data, timeout, compress)
            elif isinstance(message, Mapping):
                raise TypeError("a mapping can't be sent; send json.dumps(message), or its keys")
            elif isinstance(message, Iterable):
                writer.send_fragments(message, text, timeout, compress)
            else:
                raise TypeError(f"{type(message).__name__} can't be sent; str and bytes can")
        except Broken:
            raise self._close_exc() from self.protocol.parser_exc

    def batch(self) -> Batch:
        """Collect what this thread sends in a ``with`` block, and write it in large pieces.

        For programs that send many small messages at once::

            with ws.batch():
                for price in prices:
                    ws.send(price)

        What was collected is written when it reaches 64 KiB, when this thread receives, pings
        or closes, and at the end of the block, even if the block fails. Messages of other
        threads may come in between, whole. Outside the block nothing is held back.

        Failures are raised by ``send()``, or at the end of the block.

        Raises:
            ConnectionClosed: the connection is closed, or broke.
            SendTimeout: nothing was written in ``send_timeout`` seconds; what was collected is
                lost.
        """
        return Batch(self, None)

    def send_many(self, messages: Iterable[DataLike], *, timeout: float | None = None) -> None:
        """Send messages, each as :meth:`send` does, but write them in large pieces.

        Blocks until the kernel has taken all. Messages of other threads may come in between,
        whole. If taking a message from ``messages`` fails, those before it are sent.

        Args:
            messages: the messages; an iterator is read as they are sent.
            timeout: seconds that each write may take; ``None`` means the connection's
                ``send_timeout``.

        Raises what :meth:`send` does.
        """
        self._flush_batch()
        Batch(self, timeout).add_all(messages)

    def _send_batch(self, messages: list[DataLike], timeout: float | None) -> None:
        if timeout is None:
            timeout = self.options.send_timeout
        try:
            self._writer.send_batch(messages, timeout)
        except Broken:
            raise self._close_exc() from self.protocol.parser_exc

    def _complete_send(self) -> None:
        """Finish what the accelerator began to send."""
        try:
            self._writer.complete(self.options.send_timeout)
        except Broken:
            raise self._close_exc() from self.protocol.parser_exc

    def _send_failed(self, exc: OSError) -> None:
        """Raise what an error of the accelerator's means: the connection is broken."""
        self._write_failed(exc)
        raise self._close_exc() from self.protocol.parser_exc

    def flush(self, timeout: float | None = None) -> None:
        """Block until the kernel has taken all that waits to be written.

        Messages are written by :meth:`send` itself; this is for pings, pongs and close
        frames that a slow peer keeps waiting.

        Raises:
            TimeoutError: the peer did not read it within ``timeout`` seconds.
            ConnectionClosed: the connection broke.
        """
        self._flush_batch()
        try:
            self._writer.flush(Deadline(timeout))
        except Broken:
            raise self._close_exc() from self.protocol.parser_exc

    # --- control frames ---

    def ping(self, data: str | BytesLike | None = None, ack_on_close: bool = False) -> Ping:
        """Send a ping (RFC 6455 §5.5.2). Doesn't block, but for the end of a closing connection.

        Args:
            data: payload of at most 125 bytes; random by default.
            ack_on_close: whether the end of the connection counts as an answer, so that
                ``.wait()`` returns then, rather than raise.

        Returns:
            An event that is set when the pong comes; ``.wait(timeout)`` waits for it,
            ``.latency`` has the seconds it took.

        Raises:
            ConnectionClosed: the connection is closed.
            ConcurrencyError: a ping with that payload waits for its pong already.
            ProtocolError: the payload is too long.
            TypeError: the payload is neither str nor bytes.
            SlowPeer: more than ``write_limit`` bytes wait for the peer already.
        """
        payload = None if data is None else _payload(data)
        self._flush_batch()
        slow_peers.check_write_limit(self)
        ping = self._ping(payload, ack_on_close)
        if ping is None:
            raise self._close_exc() from self.protocol.parser_exc
        return ping

    def pong(self, data: str | BytesLike = b"") -> None:
        """Send a pong that nobody asked for (RFC 6455 §5.5.3). Blocks no more than :meth:`ping`.

        Pings are answered without this.

        Raises:
            ConnectionClosed: the connection is closed.
            ProtocolError: the payload has more than 125 bytes.
            TypeError: the payload is neither str nor bytes.
            SlowPeer: more than ``write_limit`` bytes wait for the peer already.
        """
        payload = _payload(data)
        self._flush_batch()
        slow_peers.check_write_limit(self)
        try:
            with self._state_lock:
                self.protocol.send_pong(payload)
        except InvalidState:
            raise self._close_exc() from self.protocol.parser_exc
        self._writer.drain()

    def _post_later(self, frame: bytes, sent: int, close_slow: bool) -> None:
        """Send a message that was serialized for many, after ``_post_now()``, without waiting.

        Does nothing if the connection isn't open.

        Args:
            frame: the message.
            sent: what ``_post_now()`` returned.
            close_slow: whether to close a connection to a peer that reads too slowly, with 1008.

        Raises:
            SlowPeer: it reads too slowly; it does not get the message.
        """
        if sent:
            self._writer.drain()
            return
        try:
            self._writer.post(frame, self.options.write_limit)
        except SlowPeer as exc:
            if close_slow:
                slow_peers.close_slow(self, exc)
            raise

    # --- closing ---

    def close(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection with a closing handshake (RFC 6455 §7).

        Blocks until it is closed, at most ``close_timeout`` seconds, whatever the peer and
        other threads do; they are woken. Idempotent; any thread may call it, and a signal
        handler: where that interrupts a call on this connection that must go on first, it
        starts to close and returns.

        Args:
            code: the close code; ``None`` sends none.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ProtocolError: code or reason can't be sent; the connection stays as it is.
            UnicodeEncodeError: the reason has halves of surrogate pairs; the same.
        """
        with contextlib.suppress(ConnectionClosed, SendTimeout):
            self._flush_batch()
        self._close(code, reason, Deadline(self.options.close_timeout))

    def fail(self, code: int = CloseCode.INTERNAL_ERROR, reason: str = "") -> None:
        """Fail the connection: say why and end it, without waiting (RFC 6455 §7.1.7).

        Returns at once; the connection is closed within a second.

        Args:
            code: the close code; 1006 sends no close frame.
            reason: cut to 123 bytes of UTF-8.

        Raises:
            ProtocolError: the code can't be sent.
        """
        self._fail(code, reason)

    def abort(self) -> None:
        """Cut the connection, without a closing handshake. Returns at once."""
        self._abort(None)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until it is closed, at most ``timeout`` seconds; return whether it is."""
        return self._closed.wait(timeout)

    def ensure_open(self) -> None:
        """Return if messages can be sent.

        Raises:
            ConnectionClosed: the connection is closed, or closing (then it waits for the end).
            InvalidState: it isn't open yet.
        """
        state = self.protocol.state
        if state is State.OPEN:
            return
        if state is State.CONNECTING:
            raise InvalidState("connection is connecting")
        raise self._close_exc() from self.protocol.parser_exc

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None or issubclass(exc_type, GeneratorExit):
            self.close()
        elif issubclass(exc_type, Exception):
            self.close(CloseCode.INTERNAL_ERROR)
        else:
            # Ctrl-C: whoever pressed it doesn't want to wait for the peer.
            self._close_quickly()

    def _close_quickly(self) -> None:
        timeout = self.options.close_timeout
        limit = INTERRUPTED_CLOSE_TIMEOUT
        self._close(
            CloseCode.GOING_AWAY, "", Deadline(limit if timeout is None else min(timeout, limit))
        )

    # --- what the channel calls, on callers' threads ---

    def _await_message(self, remaining: float | None, timeout: float | None) -> None:
        """Block until there may be a message: what ``recv()`` does when there is none."""
        queue = self._queue
        try:
            self._reading.wait(Deadline(remaining), lambda: queue.count > 0)
        except EOFError:
            raise self._close_exc() from self.protocol.parser_exc
        except TimeoutError:
            raise TimeoutError(f"no message within {timeout} s") from None

    def _pass_on(self) -> None:
        self._reading.pass_on()

    def _leftover(self) -> None:
        self._reading.take_leftover()

    def _flush_batch(self) -> None:
        """Write what this thread has collected."""
        batch = self._batch() if self._batching else None
        if batch is not None:
            batch.flush()

    def _drain(self) -> None:
        self._writer.drain()

    def _batch(self) -> Batch | None:
        """Return what collects this thread's messages, if something does."""
        batch = self._batches.get(threading.get_ident())
        return None if batch is None else batch()

    # --- what came, on the thread that has the reading role ---

    def _messages_came(self, messages: Any) -> None:
        self._messages_received += len(messages)
        self._frames_received += len(messages)
        self._reading.reader.note(self._inbox.put(messages))

    def _item_came(self, item: Any) -> None:
        """Queue what stands for something else than a message; see ``put_item()`` of the inbox."""
        self._reading.reader.note(self._inbox.put_item(item))

    def _fragment_received(self, frame: Frame) -> None:
        if not (frame.data or frame.fin):
            self._count_cheap()
        self._frames_received += 1
        self._fragments_received += 1
        self._messages_received += frame.fin
        is_text = None if frame.opcode is Opcode.CONT else frame.opcode is Opcode.TEXT
        served = self._inbox.put_fragment(frame.data, is_text=is_text, fin=frame.fin)
        self._reading.reader.note(served)

    def _control_received(self, frame: Frame) -> None:
        self._frames_received += 1
        is_answer = False
        with self._state_lock:
            self.protocol.receive_event(frame)
            if frame.opcode is Opcode.PONG:
                is_answer = self._pings.answer(frame.data, self._note_latency)
        if not is_answer:
            self._count_cheap()
        self._writer.drain()
        if self.protocol.close_expected():
            self._closing.end_within(self.options.close_timeout)
            self._closing.expect_eof()

    def _note_latency(self, seconds: float) -> None:
        self.latency = seconds

    def _count_cheap(self) -> None:
        """Count a ping or an empty fragment, which costs nothing to send; fail after too many."""
        if self._cheap_frames.count(self._reading.pauses + self._inbox.pauses):
            with self._state_lock:
                if self.protocol.parser_exc is None and self.open:
                    self.protocol.parser_exc = ProtocolError(FLOOD)
            self._fail(CloseCode.POLICY_VIOLATION, FLOOD)

    def _decoding_failed(self, *, wait: bool) -> None:
        if wait:
            # What came before the violation was fine: let the program answer it first.
            self._inbox.wait_until_idle(Deadline(FAILURE_GRACE))
        self._closing.fail_decoding()

    # --- called by the timekeeper ---

    def _look(self) -> None:
        """Ensure that somebody reads; mend what a signal handler that raised has left half done.

        Where C code can tell that nothing is to be done this isn't called: see :mod:`.watch`.
        """
        if self._writer.is_behind:
            self._writer.drain()
        self._closing.look()
        self._reading.look()

    def _is_paused(self) -> bool:
        """Tell whether nobody reads because nobody takes messages."""
        return self._reading.is_paused

    # --- what the connection sends by itself ---

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
        """Ensure, at once, that somebody reads: an answer is waited for."""
        if self._role_is_free:
            self._reading.reader.wake()

    def _make_writer(self) -> Writer:
        return Writer(
            self.protocol,
            self._state_lock,
            self._transport,
            self._write_failed,
            self._fail_fragmented,
        )

    def _write_failed(self, exc: BaseException) -> None:
        """Cut the connection, for this reason. With the write lock, perhaps; never blocks."""
        self._abort(exc)
        if isinstance(exc, OSError):
            with self._state_lock:
                # A reset is told once: to us. Whoever reads may have met the end just before that.
                if self._is_finished and isinstance(self.protocol.parser_exc, EOFError):
                    self.protocol.parser_exc = exc

    def _fail_fragmented(self) -> None:
        if self.open:  # otherwise it ends already, and what it waits for still counts
            self._fail(CloseCode.INTERNAL_ERROR, "error in fragmented message")

    # --- the end ---

    def _close(self, code: int | None, reason: str, deadline: Deadline) -> None:
        self._begin_close(code, reason, deadline.remaining())
        if not self._is_interrupted():  # otherwise the reader needs what that call holds
            self._closing.wait_or_cut(deadline)

    def _begin_close(self, code: int | None, reason: str, timeout: float | None) -> None:
        """Send a close frame, and ensure that the connection ends in time. Never blocks."""
        self._closing.begin(code, reason, timeout)

    def _is_interrupted(self) -> bool:
        """Tell whether this is a signal handler, and the call it interrupted holds a lock."""
        return (
            self._writer.lock._is_owned()
            or self._state_lock._is_owned()
            or self._inbox.is_interrupted()
            or self._transport.is_interrupted()
        )

    def _fail(self, code: int, reason: str) -> None:
        self._closing.fail(code, reason)

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

    def _give_up(self, cause: BaseException) -> None:
        """End the connection if nobody reads; otherwise cut it, so that whoever reads does."""
        if self._take_role():
            self._finish(cause)
        else:
            self._abort(cause)

    def _finish(self, cause: BaseException | None) -> None:
        """End the connection: the last act of the thread that has the reading role."""
        self._end_role()
        self._is_finished = True  # before it is unwatched: see _start()
        unwatch(self)
        self._transport.abort()
        self._stop_keepalive()
        with self._state_lock:
            protocol = self.protocol
            cause = self._cause or cause
            complete = protocol.close_rcvd_then_sent is not None  # how TCP ends tells nothing more
            if not complete and protocol.parser_exc is None and isinstance(cause, Exception):
                protocol.parser_exc = cause
            protocol.receive_eof()
            self._pings.abandon(self._close_exc)
            self._closing.stop()
        self._inbox.close()
        self._writer.close()
        lifecycle.unregister(self)
        self._closed.set()
        self._inbox.ring()
        self._reading.reader.end()
        at_end, self._at_end = self._at_end, ()
        for function in at_end:
            function()
        self._let_go()

    def _call_at_end(self, function: Callable[[], object]) -> bool:
        """Have a function called once the connection has ended; return whether it hasn't yet.

        It is called on the thread that ends the connection, without locks, and must not block or
        raise. Any thread may call this.
        """
        with self._state_lock:
            if not self._is_finished:
                self._at_end = (*self._at_end, function)
                return True
        return False

    def _stop_keepalive(self) -> None:
        keepalive, self._keepalive = self._keepalive, None
        if keepalive is not None:
            keepalive.stop()

    def _let_go(self) -> None:
        """Have all that the connection has refer to it weakly.

        So it goes with its last user, at once. Otherwise it would be garbage in a circle, which is
        collected now and then: that of thousands takes some tenths of a second, in which nothing
        else runs. Those who use what it has use it as well, and timers refer to it themselves.
        """
        weak: Any = weakref.proxy(self)
        self._closing.let_go(weak)
        self._reading.let_go(weak)
        self.logger.let_go()
        if isinstance(self.protocol.parser_exc, ProtocolError):
            drop_frames(self.protocol.parser_exc)

    def _close_exc(self) -> ConnectionClosed:
        """Return what to raise, after waiting for the end of a connection that is closing.

        Only with no locks held: at the interpreter's exit threads stay here.

        Raises:
            InvalidState: it isn't open yet.
        """
        if self.protocol.state is State.CONNECTING:
            raise InvalidState("connection is connecting")
        if self.protocol.state is not State.CLOSED or not self._is_interrupted():
            self._closing.wait_or_cut(Deadline(self.options.close_timeout))
        lifecycle.stay_at_exit()
        return self.protocol.close_exc

    # --- the process ---

    def begin_exit(self) -> None:
        """Start to close, at the interpreter's exit. Never blocks."""
        self._begin_close(CloseCode.GOING_AWAY, "", lifecycle.EXIT_TIMEOUT)

    def end_exit(self, deadline: Deadline) -> None:
        """Finish closing, at the interpreter's exit."""
        # On this thread, as others can't be started any more.
        if not self._closing.wait(deadline, reads=True):
            self._abort(TimeoutError("the program ended"))
            self._closing.wait(Deadline(lifecycle.EXIT_TIMEOUT), reads=True)

    def after_fork(self) -> None:
        """Become unusable in a forked child, and leave the parent's connection alone."""
        # A signal handler may have forked. So the call that it interrupted goes on afterwards, on
        # what it had in its hands: that must not wait for threads that only the parent has.
        protocol, inbox, writer = self.protocol, self._inbox, self._writer
        self._end_role()
        forget_owner(self._state_lock)
        self._keepalive = None
        self._closing.after_fork()
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


def _payload(data: str | BytesLike) -> bytes:
    return data.encode() if isinstance(data, str) else as_bytes(data)
