"""The connection: send, receive, ping, close, from any thread."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..aliases import BytesLike, Data, DataLike, LoggerLike
from ..exceptions import ConnectionClosed, ConnectionClosedOK, InvalidState
from ..options import Options
from ..sansio.close import CloseCode
from ..sansio.frames import Frame, Opcode
from ..sansio.http11 import Request, Response
from ..sansio.protocol import Protocol
from ..sansio.state import State
from . import lifecycle
from .attributes import Attributes
from .deadline import Deadline, Latch, clock
from .inbox import Inbox
from .keepalive import FAILURE, Keepalive
from .pings import PendingPings, Ping
from .reader import start_reader
from .timekeeper import Timer, call_later
from .transport import Transport
from .writer import Broken, Lock, Writer, encode

if TYPE_CHECKING:
    import socket
    import uuid

__all__ = ["Connection"]

#: Seconds that closing may take when the program is being interrupted (Ctrl-C).
INTERRUPTED_CLOSE_TIMEOUT = 0.5

#: Seconds that the program has to answer the messages before one that fails the connection.
FAILURE_GRACE = 0.5

#: Seconds that a peer has to close TCP after the connection failed: nothing more is expected.
FAILED_CLOSE_TIMEOUT = 1.0

#: Seconds for the reader to notice that the socket was shut down.
READER_GRACE = 5.0

_numbers = itertools.count(1)


class _Logger(logging.LoggerAdapter):  # type: ignore[type-arg]  # subscriptable from 3.11 on
    """Adds the connection to each record, as ``record.websocket``."""


class Connection(Attributes):
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
        self.logger = _Logger(
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
        self._pings = PendingPings()
        self._closed = Latch()
        self._cause: BaseException | None = None  # why we cut it; first one wins
        self._keepalive: Keepalive | None = None
        self._close_timer: Timer | None = None
        self._reader: threading.Thread | None = None
        self._reading = threading.Lock()  # taken, for good, by who ends the connection
        # Written by the reader only:
        self._messages_received = self._frames_received = 0

    def _start(self) -> None:
        """Begin to read and to keep alive: the opening handshake has succeeded."""
        lifecycle.register(self)
        interval = self.options.ping_interval
        if interval is not None:
            self._keepalive = Keepalive(self, interval, self.options.ping_timeout)
            self._keepalive.start()
        try:
            start_reader(self)
        except BaseException as exc:
            if self._reading.acquire(blocking=False):  # no thread to be had
                self._finish(exc)
            else:  # a signal handler raised when it ran already
                self._abort(exc)
            raise

    # --- receiving ---

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Data:
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
        try:
            return self._inbox.get(Deadline(timeout), decode)
        except EOFError:
            raise self._close_exc() from self.protocol.parser_exc

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
        try:
            yield from self._inbox.stream(Deadline(None), decode)
        except EOFError:
            raise self._close_exc() from self.protocol.parser_exc

    def __iter__(self) -> Iterator[Data]:
        """Receive messages until the connection is closed normally.

        Raises:
            ConnectionClosedError: it was closed with an error.
        """
        try:
            while True:
                yield self.recv()
        except ConnectionClosedOK:
            return

    # --- sending ---

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
        Several threads may call it; messages don't mix, fragmented ones neither.

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
                writer.send_fragments(iter(message), text, timeout, compress)
            else:
                raise TypeError(f"{type(message).__name__} can't be sent; str and bytes can")
        except Broken:
            raise self._close_exc() from self.protocol.parser_exc

    def _make_writer(self) -> Writer:
        return Writer(
            self.protocol, self._state_lock, self._transport, self._abort, self._fail_fragmented
        )

    def _fail_fragmented(self) -> None:
        if self.open:  # otherwise it ends already, and what it waits for still counts
            self.fail(CloseCode.INTERNAL_ERROR, "error in fragmented message")

    def flush(self, timeout: float | None = None) -> None:
        """Block until all that waits to be written is with the kernel.

        Messages are written by :meth:`send` itself; this is for pings, pongs and close
        frames that a slow peer keeps waiting.

        Raises:
            TimeoutError: the peer did not read it within ``timeout`` seconds.
            ConnectionClosed: the connection broke.
        """
        try:
            self._writer.flush(Deadline(timeout))
        except Broken:
            raise self._close_exc() from self.protocol.parser_exc

    # --- control frames ---

    def ping(self, data: str | BytesLike | None = None) -> Ping:
        """Send a ping (RFC 6455 §5.5.2). Doesn't block, but for the end of a closing connection.

        Args:
            data: payload of at most 125 bytes; random by default.

        Returns:
            An event that is set when the pong comes; ``.wait(timeout)`` waits for it,
            ``.latency`` has the seconds it took.

        Raises:
            ConnectionClosed: the connection is closed.
            ConcurrencyError: a ping with that payload waits for its pong already.
            ProtocolError: the payload is too long.
        """
        ping = self._ping(None if data is None else _payload(data))
        if ping is None:
            raise self._close_exc() from self.protocol.parser_exc
        return ping

    def _ping(self, payload: bytes | None) -> Ping | None:
        """Send a ping, unless the connection isn't open. Never blocks."""
        with self._state_lock:
            if self.protocol.state is not State.OPEN:
                return None
            ping = self._pings.add(payload)
            try:
                self.protocol.send_ping(ping.data)
            except BaseException:
                self._pings.discard(ping)
                raise
        self._writer.drain()
        return ping

    def pong(self, data: str | BytesLike = b"") -> None:
        """Send a pong that nobody asked for (RFC 6455 §5.5.3). Blocks no more than :meth:`ping`.

        Pings are answered without this.

        Raises:
            ConnectionClosed: the connection is closed.
            ProtocolError: the payload has more than 125 bytes.
        """
        payload = _payload(data)
        try:
            with self._state_lock:
                self.protocol.send_pong(payload)
        except InvalidState:
            raise self._close_exc() from self.protocol.parser_exc
        self._writer.drain()

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
        self._close(code, reason, Deadline(self.options.close_timeout))

    def _close(self, code: int | None, reason: str, deadline: Deadline) -> None:
        self._begin_close(code, reason, deadline.remaining())
        if self._is_interrupted():
            return  # the reader needs what the interrupted call holds
        if not self._closed.wait(deadline.remaining()):
            self._abort(TimeoutError("timed out while closing connection"))
            self._closed.wait(READER_GRACE)

    def _is_interrupted(self) -> bool:
        """Tell whether this is a signal handler, and the call it interrupted holds a lock."""
        return (
            self._writer.lock._is_owned()
            or self._state_lock._is_owned()
            or self._inbox.is_interrupted()
        )

    def _begin_close(self, code: int | None, reason: str, timeout: float | None) -> None:
        """Send a close frame, and see to it that the connection ends in time. Never blocks."""
        with self._state_lock:
            if self.protocol.state is State.OPEN:
                if self.protocol.fragmenting:
                    self.protocol.fail(CloseCode.INTERNAL_ERROR, "close during fragmented message")
                else:
                    self.protocol.send_close(code, reason)
        self._closing(timeout)
        self._writer.drain()

    def fail(self, code: int = CloseCode.INTERNAL_ERROR, reason: str = "") -> None:
        """Fail the connection: say why and end it, without waiting (RFC 6455 §7.1.7).

        Returns at once; the connection is closed within a second.

        Args:
            code: the close code; 1006 sends no close frame.
            reason: cut to 123 bytes of UTF-8.

        Raises:
            ProtocolError: the code can't be sent.
        """
        with self._state_lock:
            self.protocol.fail(code, reason)
        self._closing(self._failed_timeout())
        self._writer.drain()

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

    def __enter__(self) -> Any:
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

    # --- called by the reader ---

    def _received(self, messages: Sequence[Data]) -> None:
        self._messages_received += len(messages)
        self._frames_received += len(messages)
        self._inbox.put(messages)

    def _fragment_received(self, frame: Frame) -> None:
        self._frames_received += 1
        self._messages_received += frame.fin
        is_text = None if frame.opcode is Opcode.CONT else frame.opcode is Opcode.TEXT
        self._inbox.put_fragment(frame.data, is_text=is_text, fin=frame.fin)

    def _control_received(self, frame: Frame) -> None:
        self._frames_received += 1
        with self._state_lock:
            self.protocol.receive_event(frame)
            if frame.opcode is Opcode.PONG:
                ping = self._pings.answer(frame.data)
                if ping is not None and ping.latency is not None:
                    self.latency = ping.latency
        if self.protocol.state is not State.OPEN:
            failed = self.protocol.parser_exc is not None
            self._closing(self._failed_timeout() if failed else self.options.close_timeout)
        self._writer.drain()

    def _decoding_failed(self) -> None:
        # What came before the violation was fine: let the program answer it first.
        self._inbox.wait_until_idle(Deadline(FAILURE_GRACE))
        with self._state_lock:
            self.protocol.receive_error()
        self._closing(self._failed_timeout())
        self._writer.drain()

    # --- called by the timekeeper ---

    def _keepalive_ping(self) -> Ping | None:
        # Not ping(): that waits for the end of a connection that is closing, and this is the
        # thread that sees to it that there is one.
        return self._ping(None)

    def _keepalive_failed(self) -> None:
        with self._state_lock:
            if self.protocol.parser_exc is None:
                self.protocol.parser_exc = TimeoutError("no pong came in time")
            self.protocol.fail(*FAILURE)
        self._writer.drain()
        # Who does not answer pings won't answer this either.
        self._abort(None)

    def _progress(self) -> tuple[int, int]:
        """Return a value that changes while a pong can't have come yet; see :mod:`.keepalive`."""
        transport = self._transport
        receiving = transport.bytes_received if self.protocol.decoder.receiving else 0
        waiting = self.protocol.has_output or transport.pending
        return receiving, transport.bytes_sent if waiting else 0

    # --- the end ---

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

    def _failed_timeout(self) -> float:
        timeout = self.options.close_timeout
        return FAILED_CLOSE_TIMEOUT if timeout is None else min(timeout, FAILED_CLOSE_TIMEOUT)

    def _close_timed_out(self) -> None:
        self._abort(TimeoutError("timed out while closing connection"))

    def _abort(self, cause: BaseException | None) -> None:
        """Cut the connection; the reader then ends it. Never blocks."""
        if self._cause is None:
            self._cause = cause
        self._inbox.unbind()
        self._transport.abort()
        if self._reader is None:
            self._finish(cause)

    def _finish(self, cause: BaseException | None) -> None:
        """End the connection: the reader's last act."""
        self._transport.abort()
        if self._keepalive is not None:
            self._keepalive.stop()
        with self._state_lock:
            protocol = self.protocol
            cause = self._cause or cause
            if protocol.parser_exc is None and isinstance(cause, Exception):
                protocol.parser_exc = cause
            protocol.receive_eof()
            self._pings.abandon(self._close_exc)
            if self._close_timer is not None:
                self._close_timer.cancel()
        self._inbox.close()
        self._writer.close()
        lifecycle.unregister(self)
        self._closed.set()

    def _close_exc(self) -> ConnectionClosed:
        """Return what to raise, after waiting for the end of a connection that is closing."""
        if not self._closed.wait(self.options.close_timeout):
            self._close_timed_out()
            self._closed.wait(READER_GRACE)
        return self.protocol.close_exc

    # --- the process ---

    def begin_exit(self) -> None:
        """Start to close, at the interpreter's exit. Never blocks."""
        self._begin_close(CloseCode.GOING_AWAY, "", lifecycle.EXIT_TIMEOUT)

    def end_exit(self, deadline: Deadline) -> None:
        """Finish closing, at the interpreter's exit."""
        if not self._closed.wait(deadline.remaining()):
            self._abort(TimeoutError("the program ended"))
            self._closed.wait(lifecycle.EXIT_TIMEOUT)

    def after_fork(self) -> None:
        """Become unusable in a forked child, and leave the parent's connection alone."""
        protocol = self.protocol
        self._state_lock = threading.RLock()  # type: ignore[assignment]
        self._writer = self._make_writer()
        self._keepalive = self._close_timer = None
        protocol.parser_exc = RuntimeError("the process forked; its parent has the connection")
        protocol.receive_eof()
        protocol.data_to_send()  # nothing is ever written
        self._inbox = Inbox()
        self._inbox.close()
        self._pings = PendingPings()
        self._closed = Latch()
        self._closed.set()
        self._transport.after_fork()


def _payload(data: str | BytesLike) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(data)
