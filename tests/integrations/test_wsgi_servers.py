"""Each WSGI server, really started: connections come and go, and its log stays clean."""

import re
import socket
import struct
import threading

import pytest
from support.pairs import SOON
from support.wsgi_servers import BAD, KINDS, WsgiServer, wait_for

from syncws import ConnectionClosed

#: A masked frame: "hi", with a key of zeros.
FRAME = b"\x81\x82\0\0\0\0hi"
ECHOED = b"\x81\x02hi"

REQUEST = (
    b"GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """All of them at once, since each takes a while to start."""
    started = {kind: WsgiServer(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}
    yield started
    for server in started.values():
        server.process.terminate()
    for server in started.values():
        server.close()


@pytest.fixture(params=KINDS)
def server(servers, request):
    return servers[request.param]


def settled(server):
    """What the process has once nothing is left of connections."""
    wait_for(lambda: is_quiet(server.status()), server)
    return server.status()


def is_quiet(status):
    return not (status["open"] or status["sinks"])


def request_by_hand(server, path=b"/echo", more=b""):
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=SOON)
    sock.sendall(REQUEST % (path, server.port) + more)
    return sock


def refusal(server, path, origin=None):
    """Status, head and body of what refuses a connection; by hand, as wsgiref speaks HTTP/1.0."""
    more = b"" if origin is None else b"Origin: %s\r\n" % origin.encode()
    request = REQUEST.replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON) as sock:
        sock.sendall(request % (path.encode(), server.port))
        sock.shutdown(socket.SHUT_WR)
        head, _, body = sock.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


def read_until(sock, end):
    data = b""
    while not data.endswith(end):
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    return data


def reset(ws):
    sock = ws._transport.sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.abort()  # and closing sends RST


def send_garbage(ws):
    ws._transport.sock.sendall(b"\xff\xff\xff GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ConnectionClosed, match="1002"):
        ws.recv(SOON)


def cut_within_frame(ws):
    ws._transport.sock.sendall(b"\x82\xfe\xff\xff\0\0\0\0half")
    ws.abort()


def close(ws):
    ws.close()
    assert ws.close_code == 1000


ENDS = [close, lambda ws: ws.abort(), reset, send_garbage, cut_within_frame]


def test_twenty_connections_come_and_go(server):
    with server.connect() as ws:  # threads are started once
        ws.send("first")
        assert ws.recv(SOON) == "first"
    before, size = settled(server), len(server.log)
    for number in range(20):
        ws = server.connect()
        ws.send(f"message {number}")
        assert ws.recv(SOON) == f"message {number}"
        ENDS[number % len(ENDS)](ws)
        assert ws.wait_closed(SOON)
        wait_for(lambda: server.status()["open"] == 0, server)  # its thread is to be had again
    large = bytes(4_000_000)
    with server.connect() as ws:
        ws.send(large)
        assert ws.recv(SOON) == large
    after = settled(server)
    assert not [name for name in after["threads"] if "reader" in name]
    # Those of plain requests are closed a moment later; what leaks stays.
    wait_for(lambda: server.status()["descriptors"] <= before["descriptors"], server)
    assert server.get("/") == (200, b"<!doctype html><title>page</title>")
    wait_for(lambda: server.log.count("INFO syncws.server connection 22 ") == 2, server)
    log = server.log[size:]
    assert not BAD.search(log), log
    if server.kind != "cheroot":  # which has no such log
        assert len(re.findall(r'"(?:\S*)GET /echo HTTP/1.1(?:\S*)" 101', log)) == 21
        assert '" 200' in log


def test_what_came_right_after_the_request_is_not_lost(server):
    size = len(server.log)
    with request_by_hand(server, more=FRAME) as sock:
        assert read_until(sock, ECHOED).startswith(b"HTTP/1.1 101 ")
        sock.sendall(b"\x88\x80\0\0\0\0")
        assert read_until(sock, b"\x88\0") == b"\x88\0"
        assert sock.recv(1) == b""  # the server ends TCP, and nothing else comes
    settled(server)
    assert not BAD.search(server.log[size:])


def test_pages_that_follow_a_connection_are_for_nobody(server):
    size = len(server.log)
    with request_by_hand(server, b"/late", FRAME) as sock:
        read_until(sock, ECHOED)
        sock.sendall(b"\x88\x80\0\0\0\0")
        assert read_until(sock, b"\x88\0") == b"\x88\0"
        assert sock.recv(1) == b""
    settled(server)
    assert not BAD.search(server.log[size:])


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/elsewhere", {"origin": "https://here.example"}, 403),
        ("/elsewhere", {"origin": "https://elsewhere.example"}, None),
        ("/echo", {"origin": "https://here.example"}, 403),
        ("/chat", {}, 400),
        ("/chat", {"subprotocols": ["chat"]}, None),
        ("/cookie", {}, None),
        ("/raw", {}, None),
    ],
)
def test_opening_handshakes_are_checked(server, path, options, status):
    if status is None:
        with server.connect(path, **options) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            assert ws.subprotocol == ("chat" if path == "/chat" else None)
            assert ws.response_headers.get("Set-Cookie") == ("a=b" if path == "/cookie" else None)
            assert len(ws.response_headers.get_all("Date")) == 1
    else:
        found, head, body = refusal(server, path, **options)
        assert found == status
        assert b"Failed to open a WebSocket connection" in body
        assert head.lower().count(b"date:") <= 1


def test_plain_requests_are_told_what_is_needed(server):
    status, body = server.get("/echo")
    assert status == 426
    assert b"A WebSocket client" in body


def test_requests_by_http_1_0_are_refused(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON) as sock:
        sock.sendall(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0") % (b"/echo", server.port))
        sock.shutdown(socket.SHUT_WR)
        status_line = sock.recv(65536).split(b"\r\n")[0]
    assert b" 505 " in status_line


def test_handlers_that_raise_close_with_1011(server):
    with server.connect("/fail") as ws:
        ws.send("the text of it")
        with pytest.raises(ConnectionClosed):
            ws.recv(SOON)
        assert ws.close_code == 1011
    wait_for(lambda: "ArithmeticError: the text of it" in server.log, server)
    assert '" 500' not in server.log
    assert server.get("/")[0] == 200


def test_limits_count_all_connections_of_the_process(server):
    if server.kind == "gunicorn-sync":
        pytest.skip("serves one at a time")
    settled(server)
    with server.connect("/one") as first:
        status, head, _ = refusal(server, "/one")
        assert status == 503
        assert b"Retry-After: 5" in head
        first.send("still there")
        assert first.recv(SOON) == "still there"
    settled(server)
    with server.connect("/one"):
        pass


def test_the_last_thread_of_a_pool_is_left_to_others(servers):
    for kind in ("gunicorn-gthread", "cheroot"):  # they have three
        server = servers[kind]
        settled(server)
        with server.connect(), server.connect():
            assert refusal(server, "/echo")[0] == 503
            assert server.get("/")[0] == 200


def test_both_ways_at_once(server):
    """Also what the stand-ins for gevent and threads do under load."""
    with server.connect() as ws:
        sender = threading.Thread(target=lambda: [ws.send(bytes(100_000)) for _ in range(50)])
        sender.start()
        assert sum(len(ws.recv(SOON)) for _ in range(50)) == 5_000_000
        sender.join()


def test_sync_worker_is_warned_of_once(servers):
    log = servers["gunicorn-sync"].log
    assert log.count("WARNING syncws.server gunicorn's sync worker serves nobody else") == 1
    assert "--worker-class gthread --threads N" in log
