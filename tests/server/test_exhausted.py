"""No descriptors, or no threads, left: those that have some go on, and others come in later."""

import contextlib
import os
import threading
import time

import pytest
from support.attacks import dial
from support.certificates import contexts
from support.pairs import wait_until
from support.programs import Program
from support.scripted import build_request, read_head
from support.serving import assert_works, messages
from support.sieges import Bystander, address, besieged, connect_to, ends, works

from syncws import InvalidStatus
from syncws.server import accepting

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")

STARVING = """
import logging, resource, sys
from syncws import serve
from syncws.server import accepting

resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
accepting.BACK_OFF = {back_off}
logging.basicConfig(level=logging.INFO)

def echo(ws):
    for message in ws:
        ws.send(message)

with serve(echo, "127.0.0.1", max_connections=None) as server:
    if not {spare}:
        server._acceptor._give_up_spare()
        accepting.Acceptor._keep_spare = lambda self: None
    if {doorkeeper}:
        server._entrance.doorkeeper._start()
    print(server.port, flush=True)
    sys.stdin.read()
"""


def starving(*, back_off=accepting.BACK_OFF, spare=True, doorkeeper=False):
    """A program whose server has few descriptors.

    Args:
        back_off: seconds of the pause after an error.
        spare: whether it keeps a descriptor to tell clients with.
        doorkeeper: whether the thread that tells them is there already.
    """
    return STARVING.format(back_off=back_off, spare=spare, doorkeeper=doorkeeper)


def starve(program, seconds):
    """Take all descriptors of a program's server; return the share of a CPU that it then takes."""
    clients = [dial(("127.0.0.1", program.port)) for _ in range(60)]
    start, cpu = time.monotonic(), program.cpu_time()
    time.sleep(seconds)  # this is what is measured
    share = (program.cpu_time() - cpu) / (time.monotonic() - start)
    for client in clients:
        client.close()
    return share


@needs_proc
@pytest.mark.parametrize("spare", [True, False], ids=["one to tell with", "none at all"])
def test_without_descriptors_the_server_waits_and_recovers(spare):
    with Program(starving(spare=spare)) as program:
        with Bystander(program.uri) as bystander:
            share = starve(program, 1)
            assert bystander.is_served()
            with connect_to(program.uri) as ws:
                ws.send("hello")
                assert ws.recv() == "hello"
        program.process.stdin.close()
        program.process.stdin = None
        status, errors, _ = program.end()
    assert status == 0
    assert 1 <= errors.count("Too many open files") <= 3
    assert "Traceback" not in errors
    assert share < 0.2


@needs_proc
def test_without_descriptors_and_without_a_pause_the_server_is_busy():
    """A control: accepting again at once would show."""
    program = Program(starving(back_off=0, spare=False))
    with program, Bystander(program.uri) as bystander:
        assert starve(program, 1) > 0.2
        assert bystander.is_served()


@needs_proc
@pytest.mark.parametrize("doorkeeper", [False, True], ids=["at once", "by the doorkeeper"])
def test_without_descriptors_clients_are_told_so(doorkeeper):
    with Program(starving(doorkeeper=doorkeeper)) as program:
        told = 0
        with contextlib.ExitStack() as stack:
            while told < 5:  # as many as there are descriptors for, then one by one
                try:
                    stack.enter_context(connect_to(program.uri))
                except InvalidStatus as exc:
                    told += 1
                    response = exc.response
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "5"
            assert b"no descriptor is available; try again in 5 s" in response.body
        program.process.stdin.close()
        program.process.stdin = None
        _, errors, _ = program.end()
    assert "it may have 40 descriptors (ulimit -n)" in errors
    assert "Traceback" not in errors


def no_thread(names, exc=RuntimeError):
    """A ``Thread.start`` for which there is no thread of these names."""
    start = threading.Thread.start

    def fail(thread):
        if thread.name.startswith(names):
            raise exc("can't start new thread")
        start(thread)

    return fail


@pytest.mark.parametrize("lacking", [("syncws-handler",), ("syncws-handler", "syncws-refuse")])
def test_without_threads_clients_are_told_so_and_others_go_on(caplog, monkeypatch, lacking):
    with besieged(caplog) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread(lacking))
            for _ in range(3):
                with dial(address(server)) as sock:
                    sock.sendall(build_request())
                    answer = read_head(sock)
                    assert ends(sock)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nRetry-After: 5\r\n" in answer
        wait_until(lambda: len(server._roster.running) == 1)
        assert works(server)
        assert server.stats().refusals["resources"] == 3
    (error,) = [text for text in messages(caplog, "ERROR") if "more" not in text]
    assert "refused: no thread is available; try again in 5 s (" in error
    assert "can't start new thread" in error


def test_without_memory_for_a_thread_the_client_is_told_so(caplog, monkeypatch):
    with besieged(caplog) as server:
        with monkeypatch.context() as patch:
            lacking = no_thread(("syncws-handler",), MemoryError)
            patch.setattr(threading.Thread, "start", lacking)
            with dial(address(server)) as sock:
                sock.sendall(build_request())
                assert read_head(sock).startswith(b"HTTP/1.1 503 ")
        assert works(server)
    assert "no memory is available" in caplog.text


def test_over_tls_a_client_that_nobody_can_tell_is_just_closed(caplog, monkeypatch):
    server_context, _ = contexts()
    with besieged(caplog, ssl=server_context) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread(("syncws-handler", "syncws-refuse")))
            with dial(address(server)) as sock:
                assert ends(sock)
        assert_works(connect_to(server.uri))


@pytest.mark.parametrize("exc", [RuntimeError, MemoryError])
def test_readers_that_can_not_start_end_their_connection_only(caplog, monkeypatch, exc):
    leaving = threading.Event()
    with besieged(caplog, lambda ws: leaving.wait(10)) as server:
        lacking = no_thread(("syncws-reader-server",), exc)
        monkeypatch.setattr(threading.Thread, "start", lacking)
        with dial(address(server)) as sock:
            sock.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert ends(sock)
        monkeypatch.undo()
        leaving.set()
