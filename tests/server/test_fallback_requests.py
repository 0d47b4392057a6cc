"""Requests of the fallback, as HTTP has them, and the browser's part."""

import json
import logging
import socket
import threading

import pytest
from support.certificates import contexts
from support.fallback_client import (
    HELLO,
    FallbackClient,
    fallback_session,
    over_http,
    session_over_http,
    texts,
)
from support.pairs import SOON, run, wait_until
from support.scripted import parse_head, raw_client, read_all, read_head
from support.serving import echo, messages, serving, the_connection

from syncws import Fallback, unix_serve
from syncws.server import http_peer
from syncws.server.fallback_desk import FallbackDesk
from syncws.threaded.deadline import Deadline
from syncws.threaded.tls_transport import TlsTransport
from syncws.threaded.transport import Transport


@pytest.fixture
def opened():
    """A server that echoes, and a client with a session."""
    with session_over_http() as pair:
        yield pair


@pytest.mark.parametrize(
    ("method", "headers", "status", "code"),
    [
        ("POST", {"Syncws-Session": "bad"}, 400, "bad_request"),
        ("POST", {"Syncws-Nonce": "short"}, 400, "bad_request"),
        ("POST", {"Syncws-Nonce": None}, 400, "bad_request"),
        ("GET", {}, 405, "method"),
        ("PUT", {}, 405, "method"),
        ("HEAD", {}, 405, None),
        ("POST", {"Content-Type": "text/plain"}, 415, "content_type"),
        ("POST", {"Content-Type": None}, 415, "content_type"),
    ],
)
def test_requests_that_open_nothing(method, headers, status, code):
    with serving(fallback=True) as server, FallbackClient(server) as client:
        answer = client.request(method, headers={**client.opening(), **headers})
        assert answer.status == status
        if code is not None:
            assert answer.code == code
        assert client.open().status == 200  # over the same connection


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("GET", {"Syncws-Ack": "-1"}),
        ("POST", {}),
        ("POST", {"Syncws-Position": "x"}),
        ("POST", {"Syncws-Position": "1" * 20}),
        ("POST", {"Syncws-Position": "0", "Syncws-Ack": "x"}),
    ],
)
def test_requests_without_a_position(opened, method, headers):
    _, client = opened
    answer = client.request(method, headers=headers)
    assert (answer.status, answer.code) == (400, "bad_request")


def test_what_can_not_be_in_a_handshake_is_refused():
    with over_http() as (server, client), raw_client(server) as sock:
        more = {"Syncws_Nonce": "n" * 22, "Content_Type": "application/octet-stream"}
        request = request_bytes(client, "POST", Syncws_Protocol="chat", **more)
        sock.sendall(request.replace(b"chat", b"\xe4"))
        assert status_of(sock) == 400
        assert b'"code": "refused"' in sock.recv(1000)


def test_a_defect_costs_a_client_its_connection(monkeypatch, caplog):
    with over_http() as (server, client):
        monkeypatch.setattr(server._handling.fallback._sessions, "handle", lambda *_: 1 / 0)
        with pytest.raises(OSError, match=r"closed|reset"):
            client.open()
    assert "the fallback failed" in messages(caplog, "ERROR")


def test_a_defect_while_a_request_of_others_is_passed_on_costs_its_connection(monkeypatch):
    monkeypatch.setattr(FallbackDesk, "_pass_on", lambda *_: 1 / 0)
    with over_http() as (server, client):
        client.open()
        client.ask("GET", headers={"Syncws-Session": None})
        with pytest.raises(OSError, match=r"closed|reset"):
            client.answer()
        wait_until(lambda: not server._handling.fallback._peers)


def test_connections_that_are_used_have_one_timer(opened):
    server, client = opened
    for _ in range(50):
        client.send("hello")
        client.receive()
    assert len(server._handling.fallback._reactor._timers) < 10


def test_bodies_have_a_limit(opened):
    _, client = opened
    answer = client.post(bytes((1 << 18) + 1))
    assert (answer.status, answer.code) == (413, "too_large")
    assert client.post(HELLO, over=client.connect()).status == 204


def status_of(sock):
    """The status of a response, whose head is read."""
    return int(read_head(sock).split()[1])


def headers_of(sock):
    """The headers of a response, whose head is read."""
    return parse_head(read_head(sock))[1]


def request_bytes(client, method="GET", body=b"", version="1.1", **headers):
    headers = {
        "Host": "localhost",
        "Syncws-Session": client.session or "new",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{method} / HTTP/{version}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_requests_may_come_one_after_the_other_without_waiting(opened):
    server, client = opened
    post = {"Content_Type": "application/octet-stream", "Content_Length": "11"}
    requests = [
        request_bytes(client, "POST", HELLO, Syncws_Position=str(11 * number), **post)
        for number in range(3)
    ]
    with raw_client(server) as sock:
        sock.sendall(b"".join(requests) + request_bytes(client, Syncws_Ack="0") * 2)
        for number in range(3):
            assert headers_of(sock)["syncws-ack"] == str(11 * (number + 1))
        assert status_of(sock) == 200


def test_requests_may_come_in_pieces(opened):
    server, client = opened
    with raw_client(server) as sock:
        for byte in request_bytes(client, Syncws_Ack="0", Syncws_Wait="1"):
            sock.sendall(bytes([byte]))
        assert status_of(sock) == 204


def test_bodies_may_be_announced(opened):
    server, client = opened
    with raw_client(server) as sock:
        sock.sendall(
            request_bytes(
                client,
                "POST",
                Syncws_Position="0",
                Content_Type="application/octet-stream",
                Content_Length="11",
                Expect="100-continue",
            )
        )
        assert status_of(sock) == 100
        sock.sendall(HELLO[:5])
        sock.sendall(HELLO[5:])
        assert headers_of(sock)["syncws-ack"] == "11"


@pytest.mark.parametrize("keep", [False, True])
def test_clients_may_speak_http_1_0(opened, keep):
    server, client = opened
    more = {"Connection": "keep-alive"} if keep else {}
    client.send("hello")
    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, version="1.0", Syncws_Ack="0", **more))
        assert headers_of(sock)["connection"] == ("keep-alive" if keep else "close")
    with raw_client(server) as sock:
        stream = {"Syncws_Ack": "0", "Accept": "text/event-stream"}
        sock.sendall(request_bytes(client, version="1.0", **stream, **more))
        headers = headers_of(sock)
        assert "transfer-encoding" not in headers
        assert headers["connection"] == "close"
        client.request("DELETE")
        client.session = None
        assert read_all(sock) == b"event: open\ndata: 0\n\nid: 7\ndata: gQVoZWxsbw==\n\n"


def test_a_large_body_has_more_time(opened):
    server, client = opened
    peers = server._handling.fallback._peers
    before = set(peers)
    with raw_client(server) as sock:
        more = {"Content_Type": "application/octet-stream", "Content_Length": "200000"}
        sock.sendall(request_bytes(client, "POST", Syncws_Position="0", **more) + b"x")
        wait_until(lambda: set(peers) - before)
        (peer,) = set(peers) - before
        wait_until(lambda: peer._parser is not None)
        due = peer._alarm._due
        sock.sendall(bytes(150_000))
        wait_until(lambda: peer._alarm._due - due > 30)
        sock.sendall(bytes(49_999))
        assert status_of(sock) == 204


def test_a_connection_that_is_closed_keeps_nothing(opened):
    """A timer may have it for longer."""
    server, client = opened
    peers = server._handling.fallback._peers
    before = set(peers)
    more = {"Content_Type": "application/octet-stream", "Content_Length": "200000"}
    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, "POST", Syncws_Position="0", **more) + bytes(100_000))
        wait_until(lambda: set(peers) - before)
        (peer,) = set(peers) - before
        wait_until(lambda: peer._parser is not None)
    wait_until(lambda: peer not in peers)
    assert peer._parser is None

    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, Syncws_Ack="0") + bytes(100_000))
        wait_until(lambda: fallback_session(server)._get is not None)
        (peer,) = set(peers) - before
        wait_until(lambda: len(peer._early) == 100_000)
    wait_until(lambda: peer not in peers)
    assert not peer._early


def test_what_is_no_request_ends_the_connection(opened):
    server, client = opened
    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, Syncws_Ack="0", Syncws_Wait="1"))
        assert status_of(sock) == 204
        sock.sendall(b"nonsense\r\nSyncws-Session: x\r\n\r\n")
        first, headers, _ = parse_head(read_head(sock))
        assert first == "HTTP/1.1 400 Bad Request"
        assert headers["connection"] == "close"
        sock.sendall(b"more")
        sock.shutdown(socket.SHUT_WR)
        assert json.loads(read_all(sock))["error"]["code"] == "bad_request"


def test_what_follows_a_last_response_has_a_limit(opened, monkeypatch):
    monkeypatch.setattr(http_peer, "LINGER_SIZE", 10)
    server, client = opened
    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, Syncws_Ack="x", Connection="close"))
        assert status_of(sock) == 400
        sock.sendall(bytes(1000))
        wait_until(lambda: len(server._handling.fallback._peers) == 1)


def test_who_is_in_too_much_of_a_hurry_is_cut(opened):
    server, client = opened
    with raw_client(server) as sock:
        sock.sendall(request_bytes(client, Syncws_Ack="0"))
        with pytest.raises(OSError, match=r"reset|pipe"):
            sock.sendall(bytes(50_000_000))


@pytest.mark.parametrize("what", ["REQUEST_TIMEOUT", "IDLE_TIMEOUT", "LINGER_TIMEOUT"])
def test_connections_without_requests_end(monkeypatch, what):
    monkeypatch.setattr(http_peer, what, 0.1)
    with serving(fallback=True) as server, FallbackClient(server) as client:
        with raw_client(server) as sock:
            connection = "close" if what == "LINGER_TIMEOUT" else "keep-alive"
            sock.sendall(request_bytes(client, "GET", Connection=connection))
            assert status_of(sock) == 405
            if what == "REQUEST_TIMEOUT":
                sock.sendall(b"GET ")
            read_all(sock)
        wait_until(lambda: not server._handling.fallback._peers)


def test_who_reads_nothing_is_cut(opened, monkeypatch):
    monkeypatch.setattr(http_peer, "MAX_BACKLOG", 1000)
    server, client = opened
    session = fallback_session(server)
    with raw_client(server) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1000)
        sock.sendall(request_bytes(client, Syncws_Ack="0", Accept="text/event-stream"))
        wait_until(lambda: session._get is not None)
        ws = the_connection(server)
        sending = run(lambda: [ws.send(bytes(100_000)) for _ in range(100)])
        acknowledging = client.connect()
        while session._get is not None:
            position = str(session._outgoing.position)
            headers = {"Syncws-Position": "0", "Syncws-Ack": position}
            client.request("POST", headers=headers, over=acknowledging)
        client.request("DELETE")
        client.session = None
        with pytest.raises(Exception, match="no close frame"):
            sending.result()


def test_a_last_response_has_the_time_that_the_network_needs(monkeypatch):
    monkeypatch.setattr(http_peer, "LINGER_TIMEOUT", 0.0)

    def talk(ws):
        ws.send(bytes(200_000))
        echo(ws)

    with session_over_http(handler=talk) as (server, client):
        session = fallback_session(server)
        wait_until(lambda: len(session._outgoing) > 200_000)
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # all inherit it
        with raw_client(server) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(request_bytes(client, Syncws_Ack="0", Connection="close"))
            peers = server._handling.fallback._peers
            wait_until(lambda: any(peer._is_ending for peer in peers))
            (peer,) = [peer for peer in peers if peer._is_ending]
            wait_until(lambda: peer.transport.backlog_size or peer._is_closed)
            client.poll()  # the reactor has gone on
            assert headers_of(sock)["content-length"] == str(len(read_all(sock)))


@pytest.mark.parametrize(
    ("limits", "least"),
    [({"max_connections": 3}, 3), ({"max_connections_per_address": 1}, 3)],
)
def test_connections_that_idle_leave_their_places_to_others(limits, least):
    with serving(fallback=True, **limits) as server, FallbackClient(server) as client:
        peers = server._handling.fallback._peers
        for _ in range(10):
            over = client.connect()
            assert client.request("GET", headers={"Syncws-Session": "bad"}, over=over).status == 400
        assert len(peers) == least
        assert client.open().status == 200
        client.send("hello")
        assert texts(client.receive()) == ["hello"]


def test_what_does_not_come_in_time_is_as_without_the_fallback(caplog):
    caplog.set_level(logging.INFO)
    with serving(fallback=True, open_timeout=0.1) as server, raw_client(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        assert read_all(sock) == b""
    assert "timed out" in messages(caplog)[0]


def test_what_is_no_request_at_all_is_told_so_at_once():
    with serving(fallback=True, open_timeout=None) as server, raw_client(server) as sock:
        sock.sendall(b"\x16\x03\x01\x02\n\n")
        assert status_of(sock) == 400


def test_what_ends_early_is_as_without_the_fallback():
    answers = []
    for fallback in (False, True):
        with serving(fallback=fallback) as server, raw_client(server) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n")
            sock.shutdown(socket.SHUT_WR)
            answers.append(read_all(sock))
    assert answers[0] == answers[1]


def test_unix_sockets(tmp_path):
    path = str(tmp_path / "socket")
    with unix_serve(echo, path, fallback=True) as server, raw_unix(path) as sock:
        client = FallbackClient.__new__(FallbackClient)
        client.session = None
        post = {"Content_Type": "application/octet-stream", "Syncws_Nonce": "n" * 22}
        sock.sendall(request_bytes(client, "POST", **post))
        assert status_of(sock) == 200
        the_connection(server).abort()


def raw_unix(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(SOON)
    sock.connect(path)
    return sock


# --- the browser's part -------------------------------------------------------------


def test_the_script_is_served():
    with serving(fallback=True) as server, FallbackClient(server, "/syncws.js?v=1") as client:
        answer = client.request("GET")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert b"class" in answer.body
        head = client.request("HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(answer.body))
        known = client.request("GET", headers={"If-None-Match": answer.headers["ETag"]})
        assert (known.status, known.body) == (304, b"")


def test_the_script_may_be_elsewhere():
    with serving(fallback=Fallback(script="/lib/ws.js")) as server:
        with FallbackClient(server, "/lib/ws.js") as client:
            assert client.request("GET").status == 200
        with FallbackClient(server, "/syncws.js") as client:
            assert client.request("GET").status == 426
    with over_http("/syncws.js", fallback=Fallback(script=None)) as (_, client):
        assert client.request("GET").status == 426


def test_a_client_by_tls_that_never_stops_keeps_nobody_waiting():
    tls, released = contexts(), threading.Event()
    with over_http(tls=tls) as (server, client):
        client.open()
        peers = server._handling.fallback._peers
        (mine,) = peers
        over = client.connect()
        client.request("GET", headers={"Syncws-Session": "bad"}, over=over)
        (peer,) = set(peers) - {mine}
        read = peer._read
        peer._read = lambda: read() if released.is_set() else True  # there is always more
        try:
            client.ask("GET", headers={"Syncws-Session": "bad"}, over=over)
            client.send("hello")
            assert texts(client.receive()) == ["hello"]
        finally:
            released.set()
        assert client.answer(over).status == 400


def test_tls_may_have_more_than_it_has_handed_out():
    server_side, client_side = contexts()
    with over_http(tls=(server_side, client_side)) as (server, client):
        client.open()
        transport = TlsTransport(
            Transport(socket.create_connection(("127.0.0.1", server.port))),
            client_side,
            server_side=False,
            server_hostname="localhost",
        )
        transport.handshake(Deadline(SOON))
        post = {"Content_Type": "application/octet-stream", "Content_Length": "11"}
        head = request_bytes(client, "POST", Syncws_Position="0", **post)
        records = transport._encrypt(head) + transport._encrypt(HELLO)
        transport._below.send_all(records)  # all of it comes at once
        assert b"Syncws-Ack: 11" in transport.recv(Deadline(SOON))
        transport.close()
