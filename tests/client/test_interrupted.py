"""Ctrl-C while a client is connecting, waiting or leaving; and what is left behind then."""

import contextlib
import gc
import logging
import os
import pathlib
import random
import select
import signal
import socket
import subprocess
import sys
import time
import warnings

import pytest
from support.interrupting import Bomb, Interrupted
from support.pairs import SOON, run, wait_until
from support.scripted import (
    build_response,
    mute_after,
    nothing_left,
    read_all,
    read_head,
    says,
    scripted_server,
)
from support.serving import serving

import syncws
from syncws import connect, reconnect

ROOT = pathlib.Path(__file__).resolve().parents[2]

#: What a program may take from Ctrl-C to its end, in seconds; the gate runs several suites at once.
PROMPT = 5 if os.environ.get("CI") else 2

CLOSE_TIMEOUT = 10  # of the library

PROLOGUE = """
import os, signal, socket, sys, threading
import syncws
from syncws import ConnectionClosed, connect, reconnect

def say(text):
    # Not print(): its lock, in a thread that never ends, may abort the interpreter at its end.
    os.write(1, text.encode() + b"\\n")

def names(frame):
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back

def say_when(*wanted):
    # Once the main thread is inside of functions of these names.
    def watch():
        main = threading.main_thread().ident
        pause = threading.Event()
        while not set(wanted) <= set(names(sys._current_frames()[main])):
            pause.wait(0.001)
        say("there")
    threading.Thread(target=watch, daemon=True).start()
"""


class Program:
    """A program that is interrupted."""

    def __init__(self, source):
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-c", PROLOGUE + source],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def line(self):
        """What it says next."""
        return self.process.stdout.readline().decode().strip()

    def interrupt(self, longest=0.0, seconds=PROMPT):
        """Press Ctrl-C, after a pause; check that it ends as it should, in so many seconds."""
        # It is there already; this is to interrupt it at different points.
        time.sleep(random.uniform(0, longest))
        start = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=CLOSE_TIMEOUT + SOON)
        duration = time.monotonic() - start
        assert errors.decode().endswith("\nKeyboardInterrupt\n"), errors.decode()
        for complaint in ("Exception ignored", "Warning", "Fatal"):
            assert complaint not in errors.decode(), errors.decode()
        assert output == b""
        assert self.process.returncode == -signal.SIGINT
        assert duration < seconds


@pytest.fixture
def program():
    programs = []

    def start(source):
        programs.append(Program(source))
        return programs[-1]

    yield start
    for each in programs:
        each.process.kill()
        _, errors = each.process.communicate()
        print(errors.decode())  # for whoever wonders why it failed


def again(times):
    """Do it so many times: at once, and then after short pauses, each time others."""
    return pytest.mark.parametrize("longest", [0.0, *[0.05] * (times - 1)], ids=range(times))


class Met:
    """A script that tells when something has come, and does not answer, or not to the end."""

    def __init__(self, until=None, *pieces):
        self._read, self._write = os.pipe()
        self._until = until
        self._pieces = pieces

    def __call__(self, sock):
        data = self._until(sock) if self._until else b""
        for piece in self._pieces:
            sock.sendall(piece(data) if callable(piece) else piece)
        os.write(self._write, b"x")
        read_all(sock)

    def wait(self):
        ready, _, _ = select.select([self._read], [], [], SOON)
        assert ready, "nobody came"
        assert os.read(self._read, 1) == b"x"

    def close(self):
        os.close(self._read)
        os.close(self._write)


@contextlib.contextmanager
def met(until=None, *pieces):
    with contextlib.closing(Met(until, *pieces)) as script, scripted_server(script) as server:
        yield script, server


def some_bytes(sock):
    data = sock.recv(1 << 16)
    assert data
    return data


# --- connecting ---


@again(2)
def test_ctrl_c_while_a_name_is_looked_up(program, longest):
    client = program("""
def getaddrinfo(host, port, *, flags=0, **kwargs):
    if flags:
        raise socket.gaierror(socket.EAI_NONAME, "not an address")
    say(threading.current_thread().name)
    threading.Event().wait()

socket.getaddrinfo = getaddrinfo
connect("ws://slow.example/", open_timeout=None)
""")
    assert client.line() == "syncws-resolver"
    client.interrupt(longest)


@pytest.fixture
def dead_address():
    """An address where connecting takes forever."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(listener.getsockname())
        yield listener.getsockname()


@again(3)
def test_ctrl_c_while_connecting(program, dead_address, longest):
    client = program(
        """
say_when("select")
connect("ws://{}:{}/", open_timeout=None)
""".format(*dead_address)
    )
    assert client.line() == "there"
    client.interrupt(longest)


#: Who does not answer: what it gets before, and what the client does.
SILENT = {
    "server": (read_head, "connect('ws://localhost:{port}/')"),
    "server without a limit": (read_head, "connect('ws://localhost:{port}/', open_timeout=None)"),
    "TLS server": (some_bytes, "connect('wss://localhost:{port}/')"),
    "HTTP proxy": (read_head, "connect('ws://x.example/', proxy='http://localhost:{port}')"),
    "HTTPS proxy": (some_bytes, "connect('ws://x.example/', proxy='https://localhost:{port}')"),
    "SOCKS5 proxy": (some_bytes, "connect('ws://x.example/', proxy='socks5h://localhost:{port}')"),
    "SOCKS4 proxy": (some_bytes, "connect('ws://x.example/', proxy='socks4a://localhost:{port}')"),
    "server in a loop": (read_head, "for ws in reconnect('ws://localhost:{port}/'): pass"),
}


@pytest.mark.parametrize("who", SILENT)
def test_ctrl_c_while_somebody_does_not_answer(program, who):
    if "SOCKS" in who:
        pytest.importorskip("python_socks")
    until, source = SILENT[who]
    with met(until) as (script, server):
        client = program(source.format(port=server.port))
        script.wait()
        client.interrupt()


@again(4)
def test_ctrl_c_while_a_server_does_not_answer_at_any_time(program, longest):
    with met() as (script, server):
        client = program(f"connect('ws://localhost:{server.port}/')")
        script.wait()
        client.interrupt(longest / 10)


def test_ctrl_c_in_the_endless_body_of_a_redirect(program):
    head = b"HTTP/1.1 302 Found\r\nLocation: /\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    with met(read_head, head) as (script, server):
        client = program(f"connect('ws://localhost:{server.port}/', open_timeout=None)")
        script.wait()
        client.interrupt(0.02)


def test_ctrl_c_in_a_body_that_trickles(program):
    head = b"HTTP/1.1 302 Found\r\nLocation: /\r\nTransfer-Encoding: chunked\r\n\r\n"
    with contextlib.closing(Met()) as told:

        def script(sock):
            read_head(sock)
            sock.sendall(head)
            os.write(told._write, b"x")
            with contextlib.suppress(ConnectionError):
                while True:
                    sock.sendall(b"1\r\nx\r\n")
                    time.sleep(0.001)

        with scripted_server(script) as server:
            client = program(f"connect('ws://localhost:{server.port}/', open_timeout=None)")
            told.wait()
            client.interrupt(0.02)


# --- waiting and leaving ---


@again(3)
def test_ctrl_c_between_two_attempts(program, closed_port, longest):
    client = program(f"""
say_when("_pause", "wait")
for ws in reconnect("ws://127.0.0.1:{closed_port}/", backoff=[3600]):
    pass
""")
    assert client.line() == "there"
    client.interrupt(longest)


def test_ctrl_c_between_two_attempts_as_the_server_asked_for(program):
    with scripted_server(
        says(b"HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")
    ) as server:
        client = program(f"""
say_when("_pause", "wait")
for ws in reconnect("{server.uri}"):
    pass
""")
        assert client.line() == "there"
        client.interrupt()


RECEIVING = """
for ws in reconnect("{uri}"):
    say("open")
    {body}
"""


@pytest.mark.parametrize("body", ["ws.recv()", "for message in ws: pass", "ws.recv(60)"])
def test_ctrl_c_while_receiving_in_a_loop_from_a_server_that_never_answers(program, body):
    with scripted_server(mute_after(build_response)) as server:
        client = program(RECEIVING.format(uri=server.uri, body=body))
        assert client.line() == "open"
        client.interrupt(0.05)


def test_ctrl_c_with_an_iterator_that_the_program_keeps(program):
    with scripted_server(mute_after(build_response)) as server:
        client = program(f"""
connections = reconnect("{server.uri}")
for ws in connections:
    say("open")
    ws.recv()
""")
        assert client.line() == "open"
        client.interrupt(0.02)


@again(3)
def test_ctrl_c_while_closing(program, longest):
    with met(read_head, build_response) as (script, server):
        client = program(f"""
ws = connect("{server.uri}")
say_when("wait_for_lock")
ws.close()
""")
        script.wait()
        assert client.line() == "there"
        client.interrupt(longest)


def test_ctrl_c_while_a_loop_closes_before_it_goes_on(program):
    with scripted_server(mute_after(build_response)) as server:
        client = program(f"""
for ws in reconnect("{server.uri}"):
    say_when("wait_for_lock")
""")
        assert client.line() == "there"
        client.interrupt()


def test_ctrl_c_while_a_loop_is_left(program):
    with scripted_server(mute_after(build_response)) as server:
        client = program(f"""
for ws in reconnect("{server.uri}", close_timeout=None):
    say_when("wait_for_lock")
    break
while True:
    threading.Event().wait(0.1)
""")  # in parts: a signal just before a wait for a lock is seen only when that has ended
        assert client.line() == "there"
        client.interrupt()


@pytest.mark.skipif(not hasattr(syncws, "wait"), reason="there is no wait()")
@again(2)
def test_ctrl_c_while_waiting_for_several_connections(program, longest):
    with contextlib.ExitStack() as stack:
        script = mute_after(build_response)
        uris = [stack.enter_context(scripted_server(script)).uri for _ in range(2)]
        client = program(f"""
connections = [connect(uri) for uri in {uris}]
say_when("wait_for_lock")
syncws.wait(connections)
""")
        assert client.line() == "there"
        client.interrupt(longest)


#: What a client waits for in calls of the system, which are interrupted only once they have begun.
JUST_BEFORE = {
    "server": "connect('ws://localhost:{port}/'{limit})",
    "TLS server": "connect('wss://localhost:{port}/'{limit})",
    "HTTP proxy": "connect('ws://x.example/', proxy='http://localhost:{port}'{limit})",
    "SOCKS proxy": "connect('ws://x.example/', proxy='socks5h://localhost:{port}'{limit})",
}


@pytest.mark.parametrize("who", JUST_BEFORE)
def test_ctrl_c_just_before_the_wait_does_not_wait_for_its_end(program, who):
    if "SOCKS" in who:
        pytest.importorskip("python_socks")
    with met(some_bytes) as (script, server):
        # Another thread gets the signal: the call of the main thread isn't interrupted, as if
        # the signal had come just before it.
        client = program(f"""
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
try:
    {JUST_BEFORE[who].format(port=server.port, limit=", open_timeout=1.5")}
finally:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
""")
        script.wait()
        time.sleep(0.1)  # nothing else tells that it waits; too early it ends as it should, too
        client.interrupt(seconds=1)


# --- what is left behind ---


def test_no_connection_takes_the_lock_of_all_loggers():
    """A handler that raises just after logging has taken it leaves it held."""

    def exchange():
        with connect(server.uri) as ws:
            ws.send("hello")
            return ws.recv(SOON)

    with serving() as server:
        assert exchange() == "hello"  # by now logging knows which levels are enabled
        with logging._lock:
            assert run(exchange).result() == "hello"


#: There handlers run between any two bytecodes, also before a new socket is kept anywhere.
any_bytecode = pytest.mark.skipif(sys.version_info < (3, 10), reason="signals of Python 3.9")


@pytest.fixture
def interrupt_in():
    """A function that has a signal handler raise in the main thread, in so many seconds."""

    def interrupt(*_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise Interrupted

    def interrupt_in(seconds):
        # And again: what comes just before a wait does not end it.
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)

    before = signal.signal(signal.SIGALRM, interrupt)
    yield interrupt_in
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@any_bytecode
@pytest.mark.parametrize("seconds", [0.0001, 0.0005, 0.002, 0.01])
@pytest.mark.parametrize(
    ("scheme", "proxy"),
    [("ws", None), ("wss", None), ("ws", "http"), ("wss", "https"), ("ws", "socks5h")],
)
def test_an_interrupted_attempt_leaves_nothing_behind(scheme, proxy, seconds, interrupt_in):
    if proxy == "socks5h":
        pytest.importorskip("python_socks")

    came, armed = [], []

    def script(sock):
        came.append(sock)
        with contextlib.suppress(IndexError):  # the first attempts may have ended before this
            interrupt_in(armed.pop())
        read_all(sock)

    with scripted_server(script) as server, nothing_left():
        uri = f"{scheme}://localhost:{server.port}/"
        kwargs = {"proxy": proxy and f"{proxy}://localhost:{server.port}", "open_timeout": SOON}
        while not came:  # it imports what it needs, which can't be interrupted well
            with pytest.raises(TimeoutError):
                connect(uri, **{**kwargs, "open_timeout": 0.05})
        armed.append(seconds)
        with pytest.raises(Interrupted):
            connect(uri, **kwargs)


@any_bytecode
@pytest.mark.parametrize("seconds", [0.0001, 0.001, 0.05])
def test_an_interrupted_delay_leaves_nothing_behind(closed_port, seconds, interrupt_in):
    def backoff():
        interrupt_in(seconds)
        yield 3600.0

    with nothing_left(), pytest.raises(Interrupted):
        next(reconnect(f"ws://127.0.0.1:{closed_port}/", backoff=backoff))


class Accepting:
    """A script: accept the connection, close it when asked to; counts what is still there."""

    def __init__(self):
        self.open = 0

    def __call__(self, sock):
        self.open += 1
        try:
            with contextlib.suppress(AssertionError, OSError):
                sock.sendall(build_response(read_head(sock)))
                some_bytes(sock)
                sock.sendall(b"\x88\x02\x03\xe8")
        finally:
            self.open -= 1


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def what_is_wrong(bomb, call, is_clean):
    """Interrupt a call; return what is wrong then, or None."""
    ws = None
    try:
        with bomb:
            ws = call()
    except Interrupted:
        pass
    except Exception as exc:
        return f"instead of the handler's exception there was {exc!r}"
    else:
        if bomb.exploded:
            return "the handler's exception got lost"
    if ws is not None:
        ws.close()
    try:
        wait_until(is_clean, 2)
    except AssertionError:
        return "something is still open"
    return None


def every_point(call):
    """Interrupt a call at each of its points; return the first where that went wrong, and how."""
    script = Accepting()
    with scripted_server(script) as server:
        ws = call(server.uri)  # what is made once is made
        if ws is not None:
            ws.close()
        wait_until(lambda: not script.open)
        gc.collect()  # generators of other tests must not end while a bomb is there
        before = descriptors()
        for fuse in range(1, 10_000):
            bomb = Bomb(fuse)
            wrong = what_is_wrong(
                bomb,
                lambda: call(server.uri),
                lambda: not script.open and descriptors() <= before,
            )
            if wrong is not None:
                with warnings.catch_warnings():  # another test is not to blame
                    warnings.simplefilter("ignore", ResourceWarning)
                    gc.collect()
                return bomb.where, wrong
            if not bomb.exploded:
                break
    assert fuse > 100
    return None


def only_connect(uri):
    return connect(uri, compression=None)


def go_on_and_leave(uri):
    connections = reconnect(uri, compression=None)
    try:
        next(connections)
        next(connections)
    finally:
        connections.close()


@pytest.mark.parametrize("call", [only_connect, go_on_and_leave])
def test_whatever_is_interrupted_leaves_nothing_behind(call):
    assert every_point(call) is None
