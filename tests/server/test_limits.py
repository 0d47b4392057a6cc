"""How many connections there may be, how long idle ones stay, and how others are told."""

import contextlib
import logging
import socket
import ssl
import threading
import time

import pytest
from support.certificates import client_context, contexts
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
    ConnectionClosed,
    InvalidStatus,
    ServerBusy,
    connect,
    serve,
    unix_connect,
    unix_serve,
)
from syncws.server import idleness, refuser, rejections
from syncws.server.admission import address_key
from syncws.threaded.transport import Transport


@pytest.fixture(autouse=True)
def debug(caplog):
    caplog.set_level("DEBUG")


def refused(server, **kwargs):
    """Be refused; the response."""
    with pytest.raises(InvalidStatus) as info:
        connect(server.uri, **kwargs)
    assert info.value.response.status_code == 503
    assert info.value.response.headers["Retry-After"] == "5"
    return info.value.response


def from_address(server, address, **kwargs):
    """A connection from one of this machine's addresses."""
    sock = socket.create_connection(
        ("127.0.0.1", server.port), timeout=SOON, source_address=(address, 0)
    )
    return connect(server.uri, sock=sock, **kwargs)


# --- one address ---


def test_an_address_has_its_connections_and_others_have_theirs(caplog):
    with serving(max_connections_per_address=2) as server:
        first = [from_address(server, "127.0.0.2") for _ in range(2)]
        with pytest.raises(InvalidStatus) as info:
            from_address(server, "127.0.0.2")
        assert info.value.response.status_code == 503
        assert b"this address has its 2 connections" in info.value.response.body
        assert_works(from_address(server, "127.0.0.3"))
        first.pop().close()
        wait_until(lambda: len(server.connections) == 1)
        wait_until(lambda: len(server._running) == 1)
        assert_works(from_address(server, "127.0.0.2"))
        assert server.stats().refusals == {"address": 1}
        first.pop().close()
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.ws_refusal == "address"
    assert "refused: this address has its 2 connections" in record.getMessage()


def test_no_thread_is_started_for_a_connection_that_is_refused():
    with serving(max_connections_per_address=1) as server, connect(server.uri):
        wait_until(lambda: server.connections)
        before = set(server._running)
        with raw_client(server) as sock:
            sock.sendall(build_request())
            assert read_all(sock).startswith(b"HTTP/1.1 503 ")
            assert set(server._running) == before


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (("192.0.2.1", 80), bytes([192, 0, 2, 1])),
        (("::ffff:192.0.2.1", 80, 0, 0), bytes([192, 0, 2, 1])),
        (("2001:db8::1", 80, 0, 0), bytes.fromhex("20010db800000000")),
        (("2001:db8::ffff:2", 80, 0, 0), bytes.fromhex("20010db800000000")),
        (("2001:db8:0:1::1", 80, 0, 0), bytes.fromhex("20010db800000001")),
        (("64:ff9b::192.0.2.1", 80, 0, 0), bytes([192, 0, 2, 1])),
        (("64:ff9b::192.0.2.2", 80, 0, 0), bytes([192, 0, 2, 2])),
        (("64:ff9b:1::192.0.2.1", 80, 0, 0), bytes.fromhex("0064ff9b0001" + "00" * 6 + "c0000201")),
        (("64:ff9b:1:c000:2:100::", 80, 0, 0), bytes.fromhex("0064ff9b0001c00000020100" + "0" * 8)),
        (("64:ff9b:2::192.0.2.1", 80, 0, 0), bytes.fromhex("0064ff9b00020000")),
        (("fe80::1%eth0", 80, 0, 2), bytes.fromhex("fe80000000000000")),
        (("unknown", 0), None),
        (("_hidden", 0), None),
        (("un:known", 0), None),
        ("/run/socket", None),
        ("", None),
        (None, None),
        ((), None),
        ((3, 1024), None),
    ],
)
def test_what_counts_as_one_address(address, key):
    assert address_key(address) == key


def test_unix_sockets_have_no_address(tmp_path):
    path = str(tmp_path / "ws")
    limited = unix_serve(echo, path, max_connections_per_address=1)
    with limited, unix_connect(path), unix_connect(path) as ws:
        assert_works(ws)


def test_a_client_that_is_gone_has_no_address(monkeypatch):
    class Gone:
        family = socket.AF_INET

        def getpeername(self):
            raise OSError("not connected")

    with serve(echo, "127.0.0.1", max_connections_per_address=1) as server:
        assert server._admission.find_key(Gone()) is None


def test_behind_a_trusted_proxy_the_address_that_it_tells_counts(caplog):
    def through_proxy(address):
        return connect(server.uri, additional_headers={"X-Forwarded-For": address})

    with serving(max_connections_per_address=1, trusted_proxies=["127.0.0.1"]) as server:
        with through_proxy("192.0.2.1"), through_proxy("192.0.2.2") as other:
            with pytest.raises(InvalidStatus) as info:
                through_proxy("192.0.2.1")
            assert info.value.response.status_code == 503
            assert info.value.response.headers["Retry-After"] == "5"
            assert_works(other)
        wait_until(lambda: not server._running)
        assert_works(through_proxy("192.0.2.1"))
        assert server.stats().refusals == {"address": 1}
    (record,) = [record for record in caplog.records if hasattr(record, "ws_refusal")]
    assert record.ws_refusal == "address"
    assert record.ws_remote_address[0] == "192.0.2.1"


def test_a_trusted_proxy_s_own_connections_count_for_itself():
    limits = {"max_connections_per_address": 1, "trusted_proxies": ["127.0.0.1"]}
    with serving(**limits) as server, connect(server.uri) as ws:
        refused(server)
        assert_works(ws)


def test_clients_that_the_proxy_does_not_tell_are_not_counted():
    headers = {"Forwarded": "for=unknown"}
    limits = {"max_connections_per_address": 1, "trusted_proxies": ["127.0.0.1"]}
    with serving(**limits) as server, connect(server.uri, additional_headers=headers):
        assert_works(connect(server.uri, additional_headers=headers))


def test_who_is_not_trusted_can_not_claim_to_be_another():
    headers = {"X-Forwarded-For": "192.0.2.1"}
    limits = {"max_connections_per_address": 1, "trusted_proxies": ["127.0.0.9"]}
    with serving(**limits) as server, connect(server.uri):
        refused(server, additional_headers=headers)


def test_counts_stay_right_with_many_clients_at_once():
    def client(number):
        for _ in range(20):
            with contextlib.suppress(InvalidStatus, OSError, ConnectionClosed):
                ws = from_address(server, f"127.0.0.{2 + number % 2}")
                ws.send("hello")
                if number % 3:
                    ws.close()
                else:
                    ws.abort()

    with serving(max_connections_per_address=2, max_connections=3) as server:
        for running in [run(client, number) for number in range(6)]:
            running.result(3 * SOON)
        wait_until(lambda: not server._running)
        assert server._admission._count == 0
        assert server._admission._by_address == {}
        assert_works(connect(server.uri))


# --- how they are told ---


@pytest.mark.parametrize("tls", [False, True])
def test_refused_clients_get_a_whole_response(tls):
    server_context, client_ssl = contexts() if tls else (None, None)
    with serving(max_connections=1, ssl=server_context) as server:
        with connect(server.uri, ssl=client_ssl) as ws:
            response = refused(server, ssl=client_ssl)
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
        sock.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nX: " + b"x" * refuser.MAX_HEAD)
        assert read_all(sock).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("tls", [False, True])
def test_clients_that_say_nothing_are_closed_in_time(monkeypatch, tls):
    monkeypatch.setattr(refuser, "REFUSING_TIMEOUT", 0.1)
    server_context, client_ssl = contexts() if tls else (None, None)
    full = serving(max_connections=1, ssl=server_context)
    with full as server, connect(server.uri, ssl=client_ssl) as ws, raw_client(server) as sock:
        assert read_all(sock) == b""
        wait_until(lambda: server.stats().refusals == {"full": 1})
        assert_works(ws)


def test_clients_that_do_not_stop_talking_are_closed(monkeypatch):
    monkeypatch.setattr(refuser, "MAX_AFTER", 1000)
    monkeypatch.setattr(refuser, "REFUSING_TIMEOUT", 10 * SOON)
    with serving(max_connections=1) as server, connect(server.uri), raw_client(server) as sock:
        sock.sendall(build_request())
        assert read_head(sock).startswith(b"HTTP/1.1 503 ")
        sock.sendall(b"x" * 1001)
        wait_until(lambda: not server._refuser._clients)


def test_clients_that_go_away_are_forgotten():
    with serving(max_connections=1) as server, connect(server.uri) as ws:
        with raw_client(server) as sock:
            sock.sendall(b"GET")
        wait_until(lambda: server.stats().refusals == {"full": 1})
        assert not server._refuser._clients
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
    monkeypatch.setattr(refuser, "MAX_REFUSING", 1)
    with serving(max_connections=1) as server, connect(server.uri), raw_client(server) as first:
        wait_until(lambda: server._refuser._clients)
        with raw_client(server) as second:
            assert read_all(second) == b""
        first.sendall(build_request())
        first.shutdown(socket.SHUT_WR)
        assert read_all(first).startswith(b"HTTP/1.1 503 ")
        wait_until(lambda: server.stats().refusals == {"full": 2})
    assert not messages(caplog, "ERROR")


def test_more_than_can_be_told_in_a_second_are_just_closed(monkeypatch):
    monkeypatch.setattr(refuser, "RATE", 1.0)
    now = [100.0]
    monkeypatch.setattr(refuser, "clock", lambda: now[0])
    with serving(max_connections=1) as server, connect(server.uri):
        assert exchange(server, build_request())[0].startswith("HTTP/1.1 503 ")
        with raw_client(server) as sock:
            assert read_all(sock) == b""
        now[0] += 1
        assert exchange(server, build_request())[0].startswith("HTTP/1.1 503 ")


def test_without_threads_to_be_had_they_are_just_closed(monkeypatch):
    def no_more(thread):
        if thread.name == "syncws-refuse":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", no_more)
    with nothing_left(), serving(max_connections=1) as server, connect(server.uri) as ws:
        with raw_client(server) as sock:
            assert read_all(sock) == b""
        monkeypatch.undo()
        refused(server)
        assert_works(ws)


def test_a_defect_does_not_end_refusing(monkeypatch, caplog):
    def fail(refusal):
        monkeypatch.undo()
        raise ZeroDivisionError("mine")

    with serving(max_connections=1) as server, connect(server.uri):
        monkeypatch.setattr(server._refuser, "_build_answer", fail)
        with raw_client(server) as sock:
            sock.sendall(build_request())
            read_all(sock)
        refused(server)
    assert messages(caplog, "ERROR") == ["refusing a connection failed"]


@pytest.mark.parametrize("told", [True, False])
def test_logging_that_fails_does_not_end_refusing(monkeypatch, capsys, told):
    class Failing(logging.Handler):
        def handle(self, record):
            if getattr(record, "ws_event", None) == "refusal":
                raise ZeroDivisionError("mine")

    if not told:
        monkeypatch.setattr(refuser, "RATE", 0.0)
    monkeypatch.setattr(rejections, "INTERVAL", 0.0)  # each one is said
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
    monkeypatch.setattr("syncws.server.handling.MAX_PLAIN", 1)
    with serving(max_connections=1, process_request=process_request) as server:
        ws = connect(server.uri)
        first = run(exchange, server, plain)
        assert answering.wait(SOON)
        assert exchange(server, plain)[0].startswith("HTTP/1.1 503 ")
        released.set()
        assert first.result()[0] == "HTTP/1.1 200 OK"
        wait_until(lambda: not server._plain)
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
        wait_until(lambda: not server._plain)
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
        wait_until(lambda: server._refuser._clients)
        monkeypatch.setattr(threading.Thread, "start", no_more)
        sock.sendall(build_request("/", Upgrade=None, Connection=None))
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)
        monkeypatch.undo()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert server._plain == 0


def test_closing_the_server_ends_refusing():
    with nothing_left():
        server = serve(echo, "127.0.0.1", max_connections=1).start()
        ws = connect(server.uri)
        with raw_client(server) as sock:
            wait_until(lambda: server._refuser._clients)
            start = time.monotonic()
            server.close()
            assert time.monotonic() - start < SOON / 2
            assert read_all(sock) == b""
        assert ws.wait_closed(SOON)
        assert server.stats().refusals == {"full": 1}
        left, right = socket.socketpair()
        with right:
            server._refuser.refuse(left, refuser.Refusal("full", ServerBusy(1, 5)))
            assert right.recv(1) == b""


def test_a_forked_child_releases_what_is_being_refused():
    # What happens in the child, without one.
    left, right = socket.socketpair()
    waiting = refuser.Refuser(None, bytes, lambda *args: False, print, logging.getLogger())
    client = refuser._Client(Transport(left), refuser.Refusal("full", ServerBusy(1, 5)))
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
        wait_until(lambda: not server._running)
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
        assert len(server._running) == 1
        done.set()
        for each in floods:
            each.result()


# --- idle_timeout ---


def test_idle_connections_are_closed():
    with serving(idle_timeout=0.2) as server:
        start = time.monotonic()
        ws = connect(server.uri)
        assert ws.wait_closed(SOON)
        assert time.monotonic() - start >= 0.2
        assert (ws.close_code, ws.close_reason) == (1001, "idle timeout")


@pytest.mark.parametrize("from_server", [False, True])
def test_messages_in_either_direction_keep_a_connection(from_server):
    def handler(ws):
        for _ in range(30):
            if from_server:
                ws.send("hello")
                ended.wait(0.05)
            else:
                ws.recv(SOON)
        ws.send("done")

    ended = threading.Event()
    with serving(handler, idle_timeout=0.4) as server, connect(server.uri) as ws:
        if not from_server:
            for _ in range(30):
                ws.send("hello")
                ended.wait(0.05)
        for message in ws:
            last = message
        assert last == "done"


def test_pings_do_not_keep_a_connection():
    pinging = serving(idle_timeout=0.3, ping_interval=0.02)
    with pinging as server, connect(server.uri, ping_interval=0.02) as ws:
        assert ws.wait_closed(SOON)
        assert ws.close_reason == "idle timeout"


def test_fragments_and_parts_of_frames_keep_a_connection():
    def client(sock):
        sock.sendall(b"\x01\x81\0\0\0\0a")
        for _ in range(10):  # fragments
            pause.wait(0.05)
            sock.sendall(b"\x00\x81\0\0\0\0b")
        sock.sendall(b"\x80\x8a\0\0\0\0")
        for _ in range(10):  # bytes
            pause.wait(0.05)
            sock.sendall(b"c")

    pause = threading.Event()
    with serving(idle_timeout=0.3) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        read_head(sock)
        client(sock)
        header = sock.recv(2)
        assert header == bytes([0x81, 21])


def test_a_message_that_waits_for_the_handler_keeps_a_connection():
    def handler(ws):
        assert not ended.wait(1)
        ws.send(ws.recv())

    ended = threading.Event()
    with serving(handler, idle_timeout=0.2) as server, connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


def test_a_message_on_its_way_to_a_slow_client_keeps_a_connection():
    size = 1 << 24
    sending = serving(lambda ws: ws.send(bytes(size)), idle_timeout=0.2)
    with sending as server, raw_client(server) as sock:
        sock.sendall(build_request())
        read_head(sock)
        threading.Event().wait(1)
        received = 0
        while received < size:
            received += len(sock.recv(1 << 16))


def test_a_connection_that_ends_by_itself_is_forgotten():
    with serving(idle_timeout=SOON) as server:
        assert_works(connect(server.uri))
        wait_until(lambda: not server._running)
        assert not server._idle._entries


def test_many_idle_connections_need_one_timer_and_no_thread(monkeypatch):
    calls = []
    monkeypatch.setattr(idleness, "call_later", lambda *args: calls.append(args))
    watch = idleness.IdleWatch(60)

    class Connection:
        activity = (0, None)

        def _activity(self):
            return self.activity

    now = [100.0]
    monkeypatch.setattr(idleness, "clock", lambda: now[0])
    connections = [Connection() for _ in range(10_000)]
    for connection in connections:
        watch.add(connection)
    assert len(calls) == 1
    now[0] += 5
    calls.pop()[1]()  # before any is due
    assert len(calls) == 1
    assert calls[0][0] == 10
    for connection in connections:
        watch.discard(connection)
        watch.discard(connection)
    calls.pop()[1]()
    assert not calls
    watch.add(connections[0])
    assert len(calls) == 1


def test_one_that_can_not_be_closed_does_not_keep_others_open(monkeypatch, caplog):
    def fail(*args):
        raise ZeroDivisionError("mine")

    with serving(idle_timeout=0.1) as server:
        first = connect(server.uri)
        wait_until(lambda: server.connections)
        (broken,) = server.connections
        broken._begin_close = fail
        second = connect(server.uri)
        assert second.wait_closed(SOON)
        assert first.open
        del broken._begin_close
        assert first.wait_closed(SOON)
    assert "closing an idle connection failed" in messages(caplog, "ERROR")


def test_without_threads_idle_connections_are_looked_at_later(monkeypatch):
    def no_more(*args):
        raise RuntimeError("can't start new thread")

    watch = idleness.IdleWatch(60)
    monkeypatch.setattr(idleness, "call_later", no_more)
    with serving() as server, connect(server.uri):
        wait_until(lambda: server.connections)
        (connection,) = server.connections
        with pytest.raises(RuntimeError):
            watch.add(connection)
        assert not watch._armed


# --- arguments ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_connections_per_address", 0),
        ("max_connections_per_address", -1),
        ("idle_timeout", 0),
        ("idle_timeout", -1.0),
    ],
)
def test_arguments_out_of_range_are_refused(name, value):
    with nothing_left(), pytest.raises(ValueError, match=name):
        serve(echo, **{name: value})


# --- counted and logged ---


def logged(caplog, event):
    return [record for record in caplog.records if getattr(record, "ws_event", None) == event]


class Answers:
    """Functions of a program that answers in various ways."""

    @staticmethod
    def process_request(ws, request):
        if request.path == "/fail":
            raise ZeroDivisionError("mine")
        status = {"/401": 401, "/404": 404, "/200": 200}.get(request.path)
        return None if status is None else ws.respond(status)


@pytest.mark.parametrize(
    ("data", "reason", "status"),
    [
        (build_request(Origin="https://example.org"), "origin", 403),
        (build_request(Host="example.org"), "host", 421),
        (build_request("/401"), "authentication", 401),
        (build_request("/404"), "status", 404),
        (build_request("/fail"), "failure", 500),
        (build_request(Upgrade=None), "request", 426),
        (build_request(method="PUT"), "request", 405),
        (b"\0\r\n\r\n", "request", 400),
        (b"", "lost", None),
        (b"GET / HT", "lost", None),
    ],
)
def test_refusals_are_counted_by_reason_and_logged(caplog, data, reason, status):
    with serving(hosts=["localhost"], process_request=Answers.process_request) as server:
        exchange(server, data)
        wait_until(lambda: not server._running)
        assert server.stats().refusals == {reason: 1}
    (record,) = logged(caplog, "refusal")
    assert (record.ws_refusal, record.ws_status) == (reason, status)
    assert record.ws_remote_address[0] == "127.0.0.1"
    assert record.exc_info is None
    assert ("Traceback" in caplog.text) is (reason == "failure")


def test_what_a_client_comes_for_is_no_refusal(caplog):
    with serving(process_request=Answers.process_request) as server:
        assert exchange(server, build_request("/200"))[0] == "HTTP/1.1 200 OK"
        wait_until(lambda: not server._running)
        assert server.stats().refusals == {}
    assert not logged(caplog, "refusal")
    assert any(message.startswith("GET /200 from (") for message in messages(caplog))


def test_failures_of_tls_and_time_are_counted(caplog):
    with serving(ssl=contexts()[0], open_timeout=0.2) as server:
        with raw_client(server) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            read_all(sock)
        with raw_client(server) as sock:
            assert read_all(sock) == b""
        with raw_client(server):
            pass
        wait_until(lambda: server.stats().refusals == {"tls": 1, "timeout": 1, "lost": 1})
    assert "Traceback" not in caplog.text


def test_a_client_that_goes_away_while_it_is_refused_is_counted_once(caplog):
    def process_request(ws, request):
        ws._transport.abort()
        return ws.respond(404)

    with serving(process_request=process_request) as server:
        exchange(server, build_request())
        wait_until(lambda: not server._running)
        assert server.stats().refusals == {"status": 1}
    assert len(logged(caplog, "refusal")) == 1


def test_a_factory_that_fails_is_counted():
    def create(*args, **kwargs):
        raise ZeroDivisionError("mine")

    with serving(create_connection=create) as server, raw_client(server) as sock:
        assert read_all(sock) == b""
        wait_until(lambda: not server._running)
        assert server.stats().refusals == {"failure": 1}


def test_of_many_refusals_the_first_one_is_logged_and_then_how_many(caplog, monkeypatch):
    monkeypatch.setattr(rejections, "INTERVAL", 0.2)
    with serving() as server:
        for _ in range(5):
            exchange(server, build_request(Upgrade=None))
        wait_until(lambda: logged(caplog, "refusals"))
        records = [r for r in caplog.records if hasattr(r, "ws_refusal")]
        loud = [record for record in records if record.levelno > logging.DEBUG]
        # In each interval one of them: the first, or the summary of those after it.
        assert sum(getattr(record, "ws_count", 1) for record in loud) == 5
        summary = logged(caplog, "refusals")[0]
        assert summary.getMessage() == (
            f"{summary.ws_count} more connections refused within 0.2 s: "
            "the request isn't a valid opening handshake"
        )
        wait_until(lambda: not server._rejections._unsaid)
        exchange(server, build_request(Upgrade=None))  # news again
        wait_until(lambda: server.stats().refusals == {"request": 6})
    last = [r for r in caplog.records if getattr(r, "ws_event", None) == "refusal"][-1]
    assert last.levelname == "INFO"


def test_what_is_still_to_be_said_is_said_at_the_end(caplog):
    with serving() as server:
        for _ in range(3):
            exchange(server, build_request(Upgrade=None))
        wait_until(lambda: not server._running)
        assert not logged(caplog, "refusals")
    (summary,) = logged(caplog, "refusals")
    assert summary.ws_count == 2
    assert summary.levelname == "INFO"


def test_without_a_timer_each_refusal_is_logged(caplog, monkeypatch):
    def no_more(*args):
        raise RuntimeError("can't start new thread")

    counts = rejections.Rejections(logging.getLogger("mine"))
    monkeypatch.setattr(rejections, "call_later", no_more)
    for _ in range(2):
        counts.refuse("full", logging.WARNING, "full")
    assert messages(caplog, "WARNING") == ["full", "full"]
    counts.finish()


def test_counting_is_exact_with_many_threads():
    counts = rejections.Rejections(logging.getLogger("mine"))

    def refuse():
        for _ in range(200):
            counts.refuse("full", logging.DEBUG, "full")

    for running in [run(refuse) for _ in range(8)]:
        running.result()
    assert counts.counts == {"full": 1600}
    assert counts._unsaid["full"][1] == 1599
    counts.finish()


def test_certificates_that_clients_do_not_trust_are_told_as_tls():
    with serving(ssl=contexts()[0]) as server:
        with pytest.raises(ssl.SSLError):
            connect(server.uri, ssl=ssl.create_default_context())
        assert_works(connect(server.uri, ssl=client_context()))
        wait_until(lambda: server.stats().refusals == {"tls": 1})
