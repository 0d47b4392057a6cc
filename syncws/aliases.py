"""Types that appear in public signatures; the names are those of ``websockets``."""

from __future__ import annotations

import http
import logging
import os
from collections.abc import Sequence
from typing import Any, NewType, Optional, Union

__all__ = [
    "BytesLike",
    "ConnectionOption",
    "Data",
    "DataLike",
    "ExtensionHeader",
    "ExtensionName",
    "ExtensionParameter",
    "LoggerLike",
    "Origin",
    "PathLike",
    "StatusLike",
    "Subprotocol",
    "UpgradeProtocol",
]

#: What ``recv()`` returns: text as ``str``, binary as ``bytes``.
Data = Union[str, bytes]

#: What holds bytes.
BytesLike = Union[bytes, bytearray, memoryview]

#: What can be sent as one message, whole.
DataLike = Union[str, bytes, bytearray, memoryview]

#: What is accepted as a ``logger``.
LoggerLike = Union[logging.Logger, "logging.LoggerAdapter[Any]"]

#: The status of a response.
StatusLike = Union[http.HTTPStatus, int]

#: The path of a file or of a Unix socket.
PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

#: Value of an ``Origin`` header.
Origin = NewType("Origin", str)

#: One value of a ``Sec-WebSocket-Protocol`` header.
Subprotocol = NewType("Subprotocol", str)

#: Name of an extension (RFC 6455 §9.1).
ExtensionName = NewType("ExtensionName", str)

#: Name and value of an extension's parameter; ``None`` without a value.
ExtensionParameter = tuple[str, Optional[str]]

#: One value of a ``Sec-WebSocket-Extensions`` header.
ExtensionHeader = tuple[ExtensionName, Sequence[ExtensionParameter]]

#: One value of a ``Connection`` header.
ConnectionOption = NewType("ConnectionOption", str)

#: One value of an ``Upgrade`` header.
UpgradeProtocol = NewType("UpgradeProtocol", str)
