"""Requests within a session of the fallback, and what their answers say about it."""

from __future__ import annotations

from typing import Any, Callable, NoReturn

from ..exceptions import InvalidHandshake, InvalidStatus, MultipleValuesError
from ..fallback.streamed_response import StreamedResponse
from ..sansio.http11 import Response
from ..threaded.deadline import Deadline
from ..threaded.latch import Latch
from .http_link import HttpLink
from .patience import Patience
from .session_requests import OpenedSession, SessionLost, lost_by

__all__ = ["EARLY", "FAILURES", "GRACE", "SessionExchange", "shorten"]

#: Seconds for the way there and back, beyond what the server may take to answer.
GRACE = 10.0

#: Seconds for a connection to the server.
DIAL_TIMEOUT = 5.0

#: Seconds: an answer without anything that comes earlier isn't what was asked for.
EARLY = 0.25

#: Part of the time that something on the way allows a request to wait, which we make use of.
MARGIN = 0.7

#: What means that a request has failed, and says nothing about the session.
FAILURES = (OSError, InvalidHandshake, MultipleValuesError)


class SessionExchange:
    """What those who carry a session's bytes have in common.

    Args:
        opened: the session.
        make_link: makes connections to the server.
        logger: where to log.

    Attributes:
        terms: what the server has said.
        ending: set when nothing is to be tried again, as the connection has ended.
        is_done: whether the server's stream has ended, and all of it was received.
        is_lost: whether the session is over before that.
    """

    def __init__(
        self, opened: OpenedSession, make_link: Callable[[], HttpLink], logger: Any
    ) -> None:
        self.terms = opened.terms
        self.ending = Latch()
        self.is_done = False
        self.is_lost = False
        self._requests = opened.requests
        self._make_link = make_link
        self._logger = logger
        opened.link.dial_timeout = DIAL_TIMEOUT

    def make_link(self) -> HttpLink:
        """Return another connection to the server, or what will be one."""
        link = self._make_link()
        link.dial_timeout = DIAL_TIMEOUT
        return link

    def make_patience(self) -> Patience:
        """Return what says how often requests are made again."""
        return Patience(self.terms.session_timeout, self.ending)

    def log(self, text: str, *args: object) -> None:
        """Log what happens to the session, for those who look into it."""
        self._logger.debug(text, *args)

    def ask(
        self,
        link: HttpLink,
        method: str,
        fields: dict[str, str],
        deadline: Deadline,
        body: bytes | None = None,
    ) -> StreamedResponse:
        """Send a request; return its response once the head is there.

        Raises what :meth:`HttpLink.ask` does.
        """
        request = self._requests.build(method, self.terms.session, fields, body)
        response = link.ask(request.serialize(), deadline)
        assert response.head is not None
        self._requests.keep_cookies(response.head)
        return response

    def refuse(self, response: Response) -> NoReturn:
        """Raise what a response means that isn't one of those wanted.

        Raises:
            SessionLost: it says that the session is over.
            InvalidStatus: it says nothing about that.
        """
        lost = lost_by(response)
        if lost is not None:
            raise lost
        raise InvalidStatus(response)

    def fail(self, patience: Patience, exc: BaseException) -> None:
        """Wait after a failure.

        Raises:
            SessionLost: there were too many.
        """
        if self.ending.is_set():
            return
        self.log("a request of the fallback failed: %s", exc)
        if not patience.fail():
            reason = TimeoutError(f"no answer from the server for {patience.limit:g} s")
            reason.__cause__ = exc
            raise SessionLost from reason


def shorten(wait: int, waited: float) -> int:
    """Return how long to have the server wait after this was too long, or so it seems."""
    return max(1, int(MARGIN * waited)) if 1 <= waited < wait + 1 else wait
