"""Against `websocket-client`: as its server. It has no server of its own, and no compression."""

import contextlib
import queue
import random
import ssl
import threading

import pytest
import websocket
from support.certificates import contexts

import syncws

pytestmark = pytest.mark.interop

DEADLINE = 20.0

every_transport = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@contextlib.contextmanager
def serving(handler, tls=False, **kwargs):
    """The URI of a server of ours, without the last slash."""
    context = contexts()[0] if tls else None
    with syncws.serve(handler, "localhost", 0, ssl=context, **kwargs) as server:
        yield server.uri.rstrip("/")


@contextlib.contextmanager
def connecting(uri, **kwargs):
    """Their connection."""
    theirs = websocket.create_connection(
        uri, timeout=DEADLINE, sslopt={"context": contexts()[1]}, **kwargs
    )
    try:
        yield theirs
    finally:
        theirs.close()
        theirs.shutdown()  # once it has received a close frame, close() does nothing


@contextlib.contextmanager
def both_ends(tls=False, path="/", server=None, **kwargs):
    """Both ends of a connection: ours and theirs."""
    ends, done = queue.Queue(), threading.Event()

    def handler(ws):
        ends.put(ws)
        done.wait(DEADLINE)

    with serving(handler, tls, **(server or {})) as uri:
        try:
            with connecting(uri + path, **kwargs) as theirs:
                yield ends.get(timeout=DEADLINE), theirs
        finally:
            done.set()


def echo(ws):
    for message in ws:
        ws.send(message)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


# --- messages --------------------------------------------------------------------

NOISE = random.Random(0).randbytes(1 << 20)

MESSAGES = {
    "text": "hello",
    "unicode": "äöü € \U0001f600 \x00",
    "empty text": "",
    "binary": bytes(range(256)),
    "empty binary": b"",
    "64 KiB": NOISE[: 1 << 16],
    "1 MiB binary": NOISE,
    "1 MiB text": "abcdefgh" * (1 << 17),
}


def send(theirs, message):
    if isinstance(message, str):
        theirs.send(message)
    else:
        theirs.send_binary(message)


def receive(theirs):
    """The next message, which tells text from binary also when it is empty."""
    opcode, data = theirs.recv_data()
    return data.decode() if opcode == websocket.ABNF.OPCODE_TEXT else bytes(data)


@every_transport
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_message_arrives_both_ways(tls, message):
    received = queue.Queue()

    def handler(ws):
        received.put(ws.recv(DEADLINE))
        ws.send(message)

    with serving(handler, tls) as uri, connecting(uri) as theirs:
        send(theirs, message)
        assert received.get(timeout=DEADLINE) == message
        assert receive(theirs) == message


@every_transport
def test_many_messages_arrive_in_order(tls):
    messages = [f"message {i} " * (i % 50) for i in range(200)]
    with serving(echo, tls) as uri, connecting(uri) as theirs:
        for message in messages:
            theirs.send(message)
        assert [receive(theirs) for _ in messages] == messages


FRAGMENTS = {"text": ["frag", "", "mented €"], "binary": [b"\x00", NOISE[:70_000], b"", b"\xff"]}


@every_transport
@pytest.mark.parametrize("fragments", FRAGMENTS.values(), ids=FRAGMENTS)
def test_fragmented_message_arrives(tls, fragments):
    whole = fragments[0][:0].join(fragments)
    first = websocket.ABNF.OPCODE_TEXT if isinstance(whole, str) else websocket.ABNF.OPCODE_BINARY
    with both_ends(tls) as (ours, theirs):
        for i, fragment in enumerate(fragments):
            opcode = websocket.ABNF.OPCODE_CONT if i else first
            fin = int(i == len(fragments) - 1)
            data = fragment.encode() if isinstance(fragment, str) else fragment
            theirs.send_frame(websocket.ABNF.create_frame(data, opcode, fin))
        assert ours.recv(DEADLINE) == whole
        ours.send(iter(fragments))
        assert receive(theirs) == whole


@every_transport
def test_message_over_the_limit_closes_the_connection(tls):
    with both_ends(tls, server={"max_size": 1000}) as (ours, theirs):
        theirs.send("x" * 1001)
        assert closing_frame(theirs)[0] == 1009
        theirs.shutdown()
        assert ours.wait_closed(DEADLINE)


def test_compression_is_not_used():
    with both_ends(server={"compression": "deflate"}) as (ours, theirs):
        assert ours.extensions == []
        assert "sec-websocket-extensions" not in theirs.getheaders()


# --- pings and closing -----------------------------------------------------------


def closing_frame(theirs):
    """Code and reason of the close frame that comes next."""
    opcode, data = theirs.recv_data(control_frame=True)
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    return int.from_bytes(data[:2], "big"), data[2:].decode()


@every_transport
@pytest.mark.parametrize("data", [b"", b"ping", b"\x00" * 125], ids=["empty", "short", "longest"])
def test_ping_is_answered(tls, data):
    with both_ends(tls) as (ours, theirs):
        theirs.ping(data)
        assert theirs.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, data)
        ping = ours.ping(data)
        assert theirs.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PING, data)
        assert ping.wait(DEADLINE)


CLOSINGS = [(1000, ""), (1000, "bye"), (1001, "gone"), (1011, "oops"), (3000, ""), (4999, "ä" * 61)]
every_closing = pytest.mark.parametrize(("code", "reason"), CLOSINGS)


@every_transport
@every_closing
def test_closing_by_them_is_seen_by_both(tls, code, reason):
    with both_ends(tls) as (ours, theirs):
        theirs.send_close(code, reason.encode())
        assert closing_frame(theirs) == (code, reason)
        theirs.shutdown()
        with pytest.raises(syncws.ConnectionClosed) as caught:
            ours.recv(DEADLINE)
        assert (caught.value.code, caught.value.reason) == (code, reason)


@every_transport
@every_closing
def test_closing_by_us_is_seen_by_both(tls, code, reason):
    with serving(lambda ws: ws.close(code, reason), tls) as uri, connecting(uri) as theirs:
        assert closing_frame(theirs) == (code, reason)


def test_their_close_ends_our_handler():
    ended = threading.Event()

    def handler(ws):
        echo(ws)
        assert ws.close_code == 1000
        ended.set()

    with serving(handler) as uri:
        with connecting(uri) as theirs:
            theirs.close()
        assert ended.wait(DEADLINE)


# --- the opening handshake -------------------------------------------------------


@pytest.mark.parametrize(
    ("client_has", "server_has", "agreed"),
    [
        (["chat", "superchat"], ["superchat"], "superchat"),
        (["b", "a"], ["a", "b"], "a"),
        (None, None, None),
    ],
)
def test_subprotocol_is_agreed_on(client_has, server_has, agreed):
    server = {"subprotocols": server_has}
    with both_ends(server=server, subprotocols=client_has) as (ours, theirs):
        assert ours.subprotocol == agreed
        assert theirs.getsubprotocol() == agreed


@every_transport
def test_request_and_headers_are_seen_by_the_other_end(tls):
    with both_ends(
        tls,
        "/a%20path?query=1",
        {"extra_headers": {"X-Answer": "from the server"}},
        header=["X-Asked: one"],
    ) as (ours, theirs):
        assert ours.request.path == "/a%20path?query=1"
        assert ours.request.headers["X-Asked"] == "one"
        assert theirs.getstatus() == 101
        assert theirs.getheaders()["x-answer"] == "from the server"


@every_transport
@pytest.mark.parametrize("status", [401, 403, 503])
def test_refusal_is_seen_by_the_client(tls, status):
    def refuse(ws, request):
        return ws.respond(status, "not for you\n")

    with (
        serving(echo, tls, process_request=refuse) as uri,
        pytest.raises(websocket.WebSocketBadStatusException) as caught,
        connecting(uri),
    ):
        pass
    assert caught.value.status_code == status
    assert caught.value.resp_body == b"not for you\n"


@every_transport
def test_its_own_origin_is_accepted_and_another_one_refused(tls):
    with serving(echo, tls) as uri:
        with connecting(uri) as theirs:
            assert theirs.connected
        with (
            pytest.raises(websocket.WebSocketBadStatusException) as caught,
            connecting(uri, origin="https://elsewhere.example"),
        ):
            pass
    assert caught.value.status_code == 403


def test_certificate_that_nobody_vouches_for_is_refused():
    with serving(echo, tls=True) as uri:
        with pytest.raises(ssl.SSLCertVerificationError):
            websocket.create_connection(
                uri, timeout=DEADLINE, sslopt={"context": ssl.create_default_context()}
            )
        with connecting(uri) as theirs:
            theirs.send("the next one is served")
            assert receive(theirs) == "the next one is served"


# --- its callbacks ---------------------------------------------------------------


@every_transport
def test_its_application_with_callbacks_runs_to_the_end(tls):
    seen = []

    def on_open(app):
        seen.append("open")
        app.send("hello")

    def on_message(app, message):
        seen.append(message)
        app.send("again") if message == "hello" else app.close()

    def on_close(app, code, reason):
        seen.append("close")

    def on_error(app, error):
        seen.append(error)

    with serving(echo, tls) as uri:
        app = websocket.WebSocketApp(
            uri, on_open=on_open, on_message=on_message, on_close=on_close, on_error=on_error
        )
        app.run_forever(sslopt={"context": contexts()[1]})
    assert seen == ["open", "hello", "again", "close"]
