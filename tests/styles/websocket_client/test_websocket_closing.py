"""``WebSocket``, websocket-client's object: timeouts, and the end of a connection."""

import threading

import pytest
from support.pairs import SOON, run, wait_until
from support.scripted import (
    build_response,
    nothing_left,
    read_head,
    scripted_server,
)
from support.serving import serving
from support.websockets import connecting, forever, sends, sends_and_ends
from support.wire import build_frame

from syncws import styles as websocket
from syncws.styles import ABNF

# --- timeouts ---


def test_receiving_ends_at_the_timeout_and_loses_nothing():
    sent = threading.Event()

    def late(ws):
        sent.wait(SOON)
        ws.send("late")
        ws.wait_closed()

    with serving(late) as server, connecting(server) as ws:
        ws.settimeout(0.05)
        assert ws.gettimeout() == ws.timeout == 0.05
        for error in (
            websocket.WebSocketTimeoutException,
            websocket.WebSocketException,
            TimeoutError,
        ):
            with pytest.raises(error):
                ws.recv()
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv_data_frame()
        ws.settimeout(SOON)
        sent.set()
        assert ws.recv() == "late"


def test_pings_do_not_make_a_timeout_longer():
    stop = threading.Event()

    def script(sock):
        sock.sendall(build_response(read_head(sock)))
        while not stop.wait(0.02):
            sock.sendall(build_frame(0x89, b"x"))

    with scripted_server(script) as server:
        ws = connecting(server)
        ws.settimeout(0.2)
        try:
            for receive in (ws.recv, ws.recv_data):
                with pytest.raises(websocket.WebSocketTimeoutException):
                    receive()
        finally:
            stop.set()
            ws.shutdown()


def test_sending_ends_at_the_timeout():
    stop = threading.Event()

    def script(sock):
        sock.sendall(build_response(read_head(sock)))
        stop.wait(SOON)

    with scripted_server(script) as server:
        ws = connecting(server)
        ws.settimeout(0.05)
        with pytest.raises(
            (websocket.WebSocketTimeoutException, websocket.WebSocketConnectionClosedException)
        ):
            forever(ws.send, "x" * 100_000)
        stop.set()
        ws.shutdown()


def test_default_timeout_is_that_of_connections_without_one():
    assert websocket.getdefaulttimeout() is None
    websocket.setdefaulttimeout(3)
    try:
        with serving() as server:
            with websocket.create_connection(server.uri) as ws:
                assert ws.timeout == websocket.getdefaulttimeout() == 3
            with websocket.create_connection(server.uri, timeout=4) as ws:
                assert ws.timeout == 4
            ws = websocket.WebSocket()
            ws.connect(server.uri, timeout=5)
            assert ws.timeout == 5
            ws.close()
    finally:
        websocket.setdefaulttimeout(None)


# --- closing ---


def test_closing_is_idempotent_and_ends_calls_of_other_threads():
    with serving() as server, nothing_left():
        ws = connecting(server, timeout=None)
        receiving = run(ws.recv)
        ws.close(status=1001, reason=b"gone")
        with pytest.raises(websocket.WebSocketConnectionClosedException) as info:
            receiving.result()
        assert (info.value.rcvd.code, info.value.rcvd.reason) == (1001, "gone")
        ws.close()
        assert not ws.connected
        for call in (ws.recv, ws.ping, lambda: ws.send("x"), lambda: next(ws)):
            with pytest.raises(websocket.WebSocketConnectionClosedException):
                call()
        assert ws.sock is None
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="descriptor"):
            ws.fileno()
        assert ws.status == 101  # what the handshake said is still there


def test_closing_gives_up_after_its_timeout():
    with sends() as server:
        ws = connecting(server)
        ws.close(timeout=0.05)
        assert ws.connection.closed


def test_codes_and_reasons_that_cannot_be_sent_are_refused():
    with serving() as server, connecting(server) as ws:
        for status, reason in ((1005, ""), (99, ""), (1000, "x" * 124)):
            with pytest.raises(websocket.WebSocketProtocolException):
                ws.close(status, reason)
            with pytest.raises(websocket.WebSocketProtocolException):
                ws.send_close(status, reason)
        assert ws.connected


def test_closing_may_be_left_to_recv():
    with serving() as server:
        ws = connecting(server)
        ws.send_close(1001, "enough")
        assert ws.recv_data() == (ABNF.OPCODE_CLOSE, b"\x03\xe9enough")
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.recv_data()


@pytest.mark.parametrize("method", ["shutdown", "abort"])
def test_cutting_ends_calls_of_other_threads(method):
    with serving() as server, nothing_left():
        ws = connecting(server, timeout=None)
        receiving = run(ws.recv)
        wait_until(lambda: ws.connection._queue.waiting or not ws.connection._role_is_free)
        getattr(ws, method)()
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            receiving.result()
        getattr(ws, method)()


def test_receiving_from_a_closed_connection_raises():
    with serving(lambda ws: ws.close(4000, "bye")) as server:
        ws = connecting(server)
        assert ws.recv() == ""
        with pytest.raises(websocket.WebSocketConnectionClosedException) as info:
            ws.recv()
        assert (info.value.code, info.value.reason) == (4000, "bye")
        ws.shutdown()
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="shut down"):
            ws.recv()


def test_block_that_fails_closes_with_1011():
    arrived = []
    with serving(arrived.append) as server:
        pass
    ended = []

    def handler(ws):
        ws.wait_closed()
        ended.append(ws.close_code)

    with serving(handler) as server:
        with pytest.raises(ZeroDivisionError), connecting(server) as ws:
            raise ZeroDivisionError
        assert not ws.connected
        with websocket.WebSocket():
            pass  # never connected
        wait_until(lambda: ended == [1011])


def test_broken_rules_are_told_by_their_names():
    for frame, error in (
        ((0x83, b""), websocket.WebSocketProtocolException),
        ((0x81, b"\xff"), websocket.WebSocketPayloadException),
    ):
        with sends_and_ends(frame) as server:
            ws = connecting(server)
            with pytest.raises(error) as info:
                ws.recv()
            assert isinstance(info.value, websocket.WebSocketConnectionClosedException)
            assert isinstance(info.value, websocket.WebSocketException)
            ws.shutdown()
