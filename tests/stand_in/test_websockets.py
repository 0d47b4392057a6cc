"""What stands in for websockets and isn't simply ours by the same name."""

import itertools
import socket

import pytest
from support.certificates import client_context, server_context
from support.pairs import SOON

import syncws
from syncws.sansio.extensions.interface import ClientExtensionFactory
from syncws.stand_in import websockets_calls as calls
from syncws.stand_in import websockets_deflate as deflate
from syncws.stand_in import websockets_values as values
from syncws.stand_in.websockets_connection import Connection

ELSEWHERE = "https://elsewhere.example"


def echo(ws):
    for message in ws:
        ws.send(message)


# --- servers and clients ---------------------------------------------------------


def test_a_server_accepts_all_origins_unless_it_is_told_others():
    with (
        calls.serve(echo, "127.0.0.1", 0) as server,
        calls.connect(server.uri, origin=ELSEWHERE) as ws,
    ):
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
    server = calls.serve(echo, "127.0.0.1", 0, origins=["https://here.example"])
    with server, pytest.raises(syncws.InvalidStatus):
        calls.connect(server.uri, origin=ELSEWHERE)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_unix_sockets_are_the_same(tmp_path):
    path = str(tmp_path / "socket")
    with calls.unix_serve(echo, path):
        with calls.unix_connect(path, origin=ELSEWHERE) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
        with calls.unix_reconnect(path) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
        for ws in itertools.islice(calls.unix_reconnect(path), 2):
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
    with pytest.raises(ValueError, match="path="):
        calls.unix_reconnect()


def test_routes_accept_all_origins(tmp_path):
    routing = pytest.importorskip("werkzeug.routing")
    url_map = routing.Map([routing.Rule("/echo", endpoint=echo)])
    with (
        calls.route(url_map, "127.0.0.1", 0) as server,
        calls.connect(server.uri + "echo", origin=ELSEWHERE) as ws,
    ):
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
    if hasattr(socket, "AF_UNIX"):
        path = str(tmp_path / "socket")
        with (
            calls.unix_route(url_map, path),
            calls.unix_connect(path, "ws://localhost/echo", origin=ELSEWHERE) as ws,
        ):
            ws.send("hello")
            assert ws.recv(SOON) == "hello"


def test_the_older_name_of_the_context_is_understood():
    with (
        calls.serve(echo, "127.0.0.1", 0, ssl_context=server_context()) as server,
        calls.connect(server.uri, ssl_context=client_context()) as ws,
    ):
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


def test_reconnecting_is_for_one_connection_or_for_many():
    with calls.serve(echo, "127.0.0.1", 0) as server:
        with calls.reconnect(server.uri) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
        assert ws.close_code == 1000
        many = list(itertools.islice(calls.reconnect(server.uri), 3))
    assert len(set(many)) == 3


def test_delays_take_the_arguments_that_there_are():
    delays = list(itertools.islice(calls.backoff(5, 3.1, 90, 1.618), 5))
    assert all(0 <= delay <= 60 for delay in delays)


@pytest.mark.parametrize(
    "url", ["http://user:word@proxy.example:8080", "socks5h://[::1]:1080", "https://proxy:443"]
)
def test_the_proxy_of_the_environment_is_found(monkeypatch, url):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("wss_proxy", url)
    assert calls.get_proxy(syncws.parse_uri("wss://server.example/")) == url
    monkeypatch.setenv("no_proxy", "*")
    assert calls.get_proxy(syncws.parse_uri("wss://server.example/")) is None


# --- connections -----------------------------------------------------------------


def test_a_connection_is_made_of_a_socket_with_times_and_limits():
    one, other = socket.socketpair()
    ws = Connection(one, make_protocol("CLIENT"), close_timeout=SOON)
    peer = Connection(other, make_protocol("SERVER"), ping_interval=None, max_queue=2)
    with ws, peer:
        ws.send("hello")
        assert peer.recv(SOON) == "hello"
        peer.send(b"\x00")
        assert ws.recv(SOON) == b"\x00"
        assert ws.options.close_timeout == SOON
        assert peer.options.ping_interval is None


def make_protocol(role):
    from syncws.sansio.protocol import Protocol

    return Protocol(getattr(values, role))


def test_every_connection_is_one():
    with calls.serve(echo, "127.0.0.1", 0) as server, calls.connect(server.uri) as ws:
        assert isinstance(ws, Connection)
    assert issubclass(syncws.ClientConnection, Connection)
    assert not isinstance(1, Connection)
    assert not issubclass(int, Connection)

    class Mine(Connection):
        pass

    assert not isinstance(ws, Mine)
    assert issubclass(Mine, Connection)
    assert not issubclass(syncws.ClientConnection, Mine)


# --- compression -----------------------------------------------------------------


def test_factories_take_the_arguments_that_there_are():
    client = deflate.ClientPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_max_window_bits=10,
        compress_settings={"memLevel": 4, "level": 1},
    )
    assert client.get_request_params() == [
        ("server_no_context_takeover", None),
        ("client_max_window_bits", "10"),
    ]
    assert (client.settings.level, client.settings.memory_level) == (1, 4)
    server = deflate.ServerPerMessageDeflateFactory(server_max_window_bits=11)
    with (
        calls.serve(echo, "127.0.0.1", 0, extensions=[server]) as running,
        calls.connect(running.uri, extensions=[client]) as ws,
    ):
        assert "server_max_window_bits=11" in ws.response.headers["Sec-WebSocket-Extensions"]
        ws.send("hello" * 1000)
        assert ws.recv(SOON) == "hello" * 1000
    with pytest.raises(ValueError, match="client_max_window_bits"):
        deflate.ClientPerMessageDeflateFactory(client_max_window_bits=16)


def test_a_server_may_require_what_a_client_can_not_do():
    server = deflate.ServerPerMessageDeflateFactory(
        client_max_window_bits=10, require_client_max_window_bits=True
    )
    with pytest.raises(syncws.NegotiationError):
        server.process_request_params([], [])


@pytest.mark.parametrize(
    "enable", [deflate.enable_client_permessage_deflate, deflate.enable_server_permessage_deflate]
)
def test_compression_is_enabled_once(enable):
    class Other(ClientExtensionFactory):
        name = "other"

    other = Other()
    first, second = enable([other])
    assert first is other
    assert second.name == "permessage-deflate"
    assert enable([second]) == [second]
    assert [factory.name for factory in enable(None)] == ["permessage-deflate"]


# --- values ----------------------------------------------------------------------


def test_constants_are_members_of_our_enumerations():
    assert (values.TEXT, values.BINARY, values.PONG) == (1, 2, 10)
    assert values.CLIENT is syncws.Role.CLIENT
    assert values.OPEN is syncws.State.OPEN
    assert 1000 in values.EXTERNAL_CLOSE_CODES
    assert 1005 not in values.EXTERNAL_CLOSE_CODES
    assert set(values.CLOSE_CODE_EXPLANATIONS) == set(syncws.CloseCode)
