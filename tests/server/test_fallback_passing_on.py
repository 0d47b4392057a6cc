"""Other requests over connections that have had one of the fallback, as browsers and proxies do."""

import contextlib
import http.client

import pytest
from support.certificates import contexts
from support.fallback_client import TEXT, over_http
from support.pairs import receive_exactly, wait_until
from support.scripted import build_request, parse_head, read_head
from support.serving import the_connection
from support.wire import build_frame

ZERO = b"\0\0\0\0"


def tell(ws, request):
    """Answer what asks for no WebSocket."""
    if "Upgrade" in request.headers:
        return None
    return ws.respond(200, f"{request.method} {request.path}: {request.body.decode()}")


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request):
    return contexts() if request.param else (None, None)


def test_the_program_answers_them(tls):
    with over_http(process_request=tell, tls=tls) as (_, client):
        client.open()
        answer = client.request("GET", headers={"Syncws-Session": None})
        assert (answer.status, answer.body) == (200, b"GET /: ")
        client.send("hello")  # by another connection, as this one was closed
        assert client.receive() == [(TEXT, b"hello")]


def test_their_bodies_come_with_them():
    with over_http(process_request=tell) as (_, client):
        client.open()
        headers = {"Syncws-Session": None, "Content-Type": "text/plain"}
        answer = client.request("POST", b"x" * 50_000, headers)
        assert answer.body == b"POST /: " + b"x" * 50_000


def test_one_may_come_in_pieces():
    with over_http(process_request=tell) as (_, client):
        client.open()
        sock = client.main.sock
        for byte in b"GET /pieces HTTP/1.1\r\nHost: localhost\r\n\r\n":
            sock.sendall(bytes([byte]))
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.read() == b"GET /pieces: "


def test_one_may_be_an_upgrade():
    with over_http() as (server, client):
        assert client.request("GET", headers={"Syncws-Session": "none"}).status == 400
        sock = client.main.sock
        sock.sendall(build_request() + build_frame(TEXT, b"hello", ZERO))
        assert parse_head(read_head(sock))[0].startswith("HTTP/1.1 101")
        assert receive_exactly(sock, 7) == b"\x81\x05hello"
        assert the_connection(server).transport == "websocket"


def test_without_the_program_they_are_answered_as_ever():
    with over_http() as (_, client):
        client.open()
        answer = client.request("GET", headers={"Syncws-Session": None})
        assert answer.status == 426


def test_a_full_server_has_no_room_for_them():
    with over_http(max_connections=1, process_request=tell) as (server, client):
        client.open()
        wait_until(lambda: the_connection(server).open)
        answer = client.request("GET", headers={"Syncws-Session": None})
        assert (answer.status, answer.code) == (503, "busy")
        assert answer.headers["Connection"] == "close"


def test_what_is_too_long_for_a_request_is_refused():
    with over_http() as (_, client):
        client.open()
        sock = client.main.sock
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"GET /" + b"x" * 100_000)
        assert parse_head(read_head(sock))[0].startswith("HTTP/1.1 414")


@pytest.mark.parametrize("over_same", [False, True])
def test_what_a_body_says_makes_no_request_ours(over_same):
    """A form of another site can send such a body."""
    with over_http(process_request=tell) as (_, client):
        client.open()
        body = b"Syncws-Session: new\r\nSyncws-Session: new\r\n"
        headers = {"Syncws-Session": None, "Content-Type": "text/plain"}
        over = client.main if over_same else client.connect()
        answer = client.request("POST", body, headers, over=over)
        assert (answer.status, answer.body) == (200, b"POST /: " + body)
