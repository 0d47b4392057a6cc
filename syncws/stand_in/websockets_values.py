"""Constants and types by the names that websockets has for them."""

from __future__ import annotations

import http
import os
from collections.abc import Sequence
from typing import NewType, Optional, Union

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
    "ConnectionOption",
    "EXTERNAL_CLOSE_CODES",
    "ExtensionHeader",
    "ExtensionName",
    "ExtensionParameter",
    "OPEN",
    "Origin",
    "PING",
    "PONG",
    "PathLike",
    "SERVER",
    "StatusLike",
    "Subprotocol",
    "TEXT",
    "UpgradeProtocol",
]

CONT, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

SERVER, CLIENT = Role.SERVER, Role.CLIENT

CONNECTING, OPEN = State.CONNECTING, State.OPEN
CLOSING, CLOSED = State.CLOSING, State.CLOSED

CLOSE_CODE_EXPLANATIONS = {code: explain(code) for code in CloseCode}
EXTERNAL_CLOSE_CODES = WIRE_CODES

StatusLike = Union[http.HTTPStatus, int]
PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

Origin = NewType("Origin", str)
Subprotocol = NewType("Subprotocol", str)
ExtensionName = NewType("ExtensionName", str)
ExtensionParameter = tuple[str, Optional[str]]
ExtensionHeader = tuple[ExtensionName, Sequence[ExtensionParameter]]
ConnectionOption = NewType("ConnectionOption", str)
UpgradeProtocol = NewType("UpgradeProtocol", str)
