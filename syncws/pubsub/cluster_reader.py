"""Reading from one part of a cluster, on a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..exceptions import HubError, HubUnavailable
from ..threaded import lifecycle
from ..threaded.deadline import Deadline, clock
from .backend import Batch, Position
from .redis_backend import RedisBackend
from .redis_clients import is_broken, is_moving

__all__ = ["News", "PartReader"]

#: Seconds that it waits for news at once, and when it could not read just now.
WAIT_TIMEOUT, RETRY_TIMEOUT = 5.0, 0.05

#: Seconds between tries, at first and at most.
BACK_OFF = (0.05, 1.0)

#: Seconds between looks at whether it has ended.
CLOSE_INTERVAL = 0.05

#: Seconds that a slot may move before that counts as trouble.
MOVING_TIMEOUT = 5.0


class News(NamedTuple):
    """What a reader has to say.

    Attributes:
        reader: which one.
        batches: what it has read.
        error: why it can't read; ``None`` if it can, as far as it knows.
    """

    reader: PartReader
    batches: Sequence[Batch]
    error: HubError | None


class PartReader:
    """Reads each time that it is asked to, which one thread does.

    Args:
        part: what to read from.
        news: where to put what comes of it.

    Attributes:
        error: why it can't read, as of the news that were taken last.
    """

    def __init__(self, part: RedisBackend, news: queue.SimpleQueue[News | None]) -> None:
        self.error: HubError | None = None
        self._part = part
        self._news = news
        self._asked: Mapping[str, Position] | None = None  # until the news of that are taken
        self._requests: queue.SimpleQueue[Mapping[str, Position] | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._moving_since: float | None = None

    def ask(self, since: Mapping[str, Position]) -> None:
        """Have it read what comes after these positions, by room; these and no others."""
        if self._asked is not None:
            # What is not waited for any more does no harm.
            if self.error is None and any(
                self._asked.get(room) is not place for room, place in since.items()
            ):
                self._part.wake()
            return
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="syncws-hub-part")
            lifecycle.start_thread(thread)
            self._thread = thread
        self._asked = since
        self._requests.put(since)

    def take(self, news: News, since: Mapping[str, Position]) -> list[Batch]:
        """Note that news are taken; return what follows these positions.

        A room that was left and entered again since it was asked for has another one.
        """
        asked, self._asked, self.error = self._asked or {}, None, news.error
        return [batch for batch in news.batches if since.get(batch.room) == asked[batch.room]]

    def end(self) -> None:
        """Have the thread end. Never blocks; idempotent."""
        self._ended.set()
        self._requests.put(None)
        self._part.disconnect()  # which ends the waiting as well

    def join(self, deadline: Deadline) -> None:
        """Wait for the thread's end, after :meth:`end`."""
        thread = self._thread
        while thread is not None:
            is_over = not thread.is_alive() or deadline.expired
            self._part.disconnect()  # it may just have made a connection
            if is_over:
                return
            thread.join(deadline.within(CLOSE_INTERVAL).remaining())

    def _run(self) -> None:
        while True:
            since = self._requests.get()
            if since is None or self._ended.is_set():
                return
            batches: Sequence[Batch] = ()
            error: HubError | None = None
            pause = 0.0
            try:
                # After a failure, not for long: that it works again is news, too.
                batches = self._part.wait(since, RETRY_TIMEOUT if self._failures else WAIT_TIMEOUT)
                self._failures, self._moving_since = 0, None
            except HubError as exc:
                pause = self._find_pause()
                error = None if self._is_passing(exc) else exc
            except Exception as exc:  # a defect
                pause = BACK_OFF[1]
                error = HubError(f"reading failed: {exc!r}")
            self._news.put(News(self, batches, error))
            self._ended.wait(pause)

    def _find_pause(self) -> float:
        self._failures += 1
        first, most = BACK_OFF
        return min(most, first * 1.5 ** min(self._failures - 1, 20))

    def _is_passing(self, exc: HubError) -> bool:
        """Tell whether a failure is none yet: connections break, and slots move."""
        if not isinstance(exc, HubUnavailable):
            return False
        if is_moving(exc):
            if self._moving_since is None:
                self._moving_since = clock()
            return clock() - self._moving_since < MOVING_TIMEOUT
        return self._failures == 1 and is_broken(exc)
