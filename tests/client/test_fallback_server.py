"""Connections by plain HTTP to our own server, directly and through what loses requests."""

import contextlib
import random
import socket
import threading

import pytest
from support.certificates import client_context, server_context
from support.pairs import SOON, run

from syncws import (
    ConnectionClosedError,
    ConnectionClosedOK,
    Fallback,
    InvalidStatus,
    Router,
    broadcast,
    connect,
    reconnect,
    serve,
)

COUNT = 5000


class Handler:
    """Sends numbers, and keeps what comes; tells when each connection ends."""

    def __init__(self):
        self.received = []
        self.transports = []
        self.codes = []
        self.ended = threading.Semaphore(0)

    def __call__(self, ws):
        self.transports.append(ws.transport)
        sending = run(self.send, ws)
        with contextlib.suppress(ConnectionClosedError):
            for message in ws:
                self.received.append(message)
                if message == str(COUNT - 1):
                    sending.result()
                    ws.send("all")
        self.codes.append(ws.close_code)
        self.ended.release()

    def send(self, ws):
        with contextlib.suppress(ConnectionClosedError, ConnectionClosedOK):
            for number in range(COUNT):
                ws.send(str(number))


def exchange(uri, handler, **kwargs):
    """Numbers go both ways at once; none is lost, twice there, or out of order."""
    numbers = [*map(str, range(COUNT))]
    with connect(uri, **kwargs) as ws:

        def send():
            for number in numbers:
                ws.send(number)

        sending = run(send)
        received = []
        while len(received) <= COUNT:
            received.append(ws.recv(timeout=SOON))
        sending.result()
    assert ws.close_code == 1000
    assert handler.ended.acquire(timeout=SOON)
    assert received == [*numbers, "all"]
    assert handler.received == numbers
    assert handler.codes == [1000]
    return ws


def http(server):
    return server.uri.replace("ws", "http", 1)


@pytest.fixture
def handler():
    return Handler()


@pytest.fixture(params=["streaming", "polling"])
def fallback(request):
    return Fallback(streaming=request.param == "streaming")


@pytest.mark.parametrize("compression", ["deflate", None])
def test_numbers_both_ways(handler, fallback, compression):
    with serve(handler, "127.0.0.1", 0, fallback=fallback) as server:
        ws = exchange(http(server), handler, compression=compression)
    assert ws.transport == ("streaming" if fallback.streaming else "polling")
    assert bool(ws.extensions) is (compression is not None)
    assert handler.transports[0] != "websocket"


def test_tls(handler, fallback):
    with serve(handler, "127.0.0.1", 0, fallback=fallback, ssl=server_context()) as server:
        exchange(http(server), handler, ssl=client_context())


class Lossy:
    """A proxy of TCP that cuts connections after a random number of bytes, either way.

    The first one soon: few may be needed.
    """

    def __init__(self, port, seed, least=200, most=100_000):
        self._port = port
        self._random = random.Random(seed)
        self._range = least, most
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}/"
        self.cuts = 0
        self._socks = set()
        self._running = [run(self._accept)]

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                other = socket.create_connection(("127.0.0.1", self._port))
                budget = [self._random.randint(*self._range) if self._socks else 2_000]
                self._socks |= {sock, other}
                self._running.append(run(self._copy, sock, other, budget))
                self._running.append(run(self._copy, other, sock, budget))

    def _copy(self, source, target, budget):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(10_000)
                if not data:
                    break
                budget[0] -= len(data)
                if budget[0] < 0:
                    self.cuts += 1
                    break
                target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for running in self._running:
            running.result()
        for sock in (self._listener, *self._socks):
            sock.close()


@pytest.mark.parametrize("seed", range(3))
def test_connections_that_are_cut_lose_and_double_nothing(handler, fallback, seed):
    with (
        serve(handler, "127.0.0.1", 0, fallback=fallback) as server,
        Lossy(server.port, seed) as proxy,
    ):
        exchange(proxy.uri, handler, compression=None)
        assert proxy.cuts


def test_large_messages_through_connections_that_are_cut(fallback):
    message = random.Random(1).randbytes(900_000)

    def echo(ws):
        for received in ws:
            ws.send(received)

    with (
        serve(echo, "127.0.0.1", 0, fallback=fallback) as server,
        Lossy(server.port, 1, 300_000, 600_000) as proxy,
        connect(proxy.uri, compression=None) as ws,
    ):
        for _ in range(3):
            ws.send(message)
            assert ws.recv(timeout=SOON) == message
        assert proxy.cuts


def test_a_handler_that_does_not_receive(fallback):
    """It sends more than what may be unacknowledged, while our bytes wait for it."""
    go = threading.Event()
    message = "x" * 100_000

    def handle(ws):
        for _ in range(50):
            ws.send(message)
        go.wait(SOON)
        for received in ws:
            ws.send(received)

    with (
        serve(handle, "127.0.0.1", 0, fallback=fallback, max_queue=2, compression=None) as server,
        connect(http(server), compression=None) as ws,
    ):

        def send():
            for _ in range(50):
                ws.send(message)

        sending = run(send)
        for _ in range(50):
            assert ws.recv(timeout=SOON) == message
        go.set()
        for _ in range(50):
            assert ws.recv(timeout=SOON) == message
        sending.result()


def test_refusals(fallback):
    router = Router()

    @router.route("/chat")
    def chat(ws):
        ws.send(ws.transport)

    with serve(router, "127.0.0.1", 0, fallback=fallback) as server:
        with connect(f"{http(server)}chat") as ws:
            assert ws.recv(timeout=SOON) in ("streaming", "polling")
        with pytest.raises(InvalidStatus) as info:
            connect(f"{http(server)}other")
        assert info.value.response.status_code == 404
        with pytest.raises(InvalidStatus) as info:
            connect(f"{http(server)}chat", origin="http://example.com")
        assert info.value.response.status_code == 403


def test_a_server_without_fallback():
    with serve(lambda ws: None, "127.0.0.1", 0) as server, pytest.raises(InvalidStatus) as info:
        connect(http(server))
    assert info.value.response.status_code in (400, 405, 426)


def test_subprotocols(fallback):
    with (
        serve(
            lambda ws: ws.wait_closed(SOON),
            "127.0.0.1",
            0,
            fallback=fallback,
            subprotocols=["chat"],
        ) as server,
        connect(http(server), subprotocols=["superchat", "chat"]) as ws,
    ):
        assert ws.subprotocol == "chat"


def test_the_end_of_the_server(fallback):
    def handle(ws):
        ws.send("hello")
        ws.wait_closed(SOON)

    server = serve(handle, "127.0.0.1", 0, fallback=fallback)
    server.start()
    ws = connect(http(server))
    assert ws.recv(timeout=SOON) == "hello"  # so it has a connection to ask by
    server.close(timeout=SOON)
    assert ws.wait_closed(SOON)
    assert ws.close_code == 1001


def test_an_abort_ends_the_handler(fallback):
    codes = []
    ended = threading.Event()

    def handle(ws):
        ws.wait_closed(SOON)
        codes.append(ws.close_code)
        ended.set()

    with serve(handle, "127.0.0.1", 0, fallback=fallback) as server:
        connect(http(server)).abort()
        assert ended.wait(SOON)
    assert codes == [1006]


def test_limits_and_close_codes(fallback):
    def handle(ws):
        with contextlib.suppress(ConnectionClosedError):
            ws.recv()

    with serve(handle, "127.0.0.1", 0, fallback=fallback, max_size=1000) as server:
        ws = connect(http(server))
        ws.send("x" * 2000)
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(timeout=SOON)
        assert info.value.rcvd.code == 1009


def test_broadcasts_reach_all(fallback):
    joined = threading.Semaphore(0)

    def handle(ws):
        joined.release()
        ws.wait_closed(SOON)

    with serve(handle, "127.0.0.1", 0, fallback=fallback) as server, contextlib.ExitStack() as all_:
        uris = [server.uri, http(server), http(server)]
        clients = [all_.enter_context(connect(uri)) for uri in uris]
        for _ in clients:
            assert joined.acquire(timeout=SOON)
        broadcast(server.connections, "hello")
        for client in clients:
            assert client.recv(timeout=SOON) == "hello"


def test_reconnect(fallback):
    with serve(lambda ws: ws.send(ws.transport), "127.0.0.1", 0, fallback=fallback) as server:
        for number, ws in enumerate(reconnect(http(server))):
            assert ws.recv(timeout=SOON) in ("streaming", "polling")
            if number == 2:
                break


def test_keepalive(fallback):
    with (
        serve(
            lambda ws: ws.wait_closed(SOON), "127.0.0.1", 0, fallback=fallback, ping_interval=0.05
        ) as server,
        connect(http(server), ping_interval=0.05, ping_timeout=5) as ws,
    ):
        for _ in range(5):
            assert ws.ping().wait(SOON)
        assert not ws.wait_closed(0.5)
        assert ws.latency > 0
