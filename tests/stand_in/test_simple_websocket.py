"""simple-websocket's servers and clients, compared with the original."""

import contextlib
import json
import socket
import threading
import wsgiref.util

import pytest
from support.simple_programs import PROGRAM
from support.stand_ins import run, run_as

from syncws.stand_in import simple_connection
from syncws.stand_in.simple_errors import ConnectionClosed
from syncws.stand_in.simple_errors import ConnectionError as SimpleConnectionError
from syncws.stand_in.simple_server import Server

SOON = 20.0


@pytest.mark.interop
def test_a_program_sees_no_difference():
    pytest.importorskip("simple_websocket")
    pytest.importorskip("werkzeug")
    ours = json.loads(run_as("simple_websocket", PROGRAM))
    theirs = None
    for _ in range(5):  # on a busy machine the original loses messages, and its program fails
        with contextlib.suppress(AssertionError):
            theirs = json.loads(run(PROGRAM))
            break
    assert theirs is not None
    assert len(ours) == len(theirs)
    for expected, found in zip(theirs, ours):
        if expected[0] == "close" and expected[2] == "None":  # the original has lost the frame
            assert found[2][0] == found[3][0] == "ConnectionClosed"
        else:
            assert found == expected


def environ_of(sock, **more):
    """The environ of a request for a WebSocket, as Werkzeug's development server makes it."""
    environ = {
        "werkzeug.socket": sock,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.com",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_KEY": "Iv8io/9s+lYFgZWcXczP8Q==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        **more,
    }
    wsgiref.util.setup_testing_defaults(environ)
    return environ


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(SOON)
        yield ours, theirs


def receive_all(sock):
    """All bytes until the end of the connection."""
    received = b""
    while True:
        try:
            data = sock.recv(4096)
        except ConnectionResetError:
            data = b""
        if not data:
            return received
        received += data


def test_other_origins_are_accepted_as_there(ends):
    ours, theirs = ends
    ws = Server(environ_of(ours, HTTP_ORIGIN="https://elsewhere.example"))
    assert theirs.recv(4096).startswith(b"HTTP/1.1 101 ")
    assert ws.connected
    theirs.close()
    with pytest.raises(ConnectionClosed):
        ws.receive(SOON)


def test_a_request_that_is_none_for_a_websocket_is_refused(ends):
    ours, theirs = ends
    for change in ({"HTTP_UPGRADE": "other"}, {"HTTP_SEC_WEBSOCKET_KEY": "short"}):
        with pytest.raises(SimpleConnectionError) as info:
            Server(environ_of(ours, **change))
        assert info.value.status_code in (400, 426)
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):  # the application answers
        theirs.recv(1)


def test_an_unknown_server_is_refused():
    environ = environ_of(None)
    del environ["werkzeug.socket"]
    with pytest.raises(RuntimeError):
        Server.accept(environ)


def test_a_peer_that_answers_no_ping_is_left(ends):
    ours, theirs = ends
    ws = Server(environ_of(ours), ping_interval=0.05, receive_bytes=1)
    with pytest.raises(ConnectionClosed) as info:
        ws.receive(SOON)
    assert (info.value.reason, info.value.message) == (1005, None)
    theirs.shutdown(socket.SHUT_WR)
    received = receive_all(theirs)
    head, _, frames = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert frames[0] == 0x89


def test_close_does_not_wait_for_a_peer_that_is_silent(ends, monkeypatch):
    assert simple_connection.CLOSE_TIMEOUT == 1
    ours, theirs = ends
    monkeypatch.setattr(simple_connection, "CLOSE_TIMEOUT", 10 * SOON)
    ws = Server(environ_of(ours))
    closing = threading.Thread(target=ws.close)
    closing.start()
    closing.join(SOON)
    assert not closing.is_alive()
    assert not ws.connected
    with pytest.raises(ConnectionClosed):
        ws.close()
    theirs.sendall(bytes.fromhex("888200000000") + (1000).to_bytes(2, "big"))
    theirs.shutdown(socket.SHUT_WR)
    assert ws._connection.wait_closed(SOON)
    assert receive_all(theirs).endswith(bytes.fromhex("880203e8"))


def test_a_silent_peer_is_cut_after_a_while(ends, monkeypatch):
    monkeypatch.setattr(simple_connection, "CLOSE_TIMEOUT", 0.05)
    ours, _ = ends
    ws = Server(environ_of(ours))
    ws.close()
    assert ws._connection.wait_closed(SOON)


@pytest.mark.parametrize("where", ["TLS", "gevent"])
def test_close_waits_where_the_server_may_still_write(ends, monkeypatch, where):
    monkeypatch.setattr(simple_connection, "CLOSE_TIMEOUT", 0.05)
    ours, _ = ends
    ws = Server(environ_of(ours))
    if where == "TLS":
        ws.environ["wsgi.url_scheme"] = "https"
    else:
        ws.mode = "gevent"
    ws.close()
    assert ws._connection.wait_closed(0)


def test_connected_tells_of_a_close_behind_many_messages(ends):
    ours, theirs = ends
    ws = Server(environ_of(ours))
    theirs.sendall((bytes.fromhex("818100000000") + b"x") * 201)
    theirs.sendall(bytes.fromhex("888200000000") + (1001).to_bytes(2, "big"))
    theirs.shutdown(socket.SHUT_WR)
    assert ws._connection.wait_closed(SOON)
    assert not ws.connected
    assert [ws.receive(0) for _ in range(201)] == ["x"] * 201
    with pytest.raises(ConnectionClosed) as info:
        ws.receive()
    assert info.value.reason == 1001


def test_exceptions_can_be_pickled():
    import pickle

    for exc in (ConnectionClosed(1001, "bye"), SimpleConnectionError(404)):
        copy = pickle.loads(pickle.dumps(exc))
        assert (type(copy), str(copy), vars(copy)) == (type(exc), str(exc), vars(exc))
