"""The edges of a process: its exit, Ctrl-C, forks. Each program runs in a process of its own."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support.pairs import SOON, connection_pair

from syncws import ConnectionClosedError, serve

ROOT = pathlib.Path(__file__).resolve().parents[2]

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and fork")


@contextlib.contextmanager
def program(text, *args):
    """Run a program; it prints a line when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(text), *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(process, timeout=SOON):
    """Wait for a program; return its status, its output and the seconds it took to end."""
    started = time.monotonic()
    output, errors = process.communicate(timeout=timeout)
    return process.returncode, output, errors, time.monotonic() - started


class Server:
    """A server whose handlers wait for the connection's end; says how it ended."""

    def __init__(self, handler=None):
        self.opened = threading.Semaphore(0)
        self.closed = threading.Semaphore(0)
        self.codes = []
        self._handler = handler
        self._server = serve(self._handle, "127.0.0.1", 0)

    def _handle(self, ws):
        self.opened.release()
        if self._handler is not None:
            self._handler(ws)
        ws.wait_closed(SOON)
        self.codes.append(ws.close_code)
        self.closed.release()

    def __enter__(self):
        self._server.start()
        self.uri = self._server.uri
        return self

    def __exit__(self, *_):
        self._server.close(timeout=SOON)


CONNECT = """
    import sys, threading
    from syncws import connect
    ws = connect(sys.argv[1])
"""


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "connections = [connect(sys.argv[1]) for _ in range(5)]",
        "threading.Thread(target=list, args=[ws], daemon=True).start()",
        "ws.cycle = ws; del ws",
        "sys.exit()",
    ],
)
def test_program_that_forgets_to_close_exits_at_once_without_noise(rest):
    with Server() as server, program(CONNECT + "    " + rest, server.uri) as process:
        status, output, errors, seconds = finish(process)
        assert (status, output, errors) == (0, "", "")
        assert server.closed.acquire(timeout=SOON)
        assert server.codes[0] == 1001
        assert seconds < 5


DAEMON = """
    import sys, threading
    sys.path.insert(0, "tests")
    from support.pairs import wait_until
    from syncws import connect, wait

    ws = connect(sys.argv[1], compression={compression}, proxy=None)

    def iterate():
        for message in ws:
            pass
        print("noise")

    def stream():
        list(ws.recv_streaming())

    def send():
        while True:
            ws.send(bytes(1 << 20))

    def send_small():
        while True:
            ws.send("x")
            ws.flush()

    def ping():
        ws._control_received = lambda frame: None if frame.opcode == 10 else original(frame)
        ws.ping().wait()

    def wait_for_several():
        wait([ws])
        ws.recv()

    def ended():
        try:
            ws.recv()
        finally:
            print("noise")

    original = ws._control_received
    begun = threading.Event()
    thread = threading.Thread(target=lambda: (begun.set(), {call}()), daemon=True)
    thread.start()
    begun.wait()
    threading.Event().wait(0.2)  # until it is where it is to be, mostly
"""


@pytest.mark.parametrize("compression", ["None", "'deflate'"])
@pytest.mark.parametrize(
    "call",
    ["ws.recv", "iterate", "stream", "send", "send_small", "ping", "wait_for_several", "ended"],
)
@pytest.mark.parametrize("pure", ["0", "1"], ids=["c", "pure"])
def test_daemon_threads_stay_where_they_are_at_exit(call, compression, pure, monkeypatch):
    monkeypatch.setenv("SYNCWS_PURE", pure)
    reads = call.startswith("send")
    text = DAEMON.format(call=call, compression=compression)
    with Server(list if reads else None) as server, program(text, server.uri) as process:
        status, output, errors, seconds = finish(process)
        assert (status, output, errors) == (0, "", "")
        assert seconds < 5
        assert server.closed.acquire(timeout=SOON)


@pytest.mark.parametrize("compression", ["None", "'deflate'"])
def test_nothing_is_left_of_us_soon_after_everything_was_closed(compression):
    text = f"""
        import threading, time
        from syncws import broadcast, connect, serve
        with serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0) as server:
            with connect(server.uri, compression={compression}) as ws:
                ws.ping().wait()
                for _ in range(20):  # more than the kernel takes: somebody writes it later
                    broadcast(server.connections, bytes(60_000), slow_peers="skip")
        deadline = time.monotonic() + 5  # within one, if the machine has nothing else to do
        while threading.active_count() > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        print([thread.name for thread in threading.enumerate()])
    """
    with program(text) as process:
        assert finish(process)[:3] == (0, "['MainThread']\n", "")


def test_handlers_of_a_server_still_end_at_exit():
    """What they raise is seen to by the server; they may have something to clean up."""
    text = """
        import atexit, threading
        cleaned_up = threading.Event()
        atexit.register(lambda: print(cleaned_up.wait(5)))  # after ours
        from syncws import connect, serve
        handled = threading.Event()
        def handle(ws):
            handled.set()
            try:
                ws.recv()
            finally:
                cleaned_up.set()
        server = serve(handle, "127.0.0.1", 0).start()
        ws = connect(server.uri)
        handled.wait()
    """
    with program(text) as process:
        status, output, errors, _ = finish(process)
        assert (status, output, errors) == (0, "True\n", "")


def test_a_thread_that_somebody_waits_for_at_exit_ends_after_all():
    text = """
        import atexit, threading
        atexit.register(lambda: (thread.join(), print("joined")))
        from syncws.threaded import lifecycle
        lifecycle.STAY_TIMEOUT = 0.1
        from syncws import ConnectionClosed, connect, serve
        def receive():
            try:
                ws.recv()
            except ConnectionClosed:
                pass
        server = serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0).start()
        ws = connect(server.uri)
        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
    """
    with program(text) as process:
        status, output, errors, _ = finish(process)
        assert (status, output, errors) == (0, "joined\n", "")


def test_program_that_forgets_to_close_does_not_wait_for_a_peer_that_does_not_answer():
    text = """
        import socket
        from syncws.sansio.protocol import Protocol
        from syncws.sansio.state import Role
        from syncws.threaded.connection import Connection
        ours, theirs = socket.socketpair()
        ws = Connection(ours, Protocol(Role.CLIENT))
        ws._start()
        theirs.detach()
        print("ready", flush=True)
    """
    with program(text) as process:
        assert process.stdout.readline() == "ready\n"
        status, _, errors, seconds = finish(process)
        assert (status, errors) == (0, "")
        assert seconds < 2


def test_server_that_is_not_closed_exits_at_once_without_noise():
    text = """
        from syncws import connect, serve
        server = serve(lambda ws: list(ws), "127.0.0.1", 0).start()
        ws = connect(server.uri)
        ws.send("x")
        print("ready", flush=True)
    """
    with program(text) as process:
        assert process.stdout.readline() == "ready\n"
        status, _, errors, seconds = finish(process)
        assert (status, errors) == (0, "")
        assert seconds < 5


@posix
@pytest.mark.parametrize("peer", ["answers", "ignores Close"])
@pytest.mark.parametrize(
    "wait", ["ws.recv()", "for message in ws: pass", "ws.ping().wait()", "wait([ws])"]
)
def test_ctrl_c_ends_a_program_that_waits_in_under_2_seconds(peer, wait):
    text = f"""
        import sys
        from syncws import connect, wait
        with connect(sys.argv[1]) as ws:
            ws.recv()
            print("ready", flush=True)
            {wait}
    """
    stop = threading.Event()

    def deaf(ws):
        # A peer that is there, but does nothing: not even its library answers.
        ws._inbox.put = lambda messages: stop.wait(SOON)
        ws._control_received = lambda frame: stop.wait(SOON)
        ws.send("go on")

    handler = deaf if peer == "ignores Close" else lambda ws: ws.send("go on")
    if "ping" in wait and handler is not deaf:
        pytest.skip("the ping would be answered")
    with Server(handler) as server, program(text, server.uri) as process:
        assert process.stdout.readline() == "ready\n"
        assert server.opened.acquire(timeout=SOON)
        process.send_signal(signal.SIGINT)
        status, _, errors, seconds = finish(process)
        stop.set()
        assert seconds < 2
        assert status == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert errors.count("Traceback") == 1


@posix
def test_ctrl_c_while_sending_to_a_peer_that_does_not_read():
    text = """
        import sys
        from syncws import connect
        with connect(sys.argv[1]) as ws:
            print("ready", flush=True)
            while True:
                ws.send(b"x" * 1000000)
    """
    stop = threading.Event()
    with Server(lambda ws: stop.wait(SOON)) as server, program(text, server.uri) as process:
        assert process.stdout.readline() == "ready\n"
        assert server.opened.acquire(timeout=SOON)
        process.send_signal(signal.SIGINT)
        status, _, errors, seconds = finish(process)
        stop.set()
        assert seconds < 2
        assert status == -signal.SIGINT
        assert errors.count("Traceback") == 1


@posix
def test_fork_leaves_the_connection_to_the_parent():
    text = """
        import os, sys, warnings
        from syncws import ConnectionClosed, connect, wait
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        ws = connect(sys.argv[1])
        ping = ws.ping()
        ping.wait(10)
        child = os.fork()
        if child == 0:
            assert not ws.open and ws.closed
            assert wait([ws]) == [ws]
            for call in (lambda: ws.send("from the child"), lambda: ws.recv(5), ws.ping):
                try:
                    call()
                except ConnectionClosed as exc:
                    assert "fork" in str(exc.__cause__), exc.__cause__
                else:
                    os._exit(3)
            ws.close()
            with connect(sys.argv[1]) as own:  # threads and timers work in the child
                assert own.ping().wait(10)
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        ws.send("from the parent")
        assert ws.recv(10) == "from the parent"
        ws.close()
        print(ws.close_code)
    """
    text = text.replace("os.waitstatus_to_exitcode(", "os.WEXITSTATUS(")

    def echo(ws):
        for message in ws:
            ws.send(message)

    with Server(echo) as server, program(text, server.uri) as process:
        status, output, errors, _ = finish(process, 30)
        assert (status, output, errors) == (0, "1000\n", "")


@posix
def test_child_of_a_server_does_not_keep_its_port():
    text = """
        import os, warnings
        from syncws import serve
        warnings.simplefilter("ignore", DeprecationWarning)
        server = serve(list, "127.0.0.1", 0).start()
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(1), os.close(2)
            assert not server.is_serving()
            server.close()
            os.write(writable, b"x")
            os.read(0, 1)
            os._exit(0)
        os.read(readable, 1)
        server.close()
        serve(list, "127.0.0.1", server.port).close()
        print("free", flush=True)
    """
    with program(text) as process:
        assert process.stdout.readline() == "free\n"


def test_connection_that_breaks_has_its_cause_in_every_thread():
    with connection_pair() as (client, _server):
        client.protocol.parser_exc = OSError("the cause")
        client.abort()
        for _ in range(2):
            with pytest.raises(ConnectionClosedError) as caught:
                client.recv(SOON)
            assert str(caught.value.__cause__) == "the cause"
