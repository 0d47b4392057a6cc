"""How clients are told that there is no room for them."""

import contextlib
import logging
import socket
import ssl
import threading
import time

import pytest
from support.asking import refused_as_full
from support.certificates import contexts
from support.pairs import SOON, run, wait_until
from support.scripted import (
    build_request,
    exchange,
    nothing_left,
    parse_head,
    raw_client,
    read_all,
    read_head,
)
from support.serving import assert_works, echo, messages, serving

from syncws import (
    ServerBusy,
    connect,
    serve,
)
from syncws.server import doorkeeper, refusal_log
from syncws.threaded.transport import Transport


@pytest.fixture(autouse=True)
def debug(caplog):
    caplog.set_level("DEBUG")


@pytest.mark.parametrize("tls", [False, True])
def test_refused_clients_get_a_whole_response(tls):
    server_context, client_ssl = contexts() if tls else (None, None)
    with serving(max_connections=1, ssl=server_context) as server:
        with connect(server.uri, ssl=client_ssl) as ws:
            response = refused_as_full(server, ssl=client_ssl)
            assert response.headers["Connection"] == "close"
            assert response.headers["Server"].startswith("Python/")
            assert "GMT" in response.headers["Date"]
            assert response.body == (
                b"Failed to open a WebSocket connection: "
                b"server has its 1 connections; try again in 5 s.\n"
            )
            assert_works(ws)
        assert server.stats().refusals == {"full": 1}


def test_a_request_may_come_in_pieces_and_the_client_may_say_more():
    full = serving(max_connections=1, server_header=None)
    with full as server, connect(server.uri), raw_client(server) as sock:
        for piece in (build_request()[:20], build_request()[20:], b"more"):
            sock.sendall(piece)
        first, headers, _ = parse_head(read_all(sock))
    assert first == "HTTP/1.1 503 Service Unavailable"
    assert "server" not in headers


def test_a_request_without_end_is_answered(monkeypatch):
    with serving(max_connections=1) as server, connect(server.uri), raw_client(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nX: " + b"x" * doorkeeper.MAX_HEAD)
        assert read_all(sock).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("tls", [False, True])
def test_clients_that_say_nothing_are_closed_in_time(monkeypatch, tls):
    monkeypatch.setattr(doorkeeper, "REFUSING_TIMEOUT", 0.1)
    server_context, client_ssl = contexts() if tls else (None, None)
    full = serving(max_connections=1, ssl=server_context)
    with full as server, connect(server.uri, ssl=client_ssl) as ws, raw_client(server) as sock:
        assert read_all(sock) == b""
        wait_until(lambda: server.stats().refusals == {"full": 1})
        assert_works(ws)


def test_clients_that_do_not_stop_talking_are_closed(monkeypatch):
    monkeypatch.setattr(doorkeeper, "MAX_AFTER", 1000)
    monkeypatch.setattr(doorkeeper, "REFUSING_TIMEOUT", 10 * SOON)
    with serving(max_connections=1) as server, connect(server.uri), raw_client(server) as sock:
        sock.sendall(build_request())
        assert read_head(sock).startswith(b"HTTP/1.1 503 ")
        sock.sendall(b"x" * 1001)
        wait_until(lambda: not server._entrance.doorkeeper._clients)


def test_clients_that_go_away_are_forgotten():
    with serving(max_connections=1) as server, connect(server.uri) as ws:
        with raw_client(server) as sock:
            sock.sendall(b"GET")
        wait_until(lambda: server.stats().refusals == {"full": 1})
        assert not server._entrance.doorkeeper._clients
        assert_works(ws)


def test_clients_whose_tls_fails_are_forgotten():
    full = serving(max_connections=1, ssl=contexts()[0])
    with full as server, connect(server.uri, ssl=contexts()[1]) as ws:
        with raw_client(server) as sock:
            sock.sendall(build_request())
            read_all(sock)
        with pytest.raises(ssl.SSLError):
            connect(server.uri, ssl=ssl.create_default_context())
        wait_until(lambda: server.stats().refusals == {"full": 2})
        assert_works(ws)


def test_more_than_can_be_told_at_a_time_are_just_closed(monkeypatch, caplog):
    monkeypatch.setattr(doorkeeper, "MAX_REFUSING", 1)
    with serving(max_connections=1) as server, connect(server.uri), raw_client(server) as first:
        wait_until(lambda: server._entrance.doorkeeper._clients)
        with raw_client(server) as second:
            assert read_all(second) == b""
        first.sendall(build_request())
        first.shutdown(socket.SHUT_WR)
        assert read_all(first).startswith(b"HTTP/1.1 503 ")
        wait_until(lambda: server.stats().refusals == {"full": 2})
    assert not messages(caplog, "ERROR")


def test_more_than_can_be_told_in_a_second_are_just_closed(monkeypatch):
    monkeypatch.setattr(doorkeeper, "RATE", 1.0)
    now = [100.0]
    monkeypatch.setattr(doorkeeper, "clock", lambda: now[0])
    with serving(max_connections=1) as server, connect(server.uri):
        assert exchange(server, build_request())[0].startswith("HTTP/1.1 503 ")
        with raw_client(server) as sock:
            assert read_all(sock) == b""
        now[0] += 1
        assert exchange(server, build_request())[0].startswith("HTTP/1.1 503 ")


def test_without_a_thread_they_are_told_before_they_ask(monkeypatch):
    def no_more(thread):
        if thread.name == "syncws-refuse":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", no_more)
    with nothing_left(), serving(max_connections=1) as server, connect(server.uri) as ws:
        with raw_client(server) as sock:
            answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"server has its 1 connections" in answer
        monkeypatch.undo()
        refused_as_full(server)
        assert_works(ws)


def test_a_defect_does_not_end_refusing(monkeypatch, caplog):
    def fail(refusal):
        monkeypatch.undo()
        raise ZeroDivisionError("mine")

    with serving(max_connections=1) as server, connect(server.uri):
        monkeypatch.setattr(server._entrance.doorkeeper, "_build_answer", fail)
        with raw_client(server) as sock:
            sock.sendall(build_request())
            read_all(sock)
        refused_as_full(server)
    assert messages(caplog, "ERROR") == ["refusing a connection failed"]


@pytest.mark.parametrize("told", [True, False])
def test_logging_that_fails_does_not_end_refusing(monkeypatch, capsys, told):
    class Failing(logging.Handler):
        def handle(self, record):
            if getattr(record, "ws_event", None) == "refusal":
                raise ZeroDivisionError("mine")

    if not told:
        monkeypatch.setattr(doorkeeper, "RATE", 0.0)
    monkeypatch.setattr(refusal_log, "INTERVAL", 0.0)  # each one is said
    logger = logging.getLogger("test.failing")
    monkeypatch.setattr(logger, "handlers", [Failing()])
    with serving(max_connections=1, logger=logger) as server, connect(server.uri) as ws:
        for _ in range(3):
            with raw_client(server) as sock:
                sock.sendall(build_request())
                assert read_all(sock).startswith(b"HTTP/1.1 503 " if told else b"")
        wait_until(lambda: server.stats().refusals == {"full": 3})
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
    assert "ZeroDivisionError: mine" in capsys.readouterr().err


def test_plain_requests_above_a_limit_of_their_own_are_refused_too(monkeypatch):
    def process_request(ws, request):
        if request.path != "/health":
            return None
        answering.set()
        assert released.wait(SOON)
        return ws.respond(200, "OK")

    answering, released = threading.Event(), threading.Event()
    plain = build_request("/health", Upgrade=None, Connection=None)
    monkeypatch.setattr("syncws.server.roster.MAX_PLAIN", 1)
    with serving(max_connections=1, process_request=process_request) as server:
        ws = connect(server.uri)
        first = run(exchange, server, plain)
        assert answering.wait(SOON)
        assert exchange(server, plain)[0].startswith("HTTP/1.1 503 ")
        released.set()
        assert first.result()[0] == "HTTP/1.1 200 OK"
        wait_until(lambda: not server._roster._plain)
        assert server.stats().refusals == {"full": 1}
        ws.close()


def test_plain_requests_are_answered_over_tls_too():
    def process_request(ws, request):
        return ws.respond(200, "OK") if request.path == "/health" else None

    server_context, client_ssl = contexts()
    full = serving(max_connections=1, ssl=server_context, process_request=process_request)
    with full as server, connect(server.uri, ssl=client_ssl), raw_client(server) as sock:
        with client_ssl.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(build_request("/health", Upgrade=None, Connection=None))
            assert read_head(tls).startswith(b"HTTP/1.1 200 OK")
        wait_until(lambda: not server._roster._plain)
        assert server.stats().refusals == {}


def test_a_plain_request_that_nobody_answers_is_refused():
    with serving(max_connections=1) as server, connect(server.uri):
        plain = build_request("/", Upgrade=None, Connection=None)
        assert exchange(server, plain)[0].startswith("HTTP/1.1 503 ")
        wait_until(lambda: server.stats().refusals == {"full": 1})


def test_without_a_thread_for_a_plain_request_it_is_refused(monkeypatch):
    def no_more(thread):
        raise RuntimeError("can't start new thread")

    with serving(max_connections=1) as server, connect(server.uri), raw_client(server) as sock:
        wait_until(lambda: server._entrance.doorkeeper._clients)
        monkeypatch.setattr(threading.Thread, "start", no_more)
        sock.sendall(build_request("/", Upgrade=None, Connection=None))
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)
        monkeypatch.undo()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert server._roster._plain == 0


def test_closing_the_server_ends_refusing():
    with nothing_left():
        server = serve(echo, "127.0.0.1", max_connections=1).start()
        ws = connect(server.uri)
        with raw_client(server) as sock:
            wait_until(lambda: server._entrance.doorkeeper._clients)
            start = time.monotonic()
            server.close()
            assert time.monotonic() - start < SOON / 2
            assert read_all(sock) == b""
        assert ws.wait_closed(SOON)
        assert server.stats().refusals == {"full": 1}
        left, right = socket.socketpair()
        with right:
            server._entrance.doorkeeper.refuse(left, doorkeeper.Refusal("full", ServerBusy(1, 5)))
            assert right.recv(1) == b""


def test_a_forked_child_releases_what_is_being_refused():
    # What happens in the child, without one.
    left, right = socket.socketpair()
    waiting = doorkeeper.Doorkeeper(None, bytes, lambda *args: False, print, logging.getLogger())
    client = doorkeeper._Client(Transport(left), doorkeeper.Refusal("full", ServerBusy(1, 5)))
    waiting._clients[client] = None
    waiting.after_fork()
    assert left.fileno() == -1
    with right:
        waiting.refuse(socket.socket(), client.refusal)
    assert waiting.thread is None


def test_an_exit_while_a_thread_is_started_gives_its_place_back(monkeypatch):
    def exit_once(thread):
        if thread.name == "syncws-handler":
            monkeypatch.undo()
            raise SystemExit
        start(thread)

    start = threading.Thread.start
    with serving(max_connections=1) as server:
        monkeypatch.setattr(threading.Thread, "start", exit_once)
        with raw_client(server) as sock:
            assert read_all(sock) == b""
        wait_until(lambda: not server._roster.running)
        assert_works(connect(server.uri))


def test_a_flood_of_refused_clients_leaves_the_others_alone():
    def flood():
        while not done.is_set():
            with contextlib.suppress(OSError), raw_client(server) as sock:
                sock.sendall(build_request())

    done = threading.Event()
    with nothing_left(), serving(max_connections=1) as server, connect(server.uri) as ws:
        floods = [run(flood) for _ in range(4)]
        for number in range(200):
            ws.send(str(number))
            assert ws.recv(SOON) == str(number)
        assert len(server._roster.running) == 1
        done.set()
        for each in floods:
            each.result()
