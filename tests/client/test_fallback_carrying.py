"""What the network does to the fallback's requests: nothing is lost, nothing comes twice."""

import contextlib
import email.message
import json
import logging
import threading
import time

import pytest
from support.pairs import SOON
from support.serving import exchange
from support.session_server import SessionServer

import syncws.client.session_opening
import syncws.client.session_receiver
import syncws.client.session_sender
from syncws import ConnectionClosedError, InvalidStatus, connect
from syncws.client.session_sender import SessionSender
from syncws.threaded.deadline import Deadline

COUNT = 2000

#: Requests of a session, rather than one that opens it.
LATER = 100


@pytest.fixture(params=["streaming", "polling"])
def server(request):
    with SessionServer() as server:
        server.streaming = request.param == "streaming"
        yield server


def every(n, **kinds):
    """A fault of each nth request, of sessions that are open."""

    def happens(request):
        return not request.is_open and request.number % n == 0

    return happens


def is_end(request):
    return request.method == "DELETE"


FAULTS = {
    "lost requests": {"lose": every(3)},
    "lost responses": {"drop": every(3)},
    "repeated requests": {"repeat": every(2)},
    "an error of a proxy": {"refuse": lambda r: 502 if every(3)(r) else None},
    "another page": {"refuse": lambda r: (200, {"a": "b"}) if every(3)(r) else None},
    "an empty answer": {"refuse": lambda r: 204 if every(4)(r) else None},
    "busy": {
        "refuse": lambda r: (
            (503, {"error": {"code": "busy", "message": ""}}, {"Retry-After": "5"})
            if every(4)(r)
            else None
        )
    },
    "cut responses": {"cut": lambda r: 50 if every(2)(r) and r.method == "GET" else None},
    "connections that close": {"close": every(2)},
    "HTTP/1.0": {"old": lambda r: True},
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_lose_and_double_nothing(server, name):
    server.faults.__init__(**FAULTS[name])
    with connect(server.uri) as ws:
        for number in range(30):
            ws.send(str(number))
            assert ws.recv(timeout=SOON) == str(number)
        exchange(ws, COUNT)
        ws.send("x" * 1_000_000)
        assert ws.recv(timeout=SOON) == "x" * 1_000_000
    assert ws.close_code == 1000
    numbers = [message for message in server.session().received if len(message) < 10]
    assert numbers == [*map(str, range(30)), *map(str, range(COUNT))]


def test_connections_that_are_closed_after_each_response(server):
    server.keep_alive = False
    with connect(server.uri) as ws:
        exchange(ws, COUNT)


def test_streams_that_are_cut_at_once_make_place_for_polling():
    with SessionServer(cut=lambda r: 30 if r.is_stream else None) as server:
        with connect(server.uri) as ws:
            exchange(ws, COUNT)
            assert ws.transport == "polling"
        assert server.count("GET", is_stream=True) == syncws.client.session_receiver.MAX_BAD_STREAMS


def test_a_stream_that_is_kept_back_makes_place_for_polling(monkeypatch):
    monkeypatch.setattr(syncws.client.session_receiver, "OPEN_TIMEOUT", 0.2)
    with SessionServer(keep_back=lambda r: True) as server:
        with connect(server.uri) as ws:
            assert ws.transport == "streaming"
            exchange(ws, COUNT)
            assert ws.transport == "polling"
        assert server.count("GET", is_stream=True) == 1


def test_a_stream_whose_end_is_kept_back_makes_place_for_polling(monkeypatch):
    monkeypatch.setattr(syncws.client.session_receiver, "PROBATION_SILENCE", -0.5)
    with SessionServer() as server, connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv(timeout=SOON) == "hello"
        server.wait(lambda _: server.count("GET", is_stream=False) > 0)
        assert ws.transport == "polling"
        exchange(ws, 10)
        assert server.count("GET", is_stream=True) == 1


def test_a_stream_with_signs_of_life_goes_on_with_fewer(monkeypatch):
    monkeypatch.setattr(syncws.client.session_receiver, "STREAM_WAIT", 2)
    with SessionServer() as server, connect(server.uri) as ws:
        server.wait(lambda _: server.count("GET") == 2)
        with pytest.raises(TimeoutError):
            ws.recv(timeout=2.5)  # time for another sign
        exchange(ws, 10)
        waits = [r.headers["Syncws-Wait"] for r in server.requests if r.is_stream]
        assert waits == ["1", "2"]
        assert ws.transport == "streaming"


def test_a_stream_that_falls_silent_is_opened_again(monkeypatch):
    monkeypatch.setattr(syncws.client.session_receiver, "STREAM_WAIT", 2)
    monkeypatch.setattr(syncws.client.session_receiver, "SILENCE", -1.5)
    monkeypatch.setattr(syncws.client.session_receiver, "MAX_BAD_STREAMS", 2)
    with SessionServer() as server, connect(server.uri) as ws:
        server.wait(lambda _: server.count("GET", is_stream=False) > 0)
        assert server.count("GET", is_stream=True) == 3
        assert ws.transport == "polling"
        exchange(ws, 10)


def test_a_session_without_streams_that_asks_for_one():
    with SessionServer() as server:
        server.opening = {"streaming": True}
        server.streaming = False
        with connect(server.uri) as ws:
            exchange(ws, 10)
            assert ws.transport == "polling"


@pytest.mark.parametrize(
    "stream",
    [
        "data: 0\n\n",
        "event: open\ndata: x\n\n",
        "event: open\ndata: 0\n\nid: 10\ndata: aGVsbG8=\n\n",
        "event: open\ndata: 0\n\ndata: aGVsbG8=\n\n",
        "event: open\ndata: 0\n\nid: 5\ndata: x\n\n",
        "event: open\ndata: 0\n\nevent: end\ndata: 10\n\n",
        "event: open\ndata: 0\n\nevent: end\ndata: x\n\n",
        "event: open\ndata: 0\n\ndata: \xff\n\n",
    ],
)
def test_streams_that_are_not_valid_do_no_harm(stream):
    with SessionServer() as server:
        server.faults.answer = lambda r: (
            (200, {"Content-Type": "text/event-stream; x=y"}, stream.encode("latin-1"))
            if r.is_stream
            else None
        )
        with connect(server.uri) as ws:
            exchange(ws, 10)
            assert ws.transport == "polling"


def test_unknown_events_are_passed_over():
    frame = b"id: 4\ndata: gQJvaw==\n\n"
    stream = b"event: open\ndata: 0\n\nevent: new\ndata: x\n\n" + frame + b"event: end\ndata: 4\n\n"
    with SessionServer() as server:
        server.faults.answer = lambda r: (
            (200, {"Content-Type": "text/event-stream"}, stream) if r.is_stream else None
        )
        with connect(server.uri) as ws:
            assert ws.recv(timeout=SOON) == "ok"
            with pytest.raises(ConnectionClosedError):
                ws.recv(timeout=SOON)


def twice(name, value):
    """Headers as something on the way makes them that adds its own."""
    headers = email.message.Message()
    headers[name] = value
    headers[name] = value
    return headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Syncws-Position": "1000000"},  # further than anything that was sent
        {"Syncws-Position": "x"},
        {"Other": "0"},
        twice("Syncws-Position", "0"),
    ],
)
def test_responses_that_are_not_valid_do_no_harm(headers):
    with SessionServer() as server:
        server.streaming = False
        server.faults.answer = lambda r: (
            (200, headers, b"hello") if r.method == "GET" and server.count("GET") % 2 else None
        )
        with connect(server.uri) as ws:
            exchange(ws, 100)


def test_a_wait_that_is_cut_becomes_shorter():
    with SessionServer() as server:
        server.streaming = False
        cut = threading.Event()

        def hold(request):
            if request.method == "GET" and int(request.headers["Syncws-Wait"]) > 2:
                cut.wait(3)  # a proxy that waits no longer
                return 504
            return None

        server.faults.refuse = hold
        with connect(server.uri) as ws:
            server.wait(lambda requests: any(r.headers.get("Syncws-Wait") == "2" for r in requests))
            exchange(ws, 10)
        cut.set()


def test_a_program_that_does_not_receive_keeps_the_session(server):
    server.session_timeout = 2
    with connect(server.uri, max_queue=1) as ws:
        session = server.session()
        message = "x" * 100_000
        for _ in range(30):
            session.send(message)
        before = server.count("POST")
        server.wait(lambda _: server.count("POST") > before + 3)
        for _ in range(30):
            assert ws.recv(timeout=SOON) == message


def test_a_stream_is_acknowledged():
    with SessionServer() as server, connect(server.uri) as ws:
        session = server.session()
        message = "x" * 100_000
        for _ in range(30):
            session.send(message)
        for _ in range(30):
            assert ws.recv(timeout=SOON) == message
        assert session.acknowledged > 2_900_000
        assert session.gets == 1


def test_a_proxy_with_a_smaller_limit_of_bodies(server):
    server.faults.refuse = lambda r: 413 if len(r.body) > 5000 else None
    with connect(server.uri) as ws:
        ws.send("x" * 100_000)
        assert ws.recv(timeout=SOON) == "x" * 100_000


def test_a_link_that_is_too_slow_for_large_bodies(server, monkeypatch):
    monkeypatch.setattr(SessionSender, "_deadline", lambda self: Deadline(0.3))
    released = threading.Event()
    server.faults.hold = lambda r: released.wait(SOON) if len(r.body) > 5000 else None
    with connect(server.uri) as ws:
        ws.send("x" * 60_000)
        server.wait(lambda requests: any(0 < len(r.body) <= 5000 for r in requests))
        released.set()
        assert ws.recv(timeout=SOON) == "x" * 60_000


@pytest.mark.parametrize(
    "is_too_much",
    [lambda r: len(r.body) > 20_000, lambda r: int(r.headers.get("Syncws-Wait", 20)) > 1],
    ids=["large", "waiting"],
)
def test_something_cuts_requests_that_take_long(server, monkeypatch, is_too_much):
    """A slow link to a server, or a proxy that waits no longer for one."""
    monkeypatch.setattr(syncws.client.session_sender, "SLOW", 1.0)
    cut = threading.Event()

    def refuse(request):
        return 504 if request.body and is_too_much(request) and not cut.wait(1.1) else None

    server.faults.refuse = refuse
    server.session_timeout = 5
    with connect(server.uri) as ws:
        ws.send("x" * 100_000)
        assert ws.recv(timeout=SOON) == "x" * 100_000
    cut.set()


def test_a_response_that_was_stored_is_not_asked_for_all_the_time():
    with SessionServer() as server:
        server.streaming = False
        server.faults.answer = lambda r: (
            (200, {"Syncws-Position": "0"}, b"") if r.method == "GET" and r.number < 8 else None
        )
        began = time.monotonic()
        with connect(server.uri) as ws:
            server.wait(lambda requests: len(requests) >= 8)
            assert time.monotonic() - began > 0.3
            exchange(ws, 10)


def test_no_more_than_the_server_takes(server):
    server.max_body = 1000
    with connect(server.uri) as ws:
        ws.send("x" * 100_000)
        assert ws.recv(timeout=SOON) == "x" * 100_000


def test_a_partial_acknowledgement(server):
    with connect(server.uri) as ws:
        session = server.session()
        take = session.take

        def take_less(position, body):
            return take(position, body[:700])

        session.take = take_less
        ws.send("x" * 10_000)
        assert ws.recv(timeout=SOON) == "x" * 10_000
        exchange(ws, 10)


def test_a_server_that_takes_nothing_for_a_while_is_not_flooded(server):
    with connect(server.uri) as ws:
        session = server.session()
        take, calls = session.take, []

        def refuse(position, body):
            calls.append(len(body))
            return take(position, body if len(calls) > 4 else b"")

        session.take = refuse
        ws.send("hello")
        assert ws.recv(timeout=SOON) == "hello"


# --- the session's end ---


def fails_with(code, status):
    return (status, {"error": {"code": code, "message": "so it is"}})


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("code", "status"),
    [("unknown_session", 404), ("origin", 403), ("gap", 409), ("bad_request", 400)],
)
def test_a_lost_session_ends_the_connection(server, code, status, method):
    lost = threading.Event()
    server.faults.refuse = lambda r: (
        fails_with(code, status) if lost.is_set() and r.method == method and not r.is_open else None
    )
    ws = connect(server.uri)
    session = server.session()
    assert session.wait(lambda: session.gets)
    lost.set()
    if method == "GET":
        with session.changed:  # ends the one that waits
            session.gets += 1
            session.changed.notify_all()
    else:
        ws.send("hello")
    with pytest.raises(ConnectionClosedError) as info:
        ws.recv(timeout=SOON)
    assert ws.close_code == 1006
    assert str(info.value.__cause__) == f"the server says {code}: so it is"
    assert isinstance(info.value.__cause__, ConnectionResetError)
    assert not server.count("DELETE")


def test_an_acknowledgement_that_cannot_be(server):
    server.faults.answer = lambda r: (
        (204, {"Syncws-Ack": "1000"}, b"") if r.method == "POST" and not r.is_open else None
    )
    ws = connect(server.uri)
    ws.send("hello")
    with pytest.raises(ConnectionClosedError) as info:
        ws.recv(timeout=SOON)
    assert "1000 bytes, which can't be" in str(info.value.__cause__)


def test_a_server_that_answers_no_more(server, caplog):
    caplog.set_level(logging.DEBUG, "syncws.client")
    server.session_timeout = 2
    gone = threading.Event()
    server.faults.lose = lambda r: gone.is_set()
    ws = connect(server.uri)
    ws.send("hello")
    assert ws.recv(timeout=SOON) == "hello"
    gone.set()
    with contextlib.suppress(ConnectionClosedError):
        ws.send("hello")
    with pytest.raises(ConnectionClosedError) as info:
        ws.recv(timeout=SOON)
    assert ws.close_code == 1006
    assert str(info.value.__cause__) == "no answer from the server for 2 s"
    assert isinstance(info.value.__cause__, TimeoutError)
    assert info.value.__cause__.__cause__ is not None
    assert any("a request of the fallback failed" in record.message for record in caplog.records)


def test_closing_does_not_wait_for_requests_under_way(server):
    released = threading.Event()
    server.faults.hold = lambda r: released.wait(SOON) if r.method == "POST" and r.body else None
    ws = connect(server.uri, close_timeout=0.2)
    ws.send("hello")
    server.wait(lambda requests: any(r.body for r in requests))
    ws.close()
    assert ws.close_code == 1006
    session = server.session()
    assert session.wait(lambda: session.deleted, 3)
    released.set()


def test_closing_does_not_wait_for_a_delay_between_attempts(server, monkeypatch):
    monkeypatch.setattr("syncws.client.patience.FIRST_DELAY", 100.0)
    monkeypatch.setattr("syncws.client.patience.MAX_DELAY", 100.0)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    gone = threading.Event()
    server.faults.lose = lambda r: gone.is_set() and not is_end(r)
    ws = connect(server.uri, close_timeout=0.2)
    session = server.session()
    session.wait(lambda: session.gets)
    gone.set()
    before = len(server.requests)
    ws.send("hello")
    server.wait(lambda requests: len(requests) >= before + 2)
    ws.close()
    assert session.wait(lambda: session.deleted, SOON)


# --- opening ---


def test_a_lost_response_to_the_opening_opens_no_second_session(server):
    server.faults.drop = lambda r: r.number in (1, 2)
    with connect(server.uri) as ws:
        exchange(ws, 10)
    assert len(server.sessions) == 1
    nonces = {r.headers["Syncws-Nonce"] for r in server.requests if r.is_open}
    assert len(nonces) == 1


def test_an_opening_that_a_proxy_answers_is_tried_again(server):
    server.faults.refuse = lambda r: 502 if r.number < 3 else None
    with connect(server.uri) as ws:
        exchange(ws, 10)


def test_an_opening_that_fails_again_and_again(server, monkeypatch):
    attempts = syncws.client.session_opening.MAX_ATTEMPTS
    server.faults.refuse = lambda r: 502
    with pytest.raises(InvalidStatus):
        connect(server.uri)
    assert len(server.requests) == attempts
    server.faults.refuse = lambda r: (502, json.loads('{"error": {"code": "x", "message": ""}}'))
    with pytest.raises(InvalidStatus):
        connect(server.uri)
    assert len(server.requests) == attempts + 1


def test_an_opening_has_a_time_limit(server):
    released = threading.Event()
    server.faults.hold = lambda r: released.wait(SOON)
    with pytest.raises(TimeoutError, match="timed out during opening handshake"):
        connect(server.uri, open_timeout=1)
    released.set()
    assert len({r.headers["Syncws-Nonce"] for r in server.requests}) == 1
