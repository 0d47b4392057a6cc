"""The programs of docs/migrating/websockets.md."""

import http.client

import pytest
from support.pairs import SOON
from support.serving import serving
from support.snippets import block, run, running_server

from syncws import InvalidStatus, connect

PAGE = "migrating/websockets"


def echoes(name, **options):
    """What a program of the page prints that talks to an echo server."""
    with serving() as server:
        return run(block(PAGE, name), server.port, **options)


def interrupted(program):
    """Press Ctrl-C, and see that the program ends as it should; return what it printed."""
    output, errors = program.interrupt()
    assert (program.process.returncode, errors) == (0, "")
    return output


def wait_for_message(ws, message):
    while ws.recv(SOON) != message:
        pass


def test_websockets_client_before():
    pytest.importorskip("websockets")
    assert echoes("client-before") == "hello\n"


def test_websockets_client_after():
    assert echoes("client-after") == "hello\n"


def test_websockets_server_before():
    pytest.importorskip("websockets")
    with running_server(block(PAGE, "server-before")) as (port, _):
        ws = connect(f"ws://localhost:{port}/")
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
        ws.close()


def test_websockets_server_after():
    with running_server(block(PAGE, "server-after")) as (port, program):
        with connect(f"ws://localhost:{port}/") as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
        assert interrupted(program) == ""


def test_websockets_older_server():
    with running_server(block(PAGE, "older-server")) as (port, program):
        with connect(f"ws://localhost:{port}/room") as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "/room: hello"
        with connect(f"ws://localhost:{port}/") as ws:
            ws.send("wait")
            ws.recv(SOON)
            ws.close(4000, "enough")
        assert program.readline().startswith("lost: received 4000 (private use) enough")
        assert interrupted(program) == ""


def test_websockets_tasks_before():
    pytest.importorskip("websockets")
    assert set(echoes("tasks-before").splitlines()) <= {f"received {n}" for n in range(3)}


def test_websockets_tasks_after():
    assert set(echoes("tasks-after").splitlines()) <= {f"received {n}" for n in range(3)}


def test_websockets_reconnect_after():
    assert echoes("reconnect-after") == "hello\n"


def test_websockets_broadcast_after():
    with running_server(block(PAGE, "broadcast-after")) as (port, program):
        uri = f"ws://localhost:{port}/"
        with connect(uri) as one, connect(uri) as two:
            one.send("1")
            wait_for_message(one, "1")
            two.send("2")  # by now the server knows both
            wait_for_message(two, "2")
            wait_for_message(one, "2")
        assert interrupted(program) == ""


def test_websockets_create_protocol():
    with running_server(block(PAGE, "create-protocol")) as (port, program):
        client = http.client.HTTPConnection("localhost", port, timeout=SOON)
        client.request("GET", "/health")
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b"fine\n")
        assert response.headers["X-Version"] == "1"
        client.close()
        with connect(f"ws://localhost:{port}/") as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
        # These two, and who looked whether it listens. Their threads print at the same time,
        # perhaps between another one's text and the end of its line.
        printed = "".join(program.readline() for _ in range(6))
        assert printed.count("somebody comes") == printed.count("and is gone") == 3
        assert interrupted(program) == ""


def test_websockets_basic_auth():
    with running_server(block(PAGE, "basic-auth")) as (port, program):
        with connect(f"ws://ada:secret@localhost:{port}/") as ws:
            assert ws.recv(SOON) == "hello ada"
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://ada:wrong@localhost:{port}/")
        assert caught.value.status_code == 401
        assert interrupted(program) == ""


def test_websockets_sync_before():
    pytest.importorskip("websockets.sync.client")
    assert echoes("sync-before") == "hello\n"


def test_websockets_sync_after():
    assert echoes("sync-after") == "hello\n"
