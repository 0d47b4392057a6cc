"""Opening handshakes, messages and control frames in the log, for ``enableTrace(True)``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ...foreign import SECRET_HEADERS, escape
from ...sansio.frames import Frame
from ...threaded.guarded_logger import GuardedLogger

if TYPE_CHECKING:
    from ...client.client_connection import ClientConnection
    from ...sansio.headers import Headers

__all__ = [
    "debug",
    "dump",
    "enableTrace",
    "error",
    "info",
    "isEnabledForDebug",
    "isEnabledForError",
    "isEnabledForTrace",
    "trace",
    "trace_frame",
    "trace_handshake",
    "warning",
]

logger = logging.getLogger("syncws.trace")
_guarded = GuardedLogger(logger)  # threads of the library make traces as well

_enabled = False
_handler: logging.Handler | None = None


def enableTrace(
    traceable: bool,
    handler: logging.Handler | None = None,
    level: str | int = "DEBUG",
) -> None:
    """Log what goes over the connections of this package's clients; or stop doing so.

    Each opening handshake, message and control frame is a record of the logger
    ``syncws.trace``, of level DEBUG. Long payloads are shortened, and the values of headers with
    credentials are left out. Any thread may call it.

    Args:
        traceable: whether to log.
        handler: where to log; standard error by default.
        level: level of the logger.

    Raises:
        ValueError: there is no such level.
    """
    global _enabled, _handler
    logger.setLevel(level if traceable else logging.NOTSET)
    if _handler is not None:
        logger.removeHandler(_handler)
        _handler = None
    _enabled = bool(traceable)
    if _enabled:
        _handler = handler or logging.StreamHandler()
        logger.addHandler(_handler)


def isEnabledForTrace() -> bool:
    """Tell whether :func:`enableTrace` has been told to log."""
    return _enabled


def isEnabledForError() -> bool:
    """Tell whether the logger takes records of level ERROR."""
    return logger.isEnabledFor(logging.ERROR)


def isEnabledForDebug() -> bool:
    """Tell whether the logger takes records of level DEBUG."""
    return logger.isEnabledFor(logging.DEBUG)


def error(msg: str) -> None:
    """Log a text of the program's, of level ERROR."""
    logger.error("%s", msg)


def warning(msg: str) -> None:
    """Log a text of the program's, of level WARNING."""
    logger.warning("%s", msg)


def info(msg: str) -> None:
    """Log a text of the program's, of level INFO."""
    logger.info("%s", msg)


def debug(msg: str) -> None:
    """Log a text of the program's, of level DEBUG."""
    logger.debug("%s", msg)


def trace(msg: str) -> None:
    """Log a text of the program's, of level DEBUG, if traces are logged."""
    if _enabled:
        logger.debug("%s", msg)


def dump(title: str, message: str) -> None:
    """Log a text of the program's with a title, of level DEBUG, if traces are logged."""
    trace(f"--- {title} ---")
    trace(message)
    trace("-----------------------")


def trace_handshake(connection: ClientConnection) -> None:
    """Log request and response of an opening handshake."""
    request, response = connection.request, connection.response
    if _enabled and request is not None and response is not None:
        _log(">", f"GET {request.path} HTTP/1.1", request.headers)
        _log("<", f"HTTP/1.1 {response.status_code} {response.reason_phrase}", response.headers)


def trace_frame(direction: str, frame: Frame) -> None:
    """Log a frame, or a message as if it were one: ``>`` was sent, ``<`` received."""
    if _enabled:
        # Not an override in a subclass.
        _guarded.debug("%s %s", direction, Frame.__str__(frame))


def _log(direction: str, first: str, headers: Headers) -> None:
    _guarded.debug("%s %s", direction, escape(first))
    for name, value in headers.raw_items():
        shown = "..." if name.lower() in SECRET_HEADERS else escape(value)
        _guarded.debug("%s %s: %s", direction, name, shown)
