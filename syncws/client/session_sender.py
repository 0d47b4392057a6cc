"""What posts a connection's bytes: the sending half of what carries them by HTTP."""

from __future__ import annotations

import contextlib

from ..exceptions import InvalidStatus
from ..fallback import wire
from ..threaded.deadline import Deadline, clock
from ..threaded.transport import Transport
from .http_link import HttpLink
from .session_exchange import EARLY, FAILURES, GRACE, SessionExchange, shorten
from .session_requests import SessionLost

__all__ = ["FINAL_TIMEOUT", "SessionSender"]

#: Seconds for each of the two last requests: what is left to send, and the session's end.
FINAL_TIMEOUT = 1.0

#: Seconds after which a request that fails was too large for the link, perhaps.
SLOW = 2.0

#: Bytes of a body that go out in any case.
MIN_BODY = 1024


class SessionSender:
    """Takes what the connection writes, and posts it until the server has acknowledged it.

    Args:
        exchange: the session.
        inner: where to take it from.
        link: a connection to the server.

    Attributes:
        position: how much of the client's stream is acknowledged.
        link: the connection to the server, for :meth:`cut`.
        is_final: whether only the last requests are to be made.
    """

    def __init__(self, exchange: SessionExchange, inner: Transport, link: HttpLink) -> None:
        self._exchange = exchange
        self._inner = inner
        self.link = link
        self.position = 0
        self.is_final = False
        self._wait = max(1, int(exchange.terms.max_wait))

    def cut(self) -> None:
        """End a request under way, unless it is one of the last. Any thread may call it."""
        if not self.is_final:
            self.link.cut()

    def run(self) -> None:
        """Post what the connection writes, until it writes no more."""
        exchange = self._exchange
        patience = exchange.make_patience()
        largest = size = exchange.terms.max_body
        pending = bytearray()
        is_open = True
        while is_open and not exchange.ending.is_set():
            is_open = self._take(pending, size)
            if not pending or not is_open:
                continue
            started = clock()
            try:
                took = self._post(pending, size, self._deadline())
            except FAILURES as exc:
                waited = clock() - started
                if _is_too_large(exc) and size > MIN_BODY:
                    largest = size = size // 2
                    continue
                if isinstance(exc, TimeoutError) or waited >= SLOW:
                    size = max(min(size, MIN_BODY), size // 4)
                self._wait = shorten(self._wait, waited)
                exchange.fail(patience, exc)
            else:
                if took or clock() - started >= EARLY:
                    patience.succeed()
                    size = min(2 * size, largest)
                else:  # another request made the server answer this one
                    patience.pause()
        if not exchange.is_done and not exchange.is_lost:
            self._post_rest(pending, size)

    def _take(self, pending: bytearray, max_body: int) -> bool:
        """Take what the connection wrote; wait for something unless there is some. False at end."""
        try:
            while len(pending) < max_body:
                data = self._inner.recv(Deadline(0) if pending else None)
                if not data:
                    return False
                pending += data
        except TimeoutError:
            pass
        except OSError:
            return False
        return True

    def _deadline(self) -> Deadline:
        terms = self._exchange.terms
        return Deadline(min(terms.max_wait + GRACE, max(terms.session_timeout, GRACE)))

    def _post(self, pending: bytearray, max_body: int, deadline: Deadline) -> int:
        """Post once; return how many bytes were acknowledged, which are pending no more."""
        body = bytes(pending[:max_body])
        fields = {wire.POSITION: str(self.position), wire.WAIT: str(self._wait)}
        link = self.link
        answer = self._exchange.ask(link, "POST", fields, deadline, body)
        response = link.read_all(answer, deadline)
        ack = wire.parse_position(response.headers.get(wire.ACK))
        if not 200 <= response.status_code < 300 or ack is None:
            self._exchange.refuse(response)
        took = ack - self.position
        # More than this body where an earlier one came late, after we had given it up.
        if not 0 <= took <= len(pending):
            raise SessionLost from ConnectionResetError(
                f"the server says that it has {ack} bytes, which can't be"
            )
        del pending[:took]
        self.position = ack
        return took

    def _post_rest(self, pending: bytearray, max_body: int) -> None:
        """Post what is left, and end the session; a server that can't be reached will in time."""
        self.is_final = True
        exchange = self._exchange
        deadline = Deadline(FINAL_TIMEOUT)
        with contextlib.suppress(*FAILURES, SessionLost):
            if pending and self.link.is_cut:
                self._renew()
            while pending and not exchange.is_done:
                if not self._post(pending, max_body, deadline):
                    break
        if exchange.is_done:
            return
        self._renew()
        deadline = Deadline(FINAL_TIMEOUT)
        with contextlib.suppress(*FAILURES):
            answer = exchange.ask(self.link, "DELETE", {}, deadline)
            self.link.read_all(answer, deadline)

    def _renew(self) -> None:
        self.link.drop()
        self.link = self._exchange.make_link()


def _is_too_large(exc: Exception) -> bool:
    """Tell whether something on the way has a limit for bodies of its own."""
    return isinstance(exc, InvalidStatus) and exc.response.status_code == 413
