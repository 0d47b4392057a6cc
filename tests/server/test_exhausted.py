"""No descriptors, or no threads, left: those that have some go on, and others come in later."""

import os
import threading
import time

import pytest
from support.attacks import dial
from support.pairs import wait_until
from support.programs import Program
from support.sieges import Bystander, address, besieged, connect_to, ends, works

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

with serve(echo, "127.0.0.1") as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


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
def test_without_descriptors_the_server_waits_and_recovers():
    with Program(STARVING.format(back_off=accepting.BACK_OFF)) as program:
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
    with Program(STARVING.format(back_off=0)) as program, Bystander(program.uri) as bystander:
        assert starve(program, 1) > 0.2
        assert bystander.is_served()


def test_without_threads_connections_are_closed_and_others_go_on(caplog, monkeypatch):
    start = threading.Thread.start

    def fail(thread):
        if thread.name == "syncws-handler":
            raise RuntimeError("can't start new thread")
        start(thread)

    with besieged(caplog) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            for _ in range(3):
                with dial(address(server)) as sock:
                    assert ends(sock)
        wait_until(lambda: len(server._roster.running) == 1)
        assert works(server)
    assert "can't start new thread" in caplog.text


def test_readers_that_can_not_start_end_their_connection_only(caplog, monkeypatch):
    start = threading.Thread.start

    def fail(thread):
        if thread.name.startswith("syncws-reader-server"):
            raise RuntimeError("can't start new thread")
        start(thread)

    leaving = threading.Event()
    with besieged(caplog, lambda ws: leaving.wait(10)) as server:
        monkeypatch.setattr(threading.Thread, "start", fail)
        with dial(address(server)) as sock:
            sock.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert ends(sock)
        monkeypatch.undo()
        leaving.set()
