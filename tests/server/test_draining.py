"""close(drain_seconds=): connections closed over some time."""

import signal
import sys
import threading
import time

import pytest
from support.pairs import SOON, run, wait_until
from support.scripted import nothing_left
from support.serving import assert_works, echo, serving

from syncws import ProtocolError, connect, serve
from syncws.server import draining
from syncws.threaded.latch import Latch


def clients_of(server, count):
    clients = [connect(server.uri) for _ in range(count)]
    wait_until(lambda: len(server.connections) == count)
    return clients


def is_draining(server):
    """Whether a thread waits between closing two connections."""
    drained = server._shutdown._drained
    return drained is not None and drained._waiters


class Closings:
    """When each connection was closed, in order."""

    def __init__(self, clients):
        self.times = {}
        self._threads = [run(self._watch, ws) for ws in clients]

    def _watch(self, ws):
        assert ws.wait_closed(2 * SOON)
        self.times[ws] = time.monotonic()

    def result(self):
        for thread in self._threads:
            thread.result(2 * SOON)
        return sorted(self.times.values())


def test_closing_is_spread_evenly_over_the_time():
    server = serve(echo, "127.0.0.1").start()
    clients = clients_of(server, 10)
    closings = Closings(clients)
    start = time.monotonic()
    server.close(code=1012, reason="restart", drain_seconds=1)
    assert time.monotonic() - start >= 0.9
    offsets = [each - start for each in closings.result()]
    for number, offset in enumerate(offsets):
        assert offset >= number * 0.1 - 0.05
    assert offsets[0] < 0.5
    assert {(ws.close_code, ws.close_reason) for ws in clients} == {(1012, "restart")}


def test_the_order_is_not_that_of_arrival(monkeypatch):
    closed = []
    for _ in range(3):
        draining.drain(range(50), 0.001, closed.append, Latch())
    orders = [closed[:50], closed[50:100], closed[100:]]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert any(order != sorted(order) for order in orders)
    assert orders[0] != orders[1] or orders[1] != orders[2]


def test_nothing_is_accepted_while_it_drains():
    server = serve(echo, "127.0.0.1").start()
    first, second = clients_of(server, 2)
    closing = run(server.close, drain_seconds=10 * SOON)
    wait_until(lambda: server._shutdown._drained is not None)
    with pytest.raises(ConnectionRefusedError):
        connect(server.uri)
    # One is closed at once, the other one half of the time later.
    wait_until(lambda: first.closed or second.closed)
    left = second if first.closed else first
    assert_works(left)
    closing.result()  # early, as none is left


def test_it_ends_early_when_all_are_gone():
    with nothing_left():
        server = serve(echo, "127.0.0.1").start()
        clients = clients_of(server, 3)
        closing = run(server.close, drain_seconds=10 * SOON)
        wait_until(lambda: not server.is_serving())
        for ws in clients:
            ws.close()
        closing.result()
        assert server.wait_closed(0)


def test_it_does_not_wait_without_connections():
    server = serve(echo, "127.0.0.1").start()
    start = time.monotonic()
    server.close(drain_seconds=10 * SOON)
    assert time.monotonic() - start < SOON


def test_closing_again_without_it_ends_it_at_once():
    server = serve(echo, "127.0.0.1").start()
    clients = clients_of(server, 3)
    closing = run(server.close, code=1012, drain_seconds=10 * SOON)
    wait_until(lambda: not server.is_serving())
    server.close(code=1001)
    closing.result()
    for ws in clients:
        assert ws.wait_closed(SOON)
        assert ws.close_code in (1001, 1012)


def test_stopping_may_drain_too():
    server = serve(echo, "127.0.0.1").start()
    clients = clients_of(server, 2)
    server.stop(code=1012, drain_seconds=10 * SOON)
    wait_until(lambda: not server.is_serving())
    wait_until(lambda: any(ws.closed for ws in clients))
    assert not server.wait_closed(0)
    server.stop()
    assert server.wait_closed(SOON)


def test_closing_again_with_it_waits_for_the_first_at_most_that_long():
    server = serve(echo, "127.0.0.1").start()
    clients_of(server, 3)
    first = run(server.close, drain_seconds=10 * SOON)
    wait_until(lambda: server._shutdown._drained is not None)
    start = time.monotonic()
    server.close(drain_seconds=0.3)
    assert 0.2 < time.monotonic() - start < SOON
    first.result()


def test_draining_ends_connections_that_were_to_go_on():
    server = serve(echo, "127.0.0.1").start()
    clients = clients_of(server, 2)
    first = run(server.close, close_connections=False)
    wait_until(lambda: not server.is_serving())
    server.close(drain_seconds=0.2)
    first.result()
    assert all(ws.wait_closed(SOON) for ws in clients)


def test_the_timeout_counts_after_it():
    def stuck(ws):
        released.wait(2 * SOON)

    released = threading.Event()
    server = serve(stuck, "127.0.0.1").start()
    clients_of(server, 1)
    start = time.monotonic()
    server.close(timeout=0.3, drain_seconds=0.3)
    assert 0.55 < time.monotonic() - start < SOON
    released.set()


def test_a_handler_may_drain_the_server():
    def handler(ws):
        if ws.recv(SOON) == "close":
            ws.server.close(drain_seconds=10 * SOON)
            ended.set()

    ended = threading.Event()
    server = serve(handler, "127.0.0.1").start()
    first, other = clients_of(server, 2)
    first.send("close")
    wait_until(lambda: server._shutdown._drained is not None)
    other.close()
    assert ended.wait(SOON)  # its own connection isn't waited for
    assert first.wait_closed(SOON)


def test_an_interruption_closes_what_is_left_and_ends_it(monkeypatch):
    class Interrupted(Latch):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    server = serve(echo, "127.0.0.1").start()
    clients = clients_of(server, 3)
    monkeypatch.setattr("syncws.server.shutdown.Latch", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.close(code=1012, drain_seconds=10 * SOON)
    monkeypatch.undo()
    for ws in clients:
        assert ws.wait_closed(SOON)
    assert server.wait_closed(0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_it():
    server = serve(echo, "127.0.0.1").start()
    clients = clients_of(server, 3)
    before = signal.getsignal(signal.SIGINT)
    main = threading.main_thread().ident

    def interrupt():
        wait_until(
            lambda: server._shutdown._drained is not None and server._shutdown._drained._waiters
        )
        signal.pthread_kill(main, signal.SIGINT)

    interrupting = run(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            server.close(drain_seconds=10 * SOON)
    finally:
        signal.signal(signal.SIGINT, before)
    interrupting.result()
    assert server.wait_closed(0)
    assert all(ws.wait_closed(SOON) for ws in clients)


def test_a_signal_handler_may_close_again():
    server = serve(echo, "127.0.0.1").start()
    clients = clients_of(server, 3)
    main = threading.main_thread().ident
    seen = []

    def handle(*_):
        if len(seen) == 0:
            seen.append("drain")
            server.close(drain_seconds=5)  # changes nothing, and does not wait for itself
            seen.append(server._shutdown._drained.is_set())
        else:
            server.close(timeout=SOON)
            seen.append(server._shutdown._drained.is_set())

    before = signal.signal(signal.SIGUSR1, handle)

    def send():
        wait_until(
            lambda: server._shutdown._drained is not None and server._shutdown._drained._waiters
        )
        signal.pthread_kill(main, signal.SIGUSR1)
        wait_until(lambda: len(seen) == 2)
        signal.pthread_kill(main, signal.SIGUSR1)

    sending = run(send)
    try:
        server.close(drain_seconds=10 * SOON)
    finally:
        sending.result()
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["drain", False, True]
    assert all(ws.wait_closed(SOON) for ws in clients)


def test_connections_that_open_meanwhile_are_closed():
    def process_response(ws, request, response):
        if request.path == "/late":
            answering.set()
            assert released.wait(SOON)

    answering, released = threading.Event(), threading.Event()
    server = serve(echo, "127.0.0.1", process_response=process_response).start()
    clients_of(server, 1)
    late = run(connect, f"{server.uri}late")
    assert answering.wait(SOON)
    closing = run(server.close, drain_seconds=10 * SOON)
    wait_until(lambda: server._shutdown._drained is not None)
    released.set()
    assert late.result().wait_closed(SOON)
    closing.result()


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"drain_seconds": -1}, ValueError, "drain_seconds must not be negative"),
        ({"drain_seconds": 1, "close_connections": False}, ValueError, "drain_seconds= closes"),
        ({"drain_seconds": 1, "code": 1006}, ProtocolError, "1006 can't be sent"),
    ],
)
@pytest.mark.parametrize("name", ["close", "stop"])
def test_arguments_that_make_no_sense_leave_the_server_as_it_is(name, kwargs, error, match):
    with serving() as server:
        with pytest.raises(error, match=match):
            getattr(server, name)(**kwargs)
        assert server.is_serving()


def test_stopping_takes_no_other_arguments():
    with serving() as server:
        with pytest.raises(TypeError):
            server.stop(drain=1)
        assert server.is_serving()


def test_no_time_at_all_closes_at_once():
    server = serve(echo, "127.0.0.1").start()
    (ws,) = clients_of(server, 1)
    server.close(drain_seconds=0)
    assert ws.wait_closed(SOON)
