"""The connection: send, receive, ping, close, from any thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from ..aliases import BytesLike, DataLike
from ..exceptions import ConnectionClosed, InvalidState, SendTimeout, SlowPeer
from ..sansio.close import CloseCode
from ..sansio.frames import as_bytes
from ..sansio.state import State
from .absent import CONNECTION_HINTS, explain_absence
from .batch import Batch
from .core import Core
from .deadline import Deadline
from .outgoing import as_message, encode
from .pings import Ping
from .writer import Broken

__all__ = ["Connection"]

#: Seconds that closing may take when the program is being interrupted (Ctrl-C).
INTERRUPTED_CLOSE_TIMEOUT = 0.5


@explain_absence(CONNECTION_HINTS)
class Connection(Core):
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

        Written is when 64 KiB have been collected, at the end of the block, also if it fails,
        and before this thread receives, pings or closes. Messages of other threads may come
        in between, whole. Outside of the block nothing is held back.

        Raises, from ``send()`` or the end of the block:
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
        self._abort(exc)
        raise self._close_exc() from self.protocol.parser_exc

    def flush(self, timeout: float | None = None) -> None:
        """Block until all that waits to be written is with the kernel.

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
        self._check_write_limit()
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
        self._check_write_limit()
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
            self._refuse_slow(exc, close_slow)
            raise

    def _refuse_slow(self, exc: SlowPeer, close: bool) -> None:
        """Close the connection to a peer that reads too slowly, if it is to be closed."""
        if close:
            with self._state_lock:
                if self.protocol.parser_exc is None:
                    self.protocol.parser_exc = exc
            self._fail(CloseCode.POLICY_VIOLATION, "too slow")

    def _check_write_limit(self) -> None:
        limit = self.options.write_limit
        if self._writer.is_behind and self.buffered_amount > limit:
            raise SlowPeer(self.buffered_amount, limit)

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


def _payload(data: str | BytesLike) -> bytes:
    return data.encode() if isinstance(data, str) else as_bytes(data)
