"""pause() and resume(); several processes, and several sockets."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading

import pytest
from support.pairs import SOON, run, wait_until
from support.scripted import build_request, nothing_left, raw_client, read_head
from support.serving import assert_works, echo, serving

from syncws import connect, serve, unix_connect, unix_serve

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_a_paused_server_accepts_none_and_lets_open_ones_go_on():
    with serving() as server, connect(server.uri) as ws:
        server.pause()
        assert not server.is_serving()
        assert server.stats().paused
        assert repr(server).endswith(" paused>")
        with raw_client(server) as sock:  # the kernel lets it wait
            sock.sendall(build_request())
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            sock.settimeout(0.1)
            with pytest.raises(socket.timeout):  # not yet TimeoutError in Python 3.9
                sock.recv(1)
            assert server.stats().connections_accepted == 1
            sock.settimeout(SOON)
            server.resume()
            assert server.is_serving()
            assert not server.stats().paused
            assert read_head(sock).startswith(b"HTTP/1.1 101 ")


def test_pausing_and_resuming_are_idempotent():
    with serving() as server:
        for _ in range(2):
            server.pause()
        for _ in range(2):
            server.resume()
        assert_works(connect(server.uri))


def test_a_server_may_be_paused_before_it_is_started():
    server = serve(echo, "127.0.0.1")
    server.pause()
    assert repr(server).endswith(" paused>")
    with server:
        assert not server.is_serving()
        client = run(connect, server.uri)
        server.resume()
        assert server.is_serving()
        assert_works(client.result())


def test_resuming_before_it_is_started_changes_nothing():
    server = serve(echo, "127.0.0.1")
    server.resume()
    assert not server.is_serving()
    server.close()


def test_a_paused_server_can_be_closed():
    with nothing_left():
        server = serve(echo, "127.0.0.1").start()
        with connect(server.uri) as ws:
            server.pause()
            server.close()
            assert ws.wait_closed(SOON)
        server.pause()
        server.resume()
        assert not server.is_serving()
        assert repr(server).endswith(" closed>")


def test_a_closed_server_that_never_started_can_be_paused_and_resumed():
    server = serve(echo, "127.0.0.1")
    server.close()
    server.pause()
    server.resume()


def test_nothing_is_accepted_once_pause_has_returned():
    def clients():
        while not done.is_set():
            with contextlib.suppress(OSError), raw_client(server):
                pass

    done = threading.Event()
    with serving() as server:
        running = [run(clients) for _ in range(3)]
        for _ in range(50):
            server.pause()
            accepted = server.stats().connections_accepted
            # One may have been accepted before, and be on its way to being counted.
            wait_until(lambda: server._acceptor._listening is False)
            accepted = server.stats().connections_accepted
            done.wait(0.002)
            assert server.stats().connections_accepted == accepted
            server.resume()
            wait_until(lambda n=accepted: server.stats().connections_accepted > n)
        done.set()
        server.resume()
        for each in running:
            each.result()
        assert_works(connect(server.uri))


def test_many_threads_may_pause_and_resume():
    def toggle():
        for _ in range(200):
            server.pause()
            server.resume()

    with serving() as server:
        for each in [run(toggle) for _ in range(4)]:
            each.result()
        assert server.is_serving()
        assert_works(connect(server.uri))


def test_a_handler_may_pause_the_server():
    def handler(ws):
        ws.server.pause()
        ws.send("paused")
        ws.recv()
        ws.server.resume()

    with serving(handler) as server:
        with connect(server.uri) as ws:
            assert ws.recv(SOON) == "paused"
            assert not server.is_serving()
            ws.send("go on")
        wait_until(server.is_serving)


def test_pausing_does_not_end_a_pause_after_an_error_early(monkeypatch):
    # The acceptor waits on the same socket; resume() may end it, and nothing is lost.
    with serving() as server:
        server.pause()
        wait_until(lambda: not server._acceptor._listening)
        server._acceptor._listen(False)  # harmless again
        server.resume()
        assert_works(connect(server.uri))


# --- several sockets ---


def test_several_listening_sockets_can_be_given(tmp_path):
    path = str(tmp_path / "ws")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    tcp = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    with serving(host=None, sock=[*tcp, unix]) as server:
        assert server.sockets == (*tcp, unix)
        assert server.port == tcp[0].getsockname()[1]
        for sock in tcp:
            assert_works(connect(f"ws://127.0.0.1:{sock.getsockname()[1]}/"))
        assert_works(unix_connect(path))
    assert all(sock.fileno() == -1 for sock in (*tcp, unix))


def test_unix_serve_takes_several_too(tmp_path):
    socks = []
    for name in "ab":
        socks.append(socket.socket(socket.AF_UNIX))
        socks[-1].bind(str(tmp_path / name))
    with unix_serve(echo, sock=socks):
        for name in "ab":
            assert_works(unix_connect(str(tmp_path / name)))


def test_a_socket_that_listens_keeps_its_backlog():
    class Listener(socket.socket):
        def listen(self, *args):
            assert not self.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            super().listen(*args)

    sock = Listener()
    sock.bind(("127.0.0.1", 0))
    sock.listen(1)
    with serving(host=None, sock=sock) as server:
        assert_works(connect(server.uri))


@pytest.mark.parametrize(
    ("sock", "error", "match"),
    [
        ([], ValueError, "sock= is an empty list"),
        ((), ValueError, "sock= is an empty list"),
        (["localhost"], TypeError, "sock= is a socket, not str"),
    ],
)
def test_sockets_that_are_none_are_refused(sock, error, match):
    with pytest.raises(error, match=match):
        serve(echo, sock=sock)


# --- several processes ---

PROGRAM = """
import os, sys
from syncws import serve

def who(ws):
    ws.send(str(os.getpid()))

with serve(who, "127.0.0.1", int(sys.argv[1]), reuse_port=True) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="the platform has no such option")
def test_two_processes_share_a_port():
    processes = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    port = 0
    try:
        for _ in range(2):
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-W", "error", "-c", PROGRAM, str(port)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                )
            )
            port = int(processes[-1].stdout.readline())
        answered = set()

        def both_answered():
            with connect(f"ws://127.0.0.1:{port}/") as ws:
                answered.add(int(ws.recv(SOON)))
            return answered == {process.pid for process in processes}

        wait_until(both_answered)
        processes[0].communicate(timeout=SOON)
        for _ in range(10):
            with connect(f"ws://127.0.0.1:{port}/") as ws:
                assert int(ws.recv(SOON)) == processes[1].pid
        processes[1].communicate(timeout=SOON)
        assert [process.returncode for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
