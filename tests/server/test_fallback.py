"""Handlers over plain HTTP: serve(fallback=True)."""

import gc
import queue
import re
import threading
import time

import pytest
from support.certificates import contexts
from support.fallback_client import (
    BINARY,
    CLOSE,
    HELLO,
    PING,
    PONG,
    TEXT,
    ZERO,
    FallbackClient,
    fallback_session,
    over_http,
    session_over_http,
    texts,
)
from support.pairs import SOON, run, send_reset, wait_until
from support.serving import echo, serving, the_connection
from support.wire import build_frame

from syncws import Fallback, broadcast, connect
from syncws.fallback.opening import Opening


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request):
    """What a server and a client need for it."""
    return contexts() if request.param else (None, None)


@pytest.fixture
def opened():
    """A server that echoes, and a client with a session."""
    with session_over_http() as pair:
        yield pair


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


def test_many_clients_and_few_threads():
    before = threading.active_count()
    with serving(fallback=True) as server:
        clients = [FallbackClient(server) for _ in range(20)]
        for client in clients:
            client.open()
            client.ask("GET", headers=client.wait_headers())
        # A thread for each handler, one that accepts and one for all requests.
        wait_until(lambda: threading.active_count() <= before + 22)
        wait_until(lambda: server.stats().connections_open == 20)
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


def test_who_does_not_want_to_wait_is_answered_at_once(opened):
    _, client = opened
    assert client.poll(wait=0).status == 204
    events = client.stream(wait=0)
    assert events.next()[0] == "open"
    began = time.monotonic()
    for _ in range(2):
        assert events.next() == (None, None, "")
    assert time.monotonic() - began > 1  # comments don't come all the time


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
            assert (
                other.open(nonce="n" * 22).code == "nonce_used"
            )  # a network that repeats requests
        client.close()
        wait_until(lambda: not server._handling.fallback._sessions._sessions)
        with FallbackClient(server) as other:
            assert other.open(nonce="n" * 22).json["session"] != first.json["session"]
        assert len(opened) == 2


def test_an_opening_that_is_over_is_forgotten():
    def openings():
        gc.collect()
        return [each for each in gc.get_objects() if type(each) is Opening]

    before = len(openings())
    with serving(fallback=True) as server, FallbackClient(server) as client:
        client.open()
        client.send("hello")
        assert texts(client.receive()) == ["hello"]
        assert len(openings()) == before


def test_an_opening_that_goes_on_is_not_done_twice():
    asked, go_on = queue.Queue(), threading.Event()

    def process_request(ws, request):
        asked.put(request)
        assert go_on.wait(SOON)

    options = {"fallback": True, "process_request": process_request}
    with serving(**options) as server, FallbackClient(server) as client:
        connections = [client.connect() for _ in range(5)]
        openings = server._handling.fallback._sessions._openings

        def ask(number):
            client.ask("POST", headers=client.opening("n" * 22), over=connections[number])

        def is_waited_for_by(count):
            return len(next(iter(openings.values()))._replies) == count

        ask(0)
        asked.get(timeout=SOON)
        connections[0].close()  # it comes again
        wait_until(lambda: is_waited_for_by(0))
        for number in (1, 2, 3):
            ask(number)
            wait_until(lambda: is_waited_for_by(min(number, 2)))  # noqa: B023
        assert client.answer(connections[1]).code == "busy"
        go_on.set()
        answers = [client.answer(each).json for each in connections[2:4]]
        client.session = answers[0]["session"]
        assert answers[0] == answers[1]
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
    fallback = Fallback(session_timeout=1)
    with serving(fallback=fallback) as server, FallbackClient(server) as client:
        client.open()
        ws = the_connection(server)
        client.poll(wait=2)  # as long as a request waits it lasts
        assert ws.open
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1006
        assert client.poll().code == "unknown_session"


@pytest.mark.parametrize("streams", [False, True])
def test_the_time_of_a_session_begins_when_no_request_waits_any_more(streams):
    with session_over_http() as (server, client):
        ws, session, over = the_connection(server), fallback_session(server), client.connect()
        accept = {"Accept": "text/event-stream"} if streams else {}
        client.ask("GET", headers={**client.wait_headers(), **accept}, over=over)
        wait_until(lambda: session._get is not None)
        session._used_at -= 1000  # it has waited for longer than a session lasts
        if streams:
            ws.abort()
        else:
            ws.send("late")
        assert client.answer(over).status == 200
        assert client.poll(wait=0).status in (200, 204)


def test_a_stream_that_is_cut_ends_the_session_after_its_time():
    fallback = Fallback(session_timeout=1)
    with serving(fallback=fallback) as server, FallbackClient(server) as client:
        client.open()
        ws = the_connection(server)
        events = client.stream()
        assert events.next()[0] == "open"
        client.vanish()
        events.close()
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1006


def test_a_stream_whose_client_is_gone_as_it_begins_ends_the_session_after_its_time():
    fallback = Fallback(session_timeout=1)
    options = {"fallback": fallback, "ping_interval": None}
    with serving(**options) as server, FallbackClient(server) as client:
        client.open()
        ws = the_connection(server)
        over = client.connect()
        headers = {**client.wait_headers(wait=1), "Accept": "text/event-stream"}
        client.ask("GET", headers=headers, over=over)
        send_reset(over.sock)
        client.vanish()
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
        assert ws.wait_closed(SOON)
        wait_until(lambda: not server._handling.fallback.thread.is_alive())


def test_the_server_can_be_closed_that_nobody_has_used():
    with serving(fallback=True) as server:
        assert server._handling.fallback.thread is None


def test_requests_after_the_end_are_refused():
    with serving(fallback=True) as server, FallbackClient(server) as client:
        server._handling.fallback.stop()
        with pytest.raises(OSError, match=r"reset|closed"):
            client.open()
