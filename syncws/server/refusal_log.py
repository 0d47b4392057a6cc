"""Connections that are refused: counted by reason, and logged without flooding the log.

The first one of a kind is logged at once, and further ones at the DEBUG level; as long as they
go on, a line every few seconds says how many there were. So a flood costs neither disk nor time.
"""

from __future__ import annotations

import logging
from typing import Any
from typing import Protocol as Interface

from ..aliases import LoggerLike
from ..exceptions import AbortHandshake, InvalidHost, InvalidOrigin
from ..foreign import escape
from ..locks import make_rlock
from ..sansio.http11 import Request, Response
from ..sansio.plain_responses import refusal_status
from ..sansio.server_protocol import ServerProtocol
from ..threaded.blocking import forget_owner
from ..threaded.timekeeper import Timer, call_later

__all__ = ["REASONS", "Refusable", "RefusalLog", "log_failure", "log_refusal"]

#: Seconds between two lines about refusals for the same reason.
INTERVAL = 10.0

#: Values of ``ws_event``: of a refusal, and of several more of one kind. See :mod:`.records`.
REFUSAL, REFUSALS = "refusal", "refusals"

#: Why connections are refused: keys of ``ServerStats.refusals``, and what they mean.
REASONS = {
    "full": "the server is full",
    "address": "an address has too many connections",
    "resources": "the process has no thread, descriptor or memory left",
    "shutdown": "the server is shutting down",
    "origin": "the origin isn't accepted",
    "host": "the host isn't served here",
    "authentication": "answered with 401",
    "status": "answered with another HTTP error, by the program or its router",
    "request": "the request isn't a valid opening handshake",
    "failure": "the server failed",
    "tls": "the TLS handshake failed",
    "timeout": "the client was too slow",
    "lost": "the client went away",
}


class Refusable(Interface):
    """A connection whose opening handshake may end without a WebSocket: what is said of it.

    Attributes:
        protocol: the codec; its ``handshake_exc`` says why it was refused.
        request: what the client asked for, if it came to that.
        response: what it was answered, if it was.
    """

    protocol: ServerProtocol
    request: Request | None
    response: Response | None
    _refused_for: str | None  # the server's reason, if it has one
    _refusal_logged: bool

    @property
    def logger(self) -> LoggerLike:
        """Where to log."""

    @property
    def remote_address(self) -> Any:
        """Who it is."""

    @property
    def requested_host(self) -> str | None:
        """The host that it asks for."""

    @property
    def _refusal_log(self) -> RefusalLog | None:
        """The log that counts refusals, if there is a server."""


class RefusalLog:
    """Counts refusals, and logs how many there were now and then.

    Args:
        logger: where to log what isn't about one connection.
    """

    def __init__(self, logger: LoggerLike) -> None:
        self._logger = logger
        # Guards all below, for a few instructions; innermost of locks. Re-entrant, because a
        # signal handler may ask for the counts while the main thread does.
        self._lock = make_rlock()
        self._counts: dict[str, int] = {}
        # Kinds that were logged in this interval: at which level, and how many came after.
        self._unsaid: dict[str, tuple[int, int]] = {}
        self._timers: dict[str, Timer] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How many were refused so far, by reason."""
        with self._lock:
            return dict(self._counts)

    def count(self, reason: str) -> None:
        """Count one refusal."""
        with self._lock:
            self._counts[reason] = self._counts.get(reason, 0) + 1

    def refuse(
        self,
        reason: str,
        level: int,
        message: str,
        *args: Any,
        logger: LoggerLike | None = None,
        **fields: Any,
    ) -> None:
        """Count one refusal, and log it if it is the first one of its reason for a while.

        Args:
            reason: one of :data:`REASONS`.
            level: at which to log it.
            message: what to log.
            args: for the message, as for a logger.
            logger: where to log it.
            fields: attributes of the record; see :mod:`.records`.
        """
        self.count(reason)
        extra = {"ws_event": REFUSAL, "ws_refusal": reason, **fields}
        self.log(reason, level, message, *args, logger=logger, extra=extra)

    def log(
        self,
        kind: str,
        level: int,
        message: str,
        *args: Any,
        logger: LoggerLike | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Log something that may come in numbers, without counting it as a refusal."""
        with self._lock:
            first = kind not in self._unsaid
            self._unsaid[kind] = (level, 0 if first else self._unsaid[kind][1] + 1)
        if first:
            self._sum_up_later(kind)
        (logger or self._logger).log(level if first else logging.DEBUG, message, *args, extra=extra)

    def finish(self) -> None:
        """Log what is left to log: no more will come."""
        with self._lock:
            unsaid, self._unsaid = self._unsaid, {}
            timers, self._timers = self._timers, {}
        for timer in timers.values():
            timer.cancel()
        for kind, (level, count) in unsaid.items():
            if count:
                self._say(kind, level, count)

    def after_fork(self) -> None:
        """Become usable in a forked child, where the lock may be another thread's."""
        forget_owner(self._lock)

    def _sum_up_later(self, kind: str) -> None:
        try:
            timer = call_later(INTERVAL, lambda: self._sum_up(kind))
        except RuntimeError:  # no thread is available: the next one is logged as the first
            with self._lock:
                self._unsaid.pop(kind, None)
            return
        with self._lock:
            self._timers[kind] = timer

    def _sum_up(self, kind: str) -> None:
        """Log how many more there were; if there were none, the next one is news again."""
        with self._lock:
            level, count = self._unsaid.pop(kind, (0, 0))
            self._timers.pop(kind, None)
            if count:
                self._unsaid[kind] = (level, 0)
        if count:
            self._sum_up_later(kind)
            self._say(kind, level, count)

    def _say(self, kind: str, level: int, count: int) -> None:
        extra = {"ws_event": REFUSALS, "ws_refusal": kind, "ws_count": count}
        if kind in REASONS:
            message = "%d more connections refused within %g s: %s"
            self._logger.log(level, message, count, INTERVAL, REASONS[kind], extra=extra)
        else:
            self._logger.log(level, "%d more times within %g s: %s", count, INTERVAL, kind)


def log_refusal(connection: Refusable, answered: bool) -> None:
    """Count and log that an opening handshake ends without a WebSocket.

    Args:
        connection: whose handshake; its ``protocol.handshake_exc`` says why.
        answered: whether the program or its router answered, and no rule of ours was broken.
    """
    connection._refusal_logged = True
    exc, request = connection.protocol.handshake_exc, connection.request
    if connection.response is not None:
        status: int | None = connection.response.status_code
    else:
        status = None if exc is None or _is_lost(exc) else refusal_status(exc)[0]
    # Without the query, which may have a secret.
    path = None if request is None else request.path.partition("?")[0]
    fields = {"ws_remote_address": connection.remote_address, "ws_path": path, "ws_status": status}
    by_program = answered or isinstance(exc, AbortHandshake)
    level = logging.INFO
    if isinstance(exc, InvalidOrigin) and request is not None:
        level = logging.WARNING
        message, args = _describe_origin(connection, exc.value)
    elif by_program and request is not None:
        message = "%s %s from %s answered with %d"
        args = (request.method, path, connection.remote_address, status)
    else:
        message, args = "connection from %s refused: %s", (connection.remote_address, exc)
    if by_program and status is not None and status < 400:
        connection.logger.info(message, *args)  # that's what the client came for
        return
    reason = connection._refused_for or _classify(exc, status, by_program)
    _log(connection, reason, level, message, args, fields)


def log_failure(connection: Refusable, exc: Exception) -> None:
    """Count and log that an opening handshake failed below HTTP, unless it was refused before."""
    if connection._refusal_logged:
        return
    if isinstance(exc, TimeoutError):
        reason = "timeout"
    elif type(exc).__module__ == "ssl":  # not imported for this
        reason = "tls"
    else:
        reason = "lost"
    message = "opening handshake with %s failed: %s"
    address = connection.remote_address
    _log(
        connection,
        reason,
        logging.INFO,
        message,
        (address, exc),
        {"ws_remote_address": address, "ws_path": None, "ws_status": None},
    )


def _log(
    connection: Refusable,
    reason: str,
    level: int,
    message: str,
    args: tuple[Any, ...],
    fields: dict[str, Any],
) -> None:
    log = connection._refusal_log
    if log is not None:
        log.refuse(reason, level, message, *args, logger=connection.logger, **fields)
    else:
        extra = {"ws_event": REFUSAL, "ws_refusal": reason, **fields}
        connection.logger.log(level, message, *args, extra=extra)


def _classify(exc: BaseException | None, status: int | None, by_program: bool) -> str:
    """Return the reason of a refusal."""
    if isinstance(exc, InvalidOrigin):
        return "origin"
    if isinstance(exc, InvalidHost):
        return "host"
    if _is_lost(exc):
        return "lost"
    if by_program:
        return "authentication" if status == 401 else "status"
    return "failure" if status == 500 else "request"


def _is_lost(exc: BaseException | None) -> bool:
    return isinstance(exc, EOFError) or isinstance(getattr(exc, "__cause__", None), EOFError)


def _describe_origin(connection: Refusable, origin: str | None) -> tuple[str, Any]:
    assert connection.request is not None
    sites = escape(", ".join(connection.request.headers.get_all("Sec-Fetch-Site")))
    return "connection from origin %s%s to host %s refused; origins=[%r] would accept it", (
        None if origin is None else escape(origin),
        f" ({sites})" if sites else "",
        escape(str(connection.requested_host)),
        origin,
    )
