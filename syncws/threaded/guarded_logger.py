"""Logging that can't stop the thread that logs."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
import weakref
from typing import TYPE_CHECKING, Any

from ..aliases import LoggerLike
from .blocking import is_main_thread

__all__ = ["ConnectionLogger", "GuardedLogger", "own_logger"]

#: Makes records name the line that logs, rather than ours: frames of logging itself count before
#: Python 3.11.
STACK_LEVEL = 2 if sys.version_info >= (3, 11) else 3


if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[Any]
else:  # subscriptable from Python 3.11 on
    Adapter = logging.LoggerAdapter


_loggers: dict[str, logging.Logger] = {}


def own_logger(side: str) -> logging.Logger:
    """Return the library's logger of ``"client"`` or ``"server"``. Any thread may call it.

    It is looked up once, at its first use, when the program has set logging up. Looking up takes a
    lock of all loggers, which a signal handler that raises could leave held: that is not for each
    connection to do.
    """
    try:
        # Not by get(): without the interpreter's lock that takes one of the dict's own, which a
        # child would find taken for good if another thread had it during the fork.
        return _loggers[side]
    except KeyError:
        logger = _loggers[side] = logging.getLogger(f"syncws.{side}")
        return logger


class GuardedLogger(Adapter):
    """Logs as another logger does, and survives what its handlers and filters raise.

    Handlers are the program's; threads of the library must not end for what they do, nor
    connections get lost. What they raise is printed, as :mod:`logging` prints what goes wrong
    within its own handlers (see :data:`logging.raiseExceptions`). But in the main thread it is
    raised: there is none of ours, and it may come from a signal handler. Any thread may use it.

    Args:
        logger: the other logger.
        extra: attributes of each record; what the caller adds stays.
    """

    def __init__(self, logger: LoggerLike, extra: dict[str, Any] | None = None) -> None:
        super().__init__(logger, extra or {})  # type: ignore[arg-type,unused-ignore]

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Add the attributes."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Log, whatever handlers raise, but for the main thread."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + STACK_LEVEL - 1
        try:
            super().log(level, msg, *args, **kwargs)
        except (Exception, SystemExit):  # others end green threads, or are their time limits
            if is_main_thread():
                raise
            _report()


class ConnectionLogger(GuardedLogger):
    """Adds the connection to each record, as ``websocket``, for as long as there is one.

    Args:
        logger: the other logger.
        connection: the connection, which has this one.
    """

    extra: Any  # the program may add to it, or replace it

    def __init__(self, logger: LoggerLike, connection: Any) -> None:
        super().__init__(logger, {"websocket": connection})
        self._connection = weakref.ref(connection)

    def let_go(self) -> None:
        """Refer to the connection weakly, as it has ended."""
        with contextlib.suppress(KeyError, TypeError):  # the program has replaced it
            if self.extra["websocket"] is self._connection():
                del self.extra["websocket"]

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Add the attributes."""
        msg, kwargs = super().process(msg, kwargs)
        kwargs["extra"].setdefault("websocket", self._connection())
        return msg, kwargs


def _report() -> None:
    if logging.raiseExceptions and sys.stderr is not None:
        with contextlib.suppress(Exception):  # it may be closed, or the program's
            traceback.print_exc(file=sys.stderr)
