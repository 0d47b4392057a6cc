"""Whether a hub's engine answers: asked by health checks, which can't wait until it does."""

from __future__ import annotations

import threading

from ..exceptions import HubError, HubUnavailable
from ..locks import make_rlock
from ..threaded import lifecycle
from ..threaded.deadline import clock
from ..threaded.latch import Latch
from .backend import Backend

__all__ = ["Health"]


class _Question:
    """What an engine is asked, and whether it has answered.

    Attributes:
        is_over: set once it has, or can't.
        error: why it can't.
    """

    def __init__(self) -> None:
        self.is_over = Latch()
        self.error: HubError | None = None


class Health:
    """Asks whether a backend answers. Any thread may use it.

    It asks on a thread of its own, because a backend may take much longer than its asker has time.
    Whoever asks meanwhile gets the same answer, so that there is one such thread at most.

    Args:
        backend: the backend.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.begin()

    def begin(self) -> None:
        """Begin without a thread: at first, and in a forked child."""
        # Re-entrant, because a signal handler may ask while the main thread does.
        self._lock = make_rlock()
        self._question: _Question | None = None

    def ask(self, timeout: float) -> float:
        """Return the seconds that the answer took.

        Raises:
            HubError: the backend refuses.
            HubUnavailable: it can't be reached, or doesn't answer in time.
        """
        start = clock()
        with self._lock:
            question = self._question
            if question is None or question.is_over.is_set():
                question = _Question()
                thread = threading.Thread(
                    target=self._run, args=(question,), name="syncws-hub-ping"
                )
                lifecycle.start_thread(thread)
                self._question = question
        if not question.is_over.wait(timeout):
            raise HubUnavailable(f"no answer within {timeout:g} s")
        if question.error is not None:
            raise type(question.error)(str(question.error)) from question.error
        return clock() - start

    def _run(self, question: _Question) -> None:
        try:
            self._backend.ping()
        except HubError as exc:
            question.error = exc
        except Exception as exc:  # a defect, of the backend's perhaps
            question.error = HubError(f"asking failed: {exc!r}")
        finally:
            question.is_over.set()
