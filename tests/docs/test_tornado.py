"""The programs of docs/migrating/tornado.md."""

import http.client
import json

import pytest
from support.handlers import Journal, listening
from support.pairs import SOON
from support.serving import serving
from support.snippets import block, run, running_server

from syncws import InvalidStatus, connect
from syncws.styles import WebSocketHandler

PAGE = "migrating/tornado"


def check_server(name, **options):
    with running_server(block(PAGE, name), **options) as (port, program):
        with connect(f"ws://localhost:{port}/echo") as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "you said: hello"
        assert [program.readline(), program.readline()] == ["opened", "closed 1000"]
        return program.interrupt()


def test_tornado_server_before():
    pytest.importorskip("tornado")
    check_server("server-before", warnings="default")


def test_tornado_server_after():
    assert check_server("server-after") == ("", "")


def check_chat(name, **options):
    with running_server(block(PAGE, name), **options) as (port, program):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.read() == b"<a href='/rooms/kitchen'>enter</a>"
        connection.close()
        uri = f"ws://localhost:{port}/rooms/kitchen"
        with pytest.raises(InvalidStatus) as info:
            connect(uri)
        assert info.value.response.status_code == 403
        with connect(f"{uri}?name=ann") as ann, connect(f"{uri}?name=bob") as bob:
            assert [ann.recv(SOON), bob.recv(SOON)] == ["welcome", "welcome"]
            ann.send("hello")
            for ws in (ann, bob):
                assert json.loads(ws.recv(SOON)) == {"from": "ann", "text": "hello"}
        return program.interrupt()


def test_tornado_chat_before():
    pytest.importorskip("tornado")
    check_chat("chat-before", warnings="default")


def test_tornado_chat_after():
    check_chat("chat-after")


def test_tornado_broadcast():
    handlers = Journal()

    class Handler(WebSocketHandler):
        def open(self):
            handlers.put(self)

    names = {}
    exec(block(PAGE, "broadcast"), names)
    with listening([("/", Handler)]) as server:
        gone = connect(server.uri)
        known = [handlers.next()]
        gone.close()
        with connect(server.uri) as ws:
            known.append(handlers.next())
            names["tell"](known, "hello")
            assert ws.recv(SOON) == "hello"


def check_ticker(name, **options):
    with running_server(block(PAGE, name), **options) as (port, program):
        for _ in range(2):
            with connect(f"ws://localhost:{port}/") as ws:
                assert [ws.recv(SOON) for _ in range(3)] == ["1", "2", "3"]
        return program.interrupt()


def test_tornado_ticker_before():
    pytest.importorskip("tornado")
    check_ticker("ticker-before", warnings="default")


def test_tornado_ticker_after():
    assert check_ticker("ticker-after") == ("", "")


def check_client(name, **options):
    with serving() as server:
        return run(block(PAGE, name), server.port, **options)


def test_tornado_client_before():
    pytest.importorskip("tornado")
    assert check_client("client-before", warnings="default") == "hello\n"


def test_tornado_client_after():
    assert check_client("client-after") == "hello\n"
