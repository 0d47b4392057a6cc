"""A session of the server's: a connection's bytes, between a pair of sockets and HTTP requests.

The connection has one end of the pair, and is like any other one. What it writes is read from the
other end, and kept until the client has it; what a request brings is written there. Both are
bounded, by what the kernel takes and what isn't acknowledged, so a connection waits for a client
that does not read as it would with TCP.

All is for the reactor's thread.
"""

from __future__ import annotations

import base64
import contextlib
import socket
from typing import Callable
from typing import Protocol as Interface

from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..threaded.deadline import clock
from .alarm import Alarm
from .limits import Limits
from .reactor import Reactor
from .session_transport import SessionTransport
from .streams import Incoming, Outgoing
from .wire import (
    ACK,
    BYTES,
    END,
    EVENT_STREAM,
    MAX_BODY,
    MAX_UNACKNOWLEDGED,
    POSITION,
    SUPERSEDED,
    WAIT,
    build_error,
    find_header,
    parse_position,
)

__all__ = ["Reply", "Session"]

#: Bytes read from the connection at once.
READ_SIZE = 1 << 16

#: Seconds between two comments in a stream, at least.
MIN_COMMENTS = 1.0

#: Bytes in one event, a multiple of three, so that only the last one has padding. An event that is
#: cut has to be sent again.
EVENT_SIZE = 3 << 12


class Reply(Interface):
    """What answers one request. A client that is gone is none of the session's business.

    Attributes:
        can_stream: whether the response may come in pieces.
        max_wait: seconds after which the request is to be answered in any case.
    """

    can_stream: bool
    max_wait: float

    def respond(self, response: Response) -> None:
        """Send the response."""

    def stream(self, response: Response) -> None:
        """Send the head of a response whose body follows in pieces."""

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""

    def end(self) -> None:
        """End the body."""


class _Get:
    """A request that waits for bytes."""

    def __init__(self, reply: Reply, position: int, wait: float, streams: bool) -> None:
        self.reply = reply
        self.position = position  # where the client is
        self.wait = wait
        self.streams = streams
        self.due = clock() + wait  # when it is answered in any case, or a comment goes out


class _Post:
    """A request whose bytes the connection has not taken yet."""

    def __init__(self, reply: Reply, rest: memoryview, wait: float) -> None:
        self.reply = reply
        self.rest = rest
        self.due = clock() + wait


class Session:
    """A session that is open.

    Args:
        name: its id.
        origin: the Origin of the request that opened it.
        sock: the session's end of the pair.
        transport: the connection's end.
        reactor: whose thread this is.
        limits: how long it lasts, and whether there are streams.
        ended: called once, with the session, when the connection has ended: it counts no more.
        gone: called once, with the session, when it is to be forgotten.

    Attributes:
        finished: whether the connection has ended, and the client has been sent all it said.
        is_over: whether it is forgotten.
    """

    def __init__(
        self,
        name: str,
        origin: str | None,
        sock: socket.socket,
        transport: SessionTransport,
        reactor: Reactor,
        limits: Limits,
        ended: Callable[[Session], None],
        gone: Callable[[Session], None],
    ) -> None:
        self.name = name
        self.origin = origin
        self._sock = sock
        self._transport = transport
        self._reactor = reactor
        self._timeout = limits.session_timeout
        self._streaming = limits.streaming
        self._ended = ended
        self._gone = gone
        self._outgoing = Outgoing()
        self._incoming = Incoming()
        self._get: _Get | None = None
        self._post: _Post | None = None
        self._used_at = clock()
        self._alarm = Alarm(reactor, self._look)
        self._is_closed = False
        self.is_over = False
        self.finished = False

    def begin(self, early: bytes) -> None:
        """Begin with what was read after the handshake's response."""
        self._outgoing.append(early)
        self._watch()
        self._schedule()

    # --- requests ---

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer a request, now or later."""
        self._used_at = clock()
        if request.method == "GET":
            self._handle_get(request, reply)
        elif request.method == "POST":
            self._handle_post(request, reply)
        else:
            reply.respond(_no_content())
            self.end()
            return
        self._schedule()

    def forget(self, reply: Reply) -> None:
        """Note that the client of a request is gone."""
        self._used_at = clock()
        if self._get is not None and self._get.reply is reply:
            self._get = None
        if self._post is not None and self._post.reply is reply:
            self._post = None
        self._watch()
        self._schedule()

    def _handle_get(self, request: Request, reply: Reply) -> None:
        position = parse_position(find_header(request, ACK))
        if position is None or not self._acknowledge(position):
            self._refuse_acknowledgement(reply, position)
            return
        self._supersede()
        accepted = find_header(request, "Accept") or ""
        streams = self._streaming and reply.can_stream and EVENT_STREAM in accepted.lower()
        self._transport.kind = "streaming" if streams else "polling"
        wait = _find_wait(request, reply)
        get = _Get(reply, position, max(wait, MIN_COMMENTS) if streams else wait, streams)
        self._get = get
        if streams:
            reply.stream(_stream_head())
            reply.send(b"event: open\ndata: %d\n\n" % position)
        self._send()
        self._watch()  # there is room again

    def _handle_post(self, request: Request, reply: Reply) -> None:
        position = parse_position(find_header(request, POSITION))
        if position is None:
            reply.respond(build_error(400, "bad_request", f"{POSITION} is missing or wrong"))
            return
        acknowledged = find_header(request, ACK)
        if acknowledged is not None:
            number = parse_position(acknowledged)
            if number is None or not self._acknowledge(number):
                self._refuse_acknowledgement(reply, number)
                return
        if self._incoming.is_gap(position):
            reply.respond(self._gap())
            return
        if request.body:
            if self._post is not None:  # the client has given it up
                self._answer_post(self._post)
            rest = self._incoming.cut(position, request.body)
            self._post = _Post(reply, rest, _find_wait(request, reply))
            self._write()
        else:
            self._tell_position(reply)
        self._watch()  # there is room again

    def _acknowledge(self, position: int) -> bool:
        # A request that comes late, or again, has an older acknowledgement than another one had.
        return position < self._outgoing.acknowledged or self._outgoing.acknowledge(position)

    def _refuse_acknowledgement(self, reply: Reply, position: int | None) -> None:
        if position is None:
            reply.respond(build_error(400, "bad_request", f"{ACK} is missing or wrong"))
        else:
            reply.respond(self._gap())

    def _gap(self) -> Response:
        return build_error(
            409,
            "gap",
            "the position is beyond what there is; the session can't go on",
            **{ACK: str(self._incoming.position)},
        )

    def _supersede(self) -> None:
        get, self._get = self._get, None
        if get is None:
            return
        if get.streams:
            get.reply.end()
        else:
            get.reply.respond(_no_content((SUPERSEDED, "1")))

    # --- the connection ---

    def _ready(self) -> None:
        if self._post is not None:
            self._write()
        self._read()
        self._watch()
        self._schedule()

    def _read(self) -> None:
        """Read what the connection has written, if there is room, and send it on."""
        if self._is_closed or len(self._outgoing) >= MAX_UNACKNOWLEDGED:
            return
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._outgoing.append(data)
        else:
            self._close()
        self._send()

    def _write(self) -> None:
        """Hand on what a request brought, as far as the connection takes it."""
        post = self._post
        assert post is not None
        while post.rest:
            sent = len(post.rest)  # a connection that has ended takes all, as TCP does
            if not self._is_closed:
                try:
                    sent = self._sock.send(post.rest)
                except BlockingIOError:
                    return
                except OSError:
                    pass
            self._incoming.position += sent
            post.rest = post.rest[sent:]
        self._answer_post(post)

    def _answer_post(self, post: _Post) -> None:
        self._post = None
        self._used_at = clock()  # so far a request has waited
        self._tell_position(post.reply)

    def _tell_position(self, reply: Reply) -> None:
        reply.respond(_no_content((ACK, str(self._incoming.position))))

    def _send(self) -> None:
        """Let the client have what it does not have yet."""
        get, outgoing = self._get, self._outgoing
        if get is None:
            return
        get.position = max(get.position, outgoing.acknowledged)
        if get.streams:
            while get.position < outgoing.position:
                data = outgoing.take(get.position, EVENT_SIZE)
                get.position += len(data)
                event = b"id: %d\ndata: %b\n\n" % (get.position, base64.b64encode(data))
                get.reply.send(event)
                get.due = clock() + get.wait
            if outgoing.end is not None:
                get.reply.send(b"event: end\ndata: %d\n\n" % outgoing.end)
                self._get = None
                self._used_at = clock()
                self.finished = True
                get.reply.end()
        elif get.position < outgoing.position or outgoing.end is not None:
            self._get = None
            self._answer_poll(get)

    def _answer_poll(self, get: _Get) -> None:
        self._used_at = clock()
        data = self._outgoing.take(get.position, MAX_BODY)
        ends = [] if self._outgoing.end is None else [(END, str(self._outgoing.end))]
        self.finished = self._outgoing.end == get.position + len(data)
        if not data:
            get.reply.respond(_no_content(*ends))
            return
        headers = Headers.from_parsed(
            [
                ("Content-Type", BYTES),
                ("Content-Length", str(len(data))),
                (POSITION, str(get.position)),
                *ends,
            ]
        )
        get.reply.respond(Response(200, "OK", headers, data))

    def _watch(self) -> None:
        if self._is_closed:
            return
        self._reactor.watch(
            self._sock,
            self._ready,
            read=len(self._outgoing) < MAX_UNACKNOWLEDGED,
            write=self._post is not None,
        )

    def _close(self) -> None:
        """Close our end of the pair: the connection has ended, or is to."""
        if self._is_closed:
            return
        self._reactor.watch(self._sock, self._ready)
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._sock.close()
        self._outgoing.finish()
        self._ended(self)

    # --- time, and the end ---

    def _schedule(self) -> None:
        """See to it that somebody looks when something is due."""
        if not self.is_over:
            self._alarm.set(self._due())

    def _due(self) -> float:
        waiting = [each.due for each in (self._get, self._post) if each is not None]
        return min(waiting) if waiting else self._used_at + self._timeout

    def _look(self) -> None:
        now = clock()
        if self._post is not None and self._post.due <= now:
            self._used_at = now
            self._answer_post(self._post)
            self._watch()
        get = self._get
        if get is not None and get.due <= now:
            self._used_at = now
            if get.streams:
                get.reply.send(b":\n\n")
                get.due = now + get.wait
            else:
                self._get = None
                self._answer_poll(get)
        if self._due() <= now:
            self.end()
        else:
            self._schedule()

    def end(self) -> None:
        """Cut the connection, if it is still open, and be forgotten. Idempotent."""
        if self.is_over:
            return
        self.is_over = True
        self._alarm.cancel()
        self._close()
        post, self._post = self._post, None
        if post is not None:
            self._answer_post(post)
        get = self._get
        if get is not None:
            self._get = None
            if get.streams:
                get.reply.end()
            else:
                get.reply.respond(unknown_session())
        self._outgoing = Outgoing()  # a timer may have the session for longer
        self._gone(self)

    def after_fork(self) -> None:
        """Release a forked child's descriptor."""
        self._sock.close()


def unknown_session() -> Response:
    """Return the response to a request for a session that isn't there."""
    return build_error(404, "unknown_session", "there is no such session, or it has ended")


def _find_wait(request: Request, reply: Reply) -> float:
    """Return the seconds after which a request is to be answered in any case."""
    number = parse_position(find_header(request, WAIT))
    return reply.max_wait if number is None else min(float(number), reply.max_wait)


def _no_content(*headers: tuple[str, str]) -> Response:
    return Response(204, "No Content", Headers.from_parsed(headers))


def _stream_head() -> Response:
    fields = [("Content-Type", EVENT_STREAM), ("X-Accel-Buffering", "no")]
    return Response(200, "OK", Headers.from_parsed(fields))
