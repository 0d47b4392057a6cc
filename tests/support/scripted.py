"""Peers that send exactly the bytes of a script, and functions to read HTTP with."""

import base64
import contextlib
import gc
import hashlib
import os
import socket
import threading

import pytest
from support.pairs import SOON, run, wait_until

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3


# --- HTTP ---


def accept_value(key):
    """The answer to a key (RFC 6455 §4.2.2), computed independently of the library."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return base64.b64encode(digest).decode()


def build_request(path="/", method="GET", version="HTTP/1.1", **headers):
    """The bytes of an opening handshake; ``Sec_WebSocket_Key=None`` leaves that header out."""
    fields = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {path} {version}", *lines, "", ""]).encode("latin-1")


def build_response(request, **headers):
    """The bytes of the answer to an opening handshake."""
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept_value(parse_head(request)[1]["sec-websocket-key"]),
    }
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""]).encode("latin-1")


def parse_head(data):
    """First line, headers by lower-case name (those of one name joined by ", "), the rest."""
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return first, headers, rest


def read_head(sock):
    """Read a request or response up to its empty line, and no further."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, f"the connection ended after {data!r}"
        data += byte
    return data


def read_all(sock):
    """Read to the end; a reset is one."""
    pieces = []
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


# --- a client of bytes ---


@contextlib.contextmanager
def raw_client(server):
    """A socket connected to one of our servers."""
    with socket.create_connection(server.sockets[0].getsockname()[:2], timeout=SOON) as sock:
        yield sock


def exchange(server, data):
    """Send this; return the first line, the headers and the rest of what comes back."""
    with raw_client(server) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return parse_head(read_all(sock))


# --- a server of bytes ---


class ScriptedServer:
    """A listener that runs its script for one connection after the other."""

    def __init__(self, script, context):
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepted = []
        self._running = run(self._run)

    @property
    def port(self):
        return self._listener.getsockname()[1]

    @property
    def uri(self):
        return f"{'ws' if self._context is None else 'wss'}://localhost:{self.port}/"

    def _run(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # shut down
                return
            with sock:
                self._accepted.append(sock)
                sock.settimeout(SOON)
                if self._context is None:
                    self._script(sock)
                else:
                    with self._context.wrap_socket(sock, server_side=True) as tls:
                        self._script(tls)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in self._accepted:
            with contextlib.suppress(OSError):  # closed already
                sock.shutdown(socket.SHUT_RDWR)
        self._running.result()
        self._listener.close()


@contextlib.contextmanager
def scripted_server(script, context=None):
    """A server that calls ``script(sock)`` for each connection."""
    server = ScriptedServer(script, context)
    try:
        yield server
    finally:
        server.close()


def says(*pieces):
    """A script: read a request, send this (or what it makes of the request), read to the end."""

    def script(sock):
        request = read_head(sock)
        for piece in pieces:
            sock.sendall(piece(request) if callable(piece) else piece)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        read_all(sock)

    return script


def silent(sock):
    """A script: say nothing."""
    read_all(sock)


def mute_after(*pieces):
    """A script: read a request, send this, and then nothing, not even the end of the stream."""

    def script(sock):
        request = read_head(sock)
        for piece in pieces:
            sock.sendall(piece(request) if callable(piece) else piece)
        read_all(sock)

    return script


# --- what is left behind ---


@contextlib.contextmanager
def nothing_left():
    """Fail if the block leaves descriptors or threads behind."""
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = set(threading.enumerate())

    def clean():
        names = {t.name for t in set(threading.enumerate()) - threads}
        return names <= {"syncws-timekeeper", "syncws-flusher"} and (
            len(os.listdir("/proc/self/fd")) <= descriptors
        )

    yield
    wait_until(clean)


@contextlib.contextmanager
def failure(error, match=None):
    """Expect an error, and that it leaves nothing behind."""
    with nothing_left(), pytest.raises(error, match=match) as info:
        yield info
