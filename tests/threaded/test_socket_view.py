"""What programs may see of a connection's socket and TLS."""

import socket
import ssl
import threading

import pytest
from support.certificates import authority, client_context, server_context
from support.pairs import SOON, run, socket_pair
from support.serving import assert_works, serving, the_connection

from syncws import connect
from syncws.threaded.deadline import Deadline
from syncws.threaded.tls_socket import TlsSocketTransport


def mutual_contexts():
    """Both sides of TLS in which both have certificates, and agree on a protocol."""
    server, client = server_context(), client_context()
    server.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(server)
    authority().issue_cert("ann.example").configure_cert(client)
    for context in (server, client):
        context.set_alpn_protocols(["http/1.1"])
    return server, client


def names(certificate):
    return [value for kind, value in certificate["subjectAltName"] if kind == "DNS"]


@pytest.mark.parametrize("view", [lambda ws: ws.socket, lambda ws: ws.ssl_object])
def test_both_ends_read_certificate_cipher_and_protocol(view):
    def handler(ws):
        tls = view(ws)
        found.append((names(tls.getpeercert()), tls.cipher()[0], tls.version()))
        found.append((tls.selected_alpn_protocol(), tls.server_side, tls.getpeercert(True)[:1]))
        ws.recv()

    found = []
    server_side, client_side = mutual_contexts()
    with serving(handler, ssl=server_side) as server:
        with connect(server.uri, ssl=client_side) as ws:
            ws.send("go on")
            tls = view(ws)
            assert names(tls.getpeercert()) == ["localhost"]
            assert tls.selected_alpn_protocol() == "http/1.1"
            assert tls.server_hostname in ("localhost", "127.0.0.1")
            assert tls.context is client_side
            cipher, version = tls.cipher()[0], tls.version()
        assert names(ws.ssl_object.getpeercert()) == ["localhost"]  # also when it is closed
    assert found == [(["ann.example"], cipher, version), ("http/1.1", True, b"\x30")]


def test_the_certificate_is_known_when_the_request_is_judged():
    def process_request(ws, request):
        if "ann.example" not in names(ws.ssl_object.getpeercert()):
            return ws.respond(403)
        return None

    server_side, client_side = mutual_contexts()
    with serving(ssl=server_side, process_request=process_request) as server:
        assert_works(connect(server.uri, ssl=client_side))


def test_without_tls_there_is_no_tls_to_see():
    with serving() as server, connect(server.uri) as ws:
        assert ws.ssl_object is None
        with pytest.raises(AttributeError, match="getpeercert"):
            ws.socket.getpeercert()


@pytest.mark.parametrize("secure", [False, True])
def test_addresses_and_options_of_the_socket(secure):
    server_side, client_side = mutual_contexts() if secure else (None, None)
    with serving(ssl=server_side) as server, connect(server.uri, ssl=client_side) as ws:
        assert ws.socket.getpeername() == ws.remote_address
        assert ws.socket.getsockname() == ws.local_address == the_connection(server).remote_address
        assert ws.socket.family is socket.AF_INET
        assert ws.socket.fileno() > 0
        ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert ws.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("name", ["recv", "send", "sendall", "close", "shutdown", "read", "unwrap"])
@pytest.mark.parametrize("secure", [False, True])
def test_what_is_the_connections_business_says_so(secure, name):
    server_side, client_side = mutual_contexts() if secure else (None, None)
    with serving(ssl=server_side) as server, connect(server.uri, ssl=client_side) as ws:
        for view in [ws.socket, ws.ssl_object] if secure else [ws.socket]:
            with pytest.raises(AttributeError, match=f"{name}.*the connection owns it"):
                getattr(view, name)
            assert type(view).__name__ in repr(view)


def test_looking_does_not_disturb_who_sends_and_receives():
    def look():
        while not done.is_set():
            ws.ssl_object.getpeercert()
            ws.ssl_object.cipher()

    done = threading.Event()
    server_side, client_side = mutual_contexts()
    with serving(ssl=server_side) as server, connect(server.uri, ssl=client_side) as ws:
        looking = [run(look) for _ in range(2)]
        for _ in range(200):
            ws.send(b"x" * 5000)
            assert len(ws.recv(SOON)) == 5000
        done.set()
        for each in looking:
            each.result()


def test_a_socket_that_somebody_else_wrapped_can_be_looked_at_too():
    server_side, client_side = mutual_contexts()
    client, server = socket_pair()
    wrapping = run(server_side.wrap_socket, server, server_side=True)
    with client_side.wrap_socket(client, server_hostname="localhost") as wrapped:
        transport = TlsSocketTransport(wrapping.result())
        wrapped.sendall(b"hello")
        assert transport.recv(Deadline(SOON)) == b"hello"
        assert names(transport.tls_view.getpeercert()) == ["ann.example"]
        transport.close()
