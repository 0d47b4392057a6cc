"""Servers that follow a script, for clients that connect again and again."""

import contextlib
import itertools
import queue
import socket

from support.pairs import SOON, send_reset
from support.scripted import build_response, parse_head, read_all, read_head

from syncws import ConnectionClosed, reconnect

#: A delay that no test waits out.
LONG = 3600.0

#: Frames that servers send.
CLOSE = b"\x88\x02\x03\xe8"
HELLO = b"\x81\x05hello"
UNKNOWN_FRAME = b"\x83\x00"

NO_DELAYS = itertools.repeat(0.0)


def answer(code, *headers):
    """The bytes of a response without a body."""
    lines = [f"HTTP/1.1 {code} Answer", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def moved(path, code):
    return answer(code, f"Location: {path}")


#: The answers of a server that accepts the connection and ends it at once.
WELCOME = (build_response, CLOSE)


class Site:
    """A script: answers to one request after the other; the last repeats.

    An answer is bytes, a function that makes bytes from the request, or a tuple of both. Given
    paths have answers of their own.
    """

    def __init__(self, *answers, **paths):
        self._answers = {path: list(some) for path, some in {"": answers, **paths}.items()}
        self.asked = []  # paths
        self.headers = []  # of each request

    def __call__(self, sock):
        request = read_head(sock)
        line, headers, _ = parse_head(request)
        path = line.split(" ")[1]
        self.asked.append(path)
        self.headers.append(headers)
        answers = self._answers.get(path[1:]) or self._answers[""]
        pieces = answers.pop(0) if len(answers) > 1 else answers[0]
        for piece in pieces if isinstance(pieces, tuple) else (pieces,):
            sock.sendall(piece(request) if callable(piece) else piece)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        read_all(sock)


def in_turn(*scripts):
    """A script that runs these scripts, one for each connection; the last repeats."""
    following = itertools.chain(scripts, itertools.repeat(scripts[-1]))
    return lambda sock: next(following)(sock)


def reset(sock):
    """A script: read the request, and reset the connection."""
    read_head(sock)
    send_reset(sock)


class Listening:
    """A handler that echoes, and keeps the code each connection was closed with."""

    def __init__(self):
        self.codes = queue.Queue()

    def __call__(self, ws):
        with contextlib.suppress(ConnectionClosed):
            for message in ws:
                ws.send(message)
        assert ws.wait_closed(SOON)
        self.codes.put(ws.close_code)

    def code(self):
        return self.codes.get(timeout=SOON)


def drain(ws):
    """Receive until the connection ends, however it ends."""
    with contextlib.suppress(ConnectionClosed):
        for _ in ws:
            pass


def receive_all(connections):
    """Receive from one connection after the other until the loop ends."""
    for ws in connections:
        drain(ws)


def first_connection(connections):
    """Return the first connection."""
    for ws in connections:
        return ws
    return None


def assert_works(ws):
    ws.send("hello")
    assert ws.recv(SOON) == "hello"


def break_out(uri, **kwargs):
    for _ in reconnect(uri, **kwargs):
        break
