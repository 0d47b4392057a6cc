"""Connections by plain HTTP, to a server of the tests that knows the protocol."""

import gc
import http.cookiejar
import sys
import threading
import weakref

import pytest
from support.certificates import client_context, server_context
from support.pairs import SOON
from support.session_server import SessionServer

from syncws import (
    ClientConnection,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHeader,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    connect,
)
from syncws.sansio.extensions.permessage_deflate import ServerPerMessageDeflateFactory


@pytest.fixture(params=["streaming", "polling"])
def server(request):
    with SessionServer() as server:
        server.streaming = request.param == "streaming"
        yield server


def threads():
    return {thread for thread in threading.enumerate() if "fallback" in thread.name}


def test_messages_go_both_ways(server):
    with connect(server.uri) as ws:
        assert ws.transport == ("streaming" if server.streaming else "polling")
        assert isinstance(ws, ClientConnection)
        for message in ("text", b"bytes", "", "x" * 1_000_000):
            ws.send(message)
            assert ws.recv(timeout=SOON) == message
        assert ws.ping().wait(SOON)
    assert ws.close_code == 1000
    session = server.session()
    assert session.protocol.close_rcvd.code == 1000
    assert not session.deleted


def test_the_connection_tells_how_it_was_opened(server):
    with connect(server.uri, origin="http://example.com") as ws:
        assert ws.remote_address == ("127.0.0.1", server.port)
        assert ws.local_address == server.requests[0].connection
        assert ws.request.method == "POST"
        assert ws.path == "/chat?room=news"
        assert ws.response.status_code == 200
        assert ws.response_headers["Content-Type"] == "application/json"
        assert ws.subprotocol is None
        assert not ws.secure
        assert ws.ssl_object is None
    for request in server.requests:
        assert request.path == "/chat?room=news"
        assert request.headers["Origin"] == "http://example.com"
        assert request.headers["Host"] == f"127.0.0.1:{server.port}"
        assert request.headers["User-Agent"].startswith("Python")
        assert "Sec-WebSocket-Key" not in request.headers
        assert "Upgrade" not in request.headers


def test_threads_end_with_the_connection(server):
    before = threads()
    ws = connect(server.uri)
    assert len(threads() - before) == 2
    assert {thread.daemon for thread in threads() - before} == {True}
    ws.close()
    for thread in threads() - before:
        thread.join(SOON)
    assert threads() == before


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="references are counted later"
)
def test_a_connection_that_is_over_is_garbage_at_once(server):
    before = threads()
    ws = connect(server.uri)
    ws.close()
    for thread in threads() - before:
        thread.join(SOON)
    gone = weakref.ref(ws)
    gc.disable()
    try:
        del ws
        assert gone() is None
    finally:
        gc.enable()


def test_few_connections_are_used(server):
    with connect(server.uri) as ws:
        for number in range(50):
            ws.send(str(number))
            assert ws.recv(timeout=SOON) == str(number)
    assert len({request.connection for request in server.requests}) <= 3


def test_closing_by_the_server(server):
    with connect(server.uri) as ws:
        server.session().send("last words")
        server.session().close(1001, "going")
        assert ws.recv(timeout=SOON) == "last words"
        with pytest.raises(ConnectionClosedOK):
            ws.recv(timeout=SOON)
    assert (ws.close_code, ws.close_reason) == (1001, "going")
    assert server.session().protocol.close_rcvd.code == 1001
    assert not server.session().deleted


def test_an_end_without_a_close_frame(server):
    with connect(server.uri) as ws:
        server.session().send("last words")
        server.session().cut()
        assert ws.recv(timeout=SOON) == "last words"
        with pytest.raises(ConnectionClosedError):
            ws.recv(timeout=SOON)
    assert ws.close_code == 1006
    assert not server.session().deleted


def test_an_aborted_connection_ends_the_session(server):
    ws = connect(server.uri)
    session = server.session()
    assert session.wait(lambda: session.gets)
    ws.abort()
    assert ws.wait_closed(SOON)
    assert session.wait(lambda: session.deleted, SOON)
    assert ws.close_code == 1006


def test_what_was_sent_before_an_abort_gets_there(server):
    ws = connect(server.uri)
    session = server.session()
    ws.send("last words")
    ws.abort()
    assert session.wait(lambda: session.deleted, SOON)
    assert session.received == ["last words"]


def test_tls():
    with (
        SessionServer(context=server_context()) as server,
        connect(server.uri, ssl=client_context()) as ws,
    ):
        ws.send("hello")
        assert ws.recv(timeout=SOON) == "hello"
        assert ws.secure
        assert ws.ssl_object.getpeercert()
        assert ws.transport == "streaming"


def test_a_certificate_is_checked():
    with (
        SessionServer(context=server_context()) as server,
        pytest.raises(OSError, match="CERTIFICATE"),
    ):
        connect(server.uri)


def test_compression_is_agreed_on(server):
    server.factories = (ServerPerMessageDeflateFactory(),)
    with connect(server.uri) as ws:
        assert [extension.name for extension in ws.extensions] == ["permessage-deflate"]
        ws.send("x" * 100_000)
        assert ws.recv(timeout=SOON) == "x" * 100_000
        assert ws.stats.bytes_sent < 1000


def test_subprotocols(server):
    server.opening = {"protocol": "chat"}
    with connect(server.uri, subprotocols=["superchat", "chat"]) as ws:
        assert ws.subprotocol == "chat"
    assert server.requests[0].headers["Syncws-Protocol"] == "superchat, chat"


@pytest.mark.parametrize(
    ("opening", "error"),
    [
        ({"protocol": "other"}, NegotiationError),
        ({"extensions": "other"}, NegotiationError),
        ({"protocol": "line\r\nend"}, InvalidHeader),
        ({"protocol": 1}, InvalidStatus),
        ({"session": "short"}, InvalidStatus),
        ({"session_timeout": "long"}, InvalidStatus),
        ({"max_wait": True}, InvalidStatus),
        ({"max_body": float("inf")}, InvalidStatus),
    ],
)
def test_what_was_not_offered_or_is_not_valid(server, opening, error):
    server.opening = opening
    with pytest.raises(error):
        connect(server.uri, subprotocols=["chat"])
    if error is not InvalidStatus:
        session = server.session()
        assert session.wait(lambda: session.deleted, SOON)


@pytest.mark.parametrize("found", [None, [], {}])
def test_a_response_that_opens_no_session(server, found):
    server.faults.refuse = lambda request: (200, found)
    with pytest.raises(InvalidStatus) as info:
        connect(server.uri)
    assert info.value.response.status_code == 200
    assert "opens no session" in str(info.value.__cause__)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 426, 429, 500, 503])
def test_refusals_are_those_of_a_handshake(server, status):
    error = {"error": {"code": "refused", "message": "no"}}
    server.faults.refuse = lambda request: (status, error)
    with pytest.raises(InvalidStatus) as info:
        connect(server.uri)
    assert info.value.response.status_code == status
    assert b"refused" in info.value.response.body
    assert len(server.requests) == 1


def test_headers_credentials_and_cookies_go_with_every_request(server):
    jar = http.cookiejar.CookieJar()
    server.opening_headers = {"Set-Cookie": "server=a; Path=/"}
    uri = server.uri.replace("//", "//user:secret@")
    calls = []

    def headers():
        calls.append(1)
        return {"X-Room": "blue", "Cookie": "mine=1", "Accept": "text/plain"}

    with connect(uri, additional_headers=headers, cookies=jar, user_agent_header=None) as ws:
        ws.send("hello")
        assert ws.recv(timeout=SOON) == "hello"
    assert len(calls) == 1
    assert [cookie.value for cookie in jar] == ["a"]
    first, *others = server.requests
    assert first.headers["Cookie"] == "mine=1"
    assert {request.headers["Cookie"] for request in others} == {"mine=1; server=a"}
    assert {request.headers["X-Room"] for request in server.requests} == {"blue"}
    assert {request.headers["Authorization"] for request in server.requests} == {
        "Basic dXNlcjpzZWNyZXQ="
    }
    assert not any("User-Agent" in request.headers for request in server.requests)


def test_a_cookie_of_a_balancer_is_kept_for_the_session(server):
    server.opening_headers = {"Set-Cookie": "backend=3"}
    with connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv(timeout=SOON) == "hello"
    assert {request.headers["Cookie"] for request in server.requests[1:]} == {"backend=3"}


@pytest.mark.parametrize("name", ["Content-Type", "Syncws-Ack", "Upgrade", "Transfer-Encoding"])
def test_headers_that_the_fallback_has_for_itself(server, name):
    with pytest.raises(ValueError, match=f"(?i){name} belongs to"):
        connect(server.uri, additional_headers={name: "x"})
    assert server.requests == []


def test_a_socket_cannot_be_given():
    with pytest.raises(ValueError, match="the fallback takes several"):
        connect("http://localhost/", sock=object())
    with pytest.raises(ValueError, match="the fallback takes several"):
        connect("ws://localhost/", sock=object(), fallback=True)


@pytest.mark.parametrize("uri", ["http:/localhost", "http://", "https://a b/", "httpx://a/"])
def test_invalid_uris(uri):
    with pytest.raises(InvalidURI) as info:
        connect(uri)
    assert info.value.uri == uri


def test_tls_arguments_are_for_https():
    with pytest.raises(ValueError, match="ssl= is for https://"):
        connect("http://localhost/", ssl=client_context())


def test_nobody_listens(closed_port):
    with pytest.raises(ConnectionRefusedError):
        connect(f"http://127.0.0.1:{closed_port}/")
