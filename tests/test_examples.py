"""The examples, run as their READMEs say."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from syncws import InvalidStatus, connect

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def start(name, *args, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-W", "error", EXAMPLES / name, *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_echo():
    server = start("echo/server.py", "0")
    try:
        uri = server.stdout.readline().split()[2]
        client = start("echo/client.py", f"{uri}room")
        output, errors = client.communicate(timeout=20)
        assert (client.returncode, errors) == (0, "")
        assert output.splitlines() == [
            "received: hello",
            "received: is there anybody?",
            "received: goodbye",
        ]
        assert server.stdout.readline() == "somebody connected to /room\n"
        assert server.stdout.readline() == "and is gone\n"
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=20)
        assert (server.returncode, output, errors) == (0, "", "")
    finally:
        server.kill()
        server.communicate()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_reconnect():
    running = []

    def begin(name, *args):
        running.append(start(name, *args))
        return running[-1]

    try:
        server = begin("reconnect/server.py", "0")
        uri = server.stdout.readline().split()[2]
        client = begin("reconnect/client.py", uri)
        assert client.stdout.readline().startswith("the server says that it is ")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=20)
        # It ended normally, so that the client's iteration just ended; then nobody listens.
        assert any("trying again" in line for line in client.stderr)
        begin("reconnect/server.py", uri.rpartition(":")[2].rstrip("/"))
        assert any(line.startswith("the server says") for line in client.stdout)
        client.send_signal(signal.SIGINT)
        output, _ = client.communicate(timeout=20)
        assert output.splitlines()[-1] == "stopped"
        assert client.returncode == 0
    finally:
        for process in running:
            process.kill()
            process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_routing():
    server = start("routing/server.py", "0")
    try:
        uri = server.stdout.readline().split()[2].replace("://", "://ann:red@")
        client = start("routing/client.py", f"{uri}rooms/kitchen")
        output, errors = client.communicate(timeout=20)
        assert (client.returncode, errors) == (0, "")
        assert output.splitlines() == [
            "without a password: 401",
            "welcome to kitchen, ann",
            "ann: hello",
        ]
        with pytest.raises(InvalidStatus) as info:
            connect(f"{uri}rooms")
        assert info.value.response.status_code == 200
        assert info.value.response.body.startswith(b"kitchen: ")
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=20)
        assert (server.returncode, output, errors) == (0, "", "")
    finally:
        server.kill()
        server.communicate()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_handlers():
    server = start("handlers/server.py", "0")
    try:
        uri = server.stdout.readline().split()[2]
        with connect(f"{uri}rooms/kitchen?name=bob") as bob:
            assert bob.recv(timeout=20) == "bob is here"
            client = start("handlers/client.py", "ann", "kitchen", uri)
            output, errors = client.communicate(timeout=20)
            assert (client.returncode, errors) == (0, "")
            assert output.splitlines() == ["ann is here", "ann: hello"]
            heard = [bob.recv(timeout=20) for _ in range(3)]
            assert heard == ["ann is here", "ann: hello", "ann left"]
            with pytest.raises(InvalidStatus) as info:
                connect(uri)
            assert info.value.response.body == b"kitchen: bob\n"
        with pytest.raises(InvalidStatus) as info:
            connect(f"{uri}rooms/kitchen")
        assert info.value.response.status_code == 403
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=20)
        assert (server.returncode, output) == (0, "")
        assert errors == "GET /rooms/kitchen: HTTP 403: Forbidden (somebody has no name)\n"
    finally:
        server.kill()
        server.communicate()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_callbacks():
    running = []

    def begin(name, *args, **kwargs):
        running.append(start(name, *args, **kwargs))
        return running[-1]

    def read_until(process, end):
        assert any(line.startswith(end) for line in process.stdout), process.stderr.read()

    try:
        server = begin("callbacks/server.py", "0")
        uri = server.stdout.readline().split()[2]
        client = begin("callbacks/client.py", uri, stdin=subprocess.PIPE)
        assert client.stdout.readline() == "connected\n"
        read_until(client, "tea costs ")
        client.stdin.write("coffee\n")
        client.stdin.flush()
        read_until(client, "coffee costs ")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=20)
        begin("callbacks/server.py", uri.rpartition(":")[2].rstrip("/"))
        read_until(client, "connected")
        read_until(client, "coffee costs ")
        output, errors = client.communicate("\n", timeout=20)
        assert output.splitlines()[-1] == "closed: 1000"
        assert (client.returncode, errors) == (0, "")
    finally:
        for process in running:
            process.kill()
            process.communicate()


def test_examples_are_short_and_explained():
    programs = list(EXAMPLES.glob("*/*.py"))
    assert programs
    for program in programs:
        assert len(program.read_text().splitlines()) < 60
        assert (program.parent / "README.md").exists()
        assert f"[{program.parent.name}]" in (EXAMPLES / "README.md").read_text()
