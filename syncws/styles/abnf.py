"""Frames and close codes by the names that websocket-client has for them."""

from __future__ import annotations

from ..aliases import BytesLike
from ..sansio import frames
from ..sansio.close import CloseCode
from ..sansio.frames import Frame, Opcode
from .client_errors import WebSocketProtocolException

__all__ = [
    "ABNF",
    "STATUS_ABNORMAL_CLOSED",
    "STATUS_BAD_GATEWAY",
    "STATUS_GOING_AWAY",
    "STATUS_INVALID_EXTENSION",
    "STATUS_INVALID_PAYLOAD",
    "STATUS_MESSAGE_TOO_BIG",
    "STATUS_NORMAL",
    "STATUS_POLICY_VIOLATION",
    "STATUS_PROTOCOL_ERROR",
    "STATUS_SERVICE_RESTART",
    "STATUS_STATUS_NOT_AVAILABLE",
    "STATUS_TLS_HANDSHAKE_ERROR",
    "STATUS_TRY_AGAIN_LATER",
    "STATUS_UNEXPECTED_CONDITION",
    "STATUS_UNSUPPORTED_DATA_TYPE",
]

STATUS_NORMAL = int(CloseCode.NORMAL_CLOSURE)
STATUS_GOING_AWAY = int(CloseCode.GOING_AWAY)
STATUS_PROTOCOL_ERROR = int(CloseCode.PROTOCOL_ERROR)
STATUS_UNSUPPORTED_DATA_TYPE = int(CloseCode.UNSUPPORTED_DATA)
STATUS_STATUS_NOT_AVAILABLE = int(CloseCode.NO_STATUS_RCVD)
STATUS_ABNORMAL_CLOSED = int(CloseCode.ABNORMAL_CLOSURE)
STATUS_INVALID_PAYLOAD = int(CloseCode.INVALID_DATA)
STATUS_POLICY_VIOLATION = int(CloseCode.POLICY_VIOLATION)
STATUS_MESSAGE_TOO_BIG = int(CloseCode.MESSAGE_TOO_BIG)
STATUS_INVALID_EXTENSION = int(CloseCode.MANDATORY_EXTENSION)
STATUS_UNEXPECTED_CONDITION = int(CloseCode.INTERNAL_ERROR)
STATUS_SERVICE_RESTART = int(CloseCode.SERVICE_RESTART)
STATUS_TRY_AGAIN_LATER = int(CloseCode.TRY_AGAIN_LATER)
STATUS_BAD_GATEWAY = int(CloseCode.BAD_GATEWAY)
STATUS_TLS_HANDSHAKE_ERROR = int(CloseCode.TLS_HANDSHAKE)


class ABNF(Frame):
    """A frame, with its payload as bytes. :meth:`create_frame` makes one.

    Attributes:
        opcode: one of ``OPCODE_...``.
        data: the payload.
        fin: whether it is the last frame of its message.
    """

    OPCODE_CONT = int(Opcode.CONT)
    OPCODE_TEXT = int(Opcode.TEXT)
    OPCODE_BINARY = int(Opcode.BINARY)
    OPCODE_CLOSE = int(Opcode.CLOSE)
    OPCODE_PING = int(Opcode.PING)
    OPCODE_PONG = int(Opcode.PONG)

    #: Every opcode.
    OPCODES = tuple(map(int, Opcode))

    #: Their names.
    OPCODE_MAP = {int(opcode): opcode.name.lower() for opcode in Opcode}  # noqa: RUF012  # as there

    @staticmethod
    def create_frame(data: str | BytesLike, opcode: int, fin: int = 1) -> ABNF:
        """Return a frame for :meth:`~.websocket.WebSocket.send_frame`.

        Args:
            data: the payload; a ``str`` becomes UTF-8 in a text frame, elsewhere it is ASCII.
            opcode: one of ``OPCODE_...``.
            fin: whether it is the last frame of its message.

        Raises:
            ProtocolError: there is no such opcode.
            TypeError: the data is something else, or isn't ASCII where it must be.
        """
        try:
            kind = Opcode(opcode)
        except ValueError as exc:
            raise WebSocketProtocolException(f"{opcode!r} isn't an opcode") from exc
        is_text = kind in (Opcode.TEXT, Opcode.CONT)
        return ABNF(kind, as_bytes(data, is_text=is_text), bool(fin))

    def format(self) -> bytes:
        """Return the frame's bytes, masked.

        Raises:
            ProtocolError: a control frame is fragmented or over 125 bytes.
        """
        return self.serialize(masked=True)


def as_bytes(data: str | BytesLike, *, is_text: bool = False) -> bytes:
    """Return a payload as bytes.

    Args:
        data: the payload.
        is_text: whether a ``str`` becomes UTF-8; if not it must be ASCII, since nobody can tell
            which bytes are meant.

    Raises:
        TypeError: it is something else, or a ``str`` that isn't ASCII.
        UnicodeEncodeError: the text has halves of surrogate pairs.
    """
    if isinstance(data, str):
        if not is_text and not data.isascii():
            raise TypeError("binary data is given as bytes; a str is for text")
        return data.encode()
    return frames.as_bytes(data)
