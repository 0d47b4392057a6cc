"""Connecting again and again: ``for ws in reconnect(uri)``."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Iterator
from typing import Any, Callable

from ..sansio.close import CloseCode
from ..sansio.state import State
from ..sansio.uri import WebSocketURI
from ..threaded.deadline import SIGNAL_INTERVAL, Deadline, clock, is_main_thread
from . import retry
from .client_connection import ClientConnection
from .connect import connect
from .redirects import Destination

__all__ = ["reconnect"]

#: Seconds that the peer has to answer the close frame of who leaves the loop. It may be Ctrl-C
#: that leaves: nobody can tell here.
LEAVING_TIMEOUT = 1.0

#: Seconds after which a connection was of use even if nothing was received over it.
USEFUL_DURATION = 1.0


def reconnect(
    uri: str | WebSocketURI,
    *,
    backoff: retry.Backoff = retry.backoff,
    max_attempts: int | None = None,
    stop: threading.Event | None = None,
    process_exception: Callable[[Exception], Exception | None] = retry.process_exception,
    **kwargs: Any,
) -> Iterator[ClientConnection]:
    """Connect to a server, and again whenever the loop comes back for a connection.

    An iterator of open connections::

        for ws in reconnect("ws://localhost:8765/"):
            try:
                for message in ws:
                    print(message)
            except ConnectionClosed:
                continue

    A connection is closed with 1000 when the loop goes on; also when it is left by ``break`` or
    ``return``, where the server has one second at most to answer. After a connection that was of
    use the next one is opened at once; after a failure, or a connection that the server ended
    within a second without having sent a message, there is a delay. 429 and 503 with
    ``Retry-After`` make it as long as the server asks for, an hour at most. Each attempt begins
    at ``uri``, or where permanent redirects (301, 308) have led to from there.

    Args:
        uri: as for :func:`connect`.
        backoff: delays in seconds, or a function that returns them for each outage. By default
            random ones, up to 1 second and twice as much each time, 60 at most. When there are
            no more, the last failure is raised.
        max_attempts: failures in a row after which the last one is raised.
        stop: ends the iteration once it is set, also while a delay is waited for. The connection
            that the loop is using stays as it is.
        process_exception: decides about a failure: ``None`` is to try again, an exception is to
            raise. By default the network's failures and statuses like 503 are worth another
            try, but not 401, 403, 404, a bad certificate, an invalid URI; see
            :mod:`syncws.client.retry`.
        kwargs: as for :func:`connect`.

    Raises what :func:`connect` does, when it isn't to be tried again. One thread at a time may
    use the iterator.
    """
    inspect.signature(connect).bind(uri, **kwargs)
    if "sock" in kwargs:
        raise TypeError("sock= can't be used: a socket is good for one connection")
    if max_attempts is not None and max_attempts < 1:
        raise ValueError(f"max_attempts must be at least 1, got {max_attempts!r}")
    destination = Destination(uri)
    pace = retry.Pace(backoff, max_attempts)
    return _connections(destination, pace, stop or threading.Event(), process_exception, kwargs)


def _connections(
    destination: Any,  # for connect() it is the URI
    pace: retry.Pace,
    stop: threading.Event,
    process_exception: Callable[[Exception], Exception | None],
    kwargs: dict[str, Any],
) -> Iterator[ClientConnection]:
    logger = kwargs.get("logger") or logging.getLogger("syncws.client")
    while not stop.is_set():
        try:
            ws = connect(destination, **kwargs)
        except Exception as exc:
            decision = process_exception(exc)
            if decision is not None:
                if decision is exc:
                    raise
                raise decision from exc
            delay = pace.after_failure(exc)
            logger.info(
                "can't connect to %s, trying again in %.1f s: %s", destination.first, delay, exc
            )
            _pause(stop, delay)
            continue
        opened = clock()
        try:
            yield ws
        except BaseException:  # mostly GeneratorExit: the loop was left
            _leave(ws)
            raise
        if _was_useful(ws, clock() - opened):
            pace.reset()
            delay = 0.0
        else:
            delay = pace.after_useless()
        ws.close()
        _pause(stop, delay)


def _leave(ws: ClientConnection) -> None:
    timeout = ws.options.close_timeout
    limit = LEAVING_TIMEOUT if timeout is None else min(timeout, LEAVING_TIMEOUT)
    ws._close(CloseCode.NORMAL_CLOSURE, "", Deadline(limit))


def _was_useful(ws: ClientConnection, duration: float) -> bool:
    """Tell whether a connection was more than another failure of the server's."""
    protocol = ws.protocol
    ended_by_us = protocol.close_sent is not None and not protocol.close_rcvd_then_sent
    is_open = protocol.state is State.OPEN
    return is_open or ended_by_us or ws.stats.messages_received > 0 or duration >= USEFUL_DURATION


def _pause(stop: threading.Event, delay: float) -> None:
    """Wait, or until ``stop`` is set."""
    deadline = Deadline(delay)
    while not deadline.expired:
        timeout = deadline.lock_timeout()
        # The main thread runs signal handlers: a signal that comes just before the wait does not
        # end it.
        if stop.wait(min(timeout, SIGNAL_INTERVAL) if is_main_thread() else timeout):
            return
