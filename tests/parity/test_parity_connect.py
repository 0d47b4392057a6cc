"""``connect(...)`` and its parameters."""

import contextlib
import logging
import socket
import sys
import time

import pytest
from support.certificates import client_context, server_context
from support.ends import both_ends
from support.pairs import SOON, receive_exactly, run, wait_until
from support.proxies import tunnel
from support.scripted import (
    build_response,
    mute_after,
    read_head,
    scripted_server,
    silent,
)
from support.serving import assert_works, serving
from support.wire import build_frame

from syncws import (
    ClientConnection,
    ConnectionClosedError,
    Deflate,
    InvalidStatus,
    InvalidURI,
    SecurityError,
    SlowPeer,
    State,
    WebSocketURI,
    connect,
    parse_uri,
    reconnect,
)
from syncws.sansio.extensions.permessage_deflate import ClientPerMessageDeflateFactory

PIECE = bytes(1 << 18)


@pytest.fixture
def server():
    with serving() as server:
        yield server


# --- what it returns ---


def test_K0_connect_returns_an_open_connection_and_a_context_manager(server):
    ws = connect(server.uri)
    assert isinstance(ws, ClientConnection)
    assert ws.state is State.OPEN
    assert_works(ws)
    assert ws.closed


def test_K0_a_loop_reconnects(server):
    seen = []
    for ws in reconnect(server.uri):
        seen.append(ws)
        assert_works(ws)
        if len(seen) == 3:
            break
    assert len({id(ws) for ws in seen}) == 3


def test_K1_a_uri_is_text_or_parsed(server):
    assert_works(connect(server.uri))
    uri = parse_uri(server.uri)
    assert isinstance(uri, WebSocketURI)
    assert_works(connect(uri))
    with serving(ssl=server_context()) as secure:
        assert_works(connect(parse_uri(secure.uri), ssl=client_context()))


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("ftp://localhost/", "doesn't start with ws:// or wss://"),
        ("ws://localhost/#top", "has a fragment"),
        ("ws://", "the host is missing"),
    ],
)
def test_K1_what_is_no_uri_of_a_websocket_is_refused(uri, why):
    with pytest.raises(InvalidURI, match=why) as info:
        connect(uri)
    assert info.value.uri == uri


class Greeting(ClientConnection):
    def greet(self):
        self.send("hello")
        return self.recv(SOON)


def make_greeting(*args, **kwargs):
    return Greeting(*args, **kwargs)


@pytest.mark.parametrize("name", ["create_connection", "create_protocol"])
@pytest.mark.parametrize("create", [Greeting, make_greeting])
def test_K2_a_subclass_or_a_function_makes_the_connection(server, name, create):
    with connect(server.uri, **{name: create}) as ws:
        assert ws.greet() == "hello"


@pytest.mark.parametrize(("logger", "name"), [(None, "syncws.client"), ("mine", "mine")])
def test_K3_records_go_to_a_logger_and_have_the_connection(server, caplog, logger, name):
    with connect(server.uri, logger=logger and logging.getLogger(logger)) as ws:
        ws.logger.warning("mine")
    (record,) = caplog.records
    assert (record.name, record.websocket) == (name, ws)


# --- negotiation ---


def test_K4_compression_is_offered_by_default(server):
    with connect(server.uri) as ws:
        offer = ws.request.headers["Sec-WebSocket-Extensions"]
        assert offer == "permessage-deflate; client_max_window_bits"
        assert [extension.name for extension in ws.extensions] == ["permessage-deflate"]
        ws.send("x" * 100_000)
        assert ws.recv(SOON) == "x" * 100_000
        assert ws.stats.bytes_sent < 5_000


def test_K4_compression_can_be_off_or_different(server):
    with connect(server.uri, compression=None) as ws:
        assert "Sec-WebSocket-Extensions" not in ws.request.headers
    with connect(server.uri, compression=Deflate(client_no_context_takeover=True)) as ws:
        assert "client_no_context_takeover" in ws.response.headers["Sec-WebSocket-Extensions"]
        ws.send("x" * 10_000, compress=False)
        assert ws.stats.bytes_sent > 10_000
    with pytest.raises(ValueError, match=r"'deflate'.*not 'gzip'"):
        connect(server.uri, compression="gzip")


def test_K5_origin_is_sent_if_there_is_one(server):
    with connect(server.uri) as ws:
        assert "Origin" not in ws.request.headers
    origin = server.uri.replace("ws", "http").rstrip("/")
    with connect(server.uri, origin=origin) as ws:
        assert ws.request.headers["Origin"] == origin


def test_K6_extensions_are_objects(server):
    factory = ClientPerMessageDeflateFactory(Deflate(server_max_window_bits=9))
    with connect(server.uri, extensions=[factory]) as ws:
        offer = ws.request.headers["Sec-WebSocket-Extensions"]
        assert "server_max_window_bits=9" in offer
        assert offer.count("permessage-deflate") == 1  # not once more by compression=
    with pytest.raises(TypeError, match="extensions are ClientExtensionFactory objects"):
        connect(server.uri, extensions=["permessage-deflate"])


def test_K7_subprotocols_are_offered_and_one_is_used():
    with both_ends({"subprotocols": ["one", "two"]}, subprotocols=["two"]) as (client, _):
        assert client.request.headers["Sec-WebSocket-Protocol"] == "one, two"
        assert client.subprotocol == "two"
    with pytest.raises(TypeError, match="subprotocols"):
        connect("ws://localhost/", subprotocols="chat")


# --- headers ---


@pytest.mark.parametrize("name", ["additional_headers", "extra_headers"])
@pytest.mark.parametrize(
    "value",
    [{"X-Token": "secret"}, [("X-Token", "secret")], lambda: {"X-Token": "secret"}],
    ids=["dict", "list", "function"],
)
def test_K8_headers_are_added_by_both_names(server, name, value):
    with connect(server.uri, **{name: value}) as ws:
        assert ws.request.headers["X-Token"] == "secret"


def test_K8_a_function_is_called_for_each_attempt(server):
    tokens = iter("abc")
    loop = reconnect(server.uri, additional_headers=lambda: {"X-Token": next(tokens)})
    for expected, ws in zip("abc", loop):
        assert ws.request.headers["X-Token"] == expected
        assert_works(ws)
    loop.close()


def test_K8_both_names_at_once_are_refused(server):
    with pytest.raises(TypeError, match="extra_headers= is an older name of additional_headers="):
        connect(server.uri, additional_headers={}, extra_headers={})


def test_K9_the_client_names_itself_unless_told_otherwise(server):
    version = f"Python/{sys.version_info[0]}.{sys.version_info[1]} syncws/"
    with connect(server.uri) as ws:
        assert ws.request.headers["User-Agent"].startswith(version)
    with connect(server.uri, user_agent_header="mine") as ws:
        assert ws.request.headers["User-Agent"] == "mine"
    with connect(server.uri, user_agent_header=None) as ws:
        assert "User-Agent" not in ws.request.headers


# --- times ---


@pytest.mark.parametrize("script", [silent, mute_after(b"HTTP/1.1 101 Switching")])
def test_K10_a_server_that_does_not_answer_in_time_is_an_error(script):
    with scripted_server(script) as server:
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="timed out during opening handshake"):
            connect(server.uri, open_timeout=0.1)
        assert 0.1 <= time.monotonic() - start < 5


def test_K10_tls_counts_too():
    with scripted_server(silent) as server, pytest.raises(TimeoutError):
        connect(server.uri.replace("ws", "wss"), ssl=client_context(), open_timeout=0.1)


@contextlib.contextmanager
def bare_server(**kwargs):
    """The socket of a server that has shaken hands, and the client's connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        opening = run(connect, f"ws://127.0.0.1:{port}/", **kwargs)
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(SOON)
            sock.sendall(build_response(read_head(sock)))
            ws = opening.result()
            try:
                yield sock, ws
            finally:
                ws.abort()


def test_K11_pings_are_sent_at_the_interval():
    with bare_server(ping_interval=0.02, ping_timeout=None) as (sock, _):
        for _ in range(2):
            assert receive_exactly(sock, 2) == b"\x89\x84"
            receive_exactly(sock, 8)


def test_K11_none_turns_pings_off_and_20_is_the_default():
    with bare_server(ping_interval=None) as (_, ws):
        assert ws._keepalive is None
    with bare_server() as (_, ws):
        assert (ws.options.ping_interval, ws.options.ping_timeout) == (20, 20)


def test_K12_a_server_that_does_not_answer_pings_is_failed():
    options = {"ping_interval": 0.02, "ping_timeout": 0.02}
    with bare_server(**options) as (_, ws), pytest.raises(ConnectionClosedError) as info:
        ws.recv(SOON)
    assert (info.value.sent.code, info.value.sent.reason) == (1011, "keepalive ping timeout")
    assert isinstance(info.value.__cause__, TimeoutError)


def test_K13_closing_takes_close_timeout_at_most():
    with bare_server(close_timeout=0.1) as (_, ws):
        start = time.monotonic()
        ws.close()
        assert ws.closed
        assert 0.1 <= time.monotonic() - start < 5
    with bare_server() as (_, ws):
        assert ws.options.close_timeout == 10


# --- sizes ---


def test_K14_a_larger_message_fails_the_connection_with_1009():
    with bare_server(max_size=10, close_timeout=0.1) as (sock, ws):
        sock.sendall(build_frame(0x82, bytes(10)) + build_frame(0x82, bytes(11)))
        assert ws.recv(SOON) == bytes(10)
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
    assert info.value.sent.code == 1009
    with bare_server() as (_, ws):
        assert ws.protocol.max_size == 2**20


def assert_reading_pauses(options):
    """Check that a client that takes nothing slows the server down, and loses nothing."""
    with both_ends({**options, "compression": None}) as (client, server):
        sending = run(lambda: [server.send(PIECE) for _ in range(64)])
        wait_until(client._is_paused)
        assert client.stats.messages_received < 64
        assert not sending.done()
        assert [client.recv(SOON) for _ in range(64)] == [PIECE] * 64
        sending.result()
        assert client.open


def test_K15_reading_pauses_while_messages_wait_and_nothing_is_raised(server):
    assert_reading_pauses({"max_queue": 4, "read_limit": 2**40})
    with connect(server.uri) as ws:
        assert ws.options.max_queue == 16


def test_K16_reading_pauses_above_read_limit_but_a_single_larger_message_passes(server):
    assert_reading_pauses({"max_queue": None, "read_limit": 2**20})
    with connect(server.uri, read_limit=10) as ws:
        ws.send("x" * 10_000)
        assert ws.recv(SOON) == "x" * 10_000
    with connect(server.uri) as ws:
        assert ws.options.read_limit == 2**16


def test_K17_send_waits_for_a_slow_peer_and_write_limit_is_for_what_does_not(server):
    with bare_server(write_limit=1000, ping_interval=None, close_timeout=0.1) as (sock, ws):
        sending = run(ws.send, bytes(1 << 26))
        assert sock.recv(1)  # it is under way, and too long for buffers
        with pytest.raises(SlowPeer, match="more than the limit of 1000"):
            list(map(ws.pong, [b"x" * 100] * 100))
        assert ws.open
        assert not sending.done()
        ws.close()
        with pytest.raises(ConnectionClosedError):
            sending.result()
    with connect(server.uri) as ws:
        assert ws.options.write_limit == 2**16


# --- redirects ---


@contextlib.contextmanager
def redirecting(status=302, **kwargs):
    """A server that redirects all requests but those for /end to itself; gives it and requests."""
    seen = []

    def process_request(ws, request):
        seen.append(request)
        if request.path == "/end":
            return None
        return ws.respond(status, headers={"Location": locations.get(request.path, "/end")})

    locations = {}
    with serving(process_request=process_request, **kwargs) as server:
        yield server, seen, locations


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_K18_redirects_are_followed(status):
    with redirecting(status) as (server, seen, _):
        with connect(f"{server.uri}start") as ws:
            assert ws.path == "/end"
        assert [request.path for request in seen] == ["/start", "/end"]


def test_K18_at_most_10_redirects_are_followed_and_0_turns_it_off():
    with redirecting() as (server, seen, locations):
        locations["/loop"] = "/loop"
        with pytest.raises(SecurityError, match="more than 10 redirects"):
            connect(f"{server.uri}loop")
        assert len(seen) == 11
        with pytest.raises(InvalidStatus) as info:
            connect(f"{server.uri}start", max_redirects=0)
        assert info.value.response.headers["Location"] == "/end"


def test_K18_a_redirect_out_of_tls_is_refused():
    with redirecting(ssl=server_context()) as (server, _, locations):
        locations["/start"] = "http://localhost/"
        with pytest.raises(SecurityError, match="redirect from wss:// to ws://localhost/ refused"):
            connect(f"{server.uri}start", ssl=client_context())


def test_K18_another_server_gets_no_credentials():
    with redirecting() as (other, requests, _), redirecting() as (server, _, locations):
        locations["/start"] = f"http://127.0.0.1:{other.port}/end"
        uri = f"ws://user:password@127.0.0.1:{server.port}/start"
        headers = {"Cookie": "a=b", "X-Api-Key": "key", "X-Mine": "yes"}
        # More than elsewhere: what isn't known to be harmless, unless the program says so.
        with connect(uri, additional_headers=headers, redirect_headers=["X-Mine"]):
            pass
    (request,) = requests
    assert "Authorization" not in request.headers
    assert "Cookie" not in request.headers
    assert "X-Api-Key" not in request.headers
    assert request.headers["X-Mine"] == "yes"


# --- the way there ---


def test_K19_a_connected_socket(server):
    sock = socket.create_connection(("127.0.0.1", server.port))
    assert_works(connect("ws://example.com/", sock=sock))


def test_K19_another_host_and_port(server):
    with connect("ws://example.com/", host="127.0.0.1", port=server.port) as ws:
        assert ws.request.headers["Host"] == "example.com"
        assert ws.remote_address == ("127.0.0.1", server.port)


def test_K19_tls_and_the_name_that_is_checked():
    context = server_context("mine.example")
    with serving(ssl=context) as server:
        options = {"ssl": client_context()}
        assert_works(connect(server.uri, server_hostname="mine.example", **options))
        with pytest.raises(OSError, match="certificate verify failed"):
            connect(server.uri, **options)


def test_K19_the_local_address(server):
    with connect(server.uri, source_address=("127.0.0.1", 0)) as ws:
        assert ws.local_address[0] == "127.0.0.1"


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_K19_a_proxy(server, monkeypatch, by):
    requests = []
    with scripted_server(tunnel(requests)) as proxy:
        url = proxy.uri.replace("ws", "http")
        if by == "argument":
            ws = connect(server.uri, proxy=url)
        else:
            monkeypatch.setenv("http_proxy", url)
            assert_works(connect(server.uri, proxy=None))
            assert requests == []
            ws = connect(server.uri)  # proxy=True
        assert_works(ws)
    assert requests[0][0] == f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"


def test_K19_a_proxy_with_tls(server):
    requests = []
    with scripted_server(tunnel(requests), server_context()) as proxy:
        url = proxy.uri.replace("wss", "https")
        assert_works(connect(server.uri, proxy=url, proxy_ssl=client_context()))
    assert len(requests) == 1


def test_K19_an_argument_that_there_is_not_is_named():
    for name in ("loop", "klass", "timeout", "legacy_recv"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            connect("ws://localhost/", **{name: None})
