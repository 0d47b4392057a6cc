"""An open connection without I/O: data transfer and closing handshake (RFC 6455 §5 to §7)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Union

from ..accel import serialize_frame, serialize_messages
from ..aliases import BytesLike, DataLike
from ..exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidState,
    PayloadTooBig,
    ProtocolError,
    TooManyFragments,
)
from ..options import MaxSize, split_max_size
from .close import OK_CODES, Close, CloseCode
from .extensions.interface import Extension
from .frames import Frame, Opcode, as_bytes, serialize_header
from .http11 import Request, Response
from .messages import Decoder
from .state import Role, State, Transition, advance

__all__ = ["SEND_EOF", "Event", "Protocol"]

#: In the output: close the sending side of the TCP connection.
SEND_EOF = b""

Event = Union[Request, Response, str, bytes, Frame]


class Protocol:
    """One endpoint of a connection: what both roles share.

    Not thread-safe, but :attr:`decoder` may be used by one thread while another uses
    the rest.

    Args:
        role: which endpoint this is.
        state: ``State.OPEN`` skips the opening handshake.
        max_size: limit of a message in bytes, or of (message, fragment); ``None`` is
            unlimited. Above it the connection fails with 1009.
        logger: kept for whoever does the I/O; nothing is logged here.

    Attributes:
        role: which endpoint this is.
        state: how far the connection is.
        extensions: what was agreed on, in the order in which frames pass when sent.
        subprotocol: what was agreed on, or ``None``.
        handshake_exc: why the opening handshake failed.
        parser_exc: what broke the rules in what was received.
        close_rcvd: the close frame received.
        close_sent: the close frame sent.
        close_rcvd_then_sent: whether it was received first; ``None`` unless both are there.
        fragmenting: whether a fragmented message is being sent.
        defer_frames: whether frames that come with the opening handshake are left for
            :meth:`take_early`; for whoever uses the decoder itself.
        decoder: the receiving half; there from the opening handshake's end.
        max_message_size: limit of a message in bytes.
        max_fragment_size: limit of a frame in bytes.
    """

    # Of the class until they change, at the end: an object with more than 30 attributes of its own
    # takes 1.3 KiB more.
    close_rcvd: Close | None = None
    close_sent: Close | None = None
    close_rcvd_then_sent: bool | None = None
    _failed = False
    _eof_sent = False

    def __init__(
        self,
        role: Role,
        *,
        state: State = State.OPEN,
        max_size: MaxSize = 2**20,
        logger: Any = None,
    ) -> None:
        self.role = role
        self.state: State = state
        self.logger = logger
        self.max_message_size: int | None
        self.max_fragment_size: int | None
        self.max_message_size, self.max_fragment_size = split_max_size(max_size)
        self.extensions: list[Extension] = []
        self.subprotocol: str | None = None
        self.handshake_exc: Exception | None = None
        self.parser_exc: Exception | None = None
        self.defer_frames = False
        self.decoder: Decoder
        self._masked = role is Role.CLIENT
        self.fragmenting: bool = False
        self._early = b""  # what came after the handshake message
        self._events: list[Event] = []
        self._output: list[bytes] = []
        self._posted: list[bytes] = []  # go out after the fragmented message under way
        self._pong: bytes | None = None  # only the newest is owed (§5.5.3)
        if state is State.OPEN:
            self._make_decoder()

    # --- what users of a protocol look at ---

    @property
    def max_size(self) -> int | None:
        """Limit of a message in bytes; ``None`` is unlimited."""
        return self.max_message_size

    @property
    def close_code(self) -> int | None:
        """Code of the close frame received, 1006 without one; ``None`` until closed."""
        if self.state is not State.CLOSED:
            return None
        return int(CloseCode.ABNORMAL_CLOSURE if self.close_rcvd is None else self.close_rcvd.code)

    @property
    def close_reason(self) -> str | None:
        """Reason of the close frame received, empty without one; ``None`` until closed."""
        if self.state is not State.CLOSED:
            return None
        return "" if self.close_rcvd is None else self.close_rcvd.reason

    @property
    def close_exc(self) -> ConnectionClosed:
        """A new exception that says how the connection was closed, its cause chained.

        Raises:
            InvalidState: the connection isn't closed.
        """
        if self.state is not State.CLOSED:
            raise InvalidState(f"connection is {self.state.name.lower()}, not closed")
        rcvd, sent = self.close_rcvd, self.close_sent
        normal = (
            rcvd is not None
            and sent is not None
            and rcvd.code in OK_CODES
            and sent.code in OK_CODES
        )
        kind = ConnectionClosedOK if normal else ConnectionClosedError
        exc = kind(rcvd, sent, self.close_rcvd_then_sent)
        exc.__cause__ = self.parser_exc
        return exc

    def close_expected(self) -> bool:
        """Tell whether there is nothing left to do but to close the TCP connection.

        The server does so first; a client gives it a while (RFC 6455 §7.1.1).
        """
        if self.state is State.CLOSED or self._eof_sent or self._failed:
            return True
        return self.state is State.CLOSING and (
            self.close_rcvd is not None or self.handshake_exc is not None
        )

    # --- receiving ---

    def receive_data(self, data: BytesLike) -> None:
        """Take what was read from the connection; events and output may follow.

        Raises nothing: what breaks the rules fails the connection.
        """
        if self.state is State.CONNECTING:
            self._receive_handshake(as_bytes(data))
        elif self.state is not State.CLOSED and hasattr(self, "decoder"):
            self._receive_frames(as_bytes(data))

    def receive_eof(self) -> None:
        """Take the end of the connection; idempotent."""
        if self.state is State.CLOSED:
            return
        if self.state is State.CONNECTING:
            self._receive_handshake_eof()
        elif self.handshake_exc is not None:
            pass  # it was refused, and there never were frames
        elif self.close_rcvd is None and not self._failed and self.parser_exc is None:
            decoder = getattr(self, "decoder", None)  # none where it failed before it was open
            where = " in the middle of a frame" if decoder and decoder.receiving else ""
            self.parser_exc = EOFError(f"the connection ended{where} without a close frame")
        self.state = advance(self.state, Transition.ENDED)
        self._send_eof()

    def events_received(self) -> list[Event]:
        """Return the events since the last call: whole messages as str or bytes, the rest as it is.

        Fragments come as frames, in order, free of extensions; so do control frames, after
        they were answered.
        """
        events, self._events = self._events, []
        return events

    def receive_event(self, event: str | bytes | Frame) -> None:
        """Act on what the decoder returned: answer control frames."""
        if isinstance(event, Frame):
            if event.opcode is Opcode.PING:
                if self.state is State.OPEN:
                    self._pong = event.data
            elif event.opcode is Opcode.CLOSE:
                self._receive_close(event)

    def receive_error(self) -> None:
        """Fail the connection if the decoder found an error."""
        exc = self.decoder.error
        if exc is None or self.parser_exc is not None:
            return
        self.parser_exc = exc
        if isinstance(exc, ProtocolError):
            self.fail(CloseCode.PROTOCOL_ERROR, str(exc))
        elif isinstance(exc, UnicodeDecodeError):
            self.fail(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
        elif isinstance(exc, (PayloadTooBig, TooManyFragments)):
            self.fail(CloseCode.MESSAGE_TOO_BIG, str(exc))
        else:
            self.fail(CloseCode.INTERNAL_ERROR)

    def _receive_frames(self, data: bytes) -> None:
        for event in self.decoder.receive(data):
            self._events.append(event)
            self.receive_event(event)
        self.receive_error()

    def _receive_close(self, frame: Frame) -> None:
        if self.state is State.CLOSED:
            return  # ended by another thread since the frame was parsed
        try:
            self.close_rcvd = Close.parse(frame.data)
        except (ProtocolError, UnicodeDecodeError) as exc:
            self.decoder.error = exc
            self.receive_error()
            return
        self.state = advance(self.state, Transition.CLOSE_RECEIVED)
        if self.close_sent is None:
            # Answer with the code received (§5.5.1), unless we are past sending.
            if not self._failed:
                self._queue_close(self.close_rcvd, frame.data)
                self.close_rcvd_then_sent = True
        else:
            self.close_rcvd_then_sent = False
        if self.role is Role.SERVER:
            self._send_eof()

    def _make_decoder(self) -> None:
        self.decoder = Decoder(
            self.role, self.max_message_size, self.max_fragment_size, self.extensions
        )

    def take_early(self) -> bytes:
        """Return what came with the opening handshake, where :attr:`defer_frames` is set."""
        early, self._early = self._early, b""
        return early

    def _open(self) -> None:
        self._make_decoder()  # before: a signal handler may raise in between
        self.state = advance(self.state, Transition.OPENED)
        if not self.defer_frames:
            self._receive_frames(self.take_early())

    def _receive_handshake(self, data: bytes) -> None:
        raise NotImplementedError  # pragma: no cover

    def _receive_handshake_eof(self) -> None:
        raise NotImplementedError  # pragma: no cover

    # --- sending ---

    @property
    def has_output(self) -> bool:
        """Whether :meth:`data_to_send` would return anything."""
        return bool(self._output) or self._pong is not None

    @property
    def output_size(self) -> int:
        """Bytes that :meth:`data_to_send` would return, but for a pong."""
        return sum(map(len, self._output)) + sum(map(len, self._posted))

    def data_to_send(self) -> list[bytes]:
        """Return what to write since the last call; ``b""`` closes the sending side."""
        self._flush_pong()
        output = self._output[:]
        self._output.clear()  # the accelerator looks at this list
        if self.extensions and self.compression and any(data[:1] >= b"\xc0" for data in output):
            self.extensions[0].forget()  # again: a compressor may have been begun meanwhile
        return output

    def send_text(self, data: BytesLike, fin: bool = True) -> None:
        """Send a text message, or its first fragment, in UTF-8.

        Raises:
            InvalidState: the connection isn't open.
            ProtocolError: a fragmented message is under way.
        """
        self._output.append(self.serialize_message(Opcode.TEXT, data, fin))

    def send_binary(self, data: BytesLike, fin: bool = True) -> None:
        """Send a binary message, or its first fragment.

        Raises:
            InvalidState: the connection isn't open.
            ProtocolError: a fragmented message is under way.
        """
        self._output.append(self.serialize_message(Opcode.BINARY, data, fin))

    def send_continuation(self, data: BytesLike, fin: bool) -> None:
        """Send a fragment that isn't the first.

        Raises:
            InvalidState: the connection isn't open.
            ProtocolError: no fragmented message is under way.
        """
        self._output.append(self.serialize_message(Opcode.CONT, data, fin))
        self.release_posted()

    def serialize_message(
        self, opcode: Opcode, data: BytesLike, fin: bool = True, compress: bool | None = None
    ) -> bytes:
        """Return the bytes of a data frame, for the caller to write in this order.

        Args:
            opcode: TEXT or BINARY for a message or its first fragment, CONT for the others.
            data: the payload, contiguous.
            fin: whether it is the last fragment.
            compress: whether to compress; ``None`` leaves it to the extension.

        Raises:
            InvalidState: the connection isn't open.
            ProtocolError: the fragment is out of order.
        """
        self._check_order(opcode, fin)
        if not self.extensions:
            serialized = serialize_frame(fin << 7 | opcode, data, self._masked)
        else:
            frame = Frame(opcode, as_bytes(data), fin)
            for extension in self.extensions:
                frame = extension.encode(frame, compress=compress)
            serialized = frame.serialize(masked=self._masked)
        return serialized

    @property
    def compression(self) -> tuple[Any, ...] | None:
        """What the accelerator needs to do what the extension does.

        ``None`` unless that is permessage-deflate alone.
        """
        return self.extensions[0].compression if len(self.extensions) == 1 else None

    # --- sending what others send too ---

    @property
    def share_key(self) -> Hashable:
        """What :meth:`serialize_shared` depends on besides the message.

        Servers' connections with the same key can be sent the same bytes; ``None`` where messages
        can't be serialized apart from those before.
        """
        if len(self.extensions) > 1:
            return None
        return self.extensions[0].share_key if self.extensions else ()

    def serialize_shared(self, opcode: Opcode, data: BytesLike) -> bytes:
        """Return the bytes of a message for :meth:`post`, apart from those before.

        A client's are for its own connection only: they are masked.
        """
        if not self.extensions:
            return serialize_frame(0x80 | opcode, data, self._masked)
        frame = self.extensions[0].encode_apart(Frame(opcode, as_bytes(data)))
        return frame.serialize(masked=self._masked)

    def post(self, frame: bytes) -> None:
        """Send a message that was serialized apart; after the fragmented one under way, if any.

        Raises:
            InvalidState: the connection isn't open.
        """
        if self.state is not State.OPEN:
            raise InvalidState(f"connection is {self.state.name.lower()}")
        if self.fragmenting:
            self._posted.append(frame)
        else:
            self._append_posted(frame)

    def release_posted(self) -> None:
        """Send what was posted during a fragmented message, if its last fragment was serialized.

        For who writes by itself what was serialized; before others write output.
        """
        if self._posted and not self.fragmenting:
            posted, self._posted = self._posted, []
            for frame in posted:
                self._append_posted(frame)

    def _append_posted(self, frame: bytes) -> None:
        if frame[0] & 0x40:
            self.extensions[0].forget()
        self._output.append(frame)

    def serialize_messages(self, messages: list[DataLike]) -> bytes:
        """Return the bytes of messages, a frame each: a ``str`` is text, bytes are binary.

        Raises:
            InvalidState: the connection isn't open.
            ProtocolError: a fragmented message is under way.
            TypeError: something else is among them.
            UnicodeEncodeError: a text has surrogates.
        """
        self._check_order(Opcode.TEXT, True)
        if not self.extensions:
            return serialize_messages(messages, self._masked)
        # All that can fail comes before the first is encoded: that can't be taken back.
        frames = [
            (Opcode.TEXT, message.encode())
            if isinstance(message, str)
            else (Opcode.BINARY, memoryview(message).tobytes())
            for message in messages
        ]
        return b"".join(self.serialize_message(*frame) for frame in frames)

    def serialize_large(self, opcode: Opcode, data: BytesLike, fin: bool = True) -> bytes | None:
        """Return the header of a data frame whose payload goes out as it is, without a copy.

        ``None`` where the payload can't: it is masked, or an extension changes it; nothing has
        happened then, and :meth:`serialize_message` is to be called.

        Raises:
            InvalidState: the connection isn't open.
            ProtocolError: the fragment is out of order.
        """
        if self._masked or self.extensions:
            return None
        self._check_order(opcode, fin)
        return serialize_header(fin << 7 | opcode, len(data))

    def _check_order(self, opcode: Opcode, fin: bool) -> None:
        """Refuse a data frame that can't be sent now; keep track of fragments."""
        if self.state is not State.OPEN:
            raise InvalidState(f"connection is {self.state.name.lower()}")
        if (opcode is Opcode.CONT) != self.fragmenting:
            if self.fragmenting:
                raise ProtocolError("a fragmented message is being sent")
            raise ProtocolError("there is no fragmented message to continue")
        self.fragmenting = not fin

    def send_ping(self, data: BytesLike = b"") -> None:
        """Send a ping.

        Raises:
            InvalidState: the connection isn't open.
            ProtocolError: the payload has more than 125 bytes.
        """
        self._send_control(Opcode.PING, data)

    def send_pong(self, data: BytesLike = b"") -> None:
        """Send a pong that answers no ping. Pings are answered without this.

        Raises:
            InvalidState: the connection isn't open.
            ProtocolError: the payload has more than 125 bytes.
        """
        self._send_control(Opcode.PONG, data)

    def send_close(self, code: int | None = None, reason: str = "") -> None:
        """Start the closing handshake (RFC 6455 §7.1.2).

        Args:
            code: the close code; ``None`` sends none.
            reason: at most 123 bytes in UTF-8.

        Raises:
            InvalidState: the connection isn't open.
            ProtocolError: the code may not be sent, there is a reason without a code, or
                the reason is too long.
            UnicodeEncodeError: the reason has halves of surrogate pairs.
        """
        if self.state is not State.OPEN:
            raise InvalidState(f"connection is {self.state.name.lower()}")
        if code is None and reason:
            raise ProtocolError("a close reason needs a close code")
        close = Close(CloseCode.NO_STATUS_RCVD if code is None else code, reason)
        if code == CloseCode.NO_STATUS_RCVD:
            raise ProtocolError("close code 1005 can't be sent; None sends no code")
        self._queue_close(close, close.serialize())

    def fail(self, code: int, reason: str = "") -> None:
        """Fail the connection (RFC 6455 §7.1.7): say why, if that makes sense, and be done.

        What is received later is discarded. Idempotent.

        Args:
            code: the close code; 1006 sends no close frame.
            reason: cut to 123 bytes of UTF-8.

        Raises:
            ProtocolError: the code may not be sent, and would be.
        """
        if self.state is State.OPEN and code != CloseCode.ABNORMAL_CLOSURE:
            reason = reason.encode(errors="replace")[:123].decode(errors="ignore")
            close = Close(code, reason)
            self._queue_close(close, close.serialize())
        self.state = advance(self.state, Transition.FAILED)
        self._failed = True
        if hasattr(self, "decoder"):
            self.decoder.stop()
        if self.role is Role.SERVER:
            self._send_eof()

    def _send_control(self, opcode: Opcode, data: BytesLike) -> None:
        if self.state is not State.OPEN:
            raise InvalidState(f"connection is {self.state.name.lower()}")
        self._output.append(Frame(opcode, as_bytes(data)).serialize(masked=self._masked))

    def _queue_close(self, close: Close, payload: bytes) -> None:
        self._flush_pong()
        self._output.append(Frame(Opcode.CLOSE, payload).serialize(masked=self._masked))
        self.close_sent = close
        self.state = advance(self.state, Transition.CLOSE_SENT)

    def _flush_pong(self) -> None:
        if self._pong is not None:
            self._output.append(Frame(Opcode.PONG, self._pong).serialize(masked=self._masked))
            self._pong = None

    def _send_eof(self) -> None:
        if not self._eof_sent:
            self._flush_pong()
            self._eof_sent = True
            self._output.append(SEND_EOF)
