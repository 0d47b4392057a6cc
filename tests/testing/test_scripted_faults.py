"""What clients see of each fault of a scripted server."""

import functools
import ssl
import threading
import time

import pytest
from support.certificates import contexts
from support.pairs import SOON

import syncws
from syncws import (
    ConnectionClosedError,
    ConnectionClosedOK,
    Frame,
    InvalidHandshake,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidStatus,
    Opcode,
    ProtocolError,
    SendTimeout,
)
from syncws.testing import scripted_server

connect = functools.partial(syncws.connect, proxy=None, close_timeout=2)


# --- faults of the opening handshake ---


def test_refusal():
    def script(peer):
        peer.refuse(401, "who are you?", {"WWW-Authenticate": "Basic"})

    with scripted_server(script) as server, pytest.raises(InvalidStatus) as info:
        connect(server.uri)
    response = info.value.response
    assert (response.status_code, response.body) == (401, b"who are you?")
    assert response.headers["WWW-Authenticate"] == "Basic"


def test_redirect():
    def fine(peer):
        peer.send("here")

    with scripted_server(fine) as other:

        def redirects(peer):
            peer.refuse(302, headers={"Location": other.uri})

        with scripted_server(redirects) as server, connect(server.uri) as ws:
            assert ws.recv(SOON) == "here"


def test_wrong_accept_value():
    def script(peer):
        peer.accept(headers={"Sec-WebSocket-Accept": "wrong"})

    with scripted_server(script) as server, pytest.raises(InvalidHeaderValue):
        connect(server.uri)


def test_garbage_in_place_of_http():
    def script(peer):
        peer.read_request()
        peer.send_garbage()

    with scripted_server(script) as server, pytest.raises(InvalidMessage):
        connect(server.uri)


def test_end_in_place_of_a_response():
    def script(peer):
        peer.read_request()
        peer.cut()
        peer.cut()
        peer.reset()

    with scripted_server(script) as server, pytest.raises(InvalidHandshake):
        connect(server.uri)


def test_silence_in_place_of_a_response():
    def script(peer):
        peer.stall()

    began = time.monotonic()
    with scripted_server(script) as server, pytest.raises(TimeoutError):
        connect(server.uri, open_timeout=0.05)
    assert time.monotonic() - began < 5


def test_slow_response():
    def script(peer):
        peer.byte_interval = 0.0002
        peer.accept()
        peer.send("slow")

    with scripted_server(script) as server, connect(server.uri) as ws:
        assert ws.recv(SOON) == "slow"


def test_tls():
    server_context, client_context = contexts()

    def fine(peer):
        peer.start_tls(server_context)
        peer.expect("hello")
        peer.send("welcome")
        peer.expect_close(1000)

    def cut(peer):
        peer.start_tls(server_context)
        peer.expect("hello")
        peer.cut()

    with scripted_server(fine, cut) as server:
        with connect(server.tls_uri, ssl=client_context) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "welcome"
        with connect(server.tls_uri, ssl=client_context) as ws:
            ws.send("hello")
            with pytest.raises(ConnectionClosedError) as info:
                ws.recv(SOON)
            assert info.value.code == 1006


def test_tls_that_the_client_refuses():
    failures = []

    def script(peer):
        with pytest.raises(AssertionError) as info:
            peer.start_tls(contexts()[0])
        failures.append(str(info.value))

    with scripted_server(script) as server, pytest.raises(ssl.SSLCertVerificationError):
        connect(server.tls_uri)
    assert "expected a TLS handshake, but it failed" in failures[0]


def test_end_of_the_test_wakes_who_waits_by_tls():
    def script(peer):
        peer.start_tls(contexts()[0])
        peer.accept()
        accepted.set()
        peer.swallow()

    accepted = threading.Event()
    began = time.monotonic()
    with scripted_server(script, timeout=30) as server:
        ws = connect(server.tls_uri, ssl=contexts()[1])
        assert accepted.wait(SOON)
    assert time.monotonic() - began < 5
    ws.abort()


# --- faults of an open connection ---


def lose(script, **options):
    """What a client raises that receives from a server with this script."""
    with (
        scripted_server(script) as server,
        connect(server.uri, **options) as ws,
        pytest.raises(syncws.ConnectionClosed) as info,
    ):
        ws.recv(SOON)
    return info.value


def test_close_codes():
    assert lose(lambda peer: peer.close(1001, "restart")).rcvd == syncws.Close(1001, "restart")
    assert isinstance(lose(lambda peer: peer.close()), ConnectionClosedOK)
    exc = lose(lambda peer: (peer.send_close(1013), peer.expect_close(1013)))
    assert exc.code == 1013


def test_cut():
    exc = lose(lambda peer: (peer.accept(), peer.cut()))
    assert isinstance(exc, ConnectionClosedError)
    assert (exc.code, exc.rcvd) == (1006, None)
    assert isinstance(exc.__cause__, EOFError)


def test_cut_with_something_unread_is_no_reset():
    def script(peer):
        peer.expect("1")
        peer.send("got it")
        read.wait(SOON)
        peer.cut()

    read = threading.Event()
    with scripted_server(script) as server, connect(server.uri) as ws:
        ws.send("1")
        assert ws.recv(SOON) == "got it"
        ws.send("2")
        read.set()
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert isinstance(info.value.__cause__, EOFError)


def test_reset():
    exc = lose(lambda peer: (peer.accept(), peer.delay(0.02), peer.reset()))
    assert exc.code == 1006
    assert isinstance(exc.__cause__, ConnectionResetError)


def test_cut_within_a_frame():
    def script(peer):
        peer.send("whole")
        peer.send_part("not so", 4)
        peer.cut()

    with scripted_server(script) as server, connect(server.uri) as ws:
        assert ws.recv(SOON) == "whole"
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.code == 1006


def test_garbage():
    def script(peer):
        peer.accept()
        peer.send_garbage()
        assert peer.expect_close(1002).code == 1002

    exc = lose(script)
    assert isinstance(exc.__cause__, ProtocolError)
    assert exc.sent.code == 1002


def test_bytes_to_the_letter():
    exc = lose(lambda peer: (peer.accept(), peer.send_raw(b"\x81\x01\xff")))
    assert exc.sent.code == 1007


def test_frames_that_break_the_rules():
    exc = lose(lambda peer: peer.send_frame(Frame(Opcode.TEXT, b"x"), masked=True))
    assert exc.sent.code == 1002
    exc = lose(lambda peer: peer.send_frame(Frame(Opcode.PING, b"", fin=False)))
    assert exc.sent.code == 1002
    exc = lose(lambda peer: peer.send_frame(Frame(Opcode.TEXT, b"x", rsv2=True)))
    assert exc.sent.code == 1002


def test_delay():
    def script(peer):
        peer.accept()
        peer.delay(0.05)
        peer.send("late")

    with scripted_server(script) as server, connect(server.uri) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(0.01)
        assert ws.recv(SOON) == "late"


def test_bytes_one_by_one():
    def script(peer):
        peer.accept()
        peer.byte_interval = 0.001
        peer.send_fragments(["h\u00e9", "llo"])

    with scripted_server(script) as server, connect(server.uri) as ws:
        assert ws.recv(SOON) == "h\u00e9llo"


def test_stall_blocks_who_sends():
    def script(peer):
        peer.accept()
        peer.stall()

    def send_until_blocked(ws):
        for _ in range(100):
            ws.send(b"x" * 100_000, timeout=0.1)

    began = time.monotonic()
    with scripted_server(script, buffer_size=4096) as server:
        ws = connect(server.uri, close_timeout=0.05)
        with pytest.raises(SendTimeout):
            send_until_blocked(ws)
        ws.close()
    assert time.monotonic() - began < 5


def test_stall_leaves_a_close_frame_unanswered():
    def script(peer):
        peer.expect_close(1000, answer=False)
        peer.stall()

    with scripted_server(script) as server:
        ws = connect(server.uri, close_timeout=0.05)
        ws.close()
        assert ws.close_code == 1006


def test_swallowing_answers_no_pings():
    def script(peer):
        peer.accept()
        peer.swallow()

    with (
        scripted_server(script) as server,
        connect(server.uri, ping_interval=0.05, ping_timeout=0.05) as ws,
    ):
        ws.send("hello?")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
    assert isinstance(info.value.__cause__, TimeoutError)
    assert info.value.sent.code == 1011


def test_swallowing_goes_on_after_the_other_end():
    later = []

    def script(peer):
        peer.accept()
        peer.swallow()
        later.append("here")

    with scripted_server(script) as server:
        ws = connect(server.uri)
        ws.abort()
        assert ws.wait_closed(SOON)
    assert later in (["here"], [])  # the test may have ended before


def test_pings_that_are_not_answered():
    def script(peer):
        peer.answers_pings = False
        peer.expect("hello")
        peer.send("no pong")

    with scripted_server(script) as server, connect(server.uri) as ws:
        ping = ws.ping()
        ws.send("hello")
        assert ws.recv(SOON) == "no pong"
        assert not ping.is_set()
