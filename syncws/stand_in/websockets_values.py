"""Constants by the names that websockets has for them."""

from __future__ import annotations

from ..sansio.close import WIRE_CODES, CloseCode, explain
from ..sansio.frames import Opcode
from ..sansio.state import Role, State

__all__ = [
    "BINARY",
    "CLIENT",
    "CLOSE",
    "CLOSED",
    "CLOSE_CODE_EXPLANATIONS",
    "CLOSING",
    "CONNECTING",
    "CONT",
    "EXTERNAL_CLOSE_CODES",
    "OPEN",
    "PING",
    "PONG",
    "SERVER",
    "TEXT",
]

CONT, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

SERVER, CLIENT = Role.SERVER, Role.CLIENT

CONNECTING, OPEN = State.CONNECTING, State.OPEN
CLOSING, CLOSED = State.CLOSING, State.CLOSED

CLOSE_CODE_EXPLANATIONS = {code: explain(code) for code in CloseCode}
EXTERNAL_CLOSE_CODES = WIRE_CODES
