"""Close codes and reasons (RFC 6455 §7.4)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..exceptions import ProtocolError
from ..foreign import escape

__all__ = ["OK_CODES", "Close", "CloseCode", "is_sendable"]


class CloseCode(enum.IntEnum):
    """Registered close codes (RFC 6455 §7.4.1, §11.7)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    # 1004 is reserved
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


#: Codes that never travel: they report what happened without a close frame (§7.4.1).
LOCAL_CODES = {
    CloseCode.NO_STATUS_RCVD,
    CloseCode.ABNORMAL_CLOSURE,
    CloseCode.TLS_HANDSHAKE,
}
WIRE_CODES = frozenset(int(code) for code in CloseCode if code not in LOCAL_CODES)

#: Codes after which a connection counts as closed normally.
OK_CODES: frozenset[int] = frozenset(
    (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD)
)


def is_sendable(code: int) -> bool:
    """Tell whether a close frame may have this code (§7.4.1, §7.4.2)."""
    return code in WIRE_CODES or 3000 <= code < 5000


def explain(code: int) -> str:
    """Return the meaning of a code."""
    if 3000 <= code < 4000:
        return "registered"
    if 4000 <= code < 5000:
        return "private use"
    try:
        name = CloseCode(code).name
    except ValueError:
        return "unknown"
    return {"NO_STATUS_RCVD": "no close code"}.get(name, name.replace("_", " ").lower())


@dataclass(frozen=True)
class Close:
    """Code and reason of a close frame (RFC 6455 §5.5.1).

    Attributes:
        code: 1005 stands for a close frame without a code.
        reason: at most 123 bytes of UTF-8.
    """

    code: int
    reason: str = ""

    def __str__(self) -> str:
        reason = f" {escape(self.reason)}" if self.reason else ""
        return f"{self.code} ({explain(self.code)}){reason}"

    @classmethod
    def parse(cls, payload: bytes) -> Close:
        """Return what a received close frame says.

        Raises:
            ProtocolError: it has one byte, or a code that may not be sent.
            UnicodeDecodeError: the reason isn't UTF-8.
        """
        if not payload:
            return cls(CloseCode.NO_STATUS_RCVD, "")
        if len(payload) == 1:
            raise ProtocolError("a close frame has a payload of one byte")
        code = int.from_bytes(payload[:2], "big")
        if not is_sendable(code):
            raise ProtocolError(f"close code {code} must not be sent")
        return cls(code, str(payload[2:], "utf-8"))

    def serialize(self) -> bytes:
        """Return the payload of the close frame.

        Raises:
            ProtocolError: the code may not be sent, or the reason is too long.
            UnicodeEncodeError: the reason has halves of surrogate pairs.
        """
        if self.code == CloseCode.NO_STATUS_RCVD and not self.reason:
            return b""
        if not is_sendable(self.code):
            raise ProtocolError(f"close code {self.code} can't be sent")
        reason = self.reason.encode()
        if len(reason) > 123:
            raise ProtocolError(f"a close reason has at most 123 bytes, got {len(reason)}")
        return self.code.to_bytes(2, "big") + reason
