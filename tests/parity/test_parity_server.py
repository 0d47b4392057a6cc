"""What ``serve()`` returns, and its methods."""

import os
import signal
import socket
import threading

import pytest
from support.pairs import SOON, run, wait_until
from support.scripted import build_request, parse_head, raw_client, read_head
from support.serving import assert_works, echo, serving

from syncws import (
    ConnectionClosed,
    ConnectionClosedOK,
    ServerConnection,
    ServerProtocol,
    ThreadingServer,
    broadcast,
    connect,
    serve,
)


def test_W1_serve_makes_the_server_and_it_has_a_logger(caplog):
    caplog.set_level("INFO")
    server = serve(echo, "localhost")
    assert isinstance(server, ThreadingServer)
    with server:
        assert_works(connect(server.uri))
    assert server.logger.name == "syncws.server"
    assert {record.name for record in caplog.records} == {"syncws.server"}


@pytest.mark.parametrize("name", ["close", "shutdown"])
def test_W2_closing_ends_connections_with_1001_and_waits_for_handlers(name):
    ended = threading.Event()

    def handler(ws):
        ws.wait_closed()
        ended.set()

    with serving(handler) as server:
        clients = [connect(server.uri) for _ in range(3)]
        getattr(server, name)()
        assert ended.is_set()
        getattr(server, name)()  # idempotent
        for ws in clients:
            with pytest.raises(ConnectionClosedOK) as info:
                ws.recv(SOON)
            assert info.value.rcvd.code == 1001
        with pytest.raises(ConnectionRefusedError):
            connect(server.uri)


def test_W2_code_reason_and_a_timeout_can_be_given():
    release = threading.Event()

    def handler(ws):
        release.wait(SOON)

    with serving(handler) as server, connect(server.uri) as ws:
        wait_until(lambda: server.connections)
        closing = run(server.close, True, 1012, "new version", timeout=0.05)
        with pytest.raises(ConnectionClosed) as info:
            ws.recv(SOON)
        assert (info.value.rcvd.code, info.value.rcvd.reason) == (1012, "new version")
        closing.result()  # without waiting for the handler
        release.set()


def test_W2_connections_may_stay_open():
    with serving() as server, connect(server.uri) as ws:
        wait_until(lambda: server.connections)
        closing = run(server.close, close_connections=False)
        wait_until(lambda: not server.is_serving())
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
        assert not closing.done()
        ws.close()
        closing.result()


def test_W2_a_handler_may_close_the_server():
    closed = threading.Event()

    def handler(ws):
        assert ws.recv(SOON) == "stop"
        ws.server.close()
        closed.set()

    with serving(handler) as server, connect(server.uri) as ws:
        ws.send("stop")
        assert server.wait_closed(SOON)
        assert closed.wait(SOON)


def connect_and_send_signal(server, number):
    """What a thread does while the main thread serves; returns the client's connection."""
    ws = connect(server.uri)
    wait_until(lambda: server.connections)
    os.kill(os.getpid(), number)
    return ws


def assert_told_to_go_away(ws):
    with pytest.raises(ConnectionClosedOK) as info:
        ws.recv(SOON)
    assert info.value.rcvd.code == 1001


def test_W2_a_signal_handler_may_close_the_server():
    server = serve(echo, "127.0.0.1")
    previous = signal.signal(signal.SIGTERM, lambda *_: server.close())
    try:
        client = run(connect_and_send_signal, server, signal.SIGTERM)
        server.serve_forever()
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert server.wait_closed(SOON)
    assert_told_to_go_away(client.result())


def test_W2_opening_handshakes_are_answered_with_503():
    entered, release = threading.Event(), threading.Event()

    def process_request(ws, request):
        entered.set()
        assert release.wait(SOON)

    with serving(process_request=process_request) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        assert entered.wait(SOON)
        closing = run(server.close)
        wait_until(lambda: not server.is_serving())
        release.set()
        first, _, _ = parse_head(read_head(sock))
        assert first == "HTTP/1.1 503 Service Unavailable"
        sock.close()
        closing.result()


def test_W4_there_is_no_event_loop_and_the_error_says_so():
    with serving() as server:
        assert not hasattr(server, "get_loop")
        with pytest.raises(AttributeError, match="'get_loop'; there is no event loop"):
            server.get_loop()


def test_W5_waiting_for_the_end_tells_whether_it_came():
    with serving() as server:
        assert server.wait_closed(0) is False
        waiting = run(server.wait_closed)
        server.close()
        assert waiting.result() is True
        assert server.wait_closed() is True


@pytest.mark.parametrize("name", ["start", "start_serving"])
def test_W6_starting_returns_the_server_and_is_idempotent(name):
    server = serve(echo, "127.0.0.1")
    assert getattr(server, name)() is getattr(server, name)() is server
    assert_works(connect(server.uri))
    server.close()
    with pytest.raises(RuntimeError, match="the server was closed"):
        getattr(server, name)()


@pytest.mark.parametrize("end", ["close", "stop"])
def test_W7_serving_forever_ends_when_the_server_is_closed_or_stopped(end):
    server = serve(echo, "127.0.0.1")
    serving = run(server.serve_forever)
    assert_works(connect(server.uri))
    getattr(server, end)()
    serving.result()
    assert server.wait_closed(SOON)
    assert not server.is_serving()


def test_W7_ctrl_c_ends_serving_forever_and_tells_clients():
    server = serve(echo, "127.0.0.1")
    client = run(connect_and_send_signal, server, signal.SIGINT)
    server.serve_forever()
    assert server.wait_closed(0)
    assert_told_to_go_away(client.result())


def test_W7_stopping_does_not_wait():
    release = threading.Event()
    with serving(lambda ws: release.wait(SOON)) as server, connect(server.uri):
        wait_until(lambda: server.connections)
        server.stop()
        assert server.wait_closed(0) is False  # while the handler goes on
        release.set()
        assert server.wait_closed(SOON)


def test_W8_is_serving_between_start_and_close():
    server = serve(echo, "127.0.0.1")
    assert server.is_serving() is False
    with server:
        assert server.is_serving() is True
    assert server.is_serving() is False


def adopted(server):
    """A connection to a server of ours that was accepted elsewhere, and its client's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        opening = run(connect, f"ws://127.0.0.1:{port}/")
        ws = ServerConnection(listener.accept()[0], ServerProtocol(), server)
        ws.handshake(SOON)
        return opening.result(), ws


def test_W9_a_connection_that_is_unregistered_is_left_alone():
    with serving() as server:
        client, ws = adopted(server)
        server.register(ws)
        server.unregister(ws)
        server.unregister(ws)  # idempotent
        assert server.connections == set()
        server.close()
        assert client.open
        client.close()


def test_W10_a_connection_that_is_registered_gets_broadcasts_and_the_end():
    with serving() as server:
        client, ws = adopted(server)
        server.register(ws)
        assert server.connections == {ws}
        broadcast(server, "hello")
        assert client.recv(SOON) == "hello"
        server.close()
        with pytest.raises(ConnectionClosedOK) as info:
            client.recv(SOON)
        assert info.value.rcvd.code == 1001


def test_W11_sockets_port_and_uri():
    with serve(echo, ["127.0.0.1", "127.0.0.2"]) as server:
        assert len(server.sockets) == 2
        for sock in server.sockets:
            assert sock.getsockname()[1] == server.port
        assert server.uri == f"ws://localhost:{server.port}/"
        assert_works(connect(server.uri))
    with serve(echo, "127.0.0.1") as server:
        assert server.uri == f"ws://127.0.0.1:{server.port}/"


def test_W11_open_connections_have_another_name_than_they_had():
    with serving() as server, pytest.raises(AttributeError, match="use connections"):
        server.websockets  # noqa: B018
