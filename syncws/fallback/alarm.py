"""A time that may be put off again and again, with one timer of the reactor's."""

from __future__ import annotations

from typing import Callable

from ..threaded.deadline import clock
from .reactor import Reactor

__all__ = ["Alarm"]


class Alarm:
    """Calls a function when a time has come that was not put off. For the reactor's thread.

    Args:
        reactor: whose thread this is.
        function: what to call.
    """

    def __init__(self, reactor: Reactor, function: Callable[[], object]) -> None:
        self._reactor = reactor
        self._function = function
        self._due: float | None = None
        self._timer_at: float | None = None  # when somebody looks whether it is due

    def set(self, due: float) -> None:
        """Call the function at this time, and not at the one that was set before."""
        self._due = due
        if self._timer_at is None or due < self._timer_at:
            self._timer_at = due
            self._reactor.call_at(due, self._look)

    def cancel(self) -> None:
        """Call nothing, until another time is set."""
        self._due = None

    def _look(self) -> None:
        now = clock()
        if self._timer_at is not None and now < self._timer_at:
            return  # another timer will
        self._timer_at = None
        if self._due is None:
            return
        if self._due <= now:
            self._due = None
            self._function()
        else:
            self.set(self._due)
