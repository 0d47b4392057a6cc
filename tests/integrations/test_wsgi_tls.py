"""Connections that are taken over from servers that end TLS themselves."""

import socket
import ssl
import threading

import pytest
from support.certificates import contexts
from support.pairs import SOON
from support.wsgi_servers import BAD, WsgiServer, wait_for

from syncws import ConnectionClosed

KINDS = ["gunicorn-gthread", "gunicorn-gevent", "werkzeug", "cheroot", "pywsgi"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    started = {kind: WsgiServer(kind, tmp_path_factory.mktemp(kind), tls=True) for kind in KINDS}
    yield started
    for server in started.values():
        server.process.terminate()
    for server in started.values():
        server.close()


@pytest.fixture(params=KINDS)
def server(servers, request):
    return servers[request.param]


def settled(server):
    def is_quiet():
        status = server.status()
        return not (status["open"] or status["sinks"])

    wait_for(is_quiet, server)
    return server.status()


def test_connections_come_and_go(server):
    with server.connect() as ws:
        ws.send("first")
        assert ws.recv(SOON) == "first"
    before, size = settled(server), len(server.log)
    for number in range(8):
        ws = server.connect()
        assert ws.secure
        ws.send(f"message {number}")
        assert ws.recv(SOON) == f"message {number}"
        if number % 4 == 0:
            ws.abort()
        elif number % 4 == 1:
            ws._transport.send_all(b"\xff\xff\xff")
            with pytest.raises(ConnectionClosed, match="1002"):
                ws.recv(SOON)
        else:
            ws.close()
            assert ws.close_code == 1000
        assert ws.wait_closed(SOON)
    settled(server)
    wait_for(lambda: server.status()["descriptors"] <= before["descriptors"], server)
    assert server.get("/")[0] == 200
    wait_for(lambda: server.log.count("INFO syncws.server connection 9 ") == 2, server)
    log = server.log[size:]
    assert not BAD.search(log), log


def test_large_messages_go_both_ways_at_once(server):
    """OpenSSL's object is used by the thread that sends and the one that receives."""
    with server.connect(compression=None) as ws:
        sender = threading.Thread(target=lambda: [ws.send(bytes(1_000_000)) for _ in range(8)])
        sender.start()
        received = [len(ws.recv(SOON)) for _ in range(8)]
        sender.join()
    assert received == [1_000_000] * 8
    assert ws.close_code == 1000


def test_what_came_right_after_the_request_is_not_lost(server):
    request = (
        "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=SOON)
    with contexts()[1].wrap_socket(plain, server_hostname="localhost") as sock:
        sock.sendall(request.encode() + b"\x81\x82\0\0\0\0hi")
        data = b""
        while not data.endswith(b"\x81\x02hi"):
            data += sock.recv(1000)
        sock.sendall(b"\x88\x80\0\0\0\0")
        assert sock.recv(2) == b"\x88\0"
        sock.unwrap()  # TLS is ended, too
    settled(server)


def test_server_pushes_while_nobody_sends(server):
    with server.connect("/hold") as ws:
        assert ws.recv(SOON) == "ready"
        assert ws.ping().wait(SOON)


def test_client_without_tls_costs_only_itself(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON) as sock:
        sock.sendall(b"GET /echo HTTP/1.1\r\n\r\n")
        try:
            while sock.recv(1000):
                pass
        except OSError:
            pass
    with server.connect() as ws:
        ws.send("still there")
        assert ws.recv(SOON) == "still there"


def test_clients_know_the_authority():
    """Or else none of the above shows anything."""
    assert contexts()[1].verify_mode is ssl.CERT_REQUIRED
