"""Whether to try again after a failure to connect, and when. Only this module decides that.

A failure that may pass by itself is worth another try:

- the network: no such host, unreachable, refused, reset, timeouts (:exc:`OSError`), and TLS that
  fails for a reason other than a certificate;
- a server or a proxy that closes the connection instead of answering;
- HTTP statuses 408, 425, 429, 500, 502, 503 and 504, from the server or a proxy;
- a SOCKS proxy that can't connect us.

Everything else stays as it is until something is changed: other statuses (401, 403 and 404
among them), certificates, invalid URIs, refused redirects, servers that don't speak WebSocket,
wrong arguments, and whatever the program's own functions raise.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Callable, Union

from ..exceptions import (
    InvalidMessage,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from ..sansio.http11 import Response

__all__ = ["Backoff", "Pace", "backoff", "process_exception", "retry_after"]

#: Statuses that say "later", or that something behind the server is out of order.
TEMPORARY_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))

#: Statuses whose ``Retry-After`` counts.
BUSY_STATUSES = frozenset((429, 503))

#: Seconds after which a connection was useful even if nothing was received over it.
USEFUL_DURATION = 1.0

#: Seconds that a server may ask us to wait, at most.
MAX_RETRY_AFTER = 3600.0

#: Seconds: the limit of the first delay; it doubles with each delay after that.
INITIAL_DELAY = 1.0

#: Seconds: no delay is longer.
MAX_DELAY = 60.0

#: Delays between attempts, in seconds; or a function that returns them, called for each outage.
Backoff = Union[Iterable[float], Callable[[], Iterable[float]]]


def process_exception(exc: Exception) -> Exception | None:
    """Decide about a failure: ``None`` means to try again, an exception is raised."""
    if isinstance(exc, (InvalidStatus, InvalidProxyStatus)):
        worth = exc.response.status_code in TEMPORARY_STATUSES
    elif isinstance(exc, (InvalidMessage, InvalidProxyMessage)):
        worth = isinstance(exc.__cause__, EOFError)
    else:
        # What is wrong with a certificate is a ValueError too.
        network = isinstance(exc, OSError) and not isinstance(exc, ValueError)
        worth = network or isinstance(exc, ProxyError)
    return None if worth else exc


def retry_after(exc: Exception) -> float:
    """Return the seconds that a response with 429 or 503 asks to wait; 0 if it doesn't.

    ``Retry-After`` is a number of seconds or a date (RFC 9110 §10.2.3).
    """
    if not isinstance(exc, (InvalidStatus, InvalidProxyStatus)):
        return 0.0
    response: Response = exc.response
    values = response.headers.get_all("Retry-After")
    if response.status_code not in BUSY_STATUSES or not values:
        return 0.0
    return max(0.0, min(_seconds(values[-1]), MAX_RETRY_AFTER))


def _seconds(value: str) -> float:
    if value.isascii() and value.isdigit():
        return float(value)
    from datetime import timezone  # these are slow to import, and rarely needed
    from email.utils import parsedate_to_datetime
    from time import time

    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:  # RFC 9110 §5.6.7: they are all in GMT
            date = date.replace(tzinfo=timezone.utc)
        return date.timestamp() - time()
    except (ValueError, TypeError, IndexError, OverflowError):  # not a date; varies by version
        return 0.0


def backoff() -> Iterator[float]:
    """Yield delays: random ones up to a limit that doubles from 1 to 60 seconds.

    They are spread over the whole range ("full jitter"), so that the clients of a server that comes
    back don't return all at once.
    """
    limit = INITIAL_DELAY
    while True:
        yield random.uniform(0, limit)
        limit = min(2 * limit, MAX_DELAY)


class Pace:
    """How long to wait before the next attempt.

    Args:
        delays: the delays of one outage; after the last one the failure is raised.
        max_attempts: failures in a row after which the last one is raised; ``None``: any number.
    """

    def __init__(self, delays: Backoff, max_attempts: int | None) -> None:
        self._delays = delays
        self._max_attempts = max_attempts
        self.reset()

    def reset(self) -> None:
        """Start over: a connection was useful."""
        self._failures = 0
        self._current: Iterator[float] | None = None
        self._last = 0.0

    def after_failure(self, exc: Exception) -> float:
        """Return the delay after a failure.

        Raises:
            Exception: the failure itself, if there were too many.
        """
        self._failures += 1
        if self._max_attempts is not None and self._failures >= self._max_attempts:
            raise exc
        delay = self._next_delay()
        if delay is None:
            raise exc
        return max(delay, retry_after(exc))

    def after_useless(self) -> float:
        """Return the delay after a connection that was opened and lost at once.

        After the last delay, that one is used again and again.
        """
        self._failures = 0
        delay = self._next_delay()
        if delay is not None:
            self._last = delay
        return self._last

    def _next_delay(self) -> float | None:
        if self._current is None:
            delays = self._delays
            self._current = iter(delays() if callable(delays) else delays)
        return next(self._current, None)
