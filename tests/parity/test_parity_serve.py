"""``serve(...)`` and its parameters."""

import logging
import socket
import sys
import time

import pytest
from support.certificates import client_context, server_context
from support.ends import bare_client, both_ends
from support.pairs import SOON, receive_exactly, run, wait_until
from support.scripted import build_request, exchange, raw_client, read_all
from support.serving import assert_works, echo, serving
from support.snippets import run as run_program

from syncws import (
    AbortHandshake,
    ConnectionClosedError,
    Deflate,
    InvalidStatus,
    ServerConnection,
    SlowPeer,
    ThreadingServer,
    broadcast,
    connect,
    serve,
)
from syncws.sansio.extensions.interface import (
    ClientExtensionFactory,
    Extension,
    ServerExtensionFactory,
)
from syncws.sansio.extensions.permessage_deflate import ServerPerMessageDeflateFactory

PIECE = bytes(1 << 18)


class Plain(Extension):
    """An extension that does nothing."""

    name = "x-plain"
    rsv = 0

    def decode(self, frame, *, max_size=None):
        return frame

    def encode(self, frame, *, compress=None):
        return frame


class PlainFactory(ClientExtensionFactory, ServerExtensionFactory):
    name = "x-plain"

    def get_request_params(self):
        return []

    def process_response_params(self, params, accepted_extensions):
        return Plain()

    def process_request_params(self, params, accepted_extensions):
        return [], Plain()


# --- the server and its handler ---


def test_S0_serve_listens_at_once_and_accepts_from_a_block():
    server = serve(echo, "localhost", 0)
    assert isinstance(server, ThreadingServer)
    assert server.port
    early = run(connect, server.uri)
    with server:
        assert_works(early.result())


def test_S0_serve_accepts_from_start_and_from_serve_forever():
    for begin in ("start", "serve_forever"):
        server = serve(echo, "localhost", 0)
        running = run(getattr(server, begin))
        assert_works(connect(server.uri))
        server.close()
        running.result()


def test_S1_a_handler_takes_the_connection_or_also_the_path():
    def one(ws):
        ws.send(f"{ws.path} {ws.request.path}")

    def two(websocket, path):
        websocket.send(f"{path} {websocket.request.path}")

    for handler in (one, two):
        with serving(handler) as server, connect(f"{server.uri}chat?room=1") as ws:
            assert ws.recv(SOON) == "/chat?room=1 /chat?room=1"


def test_S1_a_handler_that_takes_something_else_is_refused_at_once():
    with pytest.raises(TypeError, match="a handler takes the connection, or connection and path"):
        serve(lambda a, b, c: None, "localhost")


def test_S1_a_coroutine_function_is_refused_at_once():
    async def handler(ws):
        """As tutorials write it."""

    with pytest.raises(TypeError, match="drop async and await"):
        serve(handler, "localhost")


def hosts(server):
    return {sock.getsockname()[0] for sock in server.sockets}


@pytest.mark.parametrize("host", [None, "localhost"])
def test_S2_no_host_and_localhost_are_the_loopback_interface(host):
    with serve(echo, host, 0) as server:
        assert "127.0.0.1" in hosts(server) <= {"127.0.0.1", "::1"}
        for address in hosts(server):
            assert_works(connect(server.uri, host=address))


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
def test_S2_all_interfaces_have_to_be_asked_for(host):
    with serve(echo, host, 0) as server:
        assert "0.0.0.0" in hosts(server) <= ({"0.0.0.0", "::"} if host == "" else {"0.0.0.0"})
        assert_works(connect(server.uri))


def test_S2_several_hosts():
    with serve(echo, ["127.0.0.1", "127.0.0.2"], 0) as server:
        assert hosts(server) == {"127.0.0.1", "127.0.0.2"}
        assert_works(connect(server.uri, host="127.0.0.2"))


@pytest.mark.parametrize("port", [None, 0])
def test_S3_a_free_port_is_found_the_same_for_all_hosts(port):
    with serve(echo, ["127.0.0.1", "127.0.0.2"], port) as server:
        assert {sock.getsockname()[1] for sock in server.sockets} == {server.port}
        assert server.uri == f"ws://localhost:{server.port}/"
        assert_works(connect(server.uri))


def test_S3_a_port_that_is_asked_for():
    with serve(echo, "127.0.0.1") as server:
        port = server.port
        with pytest.raises(OSError, match=f"can't listen on 127.0.0.1 port {port}"):
            serve(echo, "127.0.0.1", port)
    with serve(echo, "127.0.0.1", port) as server:
        assert server.port == port
        assert_works(connect(f"ws://127.0.0.1:{port}"))


class Counting(ServerConnection):
    sent = 0

    def send(self, message, **kwargs):
        self.sent += 1
        super().send(f"{message} {self.sent}", **kwargs)


def make_counting(*args, **kwargs):
    return Counting(*args, **kwargs)


@pytest.mark.parametrize("name", ["create_connection", "create_protocol"])
@pytest.mark.parametrize("create", [Counting, make_counting])
def test_S4_a_subclass_or_a_function_makes_connections(name, create):
    with serving(**{name: create}) as server, connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello 1"


def test_S4_both_names_at_once_are_refused():
    with pytest.raises(TypeError, match="create_protocol= is an older name of create_connection="):
        serve(echo, create_connection=Counting, create_protocol=Counting)


def test_S5_records_go_to_a_logger_and_have_the_connection(caplog):
    caplog.set_level("INFO")
    with serving() as server:
        assert_works(connect(server.uri))
        wait_until(lambda: len(caplog.records) == 2)
    opened, closed = caplog.records
    assert (opened.name, opened.ws_event, closed.ws_event) == ("syncws.server", "open", "close")
    assert isinstance(opened.websocket, ServerConnection)


def test_S5_another_logger(caplog):
    caplog.set_level("INFO")
    with serving(logger=logging.getLogger("mine")) as server:
        assert_works(connect(server.uri))
        wait_until(lambda: len(caplog.records) == 2)
    assert {record.name for record in caplog.records} == {"mine"}


def test_S5_nothing_is_printed_where_logging_is_not_configured():
    output = run_program(  # which asserts that there is nothing on standard error
        """
from syncws import connect, serve

with serve(lambda ws: ws.send(ws.recv()), "127.0.0.1") as server:
    with connect(server.uri) as ws:
        ws.send("hello")
        print(ws.recv())
"""
    )
    assert output == "hello\n"


# --- negotiation ---


def accepted(**kwargs):
    """The header of extensions with which a server answers what browsers offer."""
    offer = "permessage-deflate; client_max_window_bits"
    with serving(**kwargs) as server:
        _, headers, _ = exchange(server, build_request(Sec_WebSocket_Extensions=offer))
    return headers.get("sec-websocket-extensions")


def test_S6_messages_are_compressed_by_default_with_the_largest_window():
    windows = "client_max_window_bits=12"
    assert accepted() == f"permessage-deflate; {windows}"
    assert accepted(compression="deflate") == f"permessage-deflate; {windows}"
    assert (Deflate().compress_window_bits, Deflate().memory_level) == (15, 8)
    with both_ends() as (client, server):
        server.send("x" * 100_000)
        assert client.recv(SOON) == "x" * 100_000
        assert client.stats.bytes_received < 5_000


def test_S6_compression_can_be_off_or_different():
    assert accepted(compression=None) is None
    mine = accepted(compression=Deflate(server_no_context_takeover=True))
    assert mine == "permessage-deflate; server_no_context_takeover"


def test_S6_a_single_message_may_go_uncompressed_and_small_ones_do():
    with both_ends() as (client, server):
        for message, options, least in (
            ("x" * 10_000, {"compress": False}, 10_000),
            ("x" * 63, {}, 63),
        ):
            before = server.stats.bytes_sent
            server.send(message, **options)
            assert client.recv(SOON) == message
            assert server.stats.bytes_sent - before > least


def test_S6_another_compression_is_refused():
    with pytest.raises(ValueError, match=r"'deflate', Deflate\(\.\.\.\) or None, not 'gzip'"):
        serve(echo, compression="gzip")


def test_S7_origins_are_a_list():
    with serving(origins=["https://example.com"]) as server:
        assert_works(connect(server.uri, origin="https://example.com"))
        for origin in ("https://example.co", None):
            with pytest.raises(InvalidStatus, match="403"):
                connect(server.uri, origin=origin)


def test_S7_origins_in_a_str_are_refused():
    with pytest.raises(TypeError, match=r"must be a list, such as \['https://example.com'\]"):
        serve(echo, origins="https://example.com")


def test_S8_extensions_are_objects():
    client = {"extensions": [PlainFactory()]}
    with both_ends(client, extensions=[PlainFactory()], compression=None) as (client, server):
        assert [extension.name for extension in server.extensions] == ["x-plain"]
        client.send("hello")
        assert server.recv(SOON) == "hello"


def test_S8_compression_is_added_unless_it_is_there():
    factory = ServerPerMessageDeflateFactory(Deflate(server_max_window_bits=9))
    assert accepted(extensions=[factory]) == "permessage-deflate; server_max_window_bits=9"
    assert accepted(extensions=[PlainFactory()]).startswith("permessage-deflate")


@pytest.mark.parametrize("extensions", ["permessage-deflate", ["permessage-deflate"]])
def test_S8_names_of_extensions_are_refused(extensions):
    with pytest.raises(TypeError, match="extensions are ServerExtensionFactory objects"):
        serve(echo, extensions=extensions)


def test_S9_the_first_subprotocol_that_the_client_offers_is_used():
    offered = {"subprotocols": ["chat", "superchat"]}
    with both_ends(offered, subprotocols=["superchat", "chat"]) as (client, server):
        assert client.subprotocol == server.subprotocol == "superchat"


def test_S9_subprotocols_in_a_str_are_refused():
    with pytest.raises(TypeError, match="subprotocols"):
        serve(echo, subprotocols="chat")


# --- the response ---


@pytest.mark.parametrize(
    "extra",
    [
        {"X-Path": "/chat of Python"},
        [("X-Path", "/chat of Python")],
        lambda path, headers: {"X-Path": f"{path} of {headers['User-Agent'][:6]}"},
    ],
    ids=["dict", "list", "function"],
)
def test_S10_headers_are_added_to_the_response(extra):
    with serving(extra_headers=extra) as server, connect(f"{server.uri}chat") as ws:
        assert ws.response.headers["X-Path"] == "/chat of Python"


def test_S10_process_response_changes_the_response_or_replaces_it():
    def process_response(ws, request, response):
        response.headers["X-Method"] = request.method
        return ws.respond(418) if request.path == "/tea" else None

    with serving(process_response=process_response) as server:
        with connect(server.uri) as ws:
            assert ws.response.headers["X-Method"] == "GET"
        with pytest.raises(InvalidStatus, match="418"):
            connect(f"{server.uri}tea")


def test_S11_the_server_names_itself_unless_told_otherwise():
    version = f"Python/{sys.version_info[0]}.{sys.version_info[1]} syncws/"
    with serving() as server, connect(server.uri) as ws:
        assert ws.response.headers["Server"].startswith(version)
    with serving(server_header="mine") as server, connect(server.uri) as ws:
        assert ws.response.headers["Server"] == "mine"
    with serving(server_header=None) as server, connect(server.uri) as ws:
        assert "Server" not in ws.response.headers


def test_S12_process_request_answers_other_requests():
    def process_request(ws, request):
        if request.path == "/health":
            return ws.respond(200, f"{request.method} fine\n")
        if request.path == "/secret":
            raise AbortHandshake(403, {"X-Why": "secret"}, b"no\n")
        return None

    with serving(process_request=process_request) as server:
        assert_works(connect(server.uri))
        for method in ("GET", "POST"):
            first, _, body = exchange(server, build_request("/health", method))
            assert (first, body) == ("HTTP/1.1 200 OK", f"{method} fine\n".encode())
        first, headers, body = exchange(server, build_request("/secret"))
        assert (first, headers["x-why"], body) == ("HTTP/1.1 403 Forbidden", "secret", b"no\n")


def test_S12_process_request_counts_for_open_timeout():
    def process_request(ws, request):
        assert ws.wait_closed(0.05) is False

    with serving(process_request=process_request, open_timeout=0.02) as server:
        assert exchange(server, build_request()) == ("", {}, b"")
        wait_until(lambda: server.stats().refusals == {"timeout": 1})


@pytest.mark.parametrize(
    "select",
    [
        lambda ws, offered: offered[-1],
        lambda client_subprotocols, server_subprotocols: server_subprotocols[-1],
    ],
    ids=["connection and offer", "two lists"],
)
def test_S13_a_function_selects_the_subprotocol(select):
    with serving(subprotocols=["one", "two", "three"], select_subprotocol=select) as server:
        assert connect_with(server, ["two", "three"]) == "three"


def test_S13_what_was_not_offered_can_not_be_selected():
    options = {"select_subprotocol": lambda ws, offered: "mine"}
    with serving(**options) as server, pytest.raises(InvalidStatus) as info:
        connect_with(server, ["chat"])
    assert info.value.response.status_code == 400
    assert b"mine was not offered" in info.value.response.body


def connect_with(server, subprotocols):
    with connect(server.uri, subprotocols=subprotocols) as ws:
        return ws.subprotocol


# --- times ---


def test_S14_a_client_that_does_not_ask_in_time_is_cut_off():
    for context in (None, server_context()):
        with serving(open_timeout=0.05, ssl=context) as server, raw_client(server) as sock:
            assert read_all(sock) == b""
            wait_until(lambda: server.stats().refusals == {"timeout": 1})


def test_S14_one_deadline_is_for_all_of_the_request():
    with serving(open_timeout=0.1) as server, raw_client(server) as sock:
        sock.sendall(build_request()[:-2])  # without its end
        assert read_all(sock) == b""
        wait_until(lambda: server.stats().refusals == {"timeout": 1})


def test_S15_pings_are_sent_at_the_interval():
    with bare_client(ping_interval=0.02, ping_timeout=None) as (sock, _):
        for _ in range(2):
            assert receive_exactly(sock, 2) == b"\x89\x04"
            receive_exactly(sock, 4)


def test_S15_none_turns_pings_off():
    with bare_client(ping_interval=None, close_timeout=0.1) as (sock, ws):
        assert ws._keepalive is None
        ws.close(4000)
        assert read_all(sock) == b"\x88\x02\x0f\xa0"


def test_S15_an_interval_of_0_is_refused():
    with pytest.raises(ValueError, match="None turns keepalive off"):
        serve(echo, ping_interval=0)


def test_S16_a_client_that_does_not_answer_pings_is_failed_with_1011():
    with bare_client(ping_interval=0.02, ping_timeout=0.02) as (sock, ws):
        assert read_all(sock).endswith(b"\x03\xf3keepalive ping timeout")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
    assert info.value.sent.code == 1011


def test_S16_the_deadline_does_not_run_while_reading_is_paused():
    count = 200
    with both_ends(ping_interval=0.02, ping_timeout=0.05, max_queue=1) as (client, server):
        client.send_many([f"{number}" for number in range(count)])
        assert not server.wait_closed(0.3)
        assert [server.recv(SOON) for _ in range(count)] == [f"{n}" for n in range(count)]
        assert server.open


def test_S17_closing_takes_close_timeout_at_most():
    with bare_client(close_timeout=0.1) as (_, ws):
        start = time.monotonic()
        ws.close()
        assert ws.closed
        assert 0.1 <= time.monotonic() - start < 5
        assert isinstance(ws.close_exc.__cause__, TimeoutError)


def test_S17_closing_takes_no_longer_while_another_thread_is_stuck_in_send():
    with bare_client(close_timeout=0.1, compression=None) as (sock, ws):
        sending = run(ws.send, bytes(1 << 26))
        assert sock.recv(1)  # it is under way, and too long for buffers
        start = time.monotonic()
        ws.close()
        assert time.monotonic() - start < 5
        with pytest.raises(ConnectionClosedError):
            sending.result()


# --- sizes ---


def test_S18_a_larger_message_fails_the_connection_with_1009():
    with both_ends({"compression": None}) as (client, server):
        assert server.protocol.max_size == 2**20
        client.send(bytes(2**20))
        assert server.recv(SOON) == bytes(2**20)
        client.send(bytes(2**20 + 1))
        with pytest.raises(ConnectionClosedError) as info:
            client.recv(SOON)
        assert info.value.rcvd.code == 1009


def test_S18_none_is_no_limit():
    with both_ends({"compression": None}, max_size=None) as (client, server):
        client.send(bytes(2**22))
        assert len(server.recv(SOON)) == 2**22


def test_S18_fragments_have_a_limit_of_their_own():
    with serving(max_size=(100, 10)) as server, connect(server.uri) as ws:
        ws.send(["x" * 10] * 10)
        assert ws.recv(SOON) == "x" * 100
        ws.send("x" * 11)
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == 1009


def test_S18_the_limit_holds_while_a_message_is_inflated():
    with both_ends(max_size=1000) as (client, server):
        client.send("x" * 1_000_000)
        with pytest.raises(ConnectionClosedError) as info:
            server.recv(SOON)
        assert client.stats.bytes_sent < 10_000
        assert info.value.sent.code == 1009
        assert "exceeds the limit of 1000 bytes" in str(info.value.__cause__)


@pytest.mark.parametrize("max_queue", [4, (4, 1)])
def test_S19_reading_pauses_while_messages_wait_and_nothing_is_raised(max_queue):
    options = {"max_queue": max_queue, "read_limit": 2**40, "compression": None}
    with both_ends(**options) as (client, server):
        assert_reading_pauses(client, server, 64, PIECE)


def test_S19_the_default_is_16_messages():
    with both_ends() as (_, server):
        assert server.options.max_queue == 16


def test_S20_reading_pauses_above_read_limit():
    options = {"max_queue": None, "read_limit": 2**20, "compression": None}
    with both_ends(**options) as (client, server):
        assert_reading_pauses(client, server, 64, PIECE)


def test_S20_a_single_larger_message_passes():
    with serving(read_limit=10) as server, connect(server.uri) as ws:
        assert server.options.read_limit == 10
        ws.send("x" * 10_000)
        assert ws.recv(SOON) == "x" * 10_000
    with serve(echo) as server:
        assert server.options.read_limit == 2**16


def assert_reading_pauses(sender, receiver, count, message):
    """Check that a receiver that takes nothing slows the sender down, and loses nothing."""
    sending = run(lambda: [sender.send(message) for _ in range(count)])
    wait_until(receiver._is_paused)
    assert receiver.stats.messages_received < count
    assert not sending.done()
    assert [receiver.recv(SOON) for _ in range(count)] == [message] * count
    sending.result()
    assert receiver.open


def test_S21_a_peer_too_slow_for_broadcasts_is_closed_or_skipped():
    with bare_client(write_limit=2**20, compression=None, close_timeout=0.1) as (_, ws):
        for _ in range(200):
            broadcast([ws], PIECE, slow_peers="skip")
        assert ws.open
        assert ws.buffered_amount <= 2**20 + len(PIECE)
        broadcast([ws], PIECE)
        assert not ws.open
        assert ws.wait_closed(SOON)
        assert ws.close_exc.sent.code == 1008
        assert isinstance(ws.close_exc.__cause__, SlowPeer)
    with serve(echo) as server:
        assert server.options.write_limit == 2**16


# --- sockets ---


def test_S22_tls():
    with serving(ssl=server_context()) as server:
        assert server.uri.startswith("wss://")
        assert_works(connect(server.uri, ssl=client_context()))
    with pytest.raises(TypeError, match=r"ssl= is an ssl\.SSLContext"):
        serve(echo, ssl=True)


def test_S22_a_listening_socket():
    sock = socket.create_server(("127.0.0.1", 0))
    with serve(echo, sock=sock) as server:
        assert server.sockets == (sock,)
        assert_works(connect(server.uri))


def test_S22_options_of_the_socket():
    with serve(echo, "localhost", backlog=7, reuse_port=True, family=socket.AF_INET) as server:
        assert hosts(server) == {"127.0.0.1"}
        with serve(echo, "127.0.0.1", server.port, reuse_port=True) as other:
            assert other.port == server.port


def test_S22_an_argument_that_there_is_not_is_named():
    for name in ("loop", "klass", "timeout"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            serve(echo, **{name: None})
