"""An HTTP proxy that loses, repeats, delays, cuts and buffers what it carries.

It knows nothing of the fallback but the header of its requests; all others pass unharmed.
"""

import contextlib
import random
import re
import select
import socket
import threading
from collections import Counter

from support.pairs import SOON
from support.scripted import parse_head

#: What may happen to a request, and how likely it is.
FAULTS = {
    "refuse": 0.02,  # 502, and the server has seen nothing
    "forget": 0.02,  # 504, once the server has answered
    "lose": 0.03,  # no response, once the server has answered
    "drop": 0.01,  # no response, and the server has seen nothing
    "cut request": 0.01,  # the server gets half of the body
    "cut response": 0.03,  # the client gets half of the body
    "close": 0.03,  # the connection ends after the response, unannounced
    "repeat": 0.03,  # the server gets it twice, one after the other
    "repeat late": 0.03,  # the second time is when other requests have passed
    "delay": 0.05,
    "hold": 0.03,  # until a request of another connection has overtaken it
}

#: Decimal digits of the number of bytes after which a stream is cut, at least and at most.
STREAM_DIGITS = 1, 6

#: Seconds that a request is delayed, held, or repeated after, at most.
DELAY, HOLD, LATE = 0.03, 0.3, 0.5

BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n"
    b"<h1>Sorry.</h1>"
)
GATEWAY_TIMEOUT = BAD_GATEWAY.replace(b"502 Bad Gateway", b"504 Gateway Timeout")

_OURS = re.compile(rb"(?i)\r\nsyncws-session[ \t]*:")


class _Gone(Exception):
    """The client has closed its connection."""


class _Reader:
    """What comes over a socket, while the client is still there."""

    def __init__(self, sock, client=None):
        self.sock = sock
        self._client = client
        self._buffer = b""

    def _fill(self):
        if self._client is not None:
            ready = select.select([self.sock, self._client], [], [], 4 * SOON)[0]
            if self.sock not in ready:
                raise _Gone
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError
        self._buffer += data

    def read_until(self, end):
        while end not in self._buffer:
            self._fill()
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    def read(self, size):
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


class _Request:
    def __init__(self, head, body):
        self.data = head + body
        self.head = head
        self.body = body
        self.is_ours = bool(_OURS.search(head))


class FaultyProxy:
    """A proxy on loopback.

    Args:
        target: the server's port.
        seed: of what happens, as far as it is not for the threads to say.
        faults: what may happen, and how likely it is.
        buffer: bytes of a stream that it keeps until more have come, or the end.

    Attributes:
        port: its own.
        happened: how often each fault did.
    """

    def __init__(self, target, seed, faults=FAULTS, *, buffer=0):
        self.happened = Counter()
        self._target = target
        self._faults = faults
        self._buffer = buffer
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._passed = threading.Condition(self._lock)
        self._count = 0  # requests that have passed
        self._sockets = set()
        self._threads = []
        self._is_over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._is_over.set()
        with self._lock:
            for sock in [self._listener, *self._sockets]:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        while self._threads:
            self._threads.pop().join(SOON)

    def _start(self, function, *args):
        thread = threading.Thread(target=function, args=args)
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._is_over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    # --- what to do ---

    def _draw(self):
        """What happens to a request, and how much of it, from 0 to 1."""
        with self._lock:
            number, share = self._random.random(), self._random.random()
            for fault, chance in self._faults.items():
                number -= chance
                if number < 0:
                    self.happened[fault] += 1
                    return fault, share
            return None, share

    def _draw_cut(self):
        """After how many bytes a stream is cut; infinity is never."""
        with self._lock:
            return 10 ** self._random.uniform(*STREAM_DIGITS) if self._faults else float("inf")

    # --- connections ---

    @contextlib.contextmanager
    def _owned(self, sock):
        """Have a socket closed in the end, or when all is over."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(sock)
        try:
            with sock:
                yield sock
        finally:
            with self._lock:
                self._sockets.discard(sock)

    def _connect(self):
        return self._owned(socket.create_connection(("127.0.0.1", self._target), timeout=SOON))

    def _serve(self, client):
        gone = contextlib.suppress(OSError, EOFError, _Gone)
        with gone, self._owned(client), self._connect() as server:
            requests, responses = _Reader(client), _Reader(server, client)
            while not self._is_over.is_set():
                request = self._read_request(requests)
                if not self._pass_on(request, client, server, responses):
                    return

    def _read_request(self, reader):
        head = reader.read_until(b"\r\n\r\n")
        size = int(parse_head(head)[1].get("content-length", 0))
        return _Request(head, reader.read(size))

    def _pass_on(self, request, client, server, responses):
        """Do with a request what happens to it; return whether the connection goes on."""
        fault, share = self._draw() if request.is_ours else (None, 0)
        if fault == "refuse":
            client.sendall(BAD_GATEWAY)
            return True
        if fault == "drop":
            return False
        if fault == "cut request":
            server.sendall(request.head + request.body[: int(len(request.body) * share)])
            return False
        if fault == "delay":
            self._is_over.wait(share * DELAY)
        elif fault == "hold":
            with self._passed:
                before = self._count
                self._passed.wait_for(lambda: self._count > before, HOLD)
        elif fault == "repeat":
            self._repeat(request)
        elif fault == "repeat late":
            self._start(self._repeat, request, share * LATE)
        server.sendall(request.data)
        with self._passed:
            self._count += 1
            self._passed.notify_all()
        head = responses.read_until(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100 "):
            head = responses.read_until(b"\r\n\r\n")
        if b"text/event-stream" in head:
            return self._pass_stream(fault, head, client, responses)
        body = self._read_body(head, responses)
        if fault == "forget":
            client.sendall(GATEWAY_TIMEOUT)
            return True
        if fault == "lose":
            return False
        if fault == "cut response":
            client.sendall(head + body[: int(len(body) * share)])
            return not body
        client.sendall(head + body)
        return fault != "close" and b"\r\nconnection: close" not in head.lower()

    def _read_body(self, head, reader):
        first, headers, _ = parse_head(head)
        if first.split()[1] in ("204", "304"):
            return b""
        return reader.read(int(headers["content-length"]))

    def _pass_stream(self, fault, head, client, reader):
        """Pass on a response in chunks as they come."""
        if fault in ("forget", "lose"):
            if fault == "forget":
                client.sendall(GATEWAY_TIMEOUT)
            return False
        left = self._draw_cut()
        held = head
        size = None
        while size != 0:
            if len(held) > self._buffer:
                client.sendall(held)
                held = b""
            line = reader.read_until(b"\r\n")
            size = int(line, 16)
            chunk = line + reader.read(size + 2)
            if left < len(chunk):
                with self._lock:
                    self.happened["cut stream"] += 1
                client.sendall(held + chunk[: int(left)])
                return False
            left -= len(chunk)
            held += chunk
        client.sendall(held)
        return fault != "close"

    def _repeat(self, request, delay=0.0):
        """Send a request to the server, and look at its response, or not even that."""
        if self._is_over.wait(delay):
            return
        with contextlib.suppress(OSError, EOFError), self._connect() as server:
            server.settimeout(0.2)  # of those that wait for something
            server.sendall(request.data)
            _Reader(server).read_until(b"\r\n\r\n")
