"""The client's end of a session of the fallback: what moves a connection's bytes over HTTP.

The connection has one end of a socket pair, and takes it for TCP. At the other end two threads are
at work. The *sender* takes what the connection wrote, and posts it, again and again until the
server has acknowledged it. The *receiver* asks for the server's bytes, as a stream of events or by
long polling, and writes those that are new. Both wait in ways that the connection's end wakes.

Whoever notices first that it is over tells the others:

- the connection has ended: the receiver stops at once; the sender posts what is left, a close frame
  perhaps, and ends the session, within :data:`FINAL_TIMEOUT` each;
- the server's stream has ended: the receiver ends the connection's input, as TCP's end would, so
  the connection ends, and then the rest as above;
- the session is lost: the connection is cut, with the reason as its cause.

Acknowledgements are sent by the receiver only, one after the other. Were they in the sender's
requests as well, an older one could overtake a newer one.
"""

from __future__ import annotations

import binascii
import contextlib
import threading
import weakref
from typing import Any, Callable

from ..exceptions import InvalidHandshake, InvalidMessage, InvalidStatus
from ..fallback import wire
from ..fallback.event_parser import Event, EventParser
from ..fallback.session_transport import SessionTransport
from ..fallback.streamed_response import StreamedResponse
from ..sansio.http11 import Response
from ..threaded import lifecycle
from ..threaded.deadline import Deadline, clock
from ..threaded.latch import Latch
from ..threaded.timekeeper import call_later
from ..threaded.transport import Transport
from .http_link import HttpLink
from .patience import Patience
from .session_requests import OpenedSession, SessionLost, lost_by

__all__ = ["Carrier"]

#: Seconds for the way there and back, beyond what the server may take to answer.
GRACE = 10.0

#: Seconds for a connection to the server.
DIAL_TIMEOUT = 5.0

#: Seconds in which a stream's first event must be there; otherwise something keeps it back.
OPEN_TIMEOUT = 3.0

#: Seconds between signs of life in a stream, and seconds that one may be late.
STREAM_WAIT = 10
SILENCE = 5.0

#: The same until one has come: what keeps bytes back until there are many lets a stream begin, and
#: keeps its last ones.
PROBATION_WAIT = 1
PROBATION_SILENCE = 2.0

#: Seconds: a stream that is cut earlier is a bad one; after that many of them in a row the client
#: goes over to long polling.
SHORT_STREAM = 2.0
MAX_BAD_STREAMS = 3

#: Bytes of a stream after which they are acknowledged.
ACKNOWLEDGE_AFTER = 1 << 16

#: Seconds for each of the two last requests: what is left to send, and the session's end.
FINAL_TIMEOUT = 1.0

#: Seconds for a request under way when the connection ends: it may have the close frame.
CUT_DELAY = 0.5

#: Seconds: an answer without anything that comes earlier isn't what was asked for.
EARLY = 0.25

#: Bytes of a body that go out in any case.
MIN_BODY = 1024

#: Part of the time that something on the way allows a request to wait, which we make use of.
MARGIN = 0.7

#: What means that a request has failed, and says nothing about the session.
_FAILURES = (OSError, InvalidHandshake)


class _Gone(Exception):
    """The connection doesn't take bytes any more."""


class Carrier:
    """Moves bytes between a connection and a session.

    Args:
        inner: the other end of the connection's transport; owned from now on.
        outer: that transport; it is told how its bytes are carried.
        opened: the session.
        make_link: makes further ones.
        logger: where to log.

    Attributes:
        is_started: whether there are threads that own the session.
    """

    def __init__(
        self,
        inner: Transport,
        outer: SessionTransport,
        opened: OpenedSession,
        make_link: Callable[[], HttpLink],
        logger: Any,
    ) -> None:
        self._inner = inner
        self._outer = outer
        self._terms = terms = opened.terms
        self._requests = opened.requests
        self._dial_link = make_link
        self._logger = logger
        self._ending = Latch()  # the connection has ended: nothing is tried again
        self._lost = False
        self._server_done = False  # its stream has ended, and all of it was received
        self._is_final = False  # the sender makes its last requests
        self.is_started = False
        self._lose: Callable[[], Callable[[BaseException], None] | None] = lambda: None
        self._sender = opened.link
        self._sender.dial_timeout = DIAL_TIMEOUT
        self._receiver = self._make_link()
        self._acknowledger = self._make_link()
        self._receiver_done = Latch()
        # The sender's: where in the client's stream what isn't acknowledged yet begins.
        self._base = 0
        # The receiver's: bytes of the server's stream that we have, and that it knows of.
        self._received = 0
        self._acknowledged = 0
        self._patience = Patience(terms.session_timeout, self._ending)
        self._wait = max(1, int(terms.max_wait))
        self._stream_wait = min(self._wait, PROBATION_WAIT)
        self._is_proven = False  # streams come as they are sent
        self._bad_streams = 0
        outer.kind = "streaming" if terms.streaming else "polling"

    def start(self, lose: Callable[[BaseException], None]) -> None:
        """Start the threads.

        Args:
            lose: a method, called with the reason if the session is lost. It must not block.

        Raises:
            RuntimeError: no thread is available.
        """
        self._lose = weakref.WeakMethod(lose)
        lifecycle.register(self)
        receiver, sender = (
            threading.Thread(target=self._run, args=(work,), name=f"syncws-fallback-{name}")
            for name, work in (("receiver", self._receive), ("sender", self._send))
        )
        try:
            lifecycle.start_thread(receiver)
            lifecycle.start_thread(sender)
        finally:
            self.is_started = sender.ident is not None  # a signal handler may have raised
            if not self.is_started:
                self._is_final = True
                self.end()
                if receiver.ident is not None:
                    self._receiver_done.wait(FINAL_TIMEOUT)
                self._close()

    def end(self) -> None:
        """Stop: the connection has ended. Never blocks; any thread may call it. Idempotent."""
        if self._ending.is_set():
            return
        self._ending.set()
        self._receiver.cut()
        self._acknowledger.cut()
        if not self._is_final:
            call_later(CUT_DELAY, self._cut_sender)

    def _cut_sender(self) -> None:
        if not self._is_final:
            self._sender.cut()

    # --- the process ---

    def begin_exit(self) -> None:
        """Do nothing: the connection closes."""

    def end_exit(self, deadline: Deadline) -> None:
        """Do nothing."""

    def after_fork(self) -> None:
        """Leave the session to the parent, in a child."""
        self._inner.after_fork()

    # --- both threads ---

    def _make_link(self) -> HttpLink:
        link = self._dial_link()
        link.dial_timeout = DIAL_TIMEOUT
        return link

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _Gone:
            pass
        except SessionLost as exc:
            self._give_up(exc.__cause__ or exc)
        except BaseException as exc:  # a defect of ours: not without an end
            self._give_up(exc)
            raise
        finally:
            if work == self._receive:
                self._receiver.drop()
                self._acknowledger.drop()
                self._receiver_done.set()
            else:
                self._finish()

    def _give_up(self, cause: BaseException) -> None:
        self._lost = True
        lose = self._lose()
        if lose is not None:
            lose(cause)
        self.end()

    def _close(self) -> None:
        self._sender.drop()
        self._inner.close()
        lifecycle.unregister(self)

    def _fail(self, patience: Patience, exc: BaseException) -> None:
        """Wait after a failure, or lose the session if there were too many."""
        if self._ending.is_set():
            return
        self._logger.debug("a request of the fallback failed: %s", exc)
        if not patience.fail():
            lost = SessionLost()
            lost.__cause__ = TimeoutError(f"no answer from the server for {patience.limit:g} s")
            lost.__cause__.__cause__ = exc
            raise lost

    def _ask(
        self,
        link: HttpLink,
        method: str,
        fields: dict[str, str],
        deadline: Deadline,
        body: bytes | None = None,
    ) -> StreamedResponse:
        request = self._requests.build(method, self._terms.session, fields, body)
        response = link.ask(request.serialize(), deadline)
        assert response.head is not None
        self._requests.keep_cookies(response.head)
        return response

    def _refuse(self, response: Response) -> None:
        """Raise what a response means that isn't one of those wanted."""
        lost = lost_by(response)
        if lost is not None:
            raise lost
        raise InvalidStatus(response)

    # --- the sender ---

    def _send(self) -> None:
        """Post what the connection writes, until it writes no more."""
        patience = Patience(self._terms.session_timeout, self._ending)
        largest = size = self._terms.max_body
        pending = bytearray()
        is_open = True
        while is_open and not self._ending.is_set():
            is_open = self._take(pending, size)
            if not pending or not is_open:
                continue
            started = clock()
            try:
                took = self._post(self._sender, pending, size, self._post_deadline())
            except _FAILURES as exc:
                if isinstance(exc, TimeoutError):  # the link is slow, perhaps
                    size = max(min(size, MIN_BODY), size // 4)
                elif _is_too_large(exc) and size > MIN_BODY:
                    largest = size = size // 2
                    continue
                self._fail(patience, exc)
            else:
                if took or clock() - started >= EARLY:
                    patience.succeed()
                    size = min(2 * size, largest)
                else:  # another request made the server answer this one
                    patience.pause()
        if not self._server_done and not self._lost:
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

    def _post_deadline(self) -> Deadline:
        terms = self._terms
        return Deadline(min(terms.max_wait + GRACE, max(terms.session_timeout, GRACE)))

    def _post(self, link: HttpLink, pending: bytearray, max_body: int, deadline: Deadline) -> int:
        """Post once; return how many bytes were acknowledged, which are pending no more."""
        body = bytes(pending[:max_body])
        fields = {wire.POSITION: str(self._base)}
        answer = self._ask(link, "POST", fields, deadline, body)
        response = link.read_all(answer, deadline)
        ack = wire.parse_position(response.headers.get(wire.ACK))
        if not 200 <= response.status_code < 300 or ack is None:
            self._refuse(response)
            raise AssertionError  # pragma: no cover
        took = ack - self._base
        # More than this body where an earlier one came late, after we had given it up.
        if not 0 <= took <= len(pending):
            lost = SessionLost()
            lost.__cause__ = ConnectionResetError(
                f"the server says that it has {ack} bytes, which can't be"
            )
            raise lost
        del pending[:took]
        self._base = ack
        return took

    def _post_rest(self, pending: bytearray, max_body: int) -> None:
        """Post what is left, and end the session; a server that can't be reached will in time."""
        self._is_final = True
        deadline = Deadline(FINAL_TIMEOUT)
        with contextlib.suppress(*_FAILURES, SessionLost):
            if pending and self._sender.is_cut:
                self._sender.drop()
                self._sender = self._make_link()
            while pending and not self._server_done:
                self._post(self._sender, pending, max_body, deadline)
        if self._server_done:
            return
        self._sender.drop()
        link = self._make_link()
        deadline = Deadline(FINAL_TIMEOUT)
        with contextlib.suppress(*_FAILURES):
            link.read_all(self._ask(link, "DELETE", {}, deadline), deadline)
        link.drop()

    def _finish(self) -> None:
        """Release everything: the sender's last act."""
        self._is_final = True
        self.end()
        self._receiver_done.wait()
        self._close()

    # --- the receiver ---

    def _receive(self) -> None:
        """Ask for what the server sends, until it or the connection ends."""
        while not self._ending.is_set():
            try:
                if self._outer.kind == "streaming":
                    self._server_done = self._stream()
                else:
                    self._server_done = self._poll()
            except _FAILURES as exc:
                self._receiver.drop()
                self._fail(self._patience, exc)
            if self._server_done:
                with contextlib.suppress(OSError):
                    self._inner.finish_sending()
                return

    def _poll(self) -> bool:
        """Ask once; return whether that was the end of the server's stream."""
        started = clock()
        fields = {wire.ACK: str(self._received), wire.WAIT: str(self._wait)}
        asked = self._received
        deadline = Deadline(self._wait + GRACE)
        try:
            answer = self._ask(self._receiver, "GET", fields, deadline)
            done = self._take_poll(answer, asked, started, deadline)
        except _FAILURES:
            self._wait = self._shorter(self._wait, clock() - started)
            raise
        return done

    def _shorter(self, wait: int, waited: float) -> int:
        """Return how long to have the server wait after this was too long, or so it seems."""
        return max(1, int(MARGIN * waited)) if 1 <= waited < wait + 1 else wait

    def _take_poll(
        self, answer: StreamedResponse, asked: int, started: float, deadline: Deadline
    ) -> bool:
        head = answer.head
        assert head is not None
        headers = head.headers
        end = wire.parse_position(headers.get(wire.END))
        if head.status_code == 204:
            self._receiver.read_all(answer, deadline)
            self._note_acknowledged(asked)
            if end is None and (wire.SUPERSEDED in headers or clock() - started < EARLY):
                self._patience.pause()
            else:
                self._patience.succeed()
        elif head.status_code == 200 and wire.POSITION in headers:
            position = wire.parse_position(headers.get(wire.POSITION))
            if position is None:
                raise InvalidMessage("the response has no valid position")
            while True:
                piece = self._receiver.read(answer, deadline)
                if not piece:
                    break
                self._deliver(position, piece)
                position += len(piece)
                deadline = Deadline(GRACE)
            self._note_acknowledged(asked)
            if self._received > asked:
                self._patience.succeed()
            elif end is None:  # it was stored somewhere, perhaps
                self._patience.pause()
        else:
            self._refuse(self._receiver.read_all(answer, deadline))
        return end is not None and self._received >= end

    def _note_acknowledged(self, position: int) -> None:
        self._acknowledged = max(self._acknowledged, position)

    def _stream(self) -> bool:
        """Take a stream to its end; return whether that was the end of the server's stream."""
        fields = {
            wire.ACK: str(self._received),
            wire.WAIT: str(self._stream_wait),
            "Accept": wire.EVENT_STREAM,
        }
        asked, started = self._received, clock()
        deadline = Deadline(OPEN_TIMEOUT)
        opened: float | None = None
        heard = started
        try:
            answer = self._ask(self._receiver, "GET", fields, deadline)
            head = answer.head
            assert head is not None
            kind = head.headers.get("Content-Type", "").partition(";")[0].strip(" \t").lower()
            if head.status_code != 200 or kind != wire.EVENT_STREAM:
                if head.status_code == 204 or wire.POSITION in head.headers:
                    self._use_polling("the server has no streams")
                return self._take_poll(answer, asked, started, Deadline(GRACE))
            parser = EventParser()
            while True:
                data = self._receiver.read(answer, deadline)
                if not data:
                    raise InvalidMessage("the stream was cut")
                heard = clock()
                events = _parse(parser, data)
                for event in events:
                    if opened is None:
                        self._check_open(event)
                        opened = heard
                        self._note_acknowledged(asked)
                        self._patience.succeed()
                    elif self._take_event(event):
                        self._receiver.drop()
                        return True
                if opened is not None:
                    if parser.comments and not events and not self._is_proven:
                        self._is_proven = True
                        self._stream_wait = min(self._wait, STREAM_WAIT)
                        self._receiver.drop()
                        return False  # another one, with fewer signs of life
                    silence = SILENCE if self._is_proven else PROBATION_SILENCE
                    deadline = Deadline(self._stream_wait + silence)
                if self._received - self._acknowledged >= ACKNOWLEDGE_AFTER:
                    self._acknowledge(GRACE)
        except _FAILURES as exc:
            self._judge(exc, opened, heard)
            raise

    def _judge(self, exc: BaseException, opened: float | None, heard: float) -> None:
        """Draw conclusions from a stream that was cut, or never came."""
        now = clock()
        is_silent = isinstance(exc, TimeoutError)
        if opened is not None:
            self._stream_wait = self._shorter(self._stream_wait, now - heard)
        if opened is None or is_silent or now - opened < SHORT_STREAM:
            self._bad_streams += 1
        else:
            self._bad_streams = 0
        is_kept_back = is_silent and (opened is None or not self._is_proven)
        if is_kept_back or self._bad_streams >= MAX_BAD_STREAMS:
            self._use_polling(f"streams don't get through ({exc})")

    def _use_polling(self, reason: str) -> None:
        if not self._ending.is_set():
            self._logger.debug("long polling from now on: %s", reason)
            self._outer.kind = "polling"

    def _check_open(self, event: Event) -> None:
        position = wire.parse_position(event.data)
        if event.name != "open" or position is None:
            raise InvalidMessage(f"a stream begins with the event {event.name!r}")

    def _take_event(self, event: Event) -> bool:
        """Act on an event; return whether it was the end of the server's stream."""
        if event.name == "end":
            end = wire.parse_position(event.data)
            if end is None or self._received < end:
                raise InvalidMessage("a stream ends before all of it was there")
            return True
        if event.name:
            return False  # of a later version
        position = wire.parse_position(event.id)
        try:
            data = binascii.a2b_base64(event.data)
        except ValueError as exc:
            raise InvalidMessage(f"an event isn't base64: {exc}") from exc
        if position is None:
            raise InvalidMessage("an event has no position")
        self._deliver(position - len(data), data)
        return False

    def _deliver(self, position: int, data: bytes) -> None:
        """Write what is new of these bytes; block until the connection has taken it."""
        known = self._received - position
        if known < 0:
            raise InvalidMessage(f"bytes from {self._received} to {position} are missing")
        data = data[known:]
        if not data:
            return
        inner = self._inner
        self._received += len(data)
        try:
            inner.send_now(data)
            while inner.pending and not inner.wait_writable(
                Deadline(self._terms.session_timeout / 3)
            ):
                # The program takes nothing, as it may; the session goes on.
                with contextlib.suppress(*_FAILURES):
                    self._acknowledge(self._terms.session_timeout / 3)
        except OSError as exc:
            raise _Gone from exc

    def _acknowledge(self, timeout: float) -> None:
        """Tell the server what we have."""
        deadline = Deadline(timeout)
        received = self._received
        fields = {wire.POSITION: str(self._base), wire.ACK: str(received)}
        link = self._acknowledger
        response = link.read_all(self._ask(link, "POST", fields, deadline, b""), deadline)
        if not 200 <= response.status_code < 300 or wire.ACK not in response.headers:
            self._refuse(response)
        self._note_acknowledged(received)


def _is_too_large(exc: Exception) -> bool:
    """Tell whether something on the way has a limit for bodies of its own."""
    return isinstance(exc, InvalidStatus) and exc.response.status_code == 413


def _parse(events: EventParser, data: bytes) -> list[Event]:
    try:
        return events.receive(data)
    except ValueError as exc:
        raise InvalidMessage(f"the stream isn't valid: {exc}") from exc
