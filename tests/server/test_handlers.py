"""Handlers that raise, hang, end early, or close their own server: others don't notice."""

import contextlib
import sys
import threading
import time

import pytest
from support.attacks import CLOSE, FIN, TEXT, frame, open_raw, read_close
from support.pairs import SOON, run, wait_until
from support.programs import Program
from support.serving import echo, serving
from support.sieges import address, besieged, others

from syncws import (
    ConnectionClosed,
    ConnectionClosedError,
    InvalidMessage,
    InvalidStatus,
    SendTimeout,
    ServerConnection,
    connect,
    serve,
)


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("this exception can't be printed")

    __repr__ = __str__


class Base(BaseException):
    pass


def exit_program(ws):
    sys.exit(3)


def exhaust_the_stack(ws):
    exhaust_the_stack(ws)


def fail_to_close(ws):
    """Raise what closed connections raise, but of another one."""
    raise ConnectionClosedError(None, None, None)


def raise_in_raise(ws):
    try:
        raise Unprintable
    finally:
        raise Unprintable


def raising(exc):
    def handler(ws):
        raise exc

    return handler


FAILURES = {
    "exception": raising(ValueError("a defect")),
    "exit": exit_program,
    "interrupt": raising(KeyboardInterrupt()),
    "generator exit": raising(GeneratorExit()),
    "stop iteration": raising(StopIteration()),
    "base exception": raising(Base()),
    "unprintable": raising(Unprintable()),
    "chain": raise_in_raise,
    "recursion": exhaust_the_stack,
    "os error": raising(OSError(24, "Too many open files")),
    "timeout": raising(TimeoutError("the program's own")),
    "memory": raising(MemoryError()),
    "closed": fail_to_close,
}


# --- that raise ---


@pytest.mark.parametrize("kind", FAILURES)
def test_what_a_handler_raises_ends_its_connection_only(caplog, kind):
    with besieged(caplog, FAILURES[kind], failures=1) as server, open_raw(address(server)) as sock:
        assert read_close(sock) == 1011
        sock.close()
        wait_until(lambda: len(server._roster.running) == 1)
    assert "Traceback" in caplog.text


def test_handlers_that_raise_all_the_time(caplog):
    count = 100
    handlers = list(FAILURES.values())

    def fail(ws):
        handlers[ws.number % len(handlers)](ws)

    def attack():
        for _ in range(count // 4):
            with open_raw(address(server)) as sock:
                assert read_close(sock) == 1011

    with besieged(caplog, fail, failures=count, close_timeout=0.5) as server:
        attacks = [run(attack) for _ in range(4)]
        for each in attacks:
            each.result()
        wait_until(lambda: len(server._roster.running) == 1)


@pytest.mark.parametrize("exc", [ValueError("a defect"), Unprintable()], ids=["plain", "worse"])
@pytest.mark.parametrize("name", ["process_request", "process_response", "select_subprotocol"])
def test_what_functions_for_the_opening_handshake_raise_is_a_500(caplog, name, exc):
    def fail(ws, *args):
        if ws.request.path != "/bystander":
            raise exc

    options = {name: fail}
    if name == "select_subprotocol":
        options["subprotocols"] = ["chat"]
    with besieged(caplog, failures=1, failure="opening handshake failed", **options) as server:
        with pytest.raises(InvalidStatus, match="500"):
            connect(server.uri, subprotocols=["chat"], proxy=None)
        wait_until(lambda: len(server._roster.running) == 1)


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt(), Base()])
def test_what_ends_programs_ends_only_the_opening_handshake(caplog, exc):
    def fail(ws, request):
        if request.path != "/bystander":
            raise exc

    options = {"failures": 1, "failure": "connection failed", "process_request": fail}
    with besieged(caplog, **options) as server:
        with pytest.raises((InvalidMessage, OSError)):
            connect(server.uri, proxy=None)
        wait_until(lambda: len(server._roster.running) == 1)


def test_connections_that_can_not_be_made(caplog):
    def create(*args, **kwargs):
        if failing:
            raise failing.pop()
        return ServerConnection(*args, **kwargs)

    failing = []
    with besieged(
        caplog, failures=3, failure="connection failed", create_connection=create
    ) as server:
        for exc in (ValueError("a defect"), Base(), Unprintable()):
            failing.append(exc)
            with pytest.raises((InvalidMessage, OSError)):
                connect(server.uri, proxy=None)


# --- that end, or don't ---


def test_handlers_that_end_close_their_connection(caplog):
    with besieged(caplog, lambda ws: None, close_timeout=0.3) as server:
        with open_raw(address(server)) as sock:
            assert read_close(sock) == 1000
            sock.sendall(frame(FIN | CLOSE, b"\x03\xe8"))
        with open_raw(address(server)):  # which never answers
            wait_until(lambda: len(server._roster.running) == 1)


def test_a_handler_that_hangs_does_not_keep_the_server_from_closing():
    leaving = threading.Event()
    with serve(lambda ws: leaving.wait(2 * SOON), "127.0.0.1") as server:
        with connect(server.uri, proxy=None) as ws:
            wait_until(lambda: server.connections)
            start = time.monotonic()
            server.close(timeout=0.3)
            seconds = time.monotonic() - start
            assert ws.wait_closed(SOON)
            assert ws.close_code == 1001
        leaving.set()
        wait_until(lambda: not server._roster.running)
    assert 0.3 <= seconds < 2


def test_a_handler_that_will_not_hear_of_the_end_does_not_keep_the_server_from_closing():
    leaving = threading.Event()

    def deny(ws):
        while not leaving.is_set():
            try:
                ws.recv()
            except ConnectionClosed:
                leaving.wait(0.001)

    with serve(deny, "127.0.0.1") as server:
        with connect(server.uri, proxy=None):
            wait_until(lambda: server.connections)
            start = time.monotonic()
            server.close(timeout=0.3)
            assert time.monotonic() - start < 5
        leaving.set()
        wait_until(lambda: not server._roster.running)


HANGING = """
import threading, time
from syncws import connect, serve

def sleep(ws):
    started.set()
    time.sleep(60)

def spin(ws):
    started.set()
    while True:
        pass

def wait(ws):
    started.set()
    threading.Lock().acquire()
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

started = threading.Event()
with serve({handler}, "127.0.0.1") as server:
    print(server.port, flush=True)
    with connect(server.uri, proxy=None) as ws:
        started.wait()
        start = time.monotonic()
        server.close(timeout=0.2)
        print(time.monotonic() - start, flush=True)
"""


@pytest.mark.parametrize("handler", ["sleep", "spin", "wait"])
def test_a_handler_that_hangs_does_not_keep_the_process_alive(handler):
    with Program(HANGING.format(handler=handler)) as program:
        assert float(program.read_line()) < 3
        status, errors, seconds = program.end()
    assert (status, errors) == (0, "")
    assert seconds < 3


# --- that close their own server ---


def close_server(ws):
    ws.server.close()


def stop_server(ws):
    ws.server.stop()
    ws.recv(SOON)


def close_both(ws):
    ws.close()
    ws.server.close()


def close_and_raise(ws):
    ws.server.close()
    raise ValueError("a defect")


CLOSING = {
    "close": (close_server, 1001),
    "stop": (stop_server, 1001),
    "both": (close_both, 1000),
    "raise": (close_and_raise, 1001),
}


@pytest.mark.parametrize("block", [False, True], ids=["started", "with block"])
@pytest.mark.parametrize("kind", CLOSING)
def test_a_handler_may_close_its_server(kind, block, caplog):
    closing, code = CLOSING[kind]

    def handler(ws):
        (closing if ws.path == "/closing" else echo)(ws)

    server = serve(handler, "127.0.0.1").start()
    other = connect(server.uri, proxy=None)
    wait_until(lambda: server.connections)
    start = time.monotonic()

    def begin():
        with connect(server.uri + "closing", proxy=None) as ws:
            assert ws.wait_closed(SOON)
            return ws.close_code

    if block:
        with server:
            closer = run(begin)
            server.serve_forever()
    else:
        closer = run(begin)
        assert server.wait_closed(SOON)
    assert closer.result() == code
    assert other.wait_closed(SOON)
    assert other.close_code == 1001
    wait_until(lambda: not server._roster.running)
    server.close()
    assert time.monotonic() - start < SOON / 2
    assert len([record for record in caplog.records if record.exc_info]) == (kind == "raise")


def test_handlers_may_all_close_their_server_at_once():
    count = 20
    gathered = threading.Barrier(count)

    def handler(ws):
        gathered.wait(SOON)
        ws.server.close()

    with serving(handler) as server:
        start = time.monotonic()
        clients = [connect(server.uri, proxy=None) for _ in range(count)]
        assert server.wait_closed(SOON)
        assert time.monotonic() - start < SOON / 2
        for ws in clients:
            assert ws.wait_closed(SOON)
            assert ws.close_code == 1001


# --- that handle too much ---


def test_a_handler_that_sends_to_others_of_its_server_while_they_end(caplog):
    """What other connections raise is the handler's own affair: its connection goes on."""

    def spread(ws):
        for message in ws:
            for each in ws.server.connections - {ws}:
                if each.path == "/bystander":
                    continue
                with contextlib.suppress(ConnectionClosed, SendTimeout):
                    each.send(message)
            ws.send(message)

    def come_and_go(count):
        for _ in range(count):
            with open_raw(address(server)) as sock:
                sock.sendall(frame(FIN | TEXT, b"hello"))

    with besieged(caplog, spread, close_timeout=0.3, send_timeout=0.3) as server:
        with connect(server.uri, proxy=None) as ws:
            visitors = [run(come_and_go, 40) for _ in range(3)]
            for number in range(100):
                ws.send(f"mine {number}")
                while ws.recv(SOON) != f"mine {number}":
                    pass
            for visitor in visitors:
                visitor.result()
        wait_until(lambda: not others(server))
