"""The programs of docs/migrating/simple-websocket.md."""

import threading

import pytest
from support.pairs import SOON
from support.serving import serving
from support.snippets import block, run, running_server

from syncws import connect

PAGE = "migrating/simple-websocket"


def echoes(name, **options):
    """What a program of the page prints that talks to an echo server."""
    with serving(host="localhost") as server:
        return run(block(PAGE, name), server.port, **options)


def test_simple_websocket_client_before():
    pytest.importorskip("simple_websocket")
    assert echoes("client-before", warnings="ignore") == "hello\n"


def test_simple_websocket_client_after():
    assert echoes("client-after") == "hello\n"


def slow_news(ws):
    ws.send("news")
    threading.Event().wait(0.5)  # longer than the programs wait for the next one
    ws.send("more news")
    ws.close(1001, "that's all")


def assert_receives(name, **options):
    with serving(slow_news, host="localhost") as server:
        output = run(block(PAGE, name), server.port, **options).splitlines()
    # Not in order: simple-websocket may overlook for a while what comes with the handshake.
    assert "nothing new" in output
    told = [line for line in output if line != "nothing new"]
    assert told == ["news", "more news", "closed: 1001 that's all"]


def test_simple_websocket_receiving_before():
    pytest.importorskip("simple_websocket")
    assert_receives("receiving-before", warnings="ignore")


def test_simple_websocket_receiving_after():
    assert_receives("receiving-after")


def test_simple_websocket_iterating():
    def handler(ws):
        for number in range(3):
            ws.send(str(number))

    with serving(handler) as server:
        assert run(block(PAGE, "iterating"), server.port) == "0\n1\n2\n"


def assert_serves(port):
    with connect(f"ws://localhost:{port}/", compression=None) as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


def test_simple_websocket_server_before():
    pytest.importorskip("simple_websocket")
    pytest.importorskip("werkzeug")
    with running_server(block(PAGE, "server-before"), warnings="ignore") as (port, _):
        assert_serves(port)


def test_simple_websocket_server_after():
    with running_server(block(PAGE, "server-after")) as (port, program):
        assert_serves(port)
        assert program.interrupt() == ("", "")
        assert program.process.returncode == 0
