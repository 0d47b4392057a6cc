"""Sockets that systemd hands over."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest
from support.pairs import SOON
from support.serving import assert_works, serving

from syncws import connect, listen_fds
from syncws.server import inheriting

ROOT = pathlib.Path(__file__).resolve().parents[2]

VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch):
    monkeypatch.setattr(inheriting, "_left", [])
    yield
    for name in VARIABLES:
        os.environ.pop(name, None)


def hand_over(monkeypatch, *socks, pid=None, count=None, names=None):
    """Have sockets look handed over, with descriptors in a row."""
    first = max([100, *(sock.fileno() for sock in socks)]) + 50
    for number, sock in enumerate(socks, first):
        os.dup2(sock.fileno(), number, inheritable=True)
    monkeypatch.setattr(inheriting, "FIRST", first)
    os.environ["LISTEN_PID"] = str(os.getpid() if pid is None else pid)
    os.environ["LISTEN_FDS"] = str(len(socks) if count is None else count)
    if names is not None:
        os.environ["LISTEN_FDNAMES"] = names
    return list(range(first, first + len(socks)))


@pytest.fixture
def listeners():
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield socks
    for sock in socks:
        sock.close()


def close(numbers):
    for number in numbers:
        os.close(number)


def test_without_systemd_there_are_none():
    assert listen_fds() == []


def test_sockets_that_were_handed_over_are_returned_once(monkeypatch, listeners):
    numbers = hand_over(monkeypatch, *listeners, names="a:b:c")
    socks = listen_fds()
    assert [sock.fileno() for sock in socks] == numbers
    assert [sock.getsockname() for sock in socks] == [s.getsockname() for s in listeners]
    assert all(sock.type == socket.SOCK_STREAM for sock in socks)
    assert not any(sock.get_inheritable() for sock in socks)
    assert not any(name in os.environ for name in VARIABLES)
    assert listen_fds() == []
    for sock in socks:
        sock.close()


def test_they_can_be_chosen_by_name_and_others_are_left(monkeypatch, listeners):
    hand_over(monkeypatch, *listeners, names="ws:http:ws")
    first = listen_fds("ws")
    assert [s.getsockname() for s in first] == [listeners[i].getsockname() for i in (0, 2)]
    assert listen_fds("ws") == listen_fds("other") == []
    (other,) = listen_fds()
    assert other.getsockname() == listeners[1].getsockname()
    for sock in (*first, other):
        sock.close()


def test_sockets_without_names_have_the_name_that_systemd_gives_them(monkeypatch, listeners):
    hand_over(monkeypatch, listeners[0])
    assert listen_fds("ws") == []
    (sock,) = listen_fds("unknown")
    sock.close()


def test_sockets_of_another_process_are_left_alone(monkeypatch, listeners):
    numbers = hand_over(monkeypatch, *listeners, pid=os.getpid() + 1)
    assert listen_fds() == []
    assert not any(name in os.environ for name in VARIABLES)
    assert all(os.get_inheritable(number) for number in numbers)
    close(numbers)


@pytest.mark.parametrize("variable", ["LISTEN_PID", "LISTEN_FDS"])
def test_a_variable_that_is_missing_means_none(monkeypatch, listeners, variable):
    numbers = hand_over(monkeypatch, *listeners)
    del os.environ[variable]
    assert listen_fds() == []
    close(numbers)


@pytest.mark.parametrize("names", [None, ""])
def test_none_at_all_may_be_handed_over(monkeypatch, names):
    hand_over(monkeypatch, names=names)
    assert listen_fds() == []


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"pid": "me"}, "LISTEN_PID is 'me'"),
        ({"count": "-1"}, "LISTEN_FDS is '-1'"),
        ({"count": 2}, "was not handed over"),
        ({"names": "a:b"}, "LISTEN_FDNAMES is 'a:b', for 1 sockets"),
    ],
)
def test_variables_that_make_no_sense_are_an_error(monkeypatch, listeners, kwargs, match):
    numbers = hand_over(monkeypatch, listeners[0], **kwargs)
    with pytest.raises(ValueError, match=match):
        listen_fds()
    assert not any(name in os.environ for name in VARIABLES)
    assert listen_fds() == []
    close(numbers)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "isn't a stream socket"),
        (lambda: socket.socket(socket.AF_INET), "isn't a socket that listens; Accept=no"),
        (lambda: open(os.devnull), "isn't a socket: "),  # noqa: SIM115  # closed below
    ],
)
def test_what_is_not_a_listening_stream_socket_is_an_error(monkeypatch, listeners, make, match):
    with make() as wrong:
        numbers = hand_over(monkeypatch, listeners[0], wrong, names="right:wrong")
        for _ in range(2):  # nothing is taken, nor closed
            with pytest.raises(ValueError, match=match):
                listen_fds()
        (sock,) = listen_fds("right")
        assert sock.fileno() == numbers[0]
        sock.close()
        os.close(numbers[1])


def test_a_server_may_use_them(monkeypatch, listeners):
    hand_over(monkeypatch, *listeners[:2])
    with serving(host=None, sock=listen_fds()) as server:
        for sock in listeners[:2]:
            assert_works(connect(f"ws://127.0.0.1:{sock.getsockname()[1]}/"))
        assert len(server.sockets) == 2


PROGRAM = """
import subprocess, sys
from syncws import listen_fds, serve

def handler(ws):
    code = "import os; print(sorted(os.environ))"
    ws.send(subprocess.check_output([sys.executable, "-c", code], close_fds=False))

with serve(handler, sock=listen_fds("ws")) as server:
    sys.stdin.read()
"""


# Takes the place of systemd: becomes the program, and knows its process id before.
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="ws")
os.execv(sys.executable, [sys.executable, "-W", "error", "-c", sys.argv[2]])
"""


def test_a_program_that_is_started_as_systemd_does():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(sock.fileno()), PROGRAM],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=[sock.fileno()],
        )
        try:
            # The socket listens already: nobody needs to wait for the program.
            with connect(f"ws://127.0.0.1:{sock.getsockname()[1]}/") as ws:
                seen = ws.recv(SOON).decode()
            assert "PYTHONPATH" in seen
            assert not any(name in seen for name in VARIABLES)
            process.communicate(timeout=SOON)
            assert process.returncode == 0
        finally:
            process.kill()
            process.communicate()
