"""A connection by itself, without a server."""

import socket

import pytest
from support.pairs import SOON
from support.scripted import (
    build_request,
    read_head,
)
from support.wire import build_frame

from syncws import (
    ServerConnection,
    ServerProtocol,
)


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


def test_a_connection_shakes_hands_over_any_socket():
    left, right = socket.socketpair()
    with right:
        right.sendall(build_request("/chat", Origin="http://localhost"))
        ws = ServerConnection(left, ServerProtocol())
        ws.handshake(SOON)
        assert ws.open
        assert (ws.side, ws.is_client, ws.path, ws.server) == ("server", False, "/chat", None)
        assert ws.headers["Origin"] == "http://localhost"
        assert read_head(right).startswith(b"HTTP/1.1 101 ")
        ws.send("hello")
        assert right.recv(100) == build_frame(0x81, b"hello")
    assert ws.wait_closed(SOON)


def test_an_interruption_after_the_handshake_closes_the_connection(monkeypatch):
    class Interrupted(BaseException):
        pass

    def interrupted(connection):
        start(connection)
        raise Interrupted

    start = ServerConnection._start
    monkeypatch.setattr(ServerConnection, "_start", interrupted)
    left, right = socket.socketpair()
    with right:
        right.sendall(build_request())
        ws = ServerConnection(left, ServerProtocol())
        with pytest.raises(Interrupted):
            ws.handshake(SOON)
    assert ws.wait_closed(SOON)
