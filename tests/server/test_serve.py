import logging
import os
import socket
import threading

import pytest
from support.certificates import client_context, contexts, server_context
from support.pairs import SOON, run, wait_until
from support.scripted import build_request, exchange, nothing_left, parse_head, raw_client, read_all
from support.serving import echo, messages, serving

from syncws import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Deflate,
    InvalidStatus,
    ServerConnection,
    ThreadingServer,
    connect,
    serve,
)
from syncws.sansio.extensions.permessage_deflate import ServerPerMessageDeflateFactory


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


# --- a server ---


def test_a_server_listens_at_once_and_accepts_once_it_is_entered():
    server = serve(echo, "127.0.0.1")
    assert isinstance(server, ThreadingServer)
    assert not server.is_serving()
    early = run(connect, server.uri)
    with server as entered:
        assert entered is server
        assert server.is_serving()
        with early.result() as ws:
            ws.send("hello")
            assert ws.recv() == "hello"
    assert not server.is_serving()


def test_an_empty_block_ends():
    with nothing_left(), serve(echo):
        pass


def test_starting_is_idempotent_and_returns_the_server():
    server = serve(echo, "127.0.0.1")
    assert server.start() is server
    assert server.start() is server
    assert server.start_serving() is server
    with connect(server.uri) as ws:
        assert ws.open
    server.close()


def test_a_closed_server_can_not_be_started():
    server = serve(echo)
    server.close()
    with pytest.raises(RuntimeError, match="the server was closed"):
        server.start()
    with pytest.raises(RuntimeError), server:
        pass


def test_the_representation_says_what_it_is_doing():
    server = serve(echo, "127.0.0.1")
    assert repr(server) == f"<ThreadingServer ws://127.0.0.1:{server.port}/ listening>"
    server.start()
    assert repr(server).endswith(" serving>")
    server.close()
    assert repr(server).endswith(" closed>")


def test_there_is_no_event_loop():
    with serving() as server:
        with pytest.raises(AttributeError, match="there is no event loop"):
            server.get_loop()
        with pytest.raises(AttributeError, match="'ThreadingServer' object has no attribute 'x'"):
            server.x  # noqa: B018
        assert not hasattr(server, "get_loop")


def test_a_server_can_be_made_of_its_parts():
    sock = socket.create_server(("127.0.0.1", 0))
    with ThreadingServer(echo, [sock]) as server, connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"


# --- handlers ---


def test_a_handler_gets_the_open_connection():
    def handler(ws):
        seen.append((ws.open, ws.path, ws.side, ws.server, ws.remote_address))

    seen = []
    with serving(handler) as server, connect(f"{server.uri}chat?a=b") as ws:
        assert list(ws) == []
    assert seen == [(True, "/chat?a=b", "server", server, ws.local_address)]


def test_a_handler_as_tutorials_write_it():
    def handler(websocket, path):
        try:
            for message in websocket:
                websocket.send(f"{path}: {message}")
        except ConnectionClosedOK:
            pytest.fail("iteration ends without an exception")

    with serving(handler) as server, connect(f"{server.uri}chat") as ws:
        ws.send("hello")
        assert ws.recv() == "/chat: hello"


def test_each_connection_has_a_thread_of_its_own():
    def handler(ws):
        threads.add(threading.current_thread())
        barrier.wait(SOON)

    threads = set()
    barrier = threading.Barrier(3)
    with serving(handler) as server:
        for ws in [connect(server.uri) for _ in range(3)]:
            assert ws.wait_closed(SOON)
    assert {thread.name for thread in threads} == {"syncws-handler"}
    assert len(threads) == 3


def test_returning_closes_the_connection_with_1000():
    with serving(lambda ws: None) as server, connect(server.uri) as ws:
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1000


@pytest.mark.parametrize("exc", [ZeroDivisionError("oops"), SystemExit(1), KeyboardInterrupt()])
def test_an_exception_is_logged_and_closes_the_connection_with_1011(caplog, exc):
    def handler(ws):
        raise exc

    with serving(handler) as server:
        with connect(server.uri) as ws:
            assert ws.wait_closed(SOON)
            assert ws.close_code == 1011
        assert server.is_serving()
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "connection handler failed"
    assert record.exc_info[1] is exc
    assert record.name == "syncws.server"
    assert isinstance(record.websocket, ServerConnection)


def test_the_end_of_the_connection_is_no_error(caplog):
    def handler(ws):
        while True:
            ws.recv()

    with serving(handler) as server:
        connect(server.uri).close()
        connect(server.uri).close(4000, "mine")
        connect(server.uri).abort()
        wait_until(lambda: sum(" after " in message for message in messages(caplog)) == 3)
    assert not messages(caplog, "ERROR")


def test_the_end_of_another_connection_is_an_error(caplog):
    def proxy(ws):
        with connect(upstream.uri) as other:
            other.recv()

    with serving(lambda ws: None) as upstream, serving(proxy) as server:
        ws = connect(server.uri)
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1011
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert isinstance(record.exc_info[1], ConnectionClosed)


def test_open_connections_are_known_until_they_are_closed():
    with serving() as server:
        assert server.connections == set()
        with connect(server.uri) as ws:
            wait_until(lambda: server.connections)
            (connection,) = server.connections
            assert connection.remote_address == ws.local_address
            server.connections.clear()
            assert server.connections == {connection}
        wait_until(lambda: not server.connections)


# --- limits, times, compression ---


def test_a_server_has_a_socket_and_a_descriptor():
    with serving() as server:
        assert server.socket is server.sockets[0]
        assert server.socket.getsockname()[1] == server.port
        assert server.fileno() == server.socket.fileno() > 0
    assert server.fileno() == -1


def test_connections_that_are_closing_are_not_among_the_open_ones():
    def handler(ws):
        ws.server.group("all").add(ws)
        entered.set()
        released.wait(SOON)

    entered, released = threading.Event(), threading.Event()
    with serving(handler) as server:
        with connect(server.uri):
            assert entered.wait(SOON)
            assert len(server.connections) == 1
        try:  # the handler goes on
            assert not server.connections
            assert server.stats().connections_open == 0
            assert not server.group("all").connections
        finally:
            released.set()


def test_options_reach_the_connections():
    def handler(ws):
        seen.append(ws.options)

    seen = []
    kwargs = {
        "ping_interval": 1,
        "ping_timeout": 2,
        "close_timeout": 3,
        "send_timeout": 4,
        "max_queue": (5, 1),
        "read_limit": 6,
        "write_limit": 7,
    }
    with serving(handler, **kwargs) as server, connect(server.uri) as ws:
        assert ws.wait_closed(SOON)
    assert {name: getattr(seen[0], name) for name in kwargs} == kwargs


def test_a_message_over_max_size_fails_the_connection():
    with serving(max_size=100) as server, connect(server.uri) as ws:
        ws.send("a" * 101)
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
    assert info.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_size", -1),
        ("max_queue", 0),
        ("read_limit", -1),
        ("ping_interval", 0),
        ("close_timeout", -1),
        ("max_connections", 0),
        ("compression", "gzip"),
    ],
)
def test_arguments_out_of_range_are_refused(name, value):
    with nothing_left(), pytest.raises(ValueError, match=name):
        serve(echo, **{name: value})


def test_clients_that_do_not_answer_pings_are_cut_off():
    with serving(ping_interval=0.05, ping_timeout=0.05) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        frames = parse_head(read_all(sock))[2]
    assert frames[:2] == b"\x89\x04"
    assert frames.endswith(b"\x03\xf3keepalive ping timeout")


OFFER = {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}


@pytest.mark.parametrize(
    ("compression", "expected"),
    [
        (
            "deflate",
            "permessage-deflate; client_max_window_bits=12",
        ),
        (Deflate(server_max_window_bits=9), "permessage-deflate; server_max_window_bits=9"),
        (None, None),
    ],
)
def test_compression_is_on_set_or_off(compression, expected):
    with serving(compression=compression) as server:
        headers = exchange(server, build_request(**OFFER))[1]
    assert headers.get("sec-websocket-extensions") == expected


def test_compression_of_the_program_s_own_comes_first():
    factory = ServerPerMessageDeflateFactory(Deflate(server_no_context_takeover=True))
    with serving(extensions=[factory]) as server:
        headers = exchange(server, build_request(**OFFER))[1]
    assert headers["sec-websocket-extensions"].count("permessage-deflate") == 1
    assert "server_no_context_takeover" in headers["sec-websocket-extensions"]


@pytest.mark.parametrize("extensions", [["permessage-deflate"], "x", [object()]])
def test_extensions_are_factories(extensions):
    with pytest.raises(TypeError, match="ServerExtensionFactory"):
        serve(echo, extensions=extensions)


# --- max_connections ---


def test_connections_above_the_limit_are_told_to_come_later(caplog):
    with serving(max_connections=1) as server:
        with connect(server.uri) as ws:
            with pytest.raises(InvalidStatus) as info:
                connect(server.uri)
            ws.send("hello")
            assert ws.recv() == "hello"
        response = info.value.response
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        assert "refused" in caplog.text
        wait_until(lambda: not server._roster.running)
        with connect(server.uri) as ws:
            assert ws.open


def test_slots_are_freed_however_connections_end():
    def create(*args, **kwargs):
        if wrong.pop():
            raise ZeroDivisionError("mine")
        return ServerConnection(*args, **kwargs)

    wrong = [False, False, False, False, True]
    with serving(max_connections=1, create_connection=create) as server:
        with raw_client(server) as sock:  # create_connection fails
            assert read_all(sock) == b""
        wait_until(lambda: not server._roster.running)
        with raw_client(server):  # says nothing
            wait_until(lambda: server._roster.running)
        wait_until(lambda: not server._roster.running)
        exchange(server, build_request(method="PUT"))  # is refused
        wait_until(lambda: not server._roster.running)
        connect(server.uri).abort()
        wait_until(lambda: not server._roster.running)
        with connect(server.uri) as ws:
            assert ws.open


def test_plain_requests_are_answered_when_the_server_is_full():
    def process_request(ws, request):
        return ws.respond(200, "OK") if request.path == "/health" else None

    with serving(max_connections=1, process_request=process_request) as server:
        ws = connect(server.uri)
        request = build_request("/health", Upgrade=None, Connection=None)
        assert exchange(server, request)[0] == "HTTP/1.1 200 OK"
        ws.close()


# --- logger, create_connection ---


def test_opening_and_closing_are_logged(caplog):
    with serving() as server, connect(server.uri):
        pass
    opened, closed = messages(caplog)
    assert " open: / from ('127.0.0.1', " in opened
    assert " closed by the client with 1000 after " in closed
    assert {record.name for record in caplog.records} == {"syncws.server"}


def test_the_logger_can_be_chosen(caplog):
    with serving(logger=logging.getLogger("mine")) as server, connect(server.uri):
        pass
    assert {record.name for record in caplog.records} == {"mine"}


@pytest.mark.parametrize("keyword", ["create_connection", "create_protocol"])
def test_a_subclass_can_be_served(keyword):
    class Mine(ServerConnection):
        def shout(self, message):
            self.send(message.upper())

    with serving(lambda ws: ws.shout(ws.recv()), **{keyword: Mine}) as server:
        ws = connect(server.uri)
        ws.send("hello")
        assert ws.recv() == "HELLO"
        ws.close()


def test_a_subclass_under_both_names_is_refused():
    with pytest.raises(TypeError, match="create_protocol= is an older name"):
        serve(echo, create_connection=ServerConnection, create_protocol=ServerConnection)


def test_a_factory_that_fails_is_logged(caplog):
    def create(*args, **kwargs):
        raise ZeroDivisionError("mine")

    with serving(create_connection=create) as server, raw_client(server) as sock:
        assert read_all(sock) == b""
        assert server.is_serving()
    assert messages(caplog, "ERROR") == ["connection failed"]


# --- TLS ---


def test_tls_is_shaken_in_the_thread_of_the_connection():
    with serving(ssl=contexts()[0]) as server, raw_client(server):
        ws = connect(server.uri, ssl=contexts()[1])
        assert ws.secure
        ws.send("hello")
        assert ws.recv() == "hello"
        ws.close()


def test_tls_counts_for_open_timeout(caplog):
    with serving(ssl=server_context(), open_timeout=0.1) as server, raw_client(server) as sock:
        assert read_all(sock) == b""
    assert "opening handshake with ('127.0.0.1', " in caplog.text
    assert not messages(caplog, "ERROR")


@pytest.mark.parametrize(
    "data",
    [b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(100)],
    ids=["nothing", "a request", "anything"],
)
def test_what_is_not_tls_is_no_error(caplog, data):
    with serving(ssl=server_context()) as server:
        with raw_client(server) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            read_all(sock)
        wait_until(lambda: "opening handshake with" in caplog.text)
    assert not messages(caplog, "ERROR")


def test_a_client_that_does_not_trust_us_is_no_error(caplog):
    with serving(ssl=server_context("example.com")) as server:
        with pytest.raises(OSError, match="certificate verify failed"):
            connect(server.uri, ssl=client_context())
        wait_until(lambda: "opening handshake with" in caplog.text)
    assert not messages(caplog, "ERROR")


def test_refusals_go_over_tls_too():
    refused = pytest.raises(InvalidStatus)
    with serving(ssl=contexts()[0], subprotocols=["x"]) as server, refused as info:
        connect(server.uri, ssl=contexts()[1])
    assert info.value.response.status_code == 400


def test_ssl_is_a_context():
    with pytest.raises(TypeError, match=r"ssl= is an ssl\.SSLContext, not True"):
        serve(echo, ssl=True)


def test_a_listening_socket_with_tls_is_refused():
    refused = pytest.raises(TypeError, match="sock= is the plain socket")
    with server_context().wrap_socket(socket.socket(), server_side=True) as sock, refused:
        serve(echo, sock=sock)


# --- sockets ---


def test_small_frames_go_out_at_once():
    def handler(ws):
        sock = ws._transport.sock
        options.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    options = []
    with serving(handler) as server, connect(server.uri) as ws:
        assert ws.wait_closed(SOON)
    assert options[0]


def test_nothing_is_left_of_a_hundred_connections():
    with nothing_left(), serving() as server:
        for _ in range(100):
            with connect(server.uri, compression=None) as ws:
                ws.send("hello")
                assert ws.recv() == "hello"
