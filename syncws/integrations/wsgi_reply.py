"""What answers a request of the fallback in a WSGI server: its thread waits for the response."""

from __future__ import annotations

import threading
from typing import Callable

from ..sansio.http11 import Response
from ..threaded.deadline import Deadline

__all__ = ["WsgiReply"]


class WsgiReply:
    """Hands a response on, from the reactor's thread to the server's.

    What waits in here is bounded by what a session sends without an acknowledgement.

    Args:
        max_wait: seconds after which the request is to be answered in any case.
        can_stream: whether the response may come in pieces.

    Attributes:
        is_stream: whether the response comes in pieces, once there is one.
        gone: called on the reactor's thread by :meth:`give_up`; ``None`` if nothing is to be.
    """

    def __init__(self, max_wait: float, can_stream: bool) -> None:
        self.max_wait = max_wait
        self.can_stream = can_stream
        self.is_stream = False
        self.gone: Callable[[], None] | None = None
        # Guards what follows, and wakes the server's thread.
        self._changed = threading.Condition()
        self._response: Response | None = None
        self._pieces: list[bytes] = []
        self._has_ended = False

    # --- on the reactor's thread ---

    def respond(self, response: Response) -> None:
        """Send the whole response."""
        with self._changed:
            self._response = response
            self._has_ended = True
            self._changed.notify()

    def stream(self, response: Response) -> None:
        """Send the head of a response whose body follows in pieces."""
        with self._changed:
            self.is_stream = True
            self._response = response
            self._changed.notify()

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        with self._changed:
            self._pieces.append(data)
            self._changed.notify()

    def end(self) -> None:
        """End the body."""
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def give_up(self) -> None:
        """Note that the client, or the server, waits no longer."""
        if self.gone is not None and not self._has_ended:
            self.gone()

    # --- on the server's ---

    def wait(self, timeout: float) -> Response | None:
        """Block until there is a response, or the head of one; ``None`` if there is none in time.

        Args:
            timeout: seconds.
        """
        deadline = Deadline(timeout)
        with self._changed:
            while self._response is None and not deadline.expired:
                self._changed.wait(deadline.remaining())
            return self._response

    def take(self, timeout: float) -> bytes:
        """Block until there is more of the body; empty if it has ended, or nothing came in time.

        Args:
            timeout: seconds.
        """
        deadline = Deadline(timeout)
        with self._changed:
            while not (self._pieces or self._has_ended or deadline.expired):
                self._changed.wait(deadline.remaining())
            data = b"".join(self._pieces)
            self._pieces.clear()
            return data
