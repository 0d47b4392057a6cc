"""Connecting again and again: ``for ws in reconnect(uri)``."""

from __future__ import annotations

import _thread
import inspect
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Callable

from ..sansio.close import CloseCode
from ..sansio.state import State
from ..sansio.uri import WebSocketURI
from ..threaded.blocking import SIGNAL_INTERVAL, is_main_thread
from ..threaded.deadline import Deadline, clock
from ..threaded.guarded_logger import own_logger
from ..threaded.latch import Latch
from ..threaded.timekeeper import call_later
from . import retry
from .client_connection import ClientConnection
from .connecting import connect
from .redirects import Destination

__all__ = ["Reconnecting", "reconnect", "unix_reconnect"]

#: Seconds that the peer has to answer the close frame after the loop was left, and seconds that we
#: wait for the answer. It may be Ctrl-C that leaves: there is no way to tell here.
LEAVING_TIMEOUT = 1.0
LEAVING_WAIT = 0.1

#: Seconds after which a Ctrl-C that came while a loop was being left is raised again.
SIGNAL_DELAY = 0.01

#: Arguments that are functions of the program's: if they raise, there is no other try.
PROGRAM_FUNCTIONS = ("additional_headers", "extra_headers", "create_connection", "create_protocol")


def reconnect(
    uri: str | WebSocketURI,
    *,
    backoff: retry.Backoff = retry.backoff,
    max_attempts: int | None = None,
    stop: threading.Event | None = None,
    process_exception: Callable[[Exception], Exception | None] = retry.process_exception,
    reconnect_delays: retry.Backoff | None = None,
    **kwargs: Any,
) -> Generator[ClientConnection, None, None]:
    """Connect to a server, and again each time the loop asks for another connection.

    An iterator of open connections::

        for ws in reconnect("ws://localhost:8765/"):
            try:
                for message in ws:
                    print(message)
            except ConnectionClosed:
                continue

    A connection is closed with 1000 when the loop goes on, and when the loop is left by ``break``
    or ``return``. In the latter case the server has one second to answer, and only a tenth of a
    second is spent waiting for it. After a useful connection the next one is opened at once. There
    is a delay after a failure, and after a connection that the server ended within a second without
    having sent a message; 429 and 503 with ``Retry-After`` make it as long as the server asks for,
    but an hour at most. Each attempt begins at ``uri``, or where permanent redirects (301, 308)
    have led from there.

    Args:
        uri: as for :func:`connect`.
        backoff: delays in seconds, or a function that returns them for each outage. By default
            random ones, up to 1 second and twice as much each time, 60 at most. When there are
            no more, the last failure is raised.
        max_attempts: failures in a row after which the last one is raised.
        stop: ends the iteration once it is set, even during a delay. The connection
            that the loop is using stays as it is.
        process_exception: decides about a failure: ``None`` means to try again, an exception is
            raised. By default the network's failures and statuses like 503 are worth another try,
            but not 401, 403, 404, a bad certificate, an invalid URI; see
            :mod:`syncws.client.retry`.
        reconnect_delays: the name that ``websockets`` has for ``backoff``.
        kwargs: as for :func:`connect`.

    Raises what :func:`connect` does, when the failure isn't worth another try. One thread at a time
    may use the iterator.
    """
    inspect.signature(connect).bind(uri, **kwargs)
    if "legacy" in kwargs:
        raise TypeError("legacy= is for connect()")
    if reconnect_delays is not None:
        if backoff is not retry.backoff:
            raise TypeError("reconnect_delays= is another name of backoff=: give one of them")
        backoff = reconnect_delays
    if "sock" in kwargs:
        raise TypeError("sock= can't be used: a socket is good for one connection")
    if max_attempts is not None and max_attempts < 1:
        raise ValueError(f"max_attempts must be at least 1, got {max_attempts!r}")
    if not (callable(backoff) or isinstance(backoff, Iterable)):
        raise TypeError(f"backoff= are delays, or a function that gives them, not {backoff!r}")
    if stop is not None and not (hasattr(stop, "wait") and hasattr(stop, "is_set")):
        raise TypeError(f"stop= is a threading.Event, not {stop!r}")
    failures = _ProgramFailures()
    for name in PROGRAM_FUNCTIONS:
        if callable(kwargs.get(name)):
            kwargs[name] = failures.watch(kwargs[name])
    loop = _Loop(
        uri if isinstance(uri, Destination) else Destination(uri),
        retry.Pace(backoff, max_attempts),
        stop or Latch(),
        lambda exc: exc if failures.has(exc) else process_exception(exc),
        kwargs,
    )
    return loop.run()


def unix_reconnect(
    path: str | os.PathLike[str],
    uri: str | WebSocketURI | None = None,
    **kwargs: Any,
) -> Generator[ClientConnection, None, None]:
    """Connect to a server that listens on a Unix socket, again and again.

    An iterator of open connections, as :func:`reconnect` is::

        for ws in unix_reconnect("/run/chat.sock"):
            ...

    Args:
        path: where the socket is. Each attempt looks it up, so a server that was started again
            is found.
        uri: what to ask for; ``ws://localhost/`` by default, or ``wss://`` with ``ssl=``.
        kwargs: as for :func:`reconnect` and :func:`connect`.

    Raises what :func:`reconnect` does. One thread at a time may use the iterator.
    """
    return reconnect(Destination.of_unix_socket(path, uri, kwargs), **kwargs)


class Reconnecting:
    """What ``connect(..., legacy=False)`` returns: one connection, or one after the other.

    Args:
        uri: as for :func:`connect`.
        legacy: false.
        sock: as for :func:`connect`; not to iterate.
        kwargs: the other arguments of :func:`connect`.
    """

    def __init__(self, uri: str | WebSocketURI, *, legacy: bool, sock: Any, **kwargs: Any) -> None:
        self._uri = uri
        self._arguments = kwargs if sock is None else {"sock": sock, **kwargs}
        self._connection: ClientConnection | None = None

    def __enter__(self) -> ClientConnection:
        self._connection = connect(self._uri, **self._arguments)
        return self._connection

    def __exit__(self, *exc_info: Any) -> None:
        assert self._connection is not None
        self._connection.__exit__(*exc_info)

    def __iter__(self) -> Iterator[ClientConnection]:
        return reconnect(self._uri, **self._arguments)


class _ProgramFailures:
    """Tells what the program's own functions raised from failures of the network."""

    def __init__(self) -> None:
        self._last: Exception | None = None

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as exc:
                self._last = exc
                raise

        return watched

    def has(self, exc: Exception) -> bool:
        last, self._last = self._last, None
        return last is exc


@dataclass(frozen=True)
class _Loop:
    """A loop over connections; arguments of :func:`reconnect`."""

    destination: Any  # for connect() it is the URI
    pace: retry.Pace
    stop: threading.Event | Latch
    process_exception: Callable[[Exception], Exception | None]
    kwargs: dict[str, Any]

    def run(self) -> Generator[ClientConnection, None, None]:
        while not self.stop.is_set():
            ws, delay = self._try()
            if ws is not None:
                try:
                    opened = clock()
                    if self.stop.is_set():
                        ws.close()
                        return
                    yield ws
                    delay = self._delay_after(ws, clock() - opened)
                    ws.close()
                except BaseException as exc:
                    try:
                        if not ws.closed:  # by the interpreter's exit: names may be gone by now
                            _abandon(ws, exc)
                    except BaseException:  # a signal handler raised
                        ws.abort()
                        raise
                    raise
                del ws  # not while we wait
            _pause(self.stop, delay)

    def _try(self) -> tuple[ClientConnection | None, float]:
        """Return a connection; or how long to wait before trying again.

        Raises:
            Exception: it is not to be tried again.
        """
        try:
            return connect(self.destination, **self.kwargs), 0.0
        except Exception as exc:
            decision = self.process_exception(exc)
            if decision is exc:
                raise
            if decision is not None:
                raise decision from exc
            delay = self.pace.after_failure(exc)
            logger = self.kwargs.get("logger") or own_logger("client")
            where = self.destination.first
            logger.info("can't connect to %s, trying again in %.1f s: %s", where, delay, exc)
            return None, delay

    def _delay_after(self, ws: ClientConnection, duration: float) -> float:
        if _was_useful(ws, duration):
            self.pace.reset()
            return 0.0
        return self.pace.after_useless()


def _abandon(ws: ClientConnection, cause: BaseException) -> None:
    """End a connection that the loop is done with: because it was left, or something failed."""
    if sys.is_finalizing():  # the iterator ends with the interpreter
        return
    timeout = ws.options.close_timeout
    limit = LEAVING_TIMEOUT if timeout is None else min(timeout, LEAVING_TIMEOUT)
    try:
        if isinstance(cause, GeneratorExit):  # the loop was left
            ws._begin_close(CloseCode.NORMAL_CLOSURE, "", limit)
            ws._closing.wait(Deadline(LEAVING_WAIT))  # what remains to be done goes on
        else:
            ws.abort()
    except KeyboardInterrupt:
        ws.abort()
        # What a generator raises while it is being dropped is lost: raise it again afterwards.
        call_later(SIGNAL_DELAY, _press_ctrl_c)


def _press_ctrl_c() -> None:
    if hasattr(signal, "pthread_kill"):  # it interrupts waits as well
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]  # it runs
    else:  # pragma: no cover  # Windows
        _thread.interrupt_main()


def _was_useful(ws: ClientConnection, duration: float) -> bool:
    """Tell whether a connection was more than one more failure of the server."""
    protocol = ws.protocol
    if (
        protocol.state is State.OPEN
        or ws.stats.messages_received
        or duration >= retry.USEFUL_DURATION
    ):
        return True
    # Otherwise only if the program has closed it.
    ended_by_us = protocol.close_sent is not None and not protocol.close_rcvd_then_sent
    return ended_by_us and protocol.parser_exc is None


def _pause(stop: threading.Event | Latch, delay: float) -> None:
    """Wait for the delay, or until ``stop`` is set."""
    deadline = Deadline(delay)
    while not deadline.expired:
        timeout = deadline.lock_timeout()
        # The main thread runs signal handlers: a signal that comes just before the wait does not
        # end it.
        if stop.wait(min(timeout, SIGNAL_INTERVAL) if is_main_thread() else timeout):
            return
