"""connect(fallback=True): WebSocket first, and plain HTTP where that does not get through."""

import errno
import socket
import ssl
import threading
import time

import pytest
from support import peers
from support.certificates import client_context, server_context
from support.pairs import SOON
from support.scripted import nothing_left, read_head, scripted_server
from support.session_server import SessionServer

from syncws import (
    InvalidHeader,
    InvalidMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidUpgrade,
    NegotiationError,
    ProxyError,
    SecurityError,
    connect,
    reconnect,
    serve,
    unix_connect,
    unix_serve,
)
from syncws.client.falling_back import BLOCKED_STATUSES, is_blocked
from syncws.sansio.headers import Headers
from syncws.sansio.http11 import Response


def is_upgrade(request):
    return "Upgrade" in request.headers


def response(status):
    return Response(status, "", Headers())


@pytest.fixture
def server():
    with SessionServer() as server:
        yield server


def assert_works(ws):
    ws.send("hello")
    assert ws.recv(timeout=SOON) == "hello"


@pytest.mark.parametrize("status", sorted(BLOCKED_STATUSES))
def test_statuses_of_those_that_do_not_know_the_upgrade(server, status):
    server.faults.refuse = lambda r: status if is_upgrade(r) else None
    with connect(server.ws_uri, fallback=True) as ws:
        assert ws.transport == "streaming"
        assert_works(ws)


@pytest.mark.parametrize("status", [401, 403, 404, 407, 410, 421, 429, 500, 503])
def test_what_the_server_refuses_stays_refused(server, status):
    server.faults.refuse = lambda r: status if is_upgrade(r) else None
    with pytest.raises(InvalidStatus) as info:
        connect(server.ws_uri, fallback=True)
    assert info.value.response.status_code == status
    assert len(server.requests) == 1


def test_an_upgrade_that_is_cut(server):
    server.faults.lose = is_upgrade
    with connect(server.ws_uri, fallback=True) as ws:
        assert_works(ws)


def test_an_upgrade_that_is_not_answered(server):
    released = threading.Event()
    server.faults.hold = lambda r: is_upgrade(r) and released.wait(SOON)
    began = time.monotonic()
    with connect(server.ws_uri, fallback=True, open_timeout=4) as ws:
        assert time.monotonic() - began > 1.6
        assert_works(ws)
    released.set()


def test_an_upgrade_that_is_not_answered_without_a_time_limit(server, monkeypatch):
    monkeypatch.setattr("syncws.client.opening.UPGRADE_TIMEOUT", 0.2)
    released = threading.Event()
    server.faults.hold = lambda r: is_upgrade(r) and released.wait(SOON)
    with connect(server.ws_uri, fallback=True, open_timeout=None) as ws:
        assert_works(ws)
    released.set()


def test_without_fallback_there_is_none(server):
    server.faults.refuse = lambda r: 426 if is_upgrade(r) else None
    with pytest.raises(InvalidStatus):
        connect(server.ws_uri)
    assert len(server.requests) == 1


def test_a_server_without_a_fallback_either(server):
    server.faults.refuse = lambda r: 426 if is_upgrade(r) else 405
    with pytest.raises(InvalidStatus) as info:
        connect(server.ws_uri, fallback=True)
    assert info.value.response.status_code == 405
    assert info.value.__cause__.response.status_code == 426


def test_websocket_where_it_gets_through():
    with (
        serve(lambda ws: ws.send(ws.recv()), "127.0.0.1", 0) as server,
        connect(server.uri, fallback=True) as ws,
    ):
        assert ws.transport == "websocket"
        assert_works(ws)


def test_wss():
    with SessionServer(context=server_context()) as server:
        server.faults.refuse = lambda r: 400 if is_upgrade(r) else None
        with connect(server.ws_uri, ssl=client_context(), fallback=True) as ws:
            assert ws.secure
            assert_works(ws)
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(server.ws_uri, fallback=True)


def test_nobody_listens(closed_port):
    with pytest.raises(ConnectionRefusedError) as info:
        connect(f"ws://127.0.0.1:{closed_port}/", fallback=True)
    assert info.value.__cause__ is None or not isinstance(info.value.__cause__, InvalidStatus)


def test_something_that_is_not_http():
    def script(sock):
        read_head(sock)
        sock.sendall(b"SSH-2.0-OpenSSH\r\n")

    with scripted_server(script) as server, nothing_left(), pytest.raises(InvalidMessage):
        connect(server.uri, fallback=True, open_timeout=3)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, OSError(errno.EHOSTUNREACH, "")])
def test_other_failures_are_final(server, monkeypatch, exception):
    def fail(*args, **kwargs):
        raise exception

    monkeypatch.setattr("syncws.client.opening.Opening._upgrade", fail)
    with pytest.raises((KeyboardInterrupt, OSError)):
        connect(server.ws_uri, fallback=True)
    assert not server.requests


@pytest.mark.parametrize(
    ("exc", "plain", "secure"),
    [
        (InvalidStatus(response(426)), True, True),
        (InvalidStatus(response(302)), False, False),
        (InvalidUpgrade("Upgrade", None), True, True),
        (InvalidHeader("Sec-WebSocket-Accept", "x"), True, True),
        (InvalidHeader("Location", "x"), False, False),
        (InvalidMessage(""), True, True),
        (InvalidProxyStatus(response(403)), True, False),
        (ProxyError(""), True, False),
        (SecurityError(""), False, False),
        (NegotiationError(""), False, False),
        (TimeoutError(), True, True),
        (ConnectionResetError(), True, True),
        (ConnectionRefusedError(), False, False),
        (socket.gaierror(), False, False),
        (ssl.SSLCertVerificationError(), False, False),
        (ValueError(), False, False),
    ],
)
def test_failures_that_mean_that_websocket_is_blocked(exc, plain, secure):
    assert is_blocked(exc, secure=False) is plain
    assert is_blocked(exc, secure=True) is secure


# --- redirects, proxies, Unix sockets, reconnect() ---


def test_redirects_are_followed(server):
    with SessionServer() as first:
        first.faults.refuse = lambda r: (301, {}, {"Location": server.uri})
        with connect(first.uri, additional_headers={"X-Secret": "x"}) as ws:
            assert_works(ws)
            assert ws.remote_address[1] == server.port
        with connect(first.ws_uri, fallback=True) as ws:
            pass
        with pytest.raises(InvalidStatus):
            connect(first.uri, max_redirects=0)
    assert not any("X-Secret" in request.headers for request in server.requests)


def test_a_redirect_that_leads_to_websocket_only_is_not_followed_by_http():
    with serve(lambda ws: None, "127.0.0.1", 0) as target, SessionServer() as first:
        first.faults.refuse = lambda r: (302, {}, {"Location": target.uri})
        with pytest.raises(InvalidStatus):
            connect(first.uri)


def test_a_proxy_that_allows_no_tunnel_is_asked_for_the_whole_uri(server, refusing_http_proxy):
    with connect(server.uri, proxy=refusing_http_proxy.uri("http")) as ws:
        assert_works(ws)
        assert ws.remote_address[1] == refusing_http_proxy.port
    with connect(server.ws_uri, proxy=refusing_http_proxy.uri("http"), fallback=True) as ws:
        assert ws.transport != "websocket"
        assert_works(ws)


def test_a_proxy_with_credentials(server, strict_http_proxy):
    with pytest.raises(InvalidProxyStatus):
        connect(server.uri, proxy=strict_http_proxy.uri("http"))
    uri = strict_http_proxy.uri("http", f"{peers.USER}:{peers.PASSWORD}")
    with connect(server.uri, proxy=uri) as ws:
        assert_works(ws)
    assert not any("Proxy-Authorization" in request.headers for request in server.requests)


def test_a_proxy_and_tls(http_proxy):
    with (
        SessionServer(context=server_context()) as server,
        connect(server.uri, ssl=client_context(), proxy=http_proxy.uri("http")) as ws,
    ):
        assert ws.secure
        assert_works(ws)


def test_a_proxy_by_tls(server, https_proxy, trusted):
    uri = f"https://{peers.HARD}@localhost:{https_proxy.port}"
    with connect(server.uri, proxy=uri) as ws:
        assert_works(ws)


def test_a_socks_proxy(server, socks_proxy):
    pytest.importorskip("python_socks")
    with connect(server.uri, proxy=f"socks5://127.0.0.1:{socks_proxy.port}") as ws:
        assert_works(ws)


def test_another_host(server):
    uri = server.uri.replace("127.0.0.1", "example.com")
    with connect(uri, host="127.0.0.1") as ws:
        assert_works(ws)
    assert server.requests[0].headers["Host"] == f"example.com:{server.port}"


def test_unix_sockets(tmp_path):
    path = str(tmp_path / "socket")
    with unix_serve(lambda ws: ws.send(ws.recv()), path, fallback=True):
        with unix_connect(path, "http://localhost/") as ws:
            assert ws.transport == "streaming"
            assert_works(ws)
        with unix_connect(path, fallback=True) as ws:
            assert ws.transport == "websocket"


def test_reconnect(server):
    for number, ws in enumerate(reconnect(server.uri)):
        assert_works(ws)
        if number == 2:
            break
    assert len(server.sessions) == 3


def test_reconnect_with_both(server, delays):
    server.faults.refuse = lambda r: 502 if is_upgrade(r) else (503 if r.number < 4 else None)
    for ws in reconnect(server.ws_uri, fallback=True):
        assert_works(ws)
        break
    assert len(delays) == 1
