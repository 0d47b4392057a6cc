"""What tutorials say of WebSockets before the first program: advantages, concerns, installing."""

import contextlib
import os
import pathlib
import re
import threading

import pytest
from support.ends import bare_client, both_ends
from support.fallback_client import BINARY, CLOSE, TEXT, FallbackClient
from support.pairs import SOON, receive_exactly, run, wait_until
from support.scripted import build_request, exchange, parse_head, raw_client, read_head
from support.serving import assert_works, messages, serving
from support.snippets import ROOT
from support.snippets import run as run_program
from support.wire import KEY, build_frame

from syncws import (
    ClientProtocol,
    ConnectionClosedOK,
    InvalidStatus,
    ServerProtocol,
    State,
    broadcast,
    connect,
    reconnect,
)
from syncws.cli import show
from syncws.demo import make_server


def test_I1_the_server_sends_at_any_time_from_any_thread():
    ready = threading.Event()

    def handler(ws):
        ready.set()
        ws.wait_closed()

    with serving(handler) as server, connect(server.uri) as ws:
        assert ready.wait(SOON)
        (connection,) = server.connections
        run(connection.send, "from a thread of its own").result()
        broadcast(server, "to all")
        assert ws.recv(SOON) == "from a thread of its own"
        assert ws.recv(SOON) == "to all"


def test_I2_two_peers_that_send_64_mib_at_each_other_both_finish():
    piece = bytes(range(256)) * 4096  # 1 MiB

    def exchange_all(ws):
        sending = run(lambda: [ws.send(piece) for _ in range(64)])
        received = sum(ws.recv(SOON) == piece for _ in range(64))
        sending.result()
        return received

    with both_ends({"compression": None}) as (client, server):
        ends = [run(exchange_all, client), run(exchange_all, server)]
        assert [end.result(50) for end in ends] == [64, 64]


@pytest.mark.parametrize(("size", "header"), [(5, 2), (126, 4), (70_000, 10)])
def test_I3_a_frame_costs_2_4_or_10_bytes_and_4_for_the_mask(size, header):
    with both_ends({"compression": None}) as (client, server):
        before = client.stats, server.stats
        client.send("x" * size)
        assert server.recv(SOON) == "x" * size
        server.send("x" * size)
        assert client.recv(SOON) == "x" * size
        assert client.stats.bytes_sent - before[0].bytes_sent == header + 4 + size
        assert server.stats.bytes_sent - before[1].bytes_sent == header + size
        assert server.stats.bytes_received - before[1].bytes_received == header + 4 + size
        assert (client.stats.messages_sent, client.stats.frames_sent) == (1, 1)
        assert (client.stats.messages_received, client.stats.frames_received) == (1, 1)


def test_I4_what_goes_over_the_wire_is_rfc_6455():
    with serving() as server, raw_client(server) as sock:
        sock.sendall(build_request())
        first, headers, _ = parse_head(read_head(sock))
        assert first == "HTTP/1.1 101 Switching Protocols"
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # §1.3
        sock.sendall(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")  # §5.7
        assert receive_exactly(sock, 7) == b"\x81\x05Hello"
        sock.sendall(build_frame(0x88, b"\x03\xe8", KEY))
        assert receive_exactly(sock, 4) == b"\x88\x02\x03\xe8"


def test_I5_text_and_binary():
    with serving() as server, connect(server.uri) as ws:
        ws.send("text €")
        assert ws.recv(SOON) == "text €"
        for binary in (b"binary", bytearray(b"binary"), memoryview(b"binary")):
            ws.send(binary)
            assert ws.recv(SOON) == b"binary"
        ws.send(b"text", text=True)
        assert ws.recv(SOON) == "text"
        ws.send("text")
        assert ws.recv(SOON, decode=False) == b"text"
        ws.send(b"binary")
        assert ws.recv(SOON, decode=True) == "binary"


def test_I6_pings_are_sent_by_default_by_one_thread_for_all():
    with both_ends() as (client, server):
        for ws in (client, server):
            assert (ws.options.ping_interval, ws.options.ping_timeout) == (20, 20)
    with bare_client(ping_interval=0.02) as (sock, _), connect_many(3, ping_interval=0.02):
        assert receive_exactly(sock, 2) == b"\x89\x04"
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("syncws-timekeeper") == 1


@contextlib.contextmanager
def connect_many(number, **kwargs):
    """So many connections to an echo server."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving())
        yield [stack.enter_context(connect(server.uri, **kwargs)) for _ in range(number)]


def test_I7_the_handshake_is_http():
    client, server = ClientProtocol("ws://localhost/chat"), ServerProtocol()
    client.send_request(client.connect())
    sent = b"".join(client.data_to_send())
    assert sent.startswith(b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n")
    server.receive_data(sent)
    (request,) = server.events_received()
    server.send_response(server.accept(request))
    client.receive_data(b"".join(server.data_to_send()))
    assert client.state is server.state is State.OPEN

    with serving() as server, connect(f"{server.uri}chat") as ws:
        assert (ws.request.method, ws.request.path) == ("GET", "/chat")
        assert (ws.response.status_code, ws.response.headers["Upgrade"]) == (101, "websocket")


# --- concerns ---


def test_C1_a_client_without_websockets_is_told_and_other_http_can_serve_it():
    plain = b"GET /messages HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving() as server:
        first, headers, body = exchange(server, plain)
    assert (first, headers["upgrade"]) == ("HTTP/1.1 426 Upgrade Required", "websocket")
    assert b"A WebSocket client, such as a browser's, is needed" in body

    def poll(ws, request):
        return ws.respond(200, "news\n") if request.path == "/messages" else None

    with serving(process_request=poll) as server:
        first, _, body = exchange(server, plain)
        assert (first, body) == ("HTTP/1.1 200 OK", b"news\n")
        assert_works(connect(server.uri))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
@pytest.mark.parametrize("transport", ["polling", "streaming"])
def test_C1_the_same_handler_serves_clients_by_long_polling_and_server_sent_events(transport):
    ends = []

    def handler(ws):
        ws.group("all").add(ws)
        ws.send(f"welcome to {ws.request.path}")
        try:
            while True:
                message = ws.recv()
                if message == "by what?":
                    ws.send(ws.transport)
                else:
                    ws.group("all").broadcast(message)
        except ConnectionClosedOK as exc:
            ends.append((ws.transport, exc.rcvd.code, exc.rcvd.reason))

    with (
        serving(handler, fallback=True) as server,
        FallbackClient(server, "/chat") as client,
        connect(f"{server.uri}chat") as ws,
    ):
        assert ws.recv(SOON) == "welcome to /chat"
        client.open()
        receive = client.stream().frames if transport == "streaming" else client.receive
        assert receive() == [(TEXT, b"welcome to /chat")]
        client.send("by what?")
        assert receive() == [(TEXT, transport.encode())]
        client.send("text €")
        assert receive() == [(TEXT, "text €".encode())]
        assert ws.recv(SOON) == "text €"
        ws.send(b"binary")
        assert receive() == [(BINARY, b"binary")]
        assert ws.recv(SOON) == b"binary"
        client.send_frame(CLOSE, b"\x03\xe8enough")
        assert receive() == [(CLOSE, b"\x03\xe8enough")]
        wait_until(lambda: ends == [(transport, 1000, "enough")])


def test_C1_connect_goes_by_http_where_nothing_can_be_upgraded():
    with serving(fallback=True) as server:
        with connect(server.uri.replace("ws", "http", 1)) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            assert ws.transport in ("streaming", "polling")
        with connect(server.uri, fallback=True) as ws:
            assert ws.transport == "websocket"


def test_C2_a_connection_has_two_threads_at_most_and_one_descriptor():
    number = 8
    with serving(host="127.0.0.1") as server:
        assert_works(connect(server.uri))
        wait_until(lambda: server.stats().threads <= 2 and not server._roster.known())
        ours, before = server.stats().threads, len(os.listdir("/proc/self/fd"))
        clients = [connect(server.uri) for _ in range(number)]
        for ws in clients:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
        assert len(os.listdir("/proc/self/fd")) - before == 2 * number
        assert server.stats().connections_open == number
        assert server.stats().threads - ours <= 2 * number
        for ws in clients:
            ws.close()


def test_C2_connections_are_limited_and_clients_come_back():
    with serving(max_connections=1) as server:
        with connect(server.uri), pytest.raises(InvalidStatus) as info:
            connect(server.uri)
        assert info.value.response.status_code == 503
        assert int(info.value.response.headers["Retry-After"]) > 0
        wait_until(lambda: not server._roster.running)
        for attempt, ws in enumerate(reconnect(server.uri, backoff=lambda: [0.01] * 1000)):
            assert_works(ws)
            if attempt == 1:
                break


def test_C3_pages_of_other_sites_are_refused_and_the_log_says_what_would_accept_them(caplog):
    with serving() as server:
        own = f"http://127.0.0.1:{server.port}"
        assert_works(connect(server.uri, origin=own))
        assert_works(connect(server.uri))
        with pytest.raises(InvalidStatus) as info:
            connect(server.uri, origin="https://evil.example")
    assert info.value.response.status_code == 403
    (message,) = messages(caplog, "WARNING")
    assert message.endswith("refused; origins=['https://evil.example'] would accept it")


def test_C3_origins_are_listed_as_text_patterns_and_none():
    pattern = re.compile(r"https://[a-z]+\.example\.com")
    with serving(origins=["https://example.com", pattern, None]) as server:
        for origin in ("https://example.com", "https://a.example.com", None):
            assert_works(connect(server.uri, origin=origin))
        with pytest.raises(InvalidStatus):
            connect(server.uri, origin=f"http://127.0.0.1:{server.port}")
    with serving(origins=None) as server:
        assert_works(connect(server.uri, origin="https://evil.example"))


def test_C3_a_name_that_was_rebound_is_refused():
    with serving(hosts=["localhost", "127.0.0.1"]) as server:
        assert_works(connect(server.uri))
        first, _, _ = exchange(server, build_request(Host="evil.example"))
    assert first == "HTTP/1.1 421 Misdirected Request"


def test_C4_received_text_is_shown_as_text():
    with make_server("127.0.0.1", 0) as server:
        request = build_request(Upgrade=None, Connection="close")
        _, headers, page = exchange(server, request)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    sources = [path.read_bytes() for path in (pathlib.Path(ROOT) / "syncws/demo").glob("*.js")]
    assert re.search(rb"<script[^>]* src=", page)
    assert any(b"textContent" in source for source in sources)
    assert not any(b"innerHTML" in source for source in (*sources, page))
    assert show("\x1b[2J<script>\u202e") == "\\x1b[2J<script>\\u202e"


# --- installing ---


def test_N1_nothing_else_is_needed_and_a_compiler_is_optional():
    project = (pathlib.Path(ROOT) / "pyproject.toml").read_text(encoding="utf-8")
    assert "\ndependencies = []\n" in project
    (extension,) = re.findall(r"\[\[tool\.setuptools\.ext-modules\]\]\n(.*?)\n\n", project, re.S)
    assert "optional = true" in extension


def test_N1_it_works_without_what_a_compiler_makes():
    output = run_program(
        """
import sys
sys.modules["syncws.accel._speedups"] = None  # as if it had not been built

from syncws import accel, connect, serve

with serve(lambda ws: ws.send(ws.recv()), "127.0.0.1") as server:
    with connect(server.uri) as ws:
        ws.send("hello")
        print(accel.IMPLEMENTATION, ws.recv())
"""
    )
    assert output == "pure hello\n"
