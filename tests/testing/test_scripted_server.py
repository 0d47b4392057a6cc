"""Servers that go by a script: conversations, what they find wrong, and their end."""

import contextlib
import functools
import socket
import threading
import time
import unittest

import pytest
from support.pairs import SOON, run

import syncws
from syncws import (
    ConnectionClosedError,
    Frame,
    Opcode,
)
from syncws.testing import scripted_server

connect = functools.partial(syncws.connect, proxy=None, close_timeout=2)


def fail(script, client, match, **options):
    """Run a client against a script that must fail with such an error."""
    with (
        pytest.raises(AssertionError, match=match) as info,
        scripted_server(script, **options) as server,
    ):
        client(server.uri)
    return str(info.value)


def says_hello(uri):
    with contextlib.suppress(syncws.ConnectionClosed), connect(uri) as ws:
        ws.send("hello")
        ws.recv(SOON)


# --- what is no fault ---


def test_conversation():
    seen = []

    def script(peer):
        peer.expect("hello")
        peer.send("welcome")
        assert peer.recv() == b"\x01"
        peer.send(bytearray(b"\x02"))
        peer.send_fragments(["in ", "three ", "pieces"])
        peer.expect("fragmented")
        seen.append(peer.expect_close(1000))

    with scripted_server(script) as server, connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "welcome"
        ws.send(b"\x01")
        assert ws.recv(SOON) == b"\x02"
        assert list(ws.recv_streaming()) == ["in ", "three ", "pieces"]
        ws.send(["frag", "mented"])
        ws.close(1000, "done")
        assert ws.close_code == 1000
    assert seen == [syncws.Close(1000, "done")]


def test_end_of_the_script_closes_the_connection():
    def script(peer):
        peer.send("hello")

    with scripted_server(script) as server, connect(server.uri) as ws:
        assert list(ws) == ["hello"]
        assert ws.close_code == 1000


def test_pings_and_pongs():
    def script(peer):
        peer.ping(b"are you there?")
        peer.expect_pong(b"are you there?")
        peer.pong(b"nobody asked")
        peer.send("now you")
        assert peer.expect_ping() == b"1"
        peer.expect("answered 1")
        peer.expect("answered 2")  # a ping comes before it

    with scripted_server(script) as server, connect(server.uri) as ws:
        assert ws.recv(SOON) == "now you"
        for data in (b"1", b"2"):
            assert ws.ping(data).wait(SOON)
            ws.send(f"answered {data.decode()}")
        assert list(ws) == []


def test_request_and_response_are_at_hand():
    seen = []

    def script(peer):
        request = peer.read_request()
        peer.accept(subprotocol="chat", headers={"Set-Cookie": "a=b"})
        seen.extend([request, peer.request, peer.response.status_code])

    with (
        scripted_server(script) as server,
        connect(f"{server.uri}room", subprotocols=["chat"]) as ws,
    ):
        assert ws.subprotocol == "chat"
        assert ws.response.headers["Set-Cookie"] == "a=b"
        ws.wait_closed(SOON)
    request, same, status = seen
    assert request is same
    assert (request.path, status) == ("/room", 101)


def test_each_connection_has_a_script_of_its_own():
    """As a client sees it that reconnects: lost, refused, and then all is well."""

    def lost(peer):
        peer.accept()
        peer.cut()

    def refused(peer):
        peer.refuse(503, "not now", {"Retry-After": "0"})

    def fine(peer):
        peer.send("welcome back")
        peer.expect_close(1000)

    stop = threading.Event()
    ends = []
    with scripted_server(lost, refused, fine) as server:
        for ws in syncws.reconnect(
            server.uri, proxy=None, backoff=lambda: iter([0] * 5), stop=stop
        ):
            try:
                assert ws.recv(SOON) == "welcome back"
                stop.set()
                ws.close()
            except ConnectionClosedError as exc:
                ends.append(exc.code)
    assert ends == [1006]


def test_nobody_listens_after_the_last_script():
    def script(peer):
        peer.expect_close()

    with scripted_server(script) as server:
        with connect(server.uri):
            pass
        with pytest.raises(OSError):  # noqa: PT011  # refused, or reset
            connect(server.uri)


def test_connections_at_the_same_time():
    both = threading.Barrier(2)

    def script(peer):
        peer.expect("hello")
        both.wait(SOON)
        peer.send("both are here")

    with (
        scripted_server(script, script) as server,
        connect(server.uri) as one,
        connect(server.uri) as other,
    ):
        for ws in (one, other):
            ws.send("hello")
        for ws in (one, other):
            assert ws.recv(SOON) == "both are here"


# --- what is wrong with the client ---


@pytest.mark.parametrize(
    ("script", "match"),
    [
        (lambda peer: peer.expect("goodbye"), "expected 'goodbye', got 'hello'"),
        (lambda peer: peer.expect(b"hello"), "expected b'hello', got 'hello'"),
        (lambda peer: peer.expect_close(), "expected a close frame, got 'hello'"),
        (lambda peer: peer.expect_ping(), "expected a ping, got 'hello'"),
        (lambda peer: peer.expect_end(), "expected the end of the connection, got 'hello'"),
        (lambda peer: (peer.recv(), 1 / 0), "division by zero"),
    ],
)
def test_what_came_instead_is_said(script, match):
    error = ZeroDivisionError if "zero" in match else AssertionError
    with pytest.raises(error, match=match), scripted_server(script) as server:
        says_hello(server.uri)


def test_failures_can_be_asked_for_within_the_block():
    def script(peer):
        peer.expect("goodbye")

    def block(server):
        says_hello(server.uri)
        with pytest.raises(AssertionError, match="expected 'goodbye'"):
            server.check()

    with pytest.raises(AssertionError), scripted_server(script) as server:
        block(server)


def test_errors_have_a_transcript():
    def script(peer):
        peer.expect("hello")
        peer.send("first")
        peer.expect("more")

    assert fail(script, says_hello, "expected 'more'").splitlines() == [
        "connection 1: expected 'more', got a close frame with 1000 (normal closure); so far:",
        "  < GET /",
        "  > HTTP 101",
        "  < 'hello'",
        "  > TEXT 'first' [5 bytes]",
        "  < CLOSE 03 e8 [2 bytes]",
    ]


def test_long_transcripts_are_cut():
    def script(peer):
        for _ in range(30):
            peer.send("x")
        peer.expect("x" * 1000)

    def client(uri):
        with connect(uri) as ws:
            for _ in range(30):
                ws.recv(SOON)

    lines = fail(script, client, "expected 'xxx").splitlines()
    assert len(lines) < 20
    assert lines[1] == "  ..."
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        (lambda ws: ws.close(3000), r"expected a close frame with 1000, got one with 3000"),
        (lambda ws: ws.abort(), "expected a close frame with 1000, got the end of the connection"),
    ],
)
def test_wrong_ends(steps, match):
    def client(uri):
        steps(connect(uri))

    fail(lambda peer: peer.expect_close(1000), client, match)


def raw(*pieces):
    """A client that shakes hands and sends these bytes."""

    def client(uri):
        with syncws.testing.scripted_client(uri) as peer:
            for piece in pieces:
                if isinstance(piece, Frame):
                    peer.send_frame(piece)
                else:
                    peer.send_raw(piece)
            with contextlib.suppress(AssertionError):
                peer.expect_end()

    return client


@pytest.mark.parametrize(
    ("client", "match"),
    [
        (raw(b"\xff\r\n"), "expected a request, got b'.*malformed"),
        (raw(b"GET /"), "expected a request, but nothing came in 0.2 s"),
        (raw(Frame(Opcode.PING, b"x"), b"\xff" * 10), "expected 'x', got what breaks the protocol"),
        (
            raw(Frame(Opcode.TEXT, b"x", fin=False), Frame(Opcode.CLOSE, b"")),
            "got a close frame with",
        ),
        (raw(Frame(Opcode.CLOSE, b"\x00")), r"got a close frame with b'\\x00'"),
    ],
)
def test_clients_that_break_the_rules(client, match):
    fail(lambda peer: peer.expect("x"), client, match, timeout=0.2)


def test_invalid_close_frame():
    client = raw(Frame(Opcode.CLOSE, b"\x00"))
    fail(lambda peer: peer.expect_close(), client, "expected a close frame, got an invalid one")


def test_wrong_pong():
    def script(peer):
        peer.ping(b"a")
        peer.expect_pong(b"b")

    def client(uri):
        with contextlib.suppress(syncws.ConnectionClosed):
            connect(uri).recv(SOON)

    fail(script, client, "expected a pong with b'b', got one with b'a'")


def test_client_that_reads_nothing():
    def script(peer):
        peer.send(b"x" * 50_000_000)

    def client(uri):
        with syncws.testing.scripted_client(uri, buffer_size=4096) as peer:
            peer.send_request()
            quiet.wait(SOON)

    quiet = threading.Event()

    def slow(peer):
        try:
            script(peer)
        finally:
            quiet.set()

    fail(slow, client, "the other end read too little for 0.1 s", timeout=0.1)


def test_client_that_is_gone():
    gone = threading.Event()

    def script(peer):
        peer.accept()
        gone.wait(SOON)
        for _ in range(100):
            peer.delay(0.001)
            peer.send("anybody?")

    def client(uri):
        ws = connect(uri)
        ws.abort()
        ws.wait_closed(SOON)
        gone.set()
        run(threading.Event().wait, 0.2).result()

    fail(script, client, "sending failed")


def test_nothing_came_in_time():
    def client(uri):
        with contextlib.suppress(syncws.ConnectionClosed):
            connect(uri).recv(SOON)

    fail(lambda peer: peer.recv(), client, "but nothing came in 0.05 s", timeout=0.05)


def test_using_what_was_ended_is_an_error():
    def script(peer):
        peer.accept()
        peer.cut()
        peer.recv()

    fail(script, says_hello, "expected a message, but reading failed")


# --- the end of the test ---


def test_missing_connections_are_an_error():
    fail(lambda peer: peer.recv(), lambda uri: None, "for each script, 1 in all; 0 came")


def test_end_of_the_test_wakes_who_waits():
    began = time.monotonic()
    with scripted_server(lambda peer: peer.delay(30), lambda peer: peer.stall()) as server:
        socks = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    assert time.monotonic() - began < 5
    for sock in socks:
        sock.close()


def test_end_of_the_test_wakes_who_swallows():
    swallowing = threading.Event()

    def script(peer):
        peer.accept()
        swallowing.set()
        peer.swallow()

    began = time.monotonic()
    with scripted_server(script) as server:
        ws = connect(server.uri)
        assert swallowing.wait(SOON)
    assert time.monotonic() - began < 5
    ws.abort()


def test_end_of_the_test_is_an_error_for_who_expects():
    began = time.monotonic()
    with (
        pytest.raises(AssertionError, match="expected 'more', but the test ended before it came"),
        scripted_server(lambda peer: peer.expect("more"), timeout=30) as server,
    ):
        ws = connect(server.uri)
    assert time.monotonic() - began < 5
    ws.abort()


def test_end_of_the_test_wakes_who_sends():
    with scripted_server(lambda peer: peer.send(b"x" * 50_000_000), timeout=30) as server:
        ws = connect(server.uri, max_queue=1)
    ws.abort()


def test_failure_of_the_test_has_that_of_the_script_below_its_causes():
    def block():
        with scripted_server(lambda peer: peer.expect("goodbye")) as server:
            connect(server.uri).send("hello")
            raise KeyError("of the test") from ValueError("its cause")

    with pytest.raises(KeyError) as info:
        block()
    cause = info.value.__cause__.__cause__
    assert "expected 'goodbye', got 'hello'" in str(cause)


def test_failure_of_the_script_may_be_what_the_test_raises():
    def block():
        with scripted_server(lambda peer: peer.expect("goodbye")) as server:
            says_hello(server.uri)
            server.check()

    with pytest.raises(AssertionError, match="got 'hello'") as info:
        block()
    assert info.value.__cause__ is None


@pytest.mark.parametrize("scripts", [(), ("hello",), (None,)])
def test_what_is_no_script_is_refused(scripts):
    with pytest.raises(TypeError, match="script"):
        scripted_server(*scripts)


def test_coroutine_functions_are_refused():
    async def script(peer):
        pass

    with pytest.raises(TypeError, match="coroutine function"):
        scripted_server(script)


def test_with_unittest():
    class Test(unittest.TestCase):
        def runTest(self):
            with scripted_server(lambda peer: peer.expect("goodbye")) as server:
                says_hello(server.uri)

    result = unittest.TestResult()
    Test().run(result)
    ((_, traceback),) = result.failures
    assert "expected 'goodbye', got 'hello'" in traceback
