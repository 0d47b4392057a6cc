"""A small client of the fallback: docs/fallback-protocol.md over http.client, in two threads."""

import base64
import contextlib
import http.client
import json
import secrets
import socket
import threading

from support.pairs import SOON, connect_protocol

from syncws.sansio.state import Role

#: Suppresses what a connection raises that breaks.
BROKEN = contextlib.suppress(OSError, http.client.HTTPException)

BYTES = "application/octet-stream"


class Refused(Exception):
    """A session wasn't opened.

    Attributes:
        status: the HTTP status.
        headers: of the response.
        error: the JSON object's error.
    """

    def __init__(self, status, headers, error):
        super().__init__(status, error)
        self.status, self.headers, self.error = status, headers, error


def ask(port, method, path, headers=(), body=None, host="127.0.0.1"):
    """Send one request; return status, headers and body of the response."""
    connection = http.client.HTTPConnection(host, port, timeout=2 * SOON)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def ask_for_error(port, method, path, headers=(), body=None):
    """The same of a request that is refused; return status and code."""
    status, headers, body = ask(port, method, path, headers, body)
    assert headers["Content-Type"] == "application/json", (status, body)
    assert headers["Cache-Control"] == "no-store, no-transform"
    assert headers["X-Content-Type-Options"] == "nosniff"
    return status, json.loads(body)["error"]["code"]


def new_nonce():
    return secrets.token_urlsafe(16)


def open_by_hand(port, path="/echo", **headers):
    """Open a session; return the response's headers, and the object that it has."""
    fields = {"Syncws-Session": "new", "Syncws-Nonce": new_nonce(), "Content-Type": BYTES}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    status, got, body = ask(port, "POST", path, fields, b"")
    told = json.loads(body)
    if status != 200 or "session" not in told:
        raise Refused(status, got, told["error"])
    return got, told


class Session:
    """A session's HTTP side, which a connection has the other side of.

    Args:
        port: the server's.
        path: the WebSocket's.
        stream: whether to ask for a stream.
        wait: seconds that a request for bytes may take.
        headers: more, for all requests.
        opening: more, for the first one.

    Attributes:
        told: what the server has said when it was opened.
        opened: the headers of that response.
        ws: the connection.
        kinds: content types of what came from the server.
    """

    def __init__(self, port, path, stream, wait, headers, opening):
        self.opened, self.told = open_by_hand(port, path, **{**headers, **opening})
        self._port, self._path, self._stream = port, path, stream
        self._headers = {
            **{name.replace("_", "-"): value for name, value in headers.items()},
            "Syncws-Session": self.told["session"],
            "Syncws-Wait": str(wait),
        }
        ours, self._sock = socket.socketpair()
        self._position = 0  # in the server's stream
        self._acknowledged = 0  # of it
        self.kinds = set()
        self._used = {}  # sockets, by HTTP connection
        self._vanished = threading.Event()
        self.threads = [threading.Thread(target=each) for each in (self._send, self._receive)]
        self.ws = connect_protocol(ours, Role.CLIENT)
        for thread in self.threads:
            thread.start()

    def vanish(self):
        """Ask for nothing any more, and never come back."""
        self._vanished.set()
        for sock in list(self._used.values()):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connect(self):
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=2 * SOON)

    def _send(self):
        position = 0
        self._up = self._connect()
        with contextlib.closing(self._up):
            while data := self._sock.recv(self.told["max_body"]):
                while data and not self._vanished.is_set():
                    fields = {"Syncws-Position": str(position), "Content-Type": BYTES}
                    try:
                        status, headers, _ = self._request(self._up, "POST", fields, data)
                    except (OSError, http.client.HTTPException):  # the server is gone
                        return
                    if status != 204 or self._vanished.is_set():
                        return
                    taken = int(headers["Syncws-Ack"]) - position
                    position, data = position + taken, data[taken:]

    def _receive(self):
        self._down, self._side = self._connect(), self._connect()
        with contextlib.closing(self._down), contextlib.closing(self._side), BROKEN:
            while not self._vanished.is_set() and self._get():
                pass
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _request(self, connection, method, fields, body=None):
        response = self._start(connection, method, fields, body)
        return response.status, response.headers, response.read()

    def _start(self, connection, method, fields, body=None):
        """Send a request, again if there is no response; return that, with its body to come.

        Some servers close connections between two requests, without a word.
        """
        for left in reversed(range(3)):
            try:
                connection.request(method, self._path, body, {**self._headers, **fields})
                self._used[connection] = connection.sock  # which a response may take with it
                if self._vanished.is_set():
                    raise OSError("nobody waits for a response")
                return connection.getresponse()
            except (OSError, http.client.HTTPException):
                connection.close()
                if not left or self._vanished.is_set():
                    raise

    def _get(self):
        """Get what there is; tell whether there may be more."""
        fields = {"Syncws-Ack": str(self._position)}
        if self._stream:
            fields["Accept"] = "text/event-stream"
        response = self._start(self._down, "GET", fields)
        kind = response.headers["Content-Type"]
        self.kinds.add(kind)
        if kind == "text/event-stream":
            self._acknowledged = self._position
            return self._read_events(response)
        body = response.read()
        if response.status not in (200, 204):
            return False
        if body:
            self._deliver(int(response.headers["Syncws-Position"]), body)
        return response.headers["Syncws-End"] != str(self._position)

    def _read_events(self, response):
        name = ""
        while line := response.readline():
            field, _, value = line.strip().decode().partition(": ")
            if field == "event":
                name = value
            elif field == "data" and name == "open":
                assert int(value) == self._position
            elif field == "data" and name == "end":
                return int(value) != self._position
            elif field == "data":
                data = base64.b64decode(value, validate=True)
                self._deliver(self._position, data)
                if self._position - self._acknowledged >= 1 << 16:
                    self._acknowledge()
            elif field == "id":
                end = int(value)
            elif not field:
                name = ""
        assert not self._position or self._vanished.is_set() or end == self._position
        return True

    def _acknowledge(self):
        # The position of what goes up is the other thread's; an empty body fits anywhere before.
        fields = {"Syncws-Position": "0", "Syncws-Ack": str(self._position), "Content-Type": BYTES}
        status, _, _ = self._request(self._side, "POST", fields, b"")
        assert status == 204
        self._acknowledged = self._position

    def _deliver(self, position, data):
        assert position <= self._position
        data = data[self._position - position :]
        self._position += len(data)
        with contextlib.suppress(OSError):  # the connection is closed
            self._sock.sendall(data)


@contextlib.contextmanager
def session(port, path="/echo", *, stream=False, wait=5, headers=None, **opening):
    """A session whose threads and connection end with the block."""
    opened = Session(port, path, stream, wait, headers or {}, opening)
    try:
        yield opened
    finally:
        opened.ws.abort()
        assert opened.ws.wait_closed(SOON)
        opened.vanish()
        with contextlib.suppress(OSError):
            opened._sock.shutdown(socket.SHUT_RDWR)
        for thread in opened.threads:
            thread.join(SOON)
            assert not thread.is_alive()
        opened._sock.close()
