"""The sending half of a ``WebSocket``, under websocket-client's names."""

from __future__ import annotations

import codecs
from typing import Any

from ...aliases import BytesLike
from ...sansio.close import Close
from ...sansio.frames import Frame, Opcode
from .abnf import ABNF, STATUS_NORMAL, as_bytes
from .attributes import WebSocketAttributes
from .errors import WebSocketProtocolException, WrongArgument, check_status, raise_as_known
from .tracing import isEnabledForTrace, trace_frame

__all__ = ["WebSocketSending", "parse_reason"]


class WebSocketSending(WebSocketAttributes):
    """The methods of a :class:`~.websocket.WebSocket` that send."""

    def __init__(self, sockopt: Any = None, sslopt: dict[str, Any] | None = None) -> None:
        super().__init__(sockopt, sslopt)
        # Of a message whose last fragment is still to come; see send_frame().
        self._fragments: list[bytes] = []
        self._fragments_are_text = False

    def send(self, payload: str | BytesLike, opcode: int = ABNF.OPCODE_TEXT) -> int:
        """Send a message, or a control frame. Blocks until the kernel has taken it.

        Args:
            payload: a ``str``, or bytes; these are UTF-8 if they are sent as text.
            opcode: one of ``ABNF.OPCODE_...``.

        Returns:
            The bytes of the frame, as if it weren't compressed.

        Raises:
            WebSocketConnectionClosedException: the connection isn't open, or broke.
            WebSocketTimeoutException: it was not sent in time; nothing was, and the connection
                stays usable.
            TypeError: the payload can't be sent; nothing was.
            UnicodeError: it is to be text, but isn't UTF-8; nothing was sent.
        """
        if opcode not in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
            return self.send_frame(ABNF.create_frame(payload, opcode))
        if opcode == ABNF.OPCODE_BINARY and isinstance(payload, str):
            payload = as_bytes(payload)
        size = _frame_size(payload)  # before anything is sent: it refuses what can't be
        connection = self._get()
        if isEnabledForTrace():
            is_text = opcode == ABNF.OPCODE_TEXT
            trace_frame(">", Frame(Opcode(opcode), as_bytes(payload, is_text=is_text)))
        try:
            connection.send(payload, text=opcode == ABNF.OPCODE_TEXT, timeout=self.sock_opt.timeout)
        except Exception as exc:
            raise_as_known(exc)
        return size

    def send_text(self, text_data: str) -> int:
        """Send a text message; as :meth:`send`."""
        return self.send(text_data, ABNF.OPCODE_TEXT)

    def send_bytes(self, data: BytesLike) -> int:
        """Send a binary message; as :meth:`send`."""
        return self.send(data, ABNF.OPCODE_BINARY)

    def send_binary(self, payload: BytesLike) -> int:
        """Send a binary message; as :meth:`send`."""
        return self.send(payload, ABNF.OPCODE_BINARY)

    def send_frame(self, frame: ABNF) -> int:
        """Send a frame. Fragments are kept until the last one of their message, then sent.

        Returns:
            The bytes of the frame, as if it weren't compressed.

        Raises:
            ProtocolError: the frame is out of order, or can't be sent.
            ValueError: there is no such opcode.

        Also raises what :meth:`send` does.
        """
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise WebSocketProtocolException("reserved bits are for extensions, which set them")
        if frame.opcode not in ABNF.OPCODES:
            raise WrongArgument(f"{frame.opcode!r} isn't an opcode")
        opcode = Opcode(frame.opcode)
        data = as_bytes(frame.data, is_text=opcode in (Opcode.TEXT, Opcode.CONT))
        if opcode >= Opcode.CLOSE and not frame.fin:
            raise WebSocketProtocolException("a control frame can't be fragmented")
        if opcode is Opcode.PING:
            self.ping(data)
        elif opcode is Opcode.PONG:
            self.pong(data)
        elif opcode is Opcode.CLOSE:
            close = Close.parse(data)
            self._get().begin_close(close.code if data else None, close.reason)
        elif frame.fin and opcode is not Opcode.CONT and not self._fragments:
            return self.send(data, opcode)
        else:
            self._send_fragment(opcode, data, bool(frame.fin))
        return _frame_size(data)

    def _send_fragment(self, opcode: Opcode, data: bytes, fin: bool) -> None:
        connection = self._get()
        if (opcode is Opcode.CONT) is not bool(self._fragments):
            raise WebSocketProtocolException(
                "a fragment that isn't the first has OPCODE_CONT, and only that"
            )
        if not self._fragments:
            self._fragments_are_text = opcode is Opcode.TEXT
        self._fragments.append(data)
        if fin:
            fragments, self._fragments = self._fragments, []
            pieces: list[Any] = fragments
            if self._fragments_are_text:
                # A character may be split between them; this is checked before anything is sent.
                decode = codecs.getincrementaldecoder("utf-8")().decode
                pieces = [decode(piece) for piece in fragments[:-1]]
                pieces.append(decode(fragments[-1], True))
            try:
                connection.send(pieces, timeout=self.sock_opt.timeout)
            except Exception as exc:
                raise_as_known(exc)

    def ping(self, payload: str | BytesLike = "") -> None:
        """Send a ping, whose pong :meth:`recv_data` can receive. Doesn't block.

        Args:
            payload: at most 125 bytes.

        Raises:
            WebSocketConnectionClosedException: the connection isn't open.
            WebSocketProtocolException: the payload is too long.
        """
        data = as_bytes(payload, is_text=True)
        connection = self._get()
        trace_frame(">", Frame(Opcode.PING, data))  # before the answer
        try:
            connection.send_ping(data)
        except Exception as exc:
            raise_as_known(exc)

    def pong(self, payload: str | BytesLike = "") -> None:
        """Send a pong that nobody asked for, as :meth:`ping`. Pings are answered without this."""
        data = as_bytes(payload, is_text=True)
        connection = self._get()
        trace_frame(">", Frame(Opcode.PONG, data))  # before the answer
        try:
            connection.pong(data)
        except Exception as exc:
            raise_as_known(exc)

    def send_close(self, status: int = STATUS_NORMAL, reason: str | bytes = b"") -> None:
        """Start to close, and return; ``recv_data()`` can receive the server's close frame.

        Raises:
            WebSocketConnectionClosedException: there is no connection.
            ProtocolError: code or reason can't be sent; the connection stays as it is.
        """
        check_status(status)
        text = parse_reason(reason)
        connection = self._get()
        try:
            connection.begin_close(status, text)
        except Exception as exc:
            raise_as_known(exc)


def parse_reason(reason: str | bytes) -> str:
    """Return a close reason, which may be given as bytes in UTF-8."""
    return reason if isinstance(reason, str) else as_bytes(reason).decode()


def _frame_size(payload: str | BytesLike) -> int:
    """Return the bytes of a masked frame (RFC 6455 §5.2)."""
    if isinstance(payload, str):
        size = len(payload) if payload.isascii() else len(payload.encode())
    else:
        try:
            size = memoryview(payload).nbytes
        except TypeError:
            kind = type(payload).__name__
            raise TypeError(f"{kind} can't be sent; str and bytes can") from None
    return size + (6 if size < 126 else 8 if size < 65536 else 14)
