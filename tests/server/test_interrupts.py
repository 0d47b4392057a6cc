"""Programs of their own: Ctrl-C, other signals, exit and fork."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
from support.pairs import SOON
from support.scripted import build_request, read_all, read_head

from syncws import connect

ROOT = pathlib.Path(__file__).resolve().parents[2]

PROLOGUE = """
import os, signal, sys, threading, time
from syncws import connect, serve, unix_serve
from syncws.threaded.blocking import wait_for_lock

def echo(ws):
    for message in ws:
        ws.send(message)

def stuck(ws):
    ws.send("stuck")
    time.sleep(60)

def announce(server):
    # Once the main thread waits; an interruption before that is not the server's to handle.
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code is not wait_for_lock.__code__:
        time.sleep(0.01)
    # Not print(): its lock, in a thread that never ends, may abort the interpreter at its end.
    os.write(1, b"%d\\n" % server.port)

def serve_forever(server):
    threading.Thread(target=announce, args=(server,), daemon=True).start()
    server.serve_forever()
"""


class Program:
    """A program that says on its first line which port its server has."""

    def __init__(self, source):
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROLOGUE + source],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.port = int(self.process.stdout.readline())
        self.uri = f"ws://127.0.0.1:{self.port}/"

    def end(self, number=None):
        """Send a signal; return exit status, errors, and the seconds until the end."""
        start = time.monotonic()
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=SOON)
        return self.process.returncode, errors.decode(), time.monotonic() - start


@pytest.fixture
def program():
    programs = []

    def start(source):
        programs.append(Program(source))
        return programs[-1]

    yield start
    for each in programs:
        each.process.kill()
        each.process.communicate()


FOREVER = """
with serve({handler}, "127.0.0.1") as server:
    serve_forever(server)
"""


def assert_ends_well(ending):
    status, errors, seconds = ending
    assert (status, errors) == (0, "")
    assert seconds < 2


def test_ctrl_c_ends_a_server_that_waits(program):
    assert_ends_well(program(FOREVER.format(handler="echo")).end(signal.SIGINT))


def test_ctrl_c_tells_clients(program):
    server = program(FOREVER.format(handler="echo"))
    with connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"
        assert_ends_well(server.end(signal.SIGINT))
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1001


def test_ctrl_c_ends_a_server_whose_client_ignores_close(program):
    server = program(FOREVER.format(handler="echo"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON) as sock:
        sock.sendall(build_request())
        read_head(sock)
        assert_ends_well(server.end(signal.SIGINT))
        assert read_all(sock) == b"\x88\x02\x03\xe9"


def test_ctrl_c_ends_a_server_whose_handler_is_stuck(program):
    server = program(FOREVER.format(handler="stuck"))
    with connect(server.uri) as ws:
        assert ws.recv() == "stuck"
        assert_ends_well(server.end(signal.SIGINT))


def test_ctrl_c_ends_a_server_whose_client_says_nothing(program):
    server = program(FOREVER.format(handler="echo"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON):
        with connect(server.uri) as ws:  # the silent one was accepted before
            ws.send("hello")
            assert ws.recv() == "hello"
        assert_ends_well(server.end(signal.SIGINT))


def test_ctrl_c_outside_of_serving_forever_closes_the_server_and_goes_on(program):
    server = program("""
with serve(echo, "127.0.0.1") as server:
    # Not print(): its lock, in a thread that never ends, may abort the interpreter at its end.
    os.write(1, b"%d\\n" % server.port)
    while True:
        time.sleep(0.01)
""")
    with connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"
        status, errors, seconds = server.end(signal.SIGINT)
        assert errors.endswith("KeyboardInterrupt\n")
        assert status != 0
        assert seconds < 2
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1001


@pytest.mark.parametrize("name", ["close", "stop"])
def test_a_signal_handler_may_close_the_server(program, name):
    server = program(f"""
server = serve(echo, "127.0.0.1").start()
signal.signal(signal.SIGTERM, lambda *args: server.{name}())
serve_forever(server)
""")
    with connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"
        assert_ends_well(server.end(signal.SIGTERM))
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1001


def test_a_program_that_forgets_to_close_its_server_just_ends(program, tmp_path):
    server = program(f"""
import warnings
warnings.simplefilter("ignore", ResourceWarning)
unix = unix_serve(echo, {str(tmp_path / "ws")!r}).start()
server = serve(stuck, "127.0.0.1").start()
print(server.port, flush=True)
sys.stdin.read(0)
while not server.connections:
    time.sleep(0.01)
""")
    with connect(server.uri) as ws:
        assert_ends_well(server.end())
        assert ws.recv() == "stuck"
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1001
    assert not (tmp_path / "ws").exists()


def test_a_forked_child_has_no_part_in_the_server(program):
    server = program("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads

def handler(ws):
    ws.recv()
    ws.send("parent")
    ws.recv()

server = serve(handler, "127.0.0.1").start()
uri = server.uri
silent = __import__("socket").create_connection(("127.0.0.1", server.port))
with connect(uri) as ws:
    while not (server.connections and server._roster.opening):
        time.sleep(0.01)
    child = os.fork()
    if not child:
        ok = server.is_serving() is False and server.wait_closed(0) and not server.connections
        server.close()
        server.serve_forever()
        ok = ok and all(sock.fileno() == -1 for sock in server.sockets)
        left = [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
        sockets = [fd for fd in left if os.path.exists(f"/proc/self/fd/{fd}") and
                   "socket" in os.readlink(f"/proc/self/fd/{fd}")]
        os._exit(0 if ok and len(sockets) == 1 else 1)  # that of the silent client
    _, status = os.waitpid(child, 0)
    ws.send("go on")
    assert ws.recv() == "parent"
assert server.is_serving()
print(status, flush=True)
silent.close()
server.close()
""")
    assert server.port == 0, "the child's exit status"
    assert_ends_well(server.end())
