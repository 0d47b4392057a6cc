"""What asks for the server's bytes: the receiving half of what carries them by HTTP."""

from __future__ import annotations

import binascii
import contextlib
from typing import Callable

from ..exceptions import InvalidMessage
from ..fallback import wire
from ..fallback.event_parser import Event, EventParser
from ..fallback.session_transport import SessionTransport
from ..fallback.streamed_response import StreamedResponse
from ..threaded.deadline import Deadline, clock
from ..threaded.transport import Transport
from .session_exchange import EARLY, FAILURES, GRACE, SessionExchange, shorten

__all__ = ["Gone", "SessionReceiver"]

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


class Gone(Exception):
    """The connection doesn't take bytes any more."""


class SessionReceiver:
    """Asks for what the server sends, by streams or long polling, and writes what is new.

    Args:
        exchange: the session.
        inner: where to write it.
        outer: the connection's transport; it is told how its bytes are carried.
        position: returns how much of the client's stream is acknowledged.
    """

    def __init__(
        self,
        exchange: SessionExchange,
        inner: Transport,
        outer: SessionTransport,
        position: Callable[[], int],
    ) -> None:
        self._exchange = exchange
        self._inner = inner
        self._outer = outer
        self._position = position
        self._link = exchange.make_link()
        self._acknowledger = exchange.make_link()
        # Bytes of the server's stream that we have, and that it knows of.
        self._received = 0
        self._acknowledged = 0
        self._patience = exchange.make_patience()
        self._wait = max(1, int(exchange.terms.max_wait))
        self._stream_wait = min(self._wait, PROBATION_WAIT)
        self._is_proven = False  # streams come as they are sent
        self._bad_streams = 0
        outer.kind = "streaming" if exchange.terms.streaming else "polling"

    def cut(self) -> None:
        """End what is waited for, for good. Never blocks; any thread may call it."""
        self._link.cut()
        self._acknowledger.cut()

    def drop(self) -> None:
        """Close the connections to the server."""
        self._link.drop()
        self._acknowledger.drop()

    def run(self) -> None:
        """Ask for what the server sends, until it or the connection ends."""
        exchange = self._exchange
        while not exchange.ending.is_set():
            try:
                if self._outer.kind == "streaming":
                    exchange.is_done = self._stream()
                else:
                    exchange.is_done = self._poll()
            except FAILURES as exc:
                self._link.drop()
                exchange.fail(self._patience, exc)
            if exchange.is_done:
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
            answer = self._exchange.ask(self._link, "GET", fields, deadline)
            done = self._take_poll(answer, asked, started, deadline)
        except FAILURES:
            self._wait = shorten(self._wait, clock() - started)
            raise
        return done

    def _take_poll(
        self, answer: StreamedResponse, asked: int, started: float, deadline: Deadline
    ) -> bool:
        head = answer.head
        assert head is not None
        headers = head.headers
        end = wire.parse_position(headers.get(wire.END))
        if head.status_code == 204:
            self._link.read_all(answer, deadline)
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
                piece = self._link.read(answer, deadline)
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
            self._exchange.refuse(self._link.read_all(answer, deadline))
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
            answer = self._exchange.ask(self._link, "GET", fields, deadline)
            head = answer.head
            assert head is not None
            kind = head.headers.get("Content-Type", "").partition(";")[0].strip(" \t").lower()
            if head.status_code != 200 or kind != wire.EVENT_STREAM:
                if head.status_code == 204 or wire.POSITION in head.headers:
                    self._use_polling("the server has no streams")
                return self._take_poll(answer, asked, started, Deadline(GRACE))
            parser = EventParser()
            while True:
                data = self._link.read(answer, deadline)
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
                        self._link.drop()
                        return True
                if opened is not None:
                    if parser.comments and not events and not self._is_proven:
                        self._is_proven = True
                        self._stream_wait = min(self._wait, STREAM_WAIT)
                        self._link.drop()
                        return False  # another one, with fewer signs of life
                    silence = SILENCE if self._is_proven else PROBATION_SILENCE
                    deadline = Deadline(self._stream_wait + silence)
                if self._received - self._acknowledged >= ACKNOWLEDGE_AFTER:
                    self._acknowledge(GRACE)
        except FAILURES as exc:
            self._judge(exc, opened, heard)
            raise

    def _judge(self, exc: BaseException, opened: float | None, heard: float) -> None:
        """Draw conclusions from a stream that was cut, or never came."""
        now = clock()
        is_silent = isinstance(exc, TimeoutError)
        if opened is not None:
            self._stream_wait = shorten(self._stream_wait, now - heard)
        if opened is None or is_silent or now - opened < SHORT_STREAM:
            self._bad_streams += 1
        else:
            self._bad_streams = 0
        is_kept_back = is_silent and (opened is None or not self._is_proven)
        if is_kept_back or self._bad_streams >= MAX_BAD_STREAMS:
            self._use_polling(f"streams don't get through ({exc})")

    def _use_polling(self, reason: str) -> None:
        if not self._exchange.ending.is_set():
            self._exchange.log("long polling from now on: %s", reason)
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
                Deadline(self._exchange.terms.session_timeout / 3)
            ):
                # The program takes nothing, as it may; the session goes on.
                with contextlib.suppress(*FAILURES):
                    self._acknowledge(self._exchange.terms.session_timeout / 3)
        except OSError as exc:
            raise Gone from exc

    def _acknowledge(self, timeout: float) -> None:
        """Tell the server what we have."""
        deadline = Deadline(timeout)
        received = self._received
        fields = {wire.POSITION: str(self._position()), wire.ACK: str(received)}
        link = self._acknowledger
        response = link.read_all(self._exchange.ask(link, "POST", fields, deadline, b""), deadline)
        if not 200 <= response.status_code < 300 or wire.ACK not in response.headers:
            self._exchange.refuse(response)
        self._note_acknowledged(received)


def _parse(events: EventParser, data: bytes) -> list[Event]:
    try:
        return events.receive(data)
    except ValueError as exc:
        raise InvalidMessage(f"the stream isn't valid: {exc}") from exc
