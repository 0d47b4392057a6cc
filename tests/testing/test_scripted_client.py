"""What servers see of each fault of a scripted client; and servers for the time of a test."""

import queue
import threading
import time

import pytest
from support.pairs import SOON, wait_until
from support.serving import echo

import syncws
from syncws import ConnectionClosedError, Frame, Opcode, ProtocolError, Router, connect
from syncws.testing import running, scripted_client


@pytest.fixture
def ended():
    """Exceptions that handlers got when their connections ended."""
    return queue.SimpleQueue()


@pytest.fixture
def server(ended):
    """An echo server, which says how connections end."""

    def handler(ws):
        try:
            while True:
                ws.send(ws.recv())
        except syncws.ConnectionClosed as exc:
            ended.put(exc)

    with running(handler, subprotocols=["chat"], select_subprotocol=choose) as server:
        yield server


def choose(ws, offered):
    return "chat" if "chat" in offered else None


# --- what is no fault ---


def test_conversation_with_a_server(server, ended):
    with scripted_client(f"{server.uri}room") as peer:
        peer.send("hello")
        peer.expect("hello")
        peer.send_fragments([b"a", b"b"])
        assert peer.recv() == b"ab"
        peer.ping(b"1")
        peer.expect_pong(b"1")
        peer.close(1000, "done")
    assert (peer.request.path, peer.response.status_code) == ("/room", 101)
    assert ended.get(timeout=SOON).rcvd == syncws.Close(1000, "done")


def test_request_may_say_anything(server):
    with scripted_client(server.uri) as peer:
        peer.send_request(
            subprotocols=["chat"], headers={"Origin": server.uri.replace("ws", "http")}
        )
        response = peer.expect_response(101)
        assert response.headers["Sec-WebSocket-Protocol"] == "chat"
        peer.send("hello")
        peer.expect("hello")


def test_refusals(server):
    with scripted_client(server.uri) as peer:
        peer.send_request(headers={"Origin": "http://elsewhere.example"})
        assert b"Origin" in peer.expect_response(403).body
    with scripted_client(server.uri) as peer:
        peer.send_request(headers={"Sec-WebSocket-Version": "12"})
        peer.expect_response(426)
        peer.expect_end()


def test_unexpected_response_is_said(server):
    with scripted_client(server.uri) as peer:
        peer.send_request(headers={"Sec-WebSocket-Key": "short"})
        with pytest.raises(AssertionError, match="expected a response with 101, got 400 b'Failed"):
            peer.send("hello")


def test_responses_that_are_none():
    def silent(peer):
        peer.read_request()

    def babbling(peer):
        peer.read_request()
        peer.send_raw(b"\xff\r\n\r\n")

    with syncws.testing.scripted_server(silent, babbling) as server:
        with (
            scripted_client(server.uri) as peer,
            pytest.raises(AssertionError, match="expected a response with 101, got the end: "),
        ):
            peer.recv()
        with (
            scripted_client(server.uri) as peer,
            pytest.raises(AssertionError, match=r"expected a response with 101, got b'\\xff"),
        ):
            peer.recv()


def test_tls_is_refused():
    with pytest.raises(ValueError, match="no TLS"):
        scripted_client("wss://localhost/")


# --- faults ---


def test_cut_by_the_client(server, ended):
    with scripted_client(server.uri) as peer:
        peer.send("hello")
        peer.expect("hello")
        peer.cut()
    exc = ended.get(timeout=SOON)
    assert exc.code == 1006
    assert isinstance(exc.__cause__, EOFError)


def test_end_of_the_block_cuts(server, ended):
    with scripted_client(server.uri) as peer:
        peer.send("hello")
    assert ended.get(timeout=SOON).code == 1006


def test_reset_by_the_client(server, ended):
    with scripted_client(server.uri) as peer:
        peer.send("hello")
        peer.expect("hello")
        peer.reset()
    exc = ended.get(timeout=SOON)
    assert isinstance(exc.__cause__, ConnectionResetError)


def test_cut_within_a_frame_by_the_client(server, ended):
    with scripted_client(server.uri) as peer:
        peer.send_part("hello", -1)
    assert ended.get(timeout=SOON).code == 1006


def test_garbage_from_the_client(server, ended):
    with scripted_client(server.uri) as peer:
        peer.send("hello")
        peer.send_garbage()
        peer.expect("hello")
        peer.expect_close(1002)
    assert isinstance(ended.get(timeout=SOON).__cause__, ProtocolError)


def test_unmasked_frame(server):
    with scripted_client(server.uri) as peer:
        peer.send_frame(Frame(Opcode.TEXT, b"hello"), masked=False)
        assert "mask" in peer.expect_close(1002).reason


def test_bytes_one_by_one_from_the_client(server):
    with scripted_client(server.uri) as peer:
        peer.byte_interval = 0.0001
        peer.send("slow")
        peer.expect("slow")


def test_slow_request_times_out():
    with running(echo, open_timeout=0.05) as server, scripted_client(server.uri) as peer:
        peer.send_raw(b"GET / HTTP/1.1\r\n")
        peer.expect_end()


def test_client_that_answers_no_pings():
    times = {"ping_interval": 0.05, "ping_timeout": 0.05}
    with running(echo, **times) as server, scripted_client(server.uri) as peer:
        peer.answers_pings = False
        peer.expect_ping()
        assert peer.expect_close(1011, answer=False).reason
        peer.expect_end()


def test_client_that_does_not_read_blocks_who_sends():
    outcome = queue.SimpleQueue()

    def flood(ws):
        try:
            while True:
                ws.send(b"x" * 100_000, timeout=0.1)
        except TimeoutError as exc:
            outcome.put(exc)
            ws.abort()

    with running(flood) as server, scripted_client(server.uri, buffer_size=4096) as peer:
        peer.send_request()
        assert isinstance(outcome.get(timeout=SOON), syncws.SendTimeout)


def test_server_that_is_silent_is_said(server):
    with (
        scripted_client(server.uri, timeout=0.05) as peer,
        pytest.raises(AssertionError, match=r"expected 'hello', but nothing came in 0\.05 s"),
    ):
        peer.expect("hello")


# --- running() ---


def test_server_runs_for_the_time_of_the_block():
    with running(echo) as server:
        assert server.uri.startswith("ws://127.0.0.1:")
        with connect(server.uri) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
    with pytest.raises(OSError):  # noqa: PT011  # refused
        connect(server.uri)


def failing(ws):
    ws.recv()
    raise KeyError("broken")


def ask(handler, path=""):
    """Have a server run a handler, until it closes the connection."""
    with running(handler) as server, connect(f"{server.uri}{path}") as ws:
        ws.send("hello")
        assert ws.wait_closed(SOON)


def test_failure_of_a_handler_is_raised():
    with pytest.raises(KeyError, match="broken"):
        ask(failing)


def test_failure_of_a_routed_handler_is_raised():
    router = Router()
    router.route("/rooms/<name>")(lambda ws, name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ask(router, "rooms/kitchen")


def test_failure_of_a_handler_may_be_what_is_tested():
    with running(failing, reraise=False) as server, connect(server.uri) as ws:
        ws.send("hello")
        with pytest.raises(ConnectionClosedError):
            ws.recv(SOON)


def test_failure_of_the_block_comes_first():
    def block():
        with running(failing) as server, connect(server.uri) as ws:
            ws.send("hello")
            ws.recv(SOON)

    with pytest.raises(ConnectionClosedError) as info:
        block()
    assert info.value.code == 1011


def test_end_of_a_connection_is_no_failure():
    def handler(ws):
        while True:
            ws.recv()

    with running(handler) as server, connect(server.uri):
        pass


def test_handlers_that_go_on_are_left_behind(monkeypatch):
    monkeypatch.setattr("syncws.testing.loopback_server.CLOSE_TIMEOUT", 0.1)
    release = threading.Event()
    began = time.monotonic()
    with running(lambda ws: release.wait(SOON)) as server:
        ws = connect(server.uri)
        wait_until(lambda: server.connections)
    assert time.monotonic() - began < 5
    release.set()
    ws.close()
