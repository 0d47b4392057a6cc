"""The programs of docs/migrating/ws4py.md."""

import pytest
from support.pairs import SOON
from support.serving import serving
from support.snippets import Program, block, run, running_server

from syncws import ConnectionClosed, connect

PAGE = "migrating/ws4py"


def kill(program):
    """End a program that Ctrl-C does not end: the manager's thread goes on."""
    program.process.kill()


def check_server(name, end=Program.interrupt, **options):
    with running_server(block(PAGE, name), **options) as (port, program):
        with connect(f"ws://127.0.0.1:{port}/", subprotocols=["echo"]) as ws:
            assert ws.subprotocol == "echo"
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            ws.send(b"\xff")
            assert ws.recv(SOON) == b"\xff"
        assert [program.readline(), program.readline()] == ["opened", "closed 1000"]
        return end(program)


def test_ws4py_server_before():
    pytest.importorskip("ws4py")
    check_server("server-before", kill, warnings="default")


def test_ws4py_server_after():
    assert check_server("server-after") == ("", "")


def check_client(name, **options):
    with serving(subprotocols=["echo"]) as server:
        return run(block(PAGE, name), server.port, **options)


def test_ws4py_client_before():
    pytest.importorskip("ws4py")
    assert check_client("client-before", warnings="default") == "hello\nclosed 1000\n"


def test_ws4py_client_after():
    assert check_client("client-after") == "hello\nclosed 1000\n"


def test_ws4py_client_loop():
    assert check_client("client-loop") == "hello\nclosed 1000\n"


def exhaust(ws):
    """Receive until the connection is closed."""
    while True:
        ws.recv(SOON)


def check_manager(name, end=Program.finish, **options):
    with running_server(block(PAGE, name), **options) as (port, program):
        uri = f"ws://127.0.0.1:{port}/"
        with connect(uri) as ann, connect(uri) as bob:
            bob.send("hello")
            while True:  # the server may not know both yet
                heard = bob.recv(SOON)
                if heard == "2 here: hello":
                    break
                assert heard == "1 here: hello"
                bob.send("hello")
            assert ann.recv(SOON) == "2 here: hello"
            ann.send("bye")
            for ws in (ann, bob):
                with pytest.raises(ConnectionClosed) as info:
                    exhaust(ws)
                assert (info.value.rcvd.code, info.value.rcvd.reason) == (4000, "bye")
        return end(program)


def test_ws4py_manager_before():
    pytest.importorskip("ws4py")
    check_manager("manager-before", kill, warnings="default")


def test_ws4py_manager_after():
    assert check_manager("manager-after") == ""
