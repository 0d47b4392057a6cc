"""A server of the fallback's protocol (docs/fallback-protocol.md) that does what tests ask for.

It is independent of the package's own, and as simple as the page allows: a thread for each request,
streams kept as a whole. `Faults` are what happens to requests on their way.
"""

import base64
import collections
import contextlib
import json
import queue
import secrets
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable

__all__ = ["BINARY", "CLOSE", "PING", "PONG", "TEXT", "FallbackPeer", "Faults", "echo", "frame"]

#: Seconds for whatever should take no time at all, on a busy machine.
DEADLINE = 20.0

#: Opcodes; a handler gets None for a session that is over.
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode, payload=b"", first=0x80):
    """A frame of a server's."""
    size = len(payload)
    if size < 126:
        head = bytes([first | opcode, size])
    elif size < 65536:
        head = bytes([first | opcode, 126]) + struct.pack(">H", size)
    else:
        head = bytes([first | opcode, 127]) + struct.pack(">Q", size)
    return head + payload


@dataclass
class Faults:
    """What happens to requests and responses on their way."""

    lose_request: Callable[[int], bool] = lambda number: False
    lose_response: Callable[[int], bool] = lambda number: False
    repeat: Callable[[int], bool] = lambda number: False
    gateway_error: Callable[[int], bool] = lambda number: False
    answers_polls: bool = False  # whether something does, with nothing
    max_body: int = 1 << 60  # bytes that a proxy lets through
    delay: Callable[[int], float] = lambda number: 0.0
    cut_after: float = 1e9  # seconds without a byte after which a proxy gives up
    cut_streams_at: int = 1 << 60  # bytes of a stream after which it is cut
    holds_back: bool = False  # whether streams come through only as a whole
    line_end: bytes = b"\n"  # of streams
    write_size: int = 1 << 20  # bytes of a stream that go out at once


class Session:
    """Both streams of a session."""

    def __init__(self, name, protocol):
        self.id = name
        self.protocol = protocol
        self.changed = threading.Condition()
        self.incoming = bytearray()  # what was not parsed yet
        self.taken = 0  # position in the client's stream
        self.outgoing = bytearray()  # all of the server's stream
        self.acked = 0
        self.delivered = 0  # how much of it was in a response
        self.end = None
        self.gets = 0
        self.comments = 0  # in streams
        self.messages = queue.Queue()  # (opcode, payload) of whole messages, and of control frames
        self.is_over = False
        self._parts = []

    def send(self, data):
        """Send bytes of the server's stream, frames or not."""
        with self.changed:
            self.outgoing += data
            self.changed.notify_all()

    def say(self, message):
        """Send a message."""
        if isinstance(message, str):
            self.send(frame(TEXT, message.encode()))
        else:
            self.send(frame(BINARY, message))

    def recv(self):
        """Return what came next, as (opcode, payload)."""
        return self.messages.get(timeout=DEADLINE)

    def wait_for_more(self, position, number, timeout):
        """Wait until a GET, of this number, has something to say; return whether it has."""
        return self.changed.wait_for(
            lambda: (
                self.is_over
                or self.gets != number
                or len(self.outgoing) > position
                or self.end is not None
            ),
            timeout,
        )

    def finish(self):
        """End the server's stream."""
        with self.changed:
            self.end = len(self.outgoing)
            self.changed.notify_all()

    def cut(self):
        """End the session as a connection that is cut."""
        with self.changed:
            self.is_over = True
            self.changed.notify_all()
        self.messages.put((None, b""))

    def close(self, code=1000, reason=""):
        """Do the closing handshake as the side that begins."""
        self.send(frame(CLOSE, struct.pack(">H", code) + reason.encode()))
        opcode, payload = self.recv()
        while opcode != CLOSE:
            opcode, payload = self.recv()
        self.finish()
        return payload

    def take(self, position, body):
        """Take what the client sent, as far as it is new."""
        with self.changed:
            new = body[self.taken - position :] if position < self.taken else body
            self.taken += len(new)
            self.incoming += new
            self._parse()
            return self.taken

    def _parse(self):
        data, at = self.incoming, 0
        while len(data) - at >= 2:
            size, head = data[at + 1] & 127, 2
            assert data[at + 1] & 128, "frames of clients are masked"
            if size == 126:
                if len(data) - at < 4:
                    break
                size, head = struct.unpack_from(">H", data, at + 2)[0], 4
            elif size == 127:
                if len(data) - at < 10:
                    break
                size, head = struct.unpack_from(">Q", data, at + 2)[0], 10
            if len(data) - at < head + 4 + size:
                break
            assert data[at + head : at + head + 4] == bytes(4)
            payload = bytes(data[at + head + 4 : at + head + 4 + size])
            assert data[at] & 0x80
            self.messages.put((data[at] & 15, payload))
            at += head + 4 + size
        del data[:at]


def echo(session):
    """A handler that sends all messages back, and answers a close frame."""
    while True:
        opcode, payload = session.recv()
        if opcode is None:
            return
        session.send(frame(opcode, payload))
        if opcode == CLOSE:
            session.finish()
            return


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict  # names in lower case
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_POST(self):
        self.peer.handle(self)

    do_GET = do_DELETE = do_POST

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        self.send_header("Cache-Control", "no-store, no-transform")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _lower(headers):
    return {name.lower(): value for name, value in headers.items()}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request, client_address):
        pass  # clients go away


@dataclass
class FallbackPeer:
    """The server. `handler(session)` runs in a thread for each session.

    Attributes:
        seen: the requests, as they came.
        errors: what handlers raised.
    """

    handler: Callable[[Session], None]
    faults: Faults = field(default_factory=Faults)
    opening: dict = field(default_factory=dict)  # what else the response to an opening says
    refuse: Callable[[int], Any] = lambda number: None  # (status, body) for an opening
    seen: list = field(default_factory=list)
    sessions: dict = field(default_factory=dict)
    errors: list = field(default_factory=list)

    def __post_init__(self):
        self._nonces = {}
        self._openings = 0
        self._counts = collections.Counter()
        self._lock = threading.Lock()
        self._threads = []

    @contextlib.contextmanager
    def running(self):
        """Run it; yields the URL."""
        handler = type("Handler", (_Handler,), {"peer": self})
        server = _Server(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.server_port}/chat?room=news"
        finally:
            for session in self.sessions.values():
                session.cut()
            server.shutdown()
            server.server_close()
            thread.join(DEADLINE)
            for each in self._threads:
                each.join(DEADLINE)
        assert self.errors == []

    def named(self, method):
        """Return the requests of this method that came."""
        return [request for request in self.seen if request.method == method]

    def handle(self, http):
        body = http.rfile.read(int(http.headers.get("Content-Length") or 0))
        request = Seen(http.command, http.path, _lower(http.headers), body)
        with self._lock:
            self.seen.append(request)
            # Requests of each kind are counted for themselves, from 1.
            self._counts[http.command] += 1
            number = self._counts[http.command]
        faults = self.faults
        delay = faults.delay(number)
        if delay:
            time.sleep(delay)
        if faults.lose_request(number):
            http.close_connection = True
            return
        if len(body) > faults.max_body:
            http.answer(413, b"<h1>Content Too Large</h1>", Content_Type="text/html")
            return
        if faults.gateway_error(number):
            http.answer(502, b"<h1>Bad Gateway</h1>", Content_Type="text/html")
            return
        act = self._act(http, request)
        if faults.repeat(number):
            act = self._act(http, request)
        if faults.lose_response(number):
            http.close_connection = True
            return
        if isinstance(act, tuple):
            status, body, headers = act
            http.answer(status, body, **headers)
        else:
            act()

    def _error(self, status, code, **headers):
        body = json.dumps({"error": {"code": code, "message": code}}).encode()
        return status, body, {"Content_Type": "application/json", **headers}

    def _act(self, http, request):
        """Do what a request asks for; return the response, or what streams it."""
        headers = request.headers
        name = headers.get("syncws-session")
        if name is None:
            return self._error(400, "bad_request")
        if name == "new":
            return self._open(headers)
        session = self.sessions.get(name)
        if session is None or session.is_over:
            return self._error(404, "unknown_session")
        if request.method == "DELETE":
            session.cut()
            return 204, b"", {}
        ack = headers.get("syncws-ack")
        if ack is not None:
            if int(ack) > len(session.outgoing):
                return self._error(409, "gap", Syncws_Ack=session.taken)
            with session.changed:
                session.acked = max(session.acked, int(ack))
                session.changed.notify_all()
        if request.method == "POST":
            if headers["content-type"] != "application/octet-stream":
                return self._error(415, "content_type")
            position = int(headers["syncws-position"])
            if position > session.taken:
                return self._error(409, "gap", Syncws_Ack=session.taken)
            return 204, b"", {"Syncws_Ack": session.take(position, request.body)}
        wait = float(headers.get("syncws-wait", 25))
        with session.changed:
            session.gets += 1
            number = session.gets
            session.changed.notify_all()
        if "text/event-stream" in headers.get("accept", ""):
            return lambda: self._stream(http, session, int(ack), wait, number)
        return self._poll(session, int(ack), wait, number)

    def _open(self, headers):
        with self._lock:
            self._openings += 1
            refused = self.refuse(self._openings)
            if refused is not None:
                return refused
            session = self._nonces.get(headers["syncws-nonce"])
            if session is None:
                protocols = headers.get("syncws-protocol")
                session = Session(secrets.token_urlsafe(16), protocols and protocols.split(", ")[0])
                self._nonces[headers["syncws-nonce"]] = self.sessions[session.id] = session
                thread = threading.Thread(target=self._run, args=(session,))
                self._threads.append(thread)
                thread.start()
        opening = {
            "session": session.id,
            "protocol": session.protocol,
            "extensions": None,
            "session_timeout": 30,
            "max_wait": 25,
            "max_body": 262144,
            "streaming": True,
            **self.opening,
        }
        return 200, json.dumps(opening).encode(), {"Content_Type": "application/json"}

    def _run(self, session):
        try:
            self.handler(session)
        except BaseException as exc:
            self.errors.append(exc)

    def _poll(self, session, position, wait, number):
        if self.faults.answers_polls:
            return 204, b"", {}
        due = min(wait, self.faults.cut_after)
        with session.changed:
            session.wait_for_more(position, number, due)
            if session.is_over:
                return self._error(404, "unknown_session")
            if session.gets != number:
                return 204, b"", {"Syncws_Superseded": 1}
            data = bytes(session.outgoing[position : position + 262144])
            session.delivered = max(session.delivered, position + len(data))
            session.changed.notify_all()
            end = {} if session.end is None else {"Syncws_End": session.end}
        if not data and not end and wait > self.faults.cut_after:
            return 504, b"<h1>Gateway Timeout</h1>", {"Content_Type": "text/html"}
        if not data:
            return 204, b"", end
        headers = {"Content_Type": "application/octet-stream", "Syncws_Position": position}
        return 200, data, {**headers, **end}

    def _stream(self, http, session, position, wait, number):
        http.close_connection = True
        held = bytearray()
        sent = 0

        def write(data):
            nonlocal sent
            if self.faults.holds_back:
                held.extend(data)
                return
            data = data.replace(b"\n", self.faults.line_end)
            room = self.faults.cut_streams_at - sent
            for at in range(0, min(len(data), room), self.faults.write_size):
                http.wfile.write(data[at : min(at + self.faults.write_size, room)])
            sent += len(data)
            if sent >= self.faults.cut_streams_at:
                raise ConnectionAbortedError

        try:
            if not self.faults.holds_back:
                http.send_response(200)
                http.send_header("Content-Type", "text/event-stream")
                http.send_header("Connection", "close")
                http.end_headers()
            write(b"event: open\ndata: %d\n\n" % position)
            while True:
                with session.changed:
                    came = session.wait_for_more(position, number, min(wait, self.faults.cut_after))
                    if session.is_over or session.gets != number:
                        return
                    data = bytes(session.outgoing[position : position + 49152])
                    session.delivered = max(session.delivered, position + len(data))
                    session.changed.notify_all()
                    end = session.end
                if data:
                    position += len(data)
                    write(b"id: %d\ndata: %b\n\n" % (position, base64.b64encode(data)))
                elif end is not None:
                    write(b"event: end\ndata: %d\n\n" % end)
                    return
                elif not came and wait <= self.faults.cut_after:
                    write(b":\n\n")
                    with session.changed:
                        session.comments += 1
                        session.changed.notify_all()
                elif not came:
                    return  # cut
        except OSError:
            pass
        finally:
            if held:
                with contextlib.suppress(OSError):
                    http.answer(200, bytes(held), Content_Type="text/event-stream")
