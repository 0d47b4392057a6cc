"""Examples of connections, and of the styles in which programs can be written."""

import signal
import subprocess

import pytest
from support.examples import (
    EXAMPLES,
    Programs,
    interrupt,
    needs_signals,
    outcome,
    read_until,
    running_server,
    start,
)
from support.pairs import SOON

from syncws import InvalidStatus, connect


@needs_signals
def test_echo():
    with Programs() as programs:
        server, uri = programs.serve("echo/server.py")
        assert outcome(programs.start("echo/client.py", f"{uri}room")).splitlines() == [
            "received: hello",
            "received: is there anybody?",
            "received: goodbye",
        ]
        assert server.stdout.readline() == "somebody connected to /room\n"
        assert server.stdout.readline() == "and is gone\n"
        assert interrupt(server) == ""


@needs_signals
def test_reconnect():
    with Programs() as programs:
        server, uri = programs.serve("reconnect/server.py")
        client = programs.start("reconnect/client.py", uri)
        assert client.stdout.readline().startswith("the server says that it is ")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=SOON)
        # It ended normally, so that the client's iteration just ended; then nobody listens.
        assert any("trying again" in line for line in client.stderr)
        programs.start("reconnect/server.py", uri.rpartition(":")[2].rstrip("/"))
        read_until(client, "the server says")
        client.send_signal(signal.SIGINT)
        output, _ = client.communicate(timeout=SOON)
        assert output.splitlines()[-1] == "stopped"
        assert client.returncode == 0


@needs_signals
def test_routing():
    with running_server("routing/server.py") as uri:
        uri = uri.replace("://", "://ann:red@")
        assert outcome(start("routing/client.py", f"{uri}rooms/kitchen")).splitlines() == [
            "without a password: 401",
            "welcome to kitchen, ann",
            "ann: hello",
        ]
        with pytest.raises(InvalidStatus) as info:
            connect(f"{uri}rooms")
        assert info.value.response.status_code == 200
        assert info.value.response.body.startswith(b"kitchen: ")


@needs_signals
def test_handlers():
    with Programs() as programs:
        server, uri = programs.serve("handlers/server.py")
        with connect(f"{uri}rooms/kitchen?name=bob") as bob:
            assert bob.recv(timeout=SOON) == "bob is here"
            client = programs.start("handlers/client.py", "ann", "kitchen", uri)
            assert outcome(client).splitlines() == ["ann is here", "ann: hello"]
            heard = [bob.recv(timeout=SOON) for _ in range(3)]
            assert heard == ["ann is here", "ann: hello", "ann left"]
            with pytest.raises(InvalidStatus) as info:
                connect(uri)
            assert info.value.response.body == b"kitchen: bob\n"
        with pytest.raises(InvalidStatus) as info:
            connect(f"{uri}rooms/kitchen")
        assert info.value.response.status_code == 403
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=SOON)
        assert (server.returncode, output) == (0, "")
        assert errors == "GET /rooms/kitchen: HTTP 403: Forbidden (somebody has no name)\n"


@needs_signals
def test_callbacks():
    with Programs() as programs:
        server, uri = programs.serve("callbacks/server.py")
        client = programs.start("callbacks/client.py", uri, stdin=subprocess.PIPE)
        assert client.stdout.readline() == "connected\n"
        read_until(client, "tea costs ")
        client.stdin.write("coffee\n")
        client.stdin.flush()
        read_until(client, "coffee costs ")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=SOON)
        programs.start("callbacks/server.py", uri.rpartition(":")[2].rstrip("/"))
        read_until(client, "connected")
        read_until(client, "coffee costs ")
        assert outcome(client, "\n").splitlines()[-1] == "closed: 1000"


def test_examples_are_short_and_explained():
    programs = list(EXAMPLES.glob("*/*.py"))
    assert programs
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for program in programs:
        assert len(program.read_text(encoding="utf-8").splitlines()) < 60, program
        assert program.name in (program.parent / "README.md").read_text(encoding="utf-8"), program
        assert f"[{program.parent.name}]({program.parent.name})" in listed
