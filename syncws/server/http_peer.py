"""An HTTP client of the fallback: request after request over one connection, without a thread.

All is for the reactor's thread, but making one.
"""

from __future__ import annotations

import contextlib
import time
from typing import Callable

from ..exceptions import InvalidHandshake
from ..fallback.alarm import Alarm
from ..fallback.reactor import Reactor
from ..fallback.wire import MAX_WAIT, build_error
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..sansio.http_parser import RequestParser
from ..sansio.plain_responses import refusal_status
from ..threaded.deadline import Deadline, clock
from ..threaded.transport import Transport
from .responses import http_date

__all__ = ["HttpPeer"]

#: Seconds that a client may take for a request, and between two.
REQUEST_TIMEOUT = 10.0
IDLE_TIMEOUT = 60.0

#: Bytes per second of a body, for which there is more time: some networks are slow.
MIN_RATE = 1 << 12

#: Bytes of a stream that may wait for a client that does not read; then it is cut.
MAX_BACKLOG = 1 << 20

#: Bytes of a request's head by which it is judged.
MAX_HEAD = 1 << 16

#: How often one connection is read before others have their turn.
MAX_READS = 8

#: Seconds and bytes that are read after the last response: closing with unread input would reset
#: the connection, and with it the response.
LINGER_TIMEOUT = 2.0
LINGER_SIZE = 1 << 20


class HttpPeer:
    """A connection by HTTP/1.1, or 1.0.

    Args:
        transport: the connection; it is owned from now on.
        reactor: whose thread this is.
        handle: answers a request, given it and this; returns what is to be called if the client
            goes before that is done, or ``None``.
        claims: tells, by the head of a request, whether ``handle`` is to answer it.
        pass_on: has any other request served by someone who owns the connection from then on, given
            it and what was read of it; returns a response if that can't be.
        closed: called once, with this, when it is closed, or was passed on.
        server_header: value of Server; ``None`` sends none.
        max_header_size: limits of requests, as for :func:`~syncws.serve`.
        max_body_size: the same.
    """

    can_stream = True
    max_wait = MAX_WAIT

    def __init__(
        self,
        transport: Transport,
        reactor: Reactor,
        handle: Callable[[Request, HttpPeer], Callable[[], None] | None],
        claims: Callable[[bytes], bool],
        pass_on: Callable[[Transport, bytes], Response | None],
        closed: Callable[[HttpPeer], None],
        *,
        server_header: str | None,
        max_header_size: int | None,
        max_body_size: int,
    ) -> None:
        self.transport = transport
        self._reactor = reactor
        self._handle = handle
        self._claims = claims
        self._pass_on = pass_on
        self._closed = closed
        self._server_header = server_header
        self._max_header_size = max_header_size
        self._max_body_size = max_body_size
        self._parser: RequestParser | None = None
        self._head = b""  # of a request, as long as it isn't complete
        self._early = b""  # of a request that came before its turn
        self._request: Request | None = None  # what is being answered
        self._gone: Callable[[], None] | None = None  # called if the client goes meanwhile
        self._stays = False  # open, after this response
        self._is_chunked = False
        self._is_continued = False
        self._is_ending = False
        self._is_closed = False
        self._due = 0.0  # when the request must be there
        self._lingered = 0
        self._alarm = Alarm(reactor, self.close)

    def start(self, head: bytes) -> None:
        """Begin with what was read already."""
        self._expect(REQUEST_TIMEOUT)
        self._watch()
        self._receive(head)
        if self.transport.secure:
            self._ready()  # it may have read more than it has handed out

    @property
    def is_idle(self) -> bool:
        """Whether no request is there that has an answer to come."""
        return self._request is None and not self._early and not self.transport.backlog_size

    # --- as a reply ---

    def respond(self, response: Response) -> None:
        """Send the whole response."""
        self._begin_response(response, len(response.body))
        self._write(response.serialize())
        self._end_response()

    def stream(self, response: Response) -> None:
        """Send the head of a response whose body follows in pieces."""
        assert self._request is not None
        self._is_chunked = self._request.protocol != "HTTP/1.0"
        self._begin_response(response, None)
        self._write(response.serialize())

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def end(self) -> None:
        """End the body."""
        if self._is_chunked:
            self._write(b"0\r\n\r\n")
        self._end_response()

    def _begin_response(self, response: Response, length: int | None) -> None:
        request = self._request
        assert request is not None
        headers = response.headers
        if request.method == "HEAD":
            response.body = b""
        connection = ",".join(request.headers.get_all("Connection")).lower()
        tokens = {each.strip() for each in connection.split(",")} if connection else ()
        is_old = request.protocol == "HTTP/1.0"
        self._stays = "keep-alive" in tokens if is_old else "close" not in tokens
        if length is None and not self._is_chunked:
            self._stays = False  # the end of the connection is that of the body
        if "Connection" in headers:
            del headers["Connection"]
        more = [("Connection", "keep-alive" if self._stays else "close")]
        if "Date" not in headers:
            more.append(("Date", http_date(time.time())))
        if self._server_header is not None and "Server" not in headers:
            more.append(("Server", self._server_header))
        if self._is_chunked:
            more.append(("Transfer-Encoding", "chunked"))
        headers.add_parsed(more)

    def _end_response(self) -> None:
        self._request = self._gone = None
        self._is_chunked = False
        if self._is_closed:
            return
        if not self._stays:
            self._finish()
            return
        self._expect(IDLE_TIMEOUT)
        if self._early:
            # Not from here: an answer to each of many requests would be within that to the last.
            self._reactor.call_at(clock(), self._go_on)

    def _go_on(self) -> None:
        early, self._early = self._early, b""
        if not self._is_closed:
            self._receive(early)
            self._watch()

    # --- reading ---

    def _ready(self) -> None:
        if self._is_closed:
            return
        try:
            if self.transport.pending:
                self.transport.flush()
                if self._is_ending and not self.transport.pending:
                    self._expect(LINGER_TIMEOUT)
            if self._read_enough():
                self._reactor.call_at(clock(), self._ready)  # others have their turn
        except OSError:
            self.close()
            return
        self._watch()

    def _read_enough(self) -> bool:
        """Take in what has come; return whether there is more that nobody would tell of.

        A socket that has more is ready again at once. TLS may have read it already.
        """
        return all(self._read() and self.transport.secure for _ in range(MAX_READS))

    def _read(self) -> bool:
        """Take in what has come; return whether there may be more."""
        try:
            data = self.transport.recv(Deadline(0))
        except TimeoutError as exc:
            if exc.errno is not None:
                raise
            return False
        if not data:
            self.close()
        elif self._is_ending:
            self._lingered += len(data)
            if self._lingered > LINGER_SIZE:
                self.close()
        elif self._request is not None or self._early:
            self._early += data
            if len(self._early) > self._max_body_size:
                self.close()  # it is in too much of a hurry
        else:
            self._receive(data)
        return not self._is_closed

    def _receive(self, data: bytes) -> None:
        if self._parser is None:
            if not data:
                return
            if not self._head:
                self._expect(REQUEST_TIMEOUT)
            data = self._head + data
            self._head = b""
            if b"\r\n\r\n" not in data and len(data) < MAX_HEAD:
                self._head = data
                return
            if not self._claims(data):
                self._give_away(data)
                return
            self._parser = RequestParser(
                self._max_header_size, plain=True, max_body_size=self._max_body_size
            )
            self._is_continued = False
        parser = self._parser
        try:
            request = parser.receive_data(data)
        except (InvalidHandshake, ValueError) as exc:
            self._refuse(exc)
            return
        if request is None:
            self._due += len(data) / MIN_RATE
            self._alarm.set(self._due)
            if parser.expects_continue and not self._is_continued:
                self._is_continued = True
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._parser = None
        self._early = parser.trailing
        self._request = request
        self._alarm.cancel()
        try:
            gone = self._handle(request, self)
        except BaseException:  # a defect of ours: the client must not wait for ever
            if self._request is request:
                self.close()
            raise
        if self._request is not request:
            return
        if not self._is_closed:  # it waits for something
            self._gone = gone
        elif gone is not None:  # the client went while a stream began
            gone()

    def _give_away(self, data: bytes) -> None:
        """Leave a request that isn't ours, and its connection, to the rest of the server.

        A browser, or a proxy, sends any requests over connections that it has.
        """
        self._alarm.cancel()
        self._reactor.watch(self.transport.sock, self._ready)
        try:
            refusal = self._pass_on(self.transport, data)
        except BaseException:  # a defect of ours
            self.close()
            raise
        if refusal is None:
            self._is_closed = True
            self._closed(self)
            return
        self._request = Request("/", Headers([("Connection", "close")]))
        self.respond(refusal)

    def _refuse(self, exc: Exception) -> None:
        """Answer what isn't a request, and end the connection."""
        error = exc if isinstance(exc, InvalidHandshake) else InvalidHandshake(str(exc))
        status, _ = refusal_status(error)
        self._request = Request("/", Headers([("Connection", "close")]))
        self._parser = None
        code = "too_large" if status == 413 else "bad_request"
        self.respond(build_error(status, code, str(exc)))

    # --- writing ---

    def _write(self, data: bytes) -> None:
        if self._is_closed:
            return
        try:
            self.transport.send_now(data)
        except OSError:
            self.close()
            return
        if self.transport.backlog_size > MAX_BACKLOG:
            self.close()
        elif self.transport.backlog_size:
            self._watch()

    def _watch(self) -> None:
        if not self._is_closed:
            write = self.transport.backlog_size > 0
            self._reactor.watch(self.transport.sock, self._ready, read=True, write=write)

    # --- the end ---

    def _expect(self, seconds: float) -> None:
        """Close the connection unless the next request has come in time."""
        self._due = clock() + seconds
        self._alarm.set(self._due)

    def _finish(self) -> None:
        """Close the connection once the client has read the response."""
        self._is_ending = True
        with contextlib.suppress(OSError):
            self.transport.finish_sending()
        # A response that a slow network has not taken yet has the time of any other one.
        self._expect(IDLE_TIMEOUT if self.transport.pending else LINGER_TIMEOUT)
        self._watch()

    def close(self) -> None:
        """Close the connection at once. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._alarm.cancel()
        self._reactor.watch(self.transport.sock, self._ready)
        self.transport.close()
        # A timer may have this for longer.
        self._parser = None
        self._head = self._early = b""
        if self._request is not None:
            self._request.body = b""
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()
        self._closed(self)
