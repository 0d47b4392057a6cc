"""Connections by plain HTTP at a process's edges: forks, its exit, no threads, defects."""

import os
import socket
import subprocess
import sys
import threading
import traceback
import warnings

import pytest
from support.pairs import SOON, wait_until
from support.programs import ROOT
from support.session_server import SessionServer

import syncws.client.session_opening
from syncws import ClientConnection, ConnectionClosedError, connect
from syncws.client.session_receiver import SessionReceiver
from syncws.client.session_sender import SessionSender
from syncws.threaded import lifecycle

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(params=["streaming", "polling"])
def server(request):
    with SessionServer() as server:
        server.streaming = request.param == "streaming"
        yield server


@needs_fork
def test_a_fork_leaves_the_connection_to_the_parent(server):
    ws = connect(server.uri)
    ws.send("1")
    assert ws.recv(timeout=SOON) == "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            assert ws.closed
            with pytest.raises(ConnectionClosedError) as info:
                ws.send("from the child")
            assert "fork" in str(info.value.__cause__)
            ws.close()
            if sys.platform == "linux":
                assert client_sockets(server.port) == []
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    for number in range(100):
        ws.send(str(number))
        assert ws.recv(timeout=SOON) == str(number)
    ws.close()
    assert ws.close_code == 1000
    assert not any("child" in message for message in server.session().received)


def client_sockets(port):
    """This process's descriptors that are connected to a port."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with sock:
            try:
                if sock.getpeername()[1:2] == (port,):
                    found.append(name)
            except OSError:
                continue
    return found


@pytest.mark.parametrize("ending", ["", "sys.exit()", "ws.close()", "del ws"])
def test_the_end_of_the_program_closes_the_connection(server, ending):
    program = (
        "import sys\nfrom syncws import connect\n"
        f"ws = connect({server.uri!r})\nws.send('hello')\nassert ws.recv() == 'hello'\n{ending}"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rcvd = server.session().protocol.close_rcvd
    assert rcvd.code == (1000 if ending == "ws.close()" else 1001)


@pytest.mark.parametrize("failing", ["syncws-fallback-receiver", "syncws-fallback-sender"])
def test_no_thread_is_available(server, monkeypatch, failing):
    start = lifecycle.start_thread

    def start_thread(thread, stack_size=None):
        if thread.name == failing:
            raise RuntimeError("can't start new thread")
        start(thread, stack_size)

    monkeypatch.setattr(lifecycle, "start_thread", start_thread)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        connect(server.uri)
    session = server.session()
    assert session.wait(lambda: session.deleted, SOON)
    wait_until(
        lambda: not [each for each in lifecycle.alive() if "client" in type(each).__module__]
    )


def test_a_connection_that_cannot_be_made(server):
    def create(*args, **kwargs):
        raise LookupError("not today")

    with pytest.raises(LookupError, match="not today"):
        connect(server.uri, create_connection=create)
    session = server.session()
    assert session.wait(lambda: session.deleted, SOON)


def test_an_interrupted_opening_leaves_nothing_behind(server, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(syncws.client.session_opening, "_agreed", fail)
    before = lifecycle.count_alive()
    with pytest.raises(KeyboardInterrupt):
        connect(server.uri)
    assert lifecycle.count_alive() == before


def test_a_subclass(server):
    class Mine(ClientConnection):
        pass

    with connect(server.uri, create_connection=Mine) as ws:
        assert type(ws) is Mine


@pytest.mark.parametrize("method", ["_take", "_deliver"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_of_a_thread_ends_the_connection(server, monkeypatch, method):
    def fail(*args):
        raise LookupError("a defect")

    ws = connect(server.uri)
    session = server.session()
    assert session.wait(lambda: session.gets)
    half = SessionSender if method == "_take" else SessionReceiver
    monkeypatch.setattr(half, method, fail)
    ws.send("hello")
    with pytest.raises(ConnectionClosedError) as info:
        list(ws)
    assert isinstance(info.value.__cause__, LookupError)
    for thread in threading.enumerate():
        if "fallback" in thread.name:
            thread.join(SOON)


def test_an_end_while_the_connection_opens(server, monkeypatch):
    call_at_end = ClientConnection._call_at_end

    def ended(self, function):
        self.abort()
        assert self.wait_closed(SOON)
        return call_at_end(self, function)

    monkeypatch.setattr(ClientConnection, "_call_at_end", ended)
    ws = connect(server.uri)
    assert ws.closed
    session = server.session()
    assert session.wait(lambda: session.deleted, SOON)
