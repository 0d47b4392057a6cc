"""Clients of the transports that fallback.py compares: blocking sockets, and nothing to spare.

Each one sends messages of :data:`SIZE` bytes, and counts the echoes.
"""

import base64
import json
import secrets
import socket

from driver import HOST, REQUEST, TEXT, build_frame, read_head

#: Bytes of a message.
SIZE = 64

#: Seconds that any wait may take.
PATIENCE = 60

PAYLOAD = b"x" * SIZE
FRAME = build_frame(TEXT, PAYLOAD, masked=True)
ECHO_SIZE = 2 + SIZE


def dial(port):
    sock = socket.create_connection((HOST, port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Http:
    """One request after the other, over one connection if the server allows that."""

    def __init__(self, port, target):
        self.target = target
        self._port = port
        self._dial()

    def _dial(self):
        self._sock = dial(self._port)
        self._file = self._sock.makefile("rb")
        self._stays = True

    def ask(self, method, body=b"", more=""):
        if not self._stays:
            self.close()
            self._dial()
        head = f"{method} {self.target} HTTP/1.1\r\nHost: {HOST}\r\n{more}"
        if method == "POST":
            head += f"Content-Length: {len(body)}\r\n"
        self._sock.sendall(head.encode() + b"\r\n" + body)

    def read_head(self):
        """The headers of the response, by their names in lower case."""
        status = self._file.readline()
        if status[9:10] != b"2":
            raise ConnectionError(f"the server answered {status!r}")
        headers = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        self._stays = headers.get("connection", "").lower() != "close"
        if status[9:12] == b"204":
            headers["content-length"] = "0"
        return headers

    def read(self):
        """The body of the response."""
        headers = self.read_head()
        if "content-length" in headers:
            return self._file.read(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return self._file.read()
        parts = []
        while part := self.read_chunk():
            parts.append(part)
        return b"".join(parts)

    def read_chunk(self):
        size = int(self._file.readline(), 16)
        return self._file.read(size + 2)[:-2]

    def close(self):
        self._file.close()
        self._sock.close()


class WebSocket:
    """A WebSocket."""

    def __init__(self, port):
        self._sock = dial(port)
        self._sock.sendall(REQUEST)
        read_head(self._sock)

    def exchange(self, count):
        """Send so many messages, and wait for their echoes."""
        self._sock.sendall(FRAME * count)
        left = ECHO_SIZE * count
        while left:
            data = self._sock.recv(1 << 18)
            if not data:
                raise ConnectionError("the server closed the connection")
            left -= len(data)

    def close(self):
        self._sock.close()


class _Session:
    """A session of syncws' fallback."""

    def __init__(self, port):
        self.up, self.down = Http(port, "/"), Http(port, "/")
        nonce = secrets.token_urlsafe(16)
        kind = "Content-Type: application/octet-stream\r\n"
        self.up.ask("POST", more=f"{kind}Syncws-Session: new\r\nSyncws-Nonce: {nonce}\r\n")
        session = json.loads(self.up.read())["session"]
        self.session = f"Syncws-Session: {session}\r\n"
        self._kind = kind
        self._sent = 0
        self.received = 0

    def post(self, count):
        """Send so many messages."""
        more = f"Syncws-Position: {self._sent}\r\nSyncws-Ack: {self.received}\r\n"
        self.up.ask("POST", FRAME * count, self.session + self._kind + more)
        self._sent += len(FRAME) * count

    def close(self):
        self.up.ask("DELETE", more=self.session)
        self.up.read()
        self.up.close()
        self.down.close()


class Polling(_Session):
    """Long polling."""

    def wait(self):
        """Ask for what the server has."""
        self.down.ask("GET", more=f"{self.session}Syncws-Ack: {self.received}\r\n")

    def take(self):
        """Wait for the response."""
        self.received += len(self.down.read())

    def exchange(self, count):
        goal = self.received + ECHO_SIZE * count
        self.wait()
        self.post(count)
        self.up.read()
        self.take()
        while self.received < goal:
            self.wait()
            self.take()


class Streaming(_Session):
    """A stream of events."""

    def __init__(self, port):
        super().__init__(port)
        more = "Accept: text/event-stream\r\nSyncws-Ack: 0\r\n"
        self.down.ask("GET", more=self.session + more)
        self.down.read_head()
        self.down.read_chunk()  # that it is open

    def exchange(self, count):
        goal = self.received + ECHO_SIZE * count
        self.post(count)
        self.up.read()
        while self.received < goal:
            for line in self.down.read_chunk().splitlines():
                if line.startswith(b"data: "):
                    self.received += len(base64.b64decode(line[6:]))


class SocketIO:
    """Socket.IO's long polling (its protocol 5, Engine.IO's protocol 4)."""

    TARGET = "/socket.io/?EIO=4&transport=polling"
    PACKET = b'42["message","' + PAYLOAD + b'"]'
    SEPARATOR = b"\x1e"

    def __init__(self, port):
        self.up, self.down = Http(port, self.TARGET), Http(port, self.TARGET)
        self.up.ask("GET")
        opened = json.loads(self.up.read()[1:])
        self.up.target = self.down.target = f"{self.TARGET}&sid={opened['sid']}"
        self._post(b"40")
        self.up.read()
        self.wait()
        while b"40" not in self.down.read():
            self.wait()

    def _post(self, body):
        self.up.ask("POST", body, "Content-Type: text/plain;charset=UTF-8\r\n")

    def wait(self):
        self.down.ask("GET")

    def take(self):
        return self.down.read().count(b'42["message"')

    def exchange(self, count):
        self.wait()
        self._post(self.SEPARATOR.join([self.PACKET] * count))
        self.up.read()
        left = count - self.take()
        while left:
            self.wait()
            left -= self.take()

    def close(self):
        self._post(b"1")
        self.up.read()
        self.up.close()
        self.down.close()
