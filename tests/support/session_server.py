"""A server of the fallback's protocol that does to requests what a test wants.

It is small, and knows nothing of the library's own server: sessions are protocol objects that echo.
"""

import base64
import contextlib
import http.server
import json
import re
import threading
import time
import uuid
from dataclasses import dataclass, field

from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role, State

WAIT = 10.0


def echo(session, message):
    session.send(message)


class Session:
    """One session: the server's end of its two streams, and its protocol object."""

    def __init__(self, extensions=()):
        self.id = uuid.uuid4().hex
        self.changed = threading.Condition()
        self.protocol = Protocol(Role.SERVER)
        self.protocol.extensions = list(extensions)
        self.protocol._make_decoder()
        self.handler = echo
        self.received = []  # messages
        self.taken = 0  # bytes of the client's stream
        self.stream = bytearray()  # the server's, all of it
        self.acknowledged = 0
        self.ended = False
        self.deleted = False
        self.gets = 0

    def take(self, position, body):
        """Take what is new of a POST; None if there is a gap."""
        with self.changed:
            if position > self.taken:
                return None
            new = body[self.taken - position :]
            self.taken += len(new)
            self.protocol.receive_data(new)
            for message in self.protocol.events_received():
                if isinstance(message, (str, bytes)):
                    self.received.append(message)
                    self.handler(self, message)
            self._collect()
            return self.taken

    def send(self, message):
        with self.changed:
            if self.protocol.state is State.OPEN:
                if isinstance(message, str):
                    self.protocol.send_text(message.encode())
                else:
                    self.protocol.send_binary(message)
            self._collect()

    def close(self, code=1000, reason=""):
        with self.changed:
            self.protocol.send_close(code, reason)
            self._collect()

    def cut(self):
        """End the server's stream, without a close frame."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _collect(self):
        for data in self.protocol.data_to_send():
            if data:
                self.stream += data
            else:
                self.ended = True
        self.changed.notify_all()

    def wait(self, ready, timeout=WAIT):
        with self.changed:
            return self.changed.wait_for(ready, timeout)


@dataclass
class Faults:
    """What happens to requests; each is a function of the server's Request that returns whether.

    Attributes:
        lose: the request is lost, with its connection.
        drop: the response is lost, with its connection.
        refuse: another status, or (status, JSON object[, headers]), in place of what it does.
        repeat: the request comes twice.
        cut: the response's body is cut after as many bytes.
        close: the connection is closed after the response, without having said so.
        old: the response is one of HTTP/1.0.
        keep_back: a stream is kept back until it ends.
        hold: called before anything else.
        answer: (status, headers, body) in place of what the server does.
    """

    lose: object = None
    drop: object = None
    refuse: object = None
    repeat: object = None
    cut: object = None
    close: object = None
    old: object = None
    keep_back: object = None
    hold: object = None
    answer: object = None

    def ask(self, name, request):
        function = getattr(self, name)
        return function(request) if function is not None else None


@dataclass
class Request:
    number: int
    method: str
    path: str
    headers: object
    body: bytes
    connection: object  # the address that it came from
    is_open: bool = field(init=False)
    is_stream: bool = field(init=False)

    def __post_init__(self):
        self.is_open = self.headers.get("Syncws-Session") == "new"
        self.is_stream = "text/event-stream" in self.headers.get("Accept", "")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (OSError, ValueError):
            self.close_connection = True

    def handle(self):
        self.server.owner.sockets.add(self.connection)
        try:
            super().handle()
        finally:
            self.server.owner.sockets.discard(self.connection)

    def answer_any(self):
        owner = self.server.owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = owner.note(self.command, self.path, self.headers, body, self.client_address)
        faults = owner.faults
        faults.ask("hold", request)
        self.cut_at = faults.ask("cut", request)
        if faults.ask("lose", request):
            self.cut()
            return
        refusal = faults.ask("refuse", request)
        if refusal is not None:
            status, found, *more = refusal if isinstance(refusal, tuple) else (refusal, None)
            headers = {"Content-Type": "application/json", **(more[0] if more else {})}
            self.reply(status, headers, json.dumps(found).encode())
            return
        answer = faults.ask("answer", request)
        if answer is not None:
            self.reply(*answer)
            return
        if faults.ask("repeat", request):
            repeated = threading.Thread(target=self.act, args=(request, lambda *_: None))
            repeated.start()
            self.act(request, self.reply)
            with owner.lock:
                owner.threads.append(repeated)
            return
        self.dropped = faults.ask("drop", request)
        self.act(request, self.reply if not self.dropped else lambda *_: self.cut())
        if faults.ask("close", request):
            self.cut()

    do_GET = do_POST = do_DELETE = do_PUT = answer_any

    def cut(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)

    def reply(self, status, headers=None, body=b""):
        owner = self.server.owner
        request = owner.requests[-1]
        self.protocol_version = "HTTP/1.0" if owner.faults.ask("old", request) else "HTTP/1.1"
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if self.protocol_version == "HTTP/1.0":
            self.close_connection = True
        if owner.keep_alive is False:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.cut_at is not None:
            self.wfile.write(body[: self.cut_at])
            self.cut()
        else:
            self.wfile.write(body)

    def act(self, request, reply):
        owner = self.server.owner
        name = request.headers.get("Syncws-Session")
        if name == "new":
            owner.open(request, reply)
            return
        if name is None:
            reply(426, {"Connection": "close"})
            return
        session = owner.sessions.get(name)
        if session is None or session.deleted:
            error = {"code": "unknown_session", "message": "there is no such session"}
            reply(404, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode())
        elif request.method == "POST":
            self.post(session, request, reply)
        elif request.method == "GET":
            self.get(session, request, reply)
        else:
            with session.changed:
                session.deleted = True
                session.changed.notify_all()
            reply(204)

    def acknowledge(self, session, request):
        """Note what the client has; older news than those before don't count."""
        ack = request.headers.get("Syncws-Ack")
        if ack is not None:
            with session.changed:
                assert int(ack) <= len(session.stream)
                session.acknowledged = max(session.acknowledged, int(ack))
                session.changed.notify_all()

    def post(self, session, request, reply):
        assert request.headers["Content-Type"] == "application/octet-stream"
        assert len(request.body) <= self.server.owner.max_body
        self.acknowledge(session, request)
        taken = session.take(int(request.headers["Syncws-Position"]), request.body)
        if taken is None:
            error = {"code": "gap", "message": "bytes are missing"}
            reply(409, {}, json.dumps({"error": error}).encode())
        else:
            reply(204, {"Syncws-Ack": str(taken)})

    def get(self, session, request, reply):
        self.acknowledge(session, request)
        with session.changed:
            session.gets += 1
            number = session.gets
            session.changed.notify_all()
        if request.is_stream and self.server.owner.streaming:
            self.stream(session, request, number, reply)
            return
        position, wait = int(request.headers["Syncws-Ack"]), float(request.headers["Syncws-Wait"])

        def ready():
            stopped = session.deleted or self.server.owner.stopping
            return (
                len(session.stream) > position or session.ended or session.gets > number or stopped
            )

        session.wait(ready, wait)
        with session.changed:
            data = bytes(session.stream[position : position + (1 << 18)])
            headers = {"Syncws-End": str(len(session.stream))} if session.ended else {}
            superseded = session.gets > number
        if superseded:
            reply(204, {"Syncws-Superseded": "1"})
        elif data:
            headers.update(
                {"Content-Type": "application/octet-stream", "Syncws-Position": str(position)}
            )
            reply(200, headers, data)
        else:
            reply(204, headers)

    def stream(self, session, request, number, reply):
        owner = self.server.owner
        if reply != self.reply:  # a repeated request, or one whose response is lost
            reply(200)
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        position, wait = int(request.headers["Syncws-Ack"]), float(request.headers["Syncws-Wait"])
        if owner.faults.ask("keep_back", request):
            session.wait(lambda: session.deleted or owner.stopping or session.gets > number)
            return
        left = [self.cut_at]

        def write(data):
            if left[0] is not None:
                data, left[0] = data[: left[0]], left[0] - len(data)
            self.wfile.write(data)
            if left[0] is not None and left[0] <= 0:
                raise ConnectionError

        write(f"event: open\ndata: {position}\n\n".encode())

        def is_over():
            return session.deleted or owner.stopping or session.gets > number

        def ready():
            limit = session.acknowledged + (1 << 18)
            return position < min(len(session.stream), limit) or session.ended or is_over()

        while True:
            is_ready = session.wait(ready, wait)
            if is_over():
                return
            with session.changed:
                limit = session.acknowledged + (1 << 18)
                data = bytes(session.stream[position : min(position + 10_000, limit)])
                end = session.ended and position + len(data) == len(session.stream)
            if data:
                position += len(data)
                text = base64.b64encode(data).decode()
                write(f"id: {position}\ndata: {text}\n\n".encode())
            if end:
                write(f"event: end\ndata: {position}\n\n".encode())
                return
            if not is_ready:
                write(b":\n\n")


class HTTPServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        self.owner.failures.append(client_address)
        super().handle_error(request, client_address)


class SessionServer:
    """Listens on a free port of the loopback interface; a context manager.

    Attributes:
        faults: what happens to requests.
        requests: all that came.
        sessions: by id.
        opened: by nonce.
    """

    def __init__(self, *, context=None, **faults):
        self.faults = Faults(**faults)
        self.lock = threading.Lock()
        self.requests = []
        self.changed = threading.Condition(self.lock)
        self.sessions = {}
        self.opened = {}
        self.failures = []
        self.sockets = set()
        self.threads = []
        self.stopping = False
        self.keep_alive = True
        self.streaming = True
        self.max_body = 1 << 18
        self.max_wait = 20
        self.session_timeout = 30
        self.opening = {}  # further fields, and headers, of what answers an opening
        self.opening_headers = {}
        self.factories = ()
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.server.owner = self
        scheme = "http"
        if context is not None:
            scheme = "https"
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.uri = f"{scheme}://127.0.0.1:{self.port}/chat?room=news"
        self.ws_uri = self.uri.replace("http", "ws", 1)

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        self.stopping = True
        for session in self.sessions.values():
            with session.changed:
                session.changed.notify_all()
        self.server.shutdown()
        self.thread.join()
        for sock in list(self.sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(2)
        for thread in self.threads:
            thread.join(WAIT)
        self.server.server_close()
        assert not self.failures

    def note(self, method, path, headers, body, address):
        with self.changed:
            request = Request(len(self.requests) + 1, method, path, headers, body, address)
            self.requests.append(request)
            self.changed.notify_all()
        return request

    def wait(self, ready, timeout=WAIT):
        """Wait until something holds for the requests that came."""
        with self.changed:
            assert self.changed.wait_for(lambda: ready(self.requests), timeout), self.requests

    def session(self):
        """The only session; waits for it."""
        deadline = time.monotonic() + WAIT
        while not self.sessions and time.monotonic() < deadline:
            self.wait(lambda requests: requests)
        (session,) = self.sessions.values()
        return session

    def count(self, method, is_stream=None):
        return sum(
            request.method == method and not request.is_open
            for request in list(self.requests)
            if is_stream is None or request.is_stream == is_stream
        )

    def open(self, request, reply):
        nonce = request.headers["Syncws-Nonce"]
        assert re.fullmatch(r"[A-Za-z0-9_-]{22,64}", nonce)
        assert request.body == b""
        with self.lock:
            session = self.opened.get(nonce)
            if session is None:
                session = self.opened[nonce] = self.sessions_add(request)
        found = {
            "session": session.id,
            "protocol": None,
            "extensions": session.agreed,
            "session_timeout": self.session_timeout,
            "max_wait": self.max_wait,
            "max_body": self.max_body,
            "streaming": self.streaming,
            **self.opening,
        }
        headers = {"Content-Type": "application/json", **self.opening_headers}
        reply(200, headers, json.dumps(found).encode())

    def sessions_add(self, request):
        from syncws.sansio.headers import Headers
        from syncws.sansio.negotiation import EXTENSIONS, accept_extensions

        offered = request.headers.get("Syncws-Extensions")
        headers = Headers({EXTENSIONS: offered} if offered else {})
        agreed, extensions = accept_extensions(headers, self.factories)
        session = Session(extensions)
        session.agreed = agreed
        self.sessions[session.id] = session
        return session
