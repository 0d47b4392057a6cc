"""Signals that come while a server closes: it ends, in time, and leaves nothing undone."""

import signal
import socket

import pytest
from support.attacks import open_raw, read_close
from support.pairs import SOON, wait_until
from support.programs import Program

from syncws import connect

PROLOGUE = """
import os, signal, sys, threading, time
from syncws import connect, serve
from syncws.threaded.blocking import wait_for_lock

def echo(ws):
    for message in ws:
        ws.send(message)

def say(text):
    # Not print(): its lock, in a thread that never ends, would abort the interpreter at its end.
    os.write(1, text.encode() + b"\\n")

def hang(ws):
    # Nobody can end it; and it says when it is to be ended.
    say("hanging")
    ws.wait_closed()
    say("closed")
    time.sleep(60)

def announce():
    # Once the main thread waits; an interruption before that is not the server's to handle.
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code is not wait_for_lock.__code__:
        time.sleep(0.01)
    say(str(server.port))

def serve_forever():
    threading.Thread(target=announce, daemon=True).start()
    server.serve_forever()

closes = 0

def close(*args):
    global closes
    closes += 1
    server.close(**options)
"""

#: Ends by Ctrl-C, in at most a second.
BY_INTERRUPT = """
with serve({handler}, "127.0.0.1") as server:
    serve_forever()
print("end", flush=True)
"""

#: Ends by SIGTERM, with a handler that closes the server.
BY_HANDLER = """
options = {options}
signal.signal(signal.SIGTERM, close)
with serve({handler}, "127.0.0.1") as server:
    serve_forever()
print("end", flush=True)
"""

#: Ends by SIGTERM, with a handler that raises.
BY_EXIT = """
signal.signal(signal.SIGTERM, lambda *args: sys.exit(7))
with serve({handler}, "127.0.0.1") as server:
    serve_forever()
"""


def start(source, **arguments):
    return Program(PROLOGUE + source.format(**arguments))


def is_hanging(program):
    return program.read_line() == "hanging"


def test_ctrl_c_twice_ends_a_server_at_once():
    with start(BY_INTERRUPT, handler="hang") as program, connect(program.uri, proxy=None) as ws:
        assert is_hanging(program)
        program.process.send_signal(signal.SIGINT)
        assert ws.wait_closed(SOON)  # it has begun to close, and waits for the handler
        status, errors, seconds = program.end(signal.SIGINT)
        assert ws.close_code == 1001
    # The second one is the program's own: it isn't the server's to swallow.
    assert status == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert seconds < 2


def test_ctrl_c_many_times_ends_a_server():
    with start(BY_INTERRUPT, handler="hang") as program, connect(program.uri, proxy=None) as ws:
        assert is_hanging(program)
        for _ in range(20):
            program.process.send_signal(signal.SIGINT)
        _, _, seconds = program.end(signal.SIGINT)
        assert ws.wait_closed(SOON)
    assert seconds < 3


@pytest.mark.parametrize("options", ["{}", "dict(timeout=0.5)", "dict(drain_seconds=0.5)"])
def test_sigterm_twice_closes_a_server_once(options):
    with start(BY_HANDLER, handler="echo", options=options) as program:
        sock = open_raw(("127.0.0.1", program.port))  # which does not answer
        program.process.send_signal(signal.SIGTERM)
        assert read_close(sock) == 1001
        program.process.send_signal(signal.SIGTERM)
        sock.close()
        assert program.read_line() == "end"
        status, errors, seconds = program.end()
    assert (status, errors) == (0, "")
    assert seconds < 3


def test_sigterm_twice_while_a_handler_hangs_ends_by_the_timeout():
    program = start(BY_HANDLER, handler="hang", options="dict(timeout=1)")
    with program, connect(program.uri, proxy=None) as ws:
        assert is_hanging(program)
        program.process.send_signal(signal.SIGTERM)
        assert ws.wait_closed(SOON)
        program.process.send_signal(signal.SIGTERM)
        status, errors, seconds = program.end(signal.SIGTERM)
    assert (status, errors) == (0, "")
    assert seconds < 4


def test_ctrl_c_cuts_a_slow_shutdown_by_sigterm_short():
    program = start(BY_HANDLER, handler="hang", options="dict(timeout=60)")
    with program, connect(program.uri, proxy=None) as ws:
        assert is_hanging(program)
        program.process.send_signal(signal.SIGTERM)
        assert ws.wait_closed(SOON)
        status, _, seconds = program.end(signal.SIGINT)
    assert seconds < 4
    assert status in (0, 1, 130, -signal.SIGINT)


def test_ctrl_c_cuts_draining_short_and_tells_all_clients():
    options = "dict(drain_seconds=60)"
    with start(BY_HANDLER, handler="echo", options=options) as program:
        clients = [connect(program.uri, proxy=None) for _ in range(5)]
        for ws in clients:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
        program.process.send_signal(signal.SIGTERM)
        wait_until(lambda: any(ws.closed for ws in clients))
        assert not all(ws.closed for ws in clients)
        _, _, seconds = program.end(signal.SIGINT)
        for ws in clients:
            assert ws.wait_closed(SOON)
            assert ws.close_code == 1001
    assert seconds < 4


def test_a_signal_handler_that_exits_twice():
    with start(BY_EXIT, handler="hang") as program, connect(program.uri, proxy=None) as ws:
        assert is_hanging(program)
        program.process.send_signal(signal.SIGTERM)
        assert ws.wait_closed(SOON)
        status, errors, seconds = program.end(signal.SIGTERM)
        assert ws.close_code == 1001
    assert status == 7
    assert "Traceback" not in errors
    assert seconds < 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_clients_are_opening(number):
    """TLS or HTTP that never comes does not keep the server from closing."""
    source = BY_INTERRUPT if number == signal.SIGINT else BY_HANDLER
    with start(source, handler="echo", options="dict(timeout=5)") as program:
        silent = [socket.create_connection(("127.0.0.1", program.port)) for _ in range(20)]
        with connect(program.uri, proxy=None) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            program.process.send_signal(number)
            assert ws.wait_closed(SOON)
            seconds = program.end(number)[2]
            assert ws.close_code == 1001
        for sock in silent:
            sock.close()
    assert seconds < 4
