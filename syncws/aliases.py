"""Type aliases that several layers share."""

from __future__ import annotations

import logging
from typing import Any, Union

__all__ = ["BytesLike", "Data", "DataLike", "LoggerLike"]

#: What ``recv()`` returns: text as ``str``, binary as ``bytes``.
Data = Union[str, bytes]

#: What holds bytes.
BytesLike = Union[bytes, bytearray, memoryview]

#: What can be sent as one message, whole.
DataLike = Union[str, bytes, bytearray, memoryview]

#: What is accepted as a ``logger``.
LoggerLike = Union[logging.Logger, "logging.LoggerAdapter[Any]"]
