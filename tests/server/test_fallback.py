"""Handlers over plain HTTP: serve(fallback=True)."""

import contextlib
import json
import logging
import queue
import re
import socket
import threading

import pytest
from support.certificates import contexts
from support.fallback_client import BINARY, CLOSE, PING, PONG, TEXT, ZERO, FallbackClient
from support.pairs import SOON, run, wait_until
from support.scripted import parse_head, raw_client, read_all, read_head
from support.serving import echo, messages, serving, the_connection
from support.wire import build_frame

from syncws import Fallback, Router, ServerConnection, basic_auth, broadcast, connect, unix_serve
from syncws.fallback import session as session_module
from syncws.fallback import sessions as sessions_module
from syncws.server import http_peer

HELLO = build_frame(TEXT, b"hello", ZERO)


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request):
    """What a server and a client need for it."""
    return contexts() if request.param else (None, None)


@pytest.fixture
def opened():
    """A server that echoes, and a client with a session."""
    with serving(fallback=True) as server, FallbackClient(server) as client:
        client.open()
        yield server, client


@contextlib.contextmanager
def over_http(path="/", *, handler=echo, headers=None, tls=(None, None), **options):
    """A server and a client."""
    options = {"fallback": True, "ssl": tls[0], **options}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(handler, **options))
        client = FallbackClient(server, path, ssl=tls[1], **(headers or {}))
        yield server, stack.enter_context(client)


def texts(frames):
    return [payload.decode() for first, payload in frames if first == TEXT]


# --- messages ---------------------------------------------------------------------


def test_messages_go_both_ways_by_polling(tls):
    with over_http("/path?query=1", tls=tls) as (server, client):
        answer = client.open()
        assert client.opened == {
            "session": client.session,
            "protocol": None,
            "extensions": None,
            "session_timeout": 30.0,
            "max_wait": 25,
            "max_body": 1 << 18,
            "streaming": True,
        }
        assert re.fullmatch("[A-Za-z0-9_-]{22}", client.session)
        assert answer.headers["Cache-Control"] == "no-store, no-transform"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Server"].startswith("Python/")
        ws = the_connection(server)
        assert ws.request.path == "/path?query=1"
        assert ws.secure == (tls[0] is not None)
        for number in range(100):
            client.send(str(number))
            assert client.receive() == [(TEXT, str(number).encode())]
        client.send(b"\0\xff")
        assert client.receive() == [(BINARY, b"\0\xff")]
        assert ws.transport == "polling"
        assert ws.remote_address[0] == "127.0.0.1"
        assert ws.local_address[1] == server.port


def test_messages_go_both_ways_by_streaming(tls):
    with over_http(tls=tls) as (server, client):
        client.open()
        events = client.stream()
        assert events.next() == ("open", None, "0")
        for number in range(100):
            client.send(str(number))
            assert events.frames() == [(TEXT, str(number).encode())]
        assert the_connection(server).transport == "streaming"
        large = bytes(range(256)) * 1000
        client.post(build_frame(BINARY, large, ZERO)[:100])
        client.post(build_frame(BINARY, large, ZERO)[100:])
        assert events.frames() == [(BINARY, large)]


def test_connections_by_websocket_are_as_before():
    with serving(fallback=True) as server, connect(server.uri) as ws:
        assert the_connection(server).transport == ws.transport == "websocket"
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


def test_a_message_wakes_who_waits(opened):
    server, client = opened
    answer = run(client.poll)
    ws = the_connection(server)
    wait_until(lambda: fallback_session(server)._get is not None)
    ws.send("news")
    assert answer.result().body == b"\x81\x04news"


def fallback_session(server):
    """The server's only session."""
    (found,) = server._handling.fallback._sessions._sessions.values()
    return found


def test_many_clients_and_few_threads():
    before = threading.active_count()
    with serving(fallback=True) as server:
        clients = [FallbackClient(server) for _ in range(20)]
        for client in clients:
            client.open()
            client.ask("GET", headers=client.wait_headers())
        # A thread for each handler, one that accepts and one for all requests.
        wait_until(lambda: threading.active_count() <= before + 22)
        assert server.stats().connections_open == 20
        broadcast(server.connections, "all")
        for client in clients:
            client.keep(client.answer())
            assert texts(client.frames()) == ["all"]
            client.close()


def test_groups_have_connections_of_both_kinds():
    def join(ws):
        ws.group("news").add(ws)
        ws.send("joined")
        for message in ws:
            ws.group("news").broadcast(message)

    with serving(join, fallback=True) as server, FallbackClient(server) as client:
        client.open()
        assert texts(client.receive()) == ["joined"]
        with connect(server.uri) as ws:
            assert ws.recv(SOON) == "joined"
            ws.send("from a WebSocket")
            assert texts(client.receive()) == [ws.recv(SOON)]
            client.send("by HTTP")
            assert texts(client.receive()) == [ws.recv(SOON)] == ["by HTTP"]


def test_extensions_and_subprotocols_are_agreed_on():
    with serving(fallback=True, subprotocols=["chat"]) as server, FallbackClient(server) as client:
        client.open(Syncws_Protocol="superchat, chat", Syncws_Extensions="permessage-deflate")
        assert client.opened["protocol"] == "chat"
        assert client.opened["extensions"].startswith("permessage-deflate")
        ws = the_connection(server)
        assert ws.subprotocol == "chat"
        ws.send("a" * 1000)
        ((first, payload),) = client.receive()
        assert first == TEXT | 0x40
        assert len(payload) < 100


def test_pings_are_answered_and_ask_for_answers(opened):
    server, client = opened
    client.send_frame(PING, b"mine")
    assert client.receive() == [(PONG, b"mine")]
    ping = the_connection(server).ping("theirs")
    assert client.receive() == [(PING, b"theirs")]
    client.send_frame(PONG, b"theirs")
    assert ping.wait(SOON)


def test_clients_that_answer_no_pings_are_closed():
    options = {"ping_interval": 0.05, "ping_timeout": 0.05}
    with serving(fallback=True, **options) as server, FallbackClient(server) as client:
        client.open()
        ws = the_connection(server)
        while client.end is None:
            client.poll(wait=1)
        assert ws.wait_closed(SOON)
        assert ws.protocol.close_sent.code == 1011
        assert client.frames()[-1] == (CLOSE, b"\x03\xf3keepalive ping timeout")


# --- what HTTP loses, repeats and cuts ---------------------------------------------


def test_what_comes_twice_is_dropped(opened):
    _, client = opened
    second = build_frame(TEXT, b"second", ZERO)
    assert client.post(HELLO).headers["Syncws-Ack"] == "11"
    assert client.post(HELLO, position=0).headers["Syncws-Ack"] == "11"
    assert client.post(HELLO + second, position=0).headers["Syncws-Ack"] == "23"
    assert client.post(second[5:], position=16).headers["Syncws-Ack"] == "23"
    client.send("third")
    received = []
    while len(received) < 3:
        received += client.receive()
    assert texts(received) == ["hello", "second", "third"]


def test_what_was_lost_is_sent_again(opened):
    _, client = opened
    client.post(HELLO)
    first = client.request("GET", headers=client.wait_headers(0))
    again = client.request("GET", headers=client.wait_headers(0))
    assert first.body == again.body == b"\x81\x05hello"
    events = client.stream(0)
    assert events.frames() == [(TEXT, b"hello")]


def test_requests_that_come_late_do_no_harm(opened):
    _, client = opened
    client.post(HELLO)
    client.poll()
    client.post(HELLO, position=11, ack=7)
    client.poll()
    late = client.request("GET", headers=client.wait_headers(0))
    assert late.headers["Syncws-Position"] == "7"
    assert late.body == b"\x81\x05hello"
    assert client.post(b"", ack=3).status == 204
    client.end = None
    events = client.stream(0)
    client.post(b"", ack=14)
    client.post(HELLO)
    assert events.frames() == [(TEXT, b"hello")] * 2 or client.frames() == [(TEXT, b"hello")]


def test_gaps_are_told(opened):
    _, client = opened
    client.post(HELLO)
    for answer in (client.post(HELLO, position=12), client.post(b"", ack=99), client.poll(99)):
        assert (answer.status, answer.code) == (409, "gap")
        assert answer.headers["Syncws-Ack"] == "11"


def test_of_two_requests_that_wait_the_newer_counts(opened):
    server, client = opened
    older, newer = client.connect(), client.connect()
    client.ask("GET", headers=client.wait_headers(), over=older)
    wait_until(lambda: fallback_session(server)._get is not None)
    client.ask("GET", headers=client.wait_headers(), over=newer)
    answer = client.answer(older)
    assert (answer.status, answer.headers["Syncws-Superseded"]) == (204, "1")
    client.send("hello")
    assert client.answer(newer).body == b"\x81\x05hello"
    events = client.stream()
    assert events.next() == ("open", None, "0")
    client.stream()
    while events.next() is not None:
        pass


def test_a_client_that_waits_may_go_and_come_again(opened):
    server, client = opened
    gone = client.connect()
    client.ask("GET", headers=client.wait_headers(), over=gone)
    session = fallback_session(server)
    wait_until(lambda: session._get is not None)
    gone.close()
    wait_until(lambda: session._get is None)
    client.send("hello")
    assert client.receive() == [(TEXT, b"hello")]


def test_waiting_has_an_end(opened):
    _, client = opened
    answer = client.poll(wait=1)
    assert (answer.status, answer.body) == (204, b"")
    events = client.stream(wait=1)
    assert events.next()[0] == "open"
    assert events.next() == (None, None, "")  # a comment


def test_an_opening_whose_answer_was_lost_is_not_done_twice():
    opened = []

    def handler(ws):
        opened.append(ws)
        echo(ws)

    with serving(handler, fallback=True) as server, FallbackClient(server) as client:
        first = client.open(nonce="n" * 22)
        client.session = None
        assert client.open(nonce="n" * 22).json == first.json
        client.send("hello")
        with FallbackClient(server) as other:
            second = other.open(nonce="n" * 22)  # it was used: this is another one
            assert second.json["session"] != first.json["session"]
            wait_until(lambda: len(opened) == 2)


def test_an_opening_that_goes_on_is_not_done_twice():
    asked, go_on = queue.Queue(), threading.Event()

    def process_request(ws, request):
        asked.put(request)
        assert go_on.wait(SOON)

    options = {"fallback": True, "process_request": process_request}
    with serving(**options) as server, FallbackClient(server) as client:
        first, second, third = client.connect(), client.connect(), client.connect()
        client.ask("POST", headers=client.opening("n" * 22), over=first)
        asked.get(timeout=SOON)
        client.ask("POST", headers=client.opening("n" * 22), over=second)
        assert client.answer(first).code == "busy"
        second.close()  # it comes again
        openings = server._handling.fallback._sessions._openings
        wait_until(lambda: next(iter(openings.values()))._reply is None)
        client.ask("POST", headers=client.opening("n" * 22), over=third)
        wait_until(lambda: next(iter(openings.values()))._reply is not None)
        go_on.set()
        client.session = client.answer(third).json["session"]
        assert asked.empty()


def test_an_opening_that_nobody_waits_for_ends_by_itself():
    asked, go_on = queue.Queue(), threading.Event()

    def process_request(ws, request):
        asked.put(ws)
        assert go_on.wait(SOON)

    fallback = Fallback(session_timeout=0.1)
    with serving(fallback=fallback, process_request=process_request) as server:
        with FallbackClient(server) as client:
            client.ask("POST", headers=client.opening())
            ws = asked.get(timeout=SOON)
            client.vanish()
        wait_until(lambda: not server._handling.fallback._peers)
        go_on.set()
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1006


# --- the end -----------------------------------------------------------------------


def test_the_handler_closes(opened):
    server, client = opened
    ws = the_connection(server)
    closing = run(ws.close, 4000, "done")
    assert client.receive() == [(CLOSE, b"\x0f\xa0done")]
    client.close_frame(4000)
    closing.result()
    client.poll()
    assert client.end == len(client.received)
    assert client.poll().headers["Syncws-End"] == str(client.end)  # whoever has missed it
    assert client.post(b"more").status == 204  # as to a TCP connection that has just ended


def test_the_client_closes(opened):
    server, client = opened
    ws = the_connection(server)
    events = client.stream()
    client.close_frame(4001)
    assert events.frames() == [(CLOSE, b"\x0f\xa1")]
    assert ws.wait_closed(SOON)
    assert ws.close_code == 4001
    assert events.next() == ("end", None, str(len(client.received)))
    assert events.next() is None


def test_the_client_ends_the_session(opened):
    server, client = opened
    ws = the_connection(server)
    other = client.connect()
    client.ask("GET", headers=client.wait_headers(), over=other)
    wait_until(lambda: fallback_session(server)._get is not None)
    assert client.request("DELETE").status == 204
    assert client.answer(other).code == "unknown_session"
    assert ws.wait_closed(SOON)
    assert ws.close_code == 1006
    for answer in (client.poll(), client.post(HELLO), client.request("DELETE")):
        assert (answer.status, answer.code) == (404, "unknown_session")


def test_a_session_that_nobody_uses_ends():
    fallback = Fallback(session_timeout=0.2)
    with serving(fallback=fallback) as server, FallbackClient(server) as client:
        client.open()
        ws = the_connection(server)
        client.poll(wait=1)  # as long as a request waits it lasts
        assert ws.open
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1006
        assert client.poll().code == "unknown_session"


def test_a_stream_that_is_cut_ends_the_session_after_its_time():
    fallback = Fallback(session_timeout=0.2)
    with serving(fallback=fallback) as server, FallbackClient(server) as client:
        client.open()
        ws = the_connection(server)
        events = client.stream()
        assert events.next()[0] == "open"
        client.vanish()
        events.close()
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1006


@pytest.mark.parametrize("how", ["polling", "streaming", "absent"])
def test_a_server_that_closes_tells_its_clients(how):
    with serving(fallback=True) as server, FallbackClient(server) as client:
        client.open()
        ws = the_connection(server)
        if how == "streaming":
            events = client.stream()
            assert events.next()[0] == "open"
        elif how == "polling":
            client.ask("GET", headers=client.wait_headers())
        closing = run(server.close, timeout=SOON if how != "absent" else 0.3)
        if how == "streaming":
            assert events.frames() == [(CLOSE, b"\x03\xe9")]
            client.close_frame(1001)
            assert events.next()[0] == "end"
        elif how == "polling":
            client.keep(client.answer())
            assert client.frames() == [(CLOSE, b"\x03\xe9")]
        if how != "absent":
            over = client.connect()  # one that was open before serves as well
            with pytest.raises(OSError, match="refused"):
                over.connect()
        if how == "polling":
            client.close_frame(1001)
            client.poll()
            assert client.end == len(client.received)
        closing.result()
        assert ws.closed
        wait_until(lambda: not server._handling.fallback.thread.is_alive())


def test_the_server_can_be_closed_that_nobody_has_used():
    with serving(fallback=True) as server:
        assert server._handling.fallback.thread is None


def test_requests_after_the_end_are_refused():
    with serving(fallback=True) as server, FallbackClient(server) as client:
        server._handling.fallback.stop()
        with pytest.raises(OSError, match=r"reset|closed"):
            client.open()


# --- limits ------------------------------------------------------------------------


def test_a_handler_that_does_not_receive_keeps_the_client_waiting(monkeypatch):
    monkeypatch.setattr(http_peer.HttpPeer, "max_wait", 0.1)
    go_on = threading.Event()
    received = []

    def handler(ws):
        assert go_on.wait(SOON)
        for message in ws:
            received.append(len(message))

    options = {"fallback": True, "max_queue": 1, "read_limit": 1}
    with serving(handler, **options) as server, FallbackClient(server) as client:
        client.open()
        data = build_frame(BINARY, bytes(100_000), ZERO)
        count = 20  # more than all buffers take
        stream = data * count
        while client.sent < len(stream):
            before = client.sent
            answer = client.post(stream[before : before + 200_000])
            assert answer.status == 204
            if client.sent - before < min(200_000, len(stream) - before):
                go_on.set()  # it took less than all
        assert go_on.is_set()
        wait_until(lambda: len(received) == count)


def test_a_newer_request_takes_the_place_of_one_that_waits():
    go_on = threading.Event()
    received = []

    def handler(ws):
        assert go_on.wait(SOON)
        for message in ws:
            received.append(len(message))

    options = {"fallback": True, "max_queue": 1, "read_limit": 1}
    with serving(handler, **options) as server, FallbackClient(server) as client:
        client.open()
        first = build_frame(BINARY, bytes(100), ZERO)
        for _ in range(2):
            client.post(first)
        wait_until(the_connection(server)._is_paused)  # nobody reads any more
        start, stream = client.sent, build_frame(BINARY, bytes(1_000_000), ZERO)
        session = fallback_session(server)

        def ask(over):
            position = session._incoming.position
            part = stream[position - start :][:250_000]
            client.ask("POST", part, {"Syncws-Position": str(position)}, over=over)
            wait_until(
                lambda: (
                    session._post is not None or session._incoming.position >= position + len(part)
                )
            )

        stuck = client.connect()
        ask(stuck)
        while session._post is None:
            assert client.answer(stuck).status == 204
            ask(stuck)
        newer = client.connect()
        client.ask("POST", first, {"Syncws-Position": "0"}, over=newer)
        acknowledged = client.answer(stuck).headers["Syncws-Ack"]
        assert client.answer(newer).headers["Syncws-Ack"] == acknowledged
        ask(stuck)
        assert session._post is not None
        stuck.close()  # the client has gone, and comes again
        wait_until(lambda: session._post is None)
        go_on.set()
        client.sent = session._incoming.position
        while client.sent < start + len(stream):
            client.post(stream[client.sent - start :][:250_000])
        wait_until(lambda: received == [100, 100, 1_000_000])


def test_a_client_that_does_not_acknowledge_keeps_the_handler_waiting():
    sent = []

    def handler(ws):
        for number in range(50):
            ws.send(bytes(100_000))
            sent.append(number)
        ws.recv()

    with serving(handler, fallback=True) as server, FallbackClient(server) as client:
        client.open()
        events = client.stream()
        session = fallback_session(server)
        while len(client.received) < session_module.MAX_UNACKNOWLEDGED:
            events.next()
        assert len(sent) < 20
        assert len(session._outgoing) <= session_module.MAX_UNACKNOWLEDGED + (1 << 16)
        while len(client.received) < 50 * 100_010:
            client.post(b"", ack=len(client.received))
            events.next()
        assert len(client.frames()) == 50


@pytest.mark.parametrize(
    ("limits", "code", "status"),
    [
        (Fallback(max_sessions=1), "busy", 503),
        (Fallback(max_sessions_per_address=1), "too_many_sessions", 429),
    ],
)
def test_there_are_only_so_many_sessions(limits, code, status):
    with serving(fallback=limits) as server, FallbackClient(server) as client:
        client.open()
        with FallbackClient(server) as other:
            answer = other.open()
            assert (answer.status, answer.code) == (status, code)
            assert answer.headers["Retry-After"] == "5"
            ws = the_connection(server)
            client.close_frame()
            client.receive()
            assert ws.wait_closed(SOON)
            wait_until(lambda: not len(server._handling.fallback._sessions))
            assert other.open().status == 200


def test_sessions_are_connections_of_the_server():
    limits = {"max_connections": 2, "max_connections_per_address": 1}
    with over_http(fallback=Fallback(max_sessions=9), **limits) as (server, client):
        client.open()
        wait_until(lambda: the_connection(server).open)
        with FallbackClient(server) as other:
            answer = other.open()
            assert (answer.status, answer.code) == (503, "busy")
            assert answer.headers["Retry-After"] == "5"
        client.send("hello")
        assert texts(client.receive()) == ["hello"]


def test_a_third_of_the_connections_may_be_sessions():
    assert Fallback().limits(None).max_sessions is None
    assert Fallback().limits(300).max_sessions == 100
    assert Fallback().limits(1).max_sessions == 1
    assert Fallback(max_sessions=7).limits(300).max_sessions == 7


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"session_timeout": 0}, "session_timeout must be positive, got 0"),
        ({"max_sessions": 0}, "max_sessions must be at least 1, got 0"),
        ({"max_sessions_per_address": -1}, "max_sessions_per_address must be at least 1, got -1"),
        ({"script": "syncws.js"}, "script is a path that starts with /, not 'syncws.js'"),
    ],
)
def test_wrong_limits_are_told(wrong, error):
    with pytest.raises(ValueError, match=error):
        Fallback(**wrong)


def test_wrong_fallbacks_are_told():
    with pytest.raises(TypeError, match=r"fallback is True, False or a syncws\.Fallback, not 1"):
        serving(fallback=1).__enter__()


def test_streams_may_be_turned_off():
    with serving(fallback=Fallback(streaming=False)) as server, FallbackClient(server) as client:
        client.open()
        assert client.opened["streaming"] is False
        client.send("hello")
        headers = {**client.wait_headers(), "Accept": "text/event-stream"}
        answer = client.request("GET", headers=headers)
        assert answer.headers["Content-Type"] == "application/octet-stream"


def test_without_descriptors_a_session_is_refused(monkeypatch):
    def fail():
        raise OSError(24, "Too many open files")

    with serving(fallback=True) as server, FallbackClient(server) as client:
        client.request("GET", headers={"Syncws-Session": "bad"})  # starts the thread
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socketpair", fail)
            answer = client.open()
        assert (answer.status, answer.code) == (503, "busy")
        assert client.open().status == 200


# --- who may -----------------------------------------------------------------------


def test_origins_are_those_of_the_server():
    allowed = {"Origin": "https://example.com"}
    with serving(fallback=True, origins=["https://example.com"]) as server:
        with FallbackClient(server, Origin="https://evil.com") as client:
            answer = client.open()
            assert (answer.status, answer.code) == (403, "refused")
            assert "https://evil.com" in answer.json["error"]["message"]
            assert "Access-Control-Allow-Origin" not in answer.headers
        with FallbackClient(server, **allowed) as client:
            answer = client.open()
            assert answer.headers["Access-Control-Allow-Origin"] == "https://example.com"
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert "Syncws-Ack" in answer.headers["Access-Control-Expose-Headers"]
            assert answer.headers["Vary"] == "Origin"
            client.headers = {"Origin": "https://evil.com"}
            assert (client.poll().status, client.poll().code) == (403, "origin")
            client.headers = {}  # of the same origin browsers say nothing
            client.send("hello")
            assert texts(client.receive()) == ["hello"]


def test_same_origin_is_the_default():
    with serving(fallback=True) as server, FallbackClient(server) as client:
        client.headers = {"Origin": "https://evil.com"}
        assert client.open().status == 403
        client.headers = {"Origin": f"http://127.0.0.1:{server.port}"}
        assert client.open().status == 200


def test_browsers_may_ask_whether_pages_may_ask():
    with serving(fallback=True) as server, FallbackClient(server) as client:
        answer = client.request(
            "OPTIONS",
            headers={
                "Origin": "https://example.com",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type,syncws-nonce,syncws-session",
            },
        )
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
        assert "Syncws-Session" in answer.headers["Access-Control-Allow-Headers"]
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.com"
        other = client.request("OPTIONS", over=client.connect())  # goes to the program
        assert other.status == 405


def test_authentication_judges_openings():
    check = basic_auth("realm", {"ann": "secret"})
    with over_http(process_request=check) as (server, client):
        answer = client.open()
        assert (answer.status, answer.code) == (401, "refused")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        answer = client.open(Authorization="Basic YW5uOnNlY3JldA==")
        assert answer.status == 200
        wait_until(lambda: the_connection(server).username == "ann")


def test_the_program_may_answer_something_else():
    def process_request(ws, request):
        assert "Syncws-Session" not in request.headers
        assert request.method == "GET"
        return ws.respond(302, "elsewhere", {"Location": "/there", "Set-Cookie": "a=b"})

    options = {"fallback": True, "process_request": process_request}
    with serving(**options) as server, FallbackClient(server) as client:
        answer = client.open(Cookie="c=d")
        assert (answer.status, answer.code) == (302, "refused")
        assert answer.json["error"]["message"] == "elsewhere"
        assert answer.headers["Location"] == "/there"
        assert answer.headers["Set-Cookie"] == "a=b"


def test_routers_choose_the_handler():
    router = Router()

    @router.route("/echo/<name>")
    def named(ws, name):
        ws.send(name)
        echo(ws)

    with serving(router, fallback=True) as server:
        with FallbackClient(server, "/echo/ann") as client:
            client.open()
            assert texts(client.receive()) == ["ann"]
        with FallbackClient(server, "/nothing") as client:
            answer = client.open()
            assert (answer.status, answer.code) == (404, "refused")


def test_trusted_proxies_say_who_the_client_is():
    headers = {"X_Forwarded_For": "192.0.2.1"}
    with over_http(trusted_proxies=["127.0.0.0/8"], headers=headers) as (server, client):
        client.open()
        assert the_connection(server).remote_address == ("192.0.2.1", 0)


def test_an_opening_that_fails_is_told(caplog):
    class Failing(ServerConnection):
        def process_request(self, request):
            self.abort()

    options = {"fallback": True, "create_connection": Failing}
    with serving(**options) as server, FallbackClient(server) as client:
        answer = client.open()
        assert (answer.status, answer.code) == (503, "busy")


def test_an_opening_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(sessions_module, "OPEN_TIMEOUT", 0.1)
    go_on = threading.Event()
    options = {"fallback": True, "process_request": lambda ws, request: go_on.wait(SOON) and None}
    with serving(**options) as server, FallbackClient(server) as client:
        answer = client.open()
        go_on.set()
        assert (answer.status, answer.code) == (503, "busy")
        assert "too long" in answer.json["error"]["message"]


# --- requests ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "status", "code"),
    [
        ("POST", {"Syncws-Session": "bad"}, 400, "bad_request"),
        ("POST", {"Syncws-Nonce": "short"}, 400, "bad_request"),
        ("POST", {"Syncws-Nonce": None}, 400, "bad_request"),
        ("GET", {}, 405, "method"),
        ("PUT", {}, 405, "method"),
        ("HEAD", {}, 405, None),
        ("POST", {"Content-Type": "text/plain"}, 415, "content_type"),
        ("POST", {"Content-Type": None}, 415, "content_type"),
    ],
)
def test_requests_that_open_nothing(method, headers, status, code):
    with serving(fallback=True) as server, FallbackClient(server) as client:
        answer = client.request(method, headers={**client.opening(), **headers})
        assert answer.status == status
        if code is not None:
            assert answer.code == code
        assert client.open().status == 200  # over the same connection


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("GET", {"Syncws-Ack": "-1"}),
        ("POST", {}),
        ("POST", {"Syncws-Position": "x"}),
        ("POST", {"Syncws-Position": "1" * 20}),
    ],
)
def test_requests_without_a_position(opened, method, headers):
    _, client = opened
    answer = client.request(method, headers=headers)
    assert (answer.status, answer.code) == (400, "bad_request")


def test_acknowledgements_that_are_none(opened):
    _, client = opened
    answer = client.post(b"", ack="x")
    assert (answer.status, answer.code) == (409, "gap")


def test_bodies_have_a_limit(opened):
    _, client = opened
    answer = client.post(bytes((1 << 18) + 1))
    assert (answer.status, answer.code) == (413, "too_large")
    assert client.post(HELLO, over=client.connect()).status == 204


def status_of(sock):
    """The status of a response, whose head is read."""
    return int(read_head(sock).split()[1])


def headers_of(sock):
    """The headers of a response, whose head is read."""
    return parse_head(read_head(sock))[1]


def request_bytes(client, method="GET", body=b"", version="1.1", **headers):
    headers = {
        "Host": "localhost",
        "Syncws-Session": client.session or "new",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{method} / HTTP/{version}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_requests_may_come_one_after_the_other_without_waiting(opened):
    server, client = opened
    post = {"Content_Type": "application/octet-stream", "Content_Length": "11"}
    requests = [
        request_bytes(client, "POST", HELLO, Syncws_Position=str(11 * number), **post)
        for number in range(3)
    ]
    with raw_client(server) as sock:
        sock.sendall(b"".join(requests) + request_bytes(client, Syncws_Ack="0") * 2)
        for number in range(3):
            assert headers_of(sock)["syncws-ack"] == str(11 * (number + 1))
        assert status_of(sock) == 200


def test_requests_may_come_in_pieces(opened):
    server, client = opened
    with raw_client(server) as sock:
        for byte in request_bytes(client, Syncws_Ack="0", Syncws_Wait="1"):
            sock.sendall(bytes([byte]))
        assert status_of(sock) == 204


def test_bodies_may_be_announced(opened):
    server, client = opened
    with raw_client(server) as sock:
        sock.sendall(
            request_bytes(
                client,
                "POST",
                Syncws_Position="0",
                Content_Type="application/octet-stream",
                Content_Length="11",
                Expect="100-continue",
            )
        )
        assert status_of(sock) == 100
        sock.sendall(HELLO[:5])
        sock.sendall(HELLO[5:])
        assert headers_of(sock)["syncws-ack"] == "11"


@pytest.mark.parametrize("keep", [False, True])
def test_clients_may_speak_http_1_0(opened, keep):
    server, client = opened
    more = {"Connection": "keep-alive"} if keep else {}
    client.send("hello")
    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, version="1.0", Syncws_Ack="0", **more))
        assert headers_of(sock)["connection"] == ("keep-alive" if keep else "close")
    with raw_client(server) as sock:
        stream = {"Syncws_Ack": "0", "Accept": "text/event-stream"}
        sock.sendall(request_bytes(client, version="1.0", **stream, **more))
        headers = headers_of(sock)
        assert "transfer-encoding" not in headers
        assert headers["connection"] == "close"
        client.request("DELETE")
        client.session = None
        assert read_all(sock) == b"event: open\ndata: 0\n\nid: 7\ndata: gQVoZWxsbw==\n\n"


def test_what_is_no_request_ends_the_connection(opened):
    server, client = opened
    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, Syncws_Ack="0", Syncws_Wait="1"))
        assert status_of(sock) == 204
        sock.sendall(b"nonsense\r\n\r\n")
        first, headers, _ = parse_head(read_head(sock))
        assert first == "HTTP/1.1 400 Bad Request"
        assert headers["connection"] == "close"
        sock.sendall(b"more")
        sock.shutdown(socket.SHUT_WR)
        assert json.loads(read_all(sock))["error"]["code"] == "bad_request"


def test_what_follows_a_last_response_has_a_limit(opened, monkeypatch):
    monkeypatch.setattr(http_peer, "LINGER_SIZE", 10)
    server, client = opened
    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, Syncws_Ack="x", Connection="close"))
        assert status_of(sock) == 400
        sock.sendall(bytes(1000))
        wait_until(lambda: len(server._handling.fallback._peers) == 1)


def test_who_is_in_too_much_of_a_hurry_is_cut(opened):
    server, client = opened
    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, Syncws_Ack="0"))
        with pytest.raises(OSError, match=r"reset|pipe"):
            sock.sendall(bytes(50_000_000))


@pytest.mark.parametrize("what", ["REQUEST_TIMEOUT", "IDLE_TIMEOUT", "LINGER_TIMEOUT"])
def test_connections_without_requests_end(monkeypatch, what):
    monkeypatch.setattr(http_peer, what, 0.1)
    with serving(fallback=True) as server, FallbackClient(server) as client:
        with raw_client(server) as sock:
            connection = "close" if what == "LINGER_TIMEOUT" else "keep-alive"
            sock.sendall(request_bytes(client, "GET", Connection=connection))
            assert status_of(sock) == 405
            if what == "REQUEST_TIMEOUT":
                sock.sendall(b"GET ")
            read_all(sock)
        wait_until(lambda: not server._handling.fallback._peers)


def test_who_reads_nothing_is_cut(opened, monkeypatch):
    monkeypatch.setattr(http_peer, "MAX_BACKLOG", 1000)
    server, client = opened
    session = fallback_session(server)
    with raw_client(server) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1000)
        sock.sendall(request_bytes(client, Syncws_Ack="0", Accept="text/event-stream"))
        wait_until(lambda: session._get is not None)
        ws = the_connection(server)
        sending = run(lambda: [ws.send(bytes(100_000)) for _ in range(100)])
        acknowledging = client.connect()
        while session._get is not None:
            position = str(session._outgoing.position)
            headers = {"Syncws-Position": "0", "Syncws-Ack": position}
            client.request("POST", headers=headers, over=acknowledging)
        client.request("DELETE")
        client.session = None
        with pytest.raises(Exception, match="no close frame"):
            sending.result()


def test_a_server_has_only_so_many_http_connections():
    with serving(fallback=True, max_connections=3) as server, FallbackClient(server) as client:
        others = [client.connect() for _ in range(3)]
        for over in others:
            client.request("GET", headers={"Syncws-Session": "bad"}, over=over)
        wait_until(lambda: len(server._handling.fallback._peers) == 3)
        with pytest.raises(OSError, match=r"closed|reset"):
            client.request("GET", headers={"Syncws-Session": "bad"})


def test_what_does_not_come_in_time_is_as_without_the_fallback(caplog):
    caplog.set_level(logging.INFO)
    with serving(fallback=True, open_timeout=0.1) as server, raw_client(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        assert read_all(sock) == b""
    assert "timed out" in messages(caplog)[0]


def test_what_ends_early_is_as_without_the_fallback():
    answers = []
    for fallback in (False, True):
        with serving(fallback=fallback) as server, raw_client(server) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n")
            sock.shutdown(socket.SHUT_WR)
            answers.append(read_all(sock))
    assert answers[0] == answers[1]


def test_unix_sockets(tmp_path):
    path = str(tmp_path / "socket")
    with unix_serve(echo, path, fallback=True) as server, raw_unix(path) as sock:
        client = FallbackClient.__new__(FallbackClient)
        client.session = None
        post = {"Content_Type": "application/octet-stream", "Syncws_Nonce": "n" * 22}
        sock.sendall(request_bytes(client, "POST", **post))
        assert status_of(sock) == 200
        the_connection(server).abort()


def raw_unix(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(SOON)
    sock.connect(path)
    return sock


# --- the browser's part -------------------------------------------------------------


def test_the_script_is_served():
    with serving(fallback=True) as server, FallbackClient(server, "/syncws.js?v=1") as client:
        answer = client.request("GET")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert b"class" in answer.body
        head = client.request("HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(answer.body))
        known = client.request("GET", headers={"If-None-Match": answer.headers["ETag"]})
        assert (known.status, known.body) == (304, b"")


def test_the_script_may_be_elsewhere():
    with serving(fallback=Fallback(script="/lib/ws.js")) as server:
        with FallbackClient(server, "/lib/ws.js") as client:
            assert client.request("GET").status == 200
        with FallbackClient(server, "/syncws.js") as client:
            assert client.request("GET").status == 426
    with over_http("/syncws.js", fallback=Fallback(script=None)) as (_, client):
        assert client.request("GET").status == 426
