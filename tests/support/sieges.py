"""Servers under attack, next to a client that must not notice."""

import contextlib
import socket
import threading
import time
import tracemalloc

from support.certificates import contexts
from support.pairs import SOON, run, wait_until
from support.serving import echo, serving

from syncws import connect

MIB = 1 << 20

#: Seconds within which the bystander must get each echo, on a busy machine.
IN_TIME = 5


class Bystander:
    """A client that sends numbers one by one, and must get each back at once."""

    def __init__(self, uri, **kwargs):
        self._ws = connect_to(uri, **kwargs)
        self._stopping = threading.Event()
        self.echoes = 0
        self._running = run(self._run)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.leave()

    def _run(self):
        with self._ws as ws:
            while not self._stopping.wait(0.002):
                ws.send(str(self.echoes))
                assert ws.recv(IN_TIME) == str(self.echoes)
                self.echoes += 1
        assert ws.close_code == 1000

    def is_served(self):
        """Get more echoes from now on."""
        before = self.echoes
        wait_until(lambda: self.echoes > before + 2 or self._running.done())
        return self.echoes > before + 2

    def leave(self):
        self._stopping.set()
        self._running.result()


def connect_to(uri, **kwargs):
    """Connect to a server on this machine by the name localhost, which its certificate has."""
    if uri.startswith("wss:"):
        kwargs["ssl"] = contexts()[1]
    uri = uri.replace("127.0.0.1", "localhost") + "bystander"
    return connect(uri, host="127.0.0.1", proxy=None, **kwargs)


@contextlib.contextmanager
def besieged(caplog, handler=echo, *, failures=0, failure="connection handler failed", **kwargs):
    """A server with a bystander, and a handler for all others.

    At the end the bystander must still be served, and the log must have one traceback for each
    failure of the program's functions, and none for what peers do.
    """
    caplog.set_level("INFO")

    def dispatch(ws):
        (echo if ws.path == "/bystander" else handler)(ws)

    with serving(dispatch, **kwargs) as server, Bystander(server.uri) as bystander:
        yield server
        assert bystander.is_served()
    texts = [record.getMessage() for record in caplog.records if record.exc_info]
    assert texts == [failure] * failures, caplog.text


def address(server):
    return server.sockets[0].getsockname()[:2]


def others(server):
    """All connections but the bystander's."""
    return [ws for ws in server.connections if ws.path != "/bystander"]


def works(server, **kwargs):
    """Return whether a new client is served."""
    with connect_to(server.uri, **kwargs) as ws:
        ws.send("hello")
        return ws.recv(IN_TIME) == "hello"


def ends(sock, seconds=SOON):
    """Read until the server ends the connection; return whether it did so in time."""
    deadline = time.monotonic() + seconds
    try:
        while True:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            if not sock.recv(1 << 16):
                return True
    except (TimeoutError, socket.timeout):  # the same from Python 3.10 on
        return False
    except OSError:
        return True


def trickle(sock, data, seconds, interval=0.02):
    """Send bytes one by one and close; return whether the server ended it first, in time."""
    deadline = time.monotonic() + seconds
    with sock:
        for byte in data:
            try:
                sock.sendall(bytes((byte,)))
            except OSError:
                return True
            if ends(sock, interval):
                return True
            if time.monotonic() > deadline:
                return False
        return ends(sock, max(0.001, deadline - time.monotonic()))


def pour(sock, block, size):
    """Send a block again and again; return how many bytes went out before the server ended it."""
    sent = 0
    view = memoryview(block)
    try:
        while sent < size:
            sent += sock.send(view[sent % len(block) :])
    except (ConnectionError, TimeoutError, socket.timeout):
        pass
    return sent


def drop(sock):
    """Make this end of a connection vanish, without FIN or RST. Needs privileges, on Linux."""
    repair = getattr(socket, "TCP_REPAIR", 19)
    sock.setsockopt(socket.IPPROTO_TCP, repair, 1)
    sock.close()


class Memory:
    """The peak of Python's allocator, above what it had at first."""

    peak = 0


@contextlib.contextmanager
def measured_memory():
    """Measure the memory that the block takes. Slow."""
    memory = Memory()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield memory
        memory.peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
