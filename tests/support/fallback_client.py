"""A client of the fallback for tests: request by request, independent of the library.

It does what docs/fallback-protocol.md says, and what it is told to do wrong.
"""

import base64
import contextlib
import http.client
import json
import secrets
import struct

from support.pairs import SOON
from support.serving import echo, serving
from support.wire import build_frame

BYTES = "application/octet-stream"
ZERO = b"\0\0\0\0"
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A

HELLO = build_frame(TEXT, b"hello", ZERO)


class Answer:
    """A response that was read whole."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The code of the error."""
        assert self.headers["Content-Type"] == "application/json"
        return self.json["error"]["code"]


class FallbackClient:
    """One client and its session."""

    def __init__(self, server, path="/", *, ssl=None, **headers):
        self.path = path
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._address = ("127.0.0.1", server.port)
        self._ssl = ssl
        self._connections = []
        self.main = self.connect()
        self.session = None
        self.opened = None
        self.sent = 0  # bytes of ours that the server has
        self.received = bytearray()  # its stream so far
        self.taken = 0  # of these, frames that were taken
        self.end = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End the session, or the server waits for it as it closes."""
        if self.session is not None:
            with contextlib.suppress(OSError):  # the server has ended
                self.request("DELETE", over=self.connect())
        self.vanish()

    def vanish(self):
        """Close all connections, without a word."""
        self.session = None
        for connection in self._connections:
            connection.close()

    def connect(self):
        """A further HTTP connection."""
        if self._ssl is None:
            connection = http.client.HTTPConnection(*self._address, timeout=SOON)
        else:
            connection = http.client.HTTPSConnection(
                *self._address, timeout=SOON, context=self._ssl
            )
        self._connections.append(connection)
        return connection

    def ask(self, method, body=b"", headers=None, *, over=None):
        """Send a request; its response comes by ``answer()``."""
        ours = dict(self.headers)
        if method == "POST":
            ours["Content-Type"] = BYTES
        if self.session is not None:
            ours["Syncws-Session"] = self.session
        ours.update(headers or {})
        ours = {name: value for name, value in ours.items() if value is not None}
        (over or self.main).request(method, self.path, body, ours)

    def answer(self, over=None):
        return Answer((over or self.main).getresponse())

    def request(self, method, body=b"", headers=None, *, over=None):
        self.ask(method, body, headers, over=over)
        return self.answer(over)

    def open(self, *, nonce=None, **headers):
        """Open a session; return the answer."""
        answer = self.request("POST", headers=self.opening(nonce, **headers))
        if answer.status == 200:
            self.opened = answer.json
            self.session = self.opened["session"]
        return answer

    def opening(self, nonce=None, **headers):
        """The headers of a request that opens a session."""
        return {
            "Syncws-Session": "new",
            "Syncws-Nonce": nonce or secrets.token_urlsafe(16),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }

    def post(self, data, position=None, ack=None, over=None):
        """Send bytes of our stream, from where the server is."""
        headers = {"Syncws-Position": str(self.sent if position is None else position)}
        if ack is not None:
            headers["Syncws-Ack"] = str(ack)
        answer = self.request("POST", data, headers, over=over)
        if answer.status == 204:
            self.sent = int(answer.headers["Syncws-Ack"])
        return answer

    def send(self, message):
        """Send a message."""
        data = message.encode() if isinstance(message, str) else message
        first = TEXT if isinstance(message, str) else BINARY
        self.send_frame(first, data)

    def send_frame(self, first, payload=b""):
        answer = self.post(build_frame(first, payload, ZERO))
        assert answer.status == 204, answer.body

    def wait_headers(self, ack=None, wait=None):
        headers = {"Syncws-Ack": str(len(self.received) if ack is None else ack)}
        if wait is not None:
            headers["Syncws-Wait"] = str(wait)
        return headers

    def poll(self, ack=None, wait=None, over=None):
        """Ask for bytes of the server's stream, and keep them."""
        answer = self.request("GET", headers=self.wait_headers(ack, wait), over=over)
        self.keep(answer)
        return answer

    def keep(self, answer):
        if answer.status == 200:
            position = int(answer.headers["Syncws-Position"])
            assert position <= len(self.received)
            self.received += answer.body[len(self.received) - position :]
        if "Syncws-End" in answer.headers:
            self.end = int(answer.headers["Syncws-End"])

    def stream(self, ack=None, wait=None):
        """Ask for a stream; return its events as they come."""
        over = self.connect()
        headers = {**self.wait_headers(ack, wait), "Accept": "text/event-stream"}
        self.ask("GET", headers=headers, over=over)
        response = over.getresponse()
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        return Events(self, response)

    def frames(self):
        """The frames that have come and weren't taken yet: first byte and payload."""
        found = []
        while True:
            frame = self._take()
            if frame is None:
                return found
            found.append(frame)

    def _take(self):
        data = bytes(self.received[self.taken :])
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size == 126:
            start = 4
            size = int.from_bytes(data[2:4], "big")
        elif size == 127:
            start = 10
            size = int.from_bytes(data[2:10], "big")
        if len(data) < start + size:
            return None
        self.taken += start + size
        return data[0], data[start : start + size]

    def receive(self, wait=None):
        """Poll until there are frames, or the stream ends; return them."""
        while True:
            frames = self.frames()
            if frames or self.end == len(self.received):
                return frames
            answer = self.poll(wait=wait)
            assert answer.status in (200, 204), answer.body

    def close_frame(self, code=1000):
        self.send_frame(CLOSE, struct.pack("!H", code))


class Events:
    """The events of a stream."""

    def __init__(self, client, response):
        self._client = client
        self._response = response

    def next(self):
        """The next event, as (name, id, data); ``None`` at the end of the stream."""
        fields = {}
        while True:
            line = self._response.readline()
            if not line:
                return None
            line = line.rstrip(b"\n").decode()
            if not line:
                return self._keep(fields)
            name, _, value = line.partition(":")
            fields[name] = value.strip()

    def _keep(self, fields):
        data, name = fields.get("data", ""), fields.get("event")
        if name is None and "id" in fields:
            data = base64.b64decode(data, validate=True)
            start = int(fields["id"]) - len(data)
            received = self._client.received
            assert start <= len(received)
            received += data[len(received) - start :]
        if name == "end":
            self._client.end = int(data)
        return name, fields.get("id"), data

    def frames(self):
        """Wait for events until there are frames."""
        while True:
            frames = self._client.frames()
            if frames:
                return frames
            assert self.next() is not None

    def close(self):
        with contextlib.suppress(OSError):
            self._response.close()


@contextlib.contextmanager
def over_http(path="/", *, handler=echo, headers=None, tls=(None, None), **options):
    """A server and a client, which has no session yet."""
    options = {"fallback": True, "ssl": tls[0], **options}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(handler, **options))
        client = FallbackClient(server, path, ssl=tls[1], **(headers or {}))
        yield server, stack.enter_context(client)


@contextlib.contextmanager
def session_over_http(**kwargs):
    """A server and a client that has a session."""
    with over_http(**kwargs) as (server, client):
        client.open()
        yield server, client


def fallback_session(server):
    """The server's only session."""
    (found,) = server._handling.fallback._sessions._sessions.values()
    return found


def texts(frames):
    """The text messages among frames."""
    return [payload.decode() for first, payload in frames if first == TEXT]
