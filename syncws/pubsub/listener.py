"""A member of a room that isn't a connection: a program that listens."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from types import TracebackType
from typing import Callable

from .backend import Entry

__all__ = ["Listener"]


class Listener(Iterator[Entry]):
    """Iterates over the messages of a room; :meth:`Room.listen` returns it.

    Messages wait here until they are taken, as many as come. One thread iterates; any may close it,
    which ends the iteration, as the end of the hub does. At the end of a ``with`` block it closes.

    Args:
        timeout: seconds that a step may take; ``None`` waits for ever.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._leave: Callable[[], object] = lambda: None
        self.open = True

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __next__(self) -> Entry:
        try:
            entry = self._entries.get(timeout=self._timeout)
        except queue.Empty:
            entry = None
        if entry is None:
            self.close()
            self._entries.put(None)  # for the next step
            raise StopIteration
        return entry

    def close(self) -> None:
        """Leave the room; the iteration ends after what is there. Idempotent; any thread."""
        if self.open:
            self.open = False
            self._leave()
            self._entries.put(None)

    def _put(self, entry: Entry) -> None:
        self._entries.put(entry)

    @property
    def _is_finished(self) -> bool:
        """As for a connection."""
        return not self.open

    def _call_at_end(self, function: Callable[[], object]) -> bool:
        """As for a connection."""
        self._leave = function
        return self.open
