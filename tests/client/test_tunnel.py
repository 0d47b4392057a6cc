import contextlib
import socket
import ssl
import threading
import time

import pytest
from support.certificates import client_context, contexts, server_context
from support.pairs import SOON
from support.proxies import ESTABLISHED, bytewise, grouped, tunnel
from support.scripted import (
    failure,
    mute_after,
    nothing_left,
    parse_head,
    read_all,
    read_head,
    says,
    scripted_server,
    silent,
)
from support.serving import assert_works, echo, serving

from syncws import InvalidProxyMessage, InvalidProxyStatus, InvalidStatus, connect
from syncws.client.client_connection import USER_AGENT


@pytest.fixture
def server():
    with serving() as server:
        yield server


def through(server, proxy, *, scheme="http", credentials="", **kwargs):
    """Connect to a server by a proxy on loopback."""
    return connect(server.uri, proxy=f"{scheme}://{credentials}localhost:{proxy.port}", **kwargs)


def request_of(**kwargs):
    """First line and headers of what a proxy is sent when it is to connect somewhere."""
    requests = []

    def script(sock):
        requests.append(parse_head(read_head(sock))[:2])

    with scripted_server(script) as proxy, pytest.raises(InvalidProxyMessage):
        connect(
            kwargs.pop("uri", "ws://server.example/"),
            proxy=f"http://{kwargs.pop('credentials', '')}localhost:{proxy.port}",
            **kwargs,
        )
    return requests[0]


# --- the request ---


def test_a_tunnel_leads_to_the_server(server):
    requests = []
    with scripted_server(tunnel(requests)) as proxy, through(server, proxy) as ws:
        assert ws.request.headers["Host"] == f"127.0.0.1:{server.port}"
        assert "Proxy-Authorization" not in ws.request.headers
        assert_works(ws)
    first, headers = requests[0]
    assert first == f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"
    assert headers == {"host": f"127.0.0.1:{server.port}", "user-agent": USER_AGENT}


@pytest.mark.parametrize(
    ("uri", "authority"),
    [
        ("ws://server.example/path?query", "server.example:80"),
        ("wss://server.example/", "server.example:443"),
        ("ws://[::1]:8080/", "[::1]:8080"),
        ("ws://b\u00fccher.example/", "xn--bcher-kva.example:80"),
    ],
)
def test_the_proxy_is_told_host_and_port(uri, authority):
    first, headers = request_of(uri=uri)
    assert first == f"CONNECT {authority} HTTP/1.1"
    assert headers["host"] == authority


def test_host_and_port_decide_where_the_tunnel_leads():
    first, _ = request_of(host="other.example", port=8080)
    assert first == "CONNECT other.example:8080 HTTP/1.1"


def test_the_proxy_gets_its_credentials_only():
    _, headers = request_of(
        uri="ws://user:secret@server.example/",
        credentials="me:p%40ss@",
        additional_headers={"Authorization": "Bearer token", "X-Mine": "1"},
    )
    assert headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
    assert set(headers) == {"host", "user-agent", "proxy-authorization"}


def test_a_user_without_a_password_can_be_sent():
    assert request_of(credentials="me@")[1]["proxy-authorization"] == "Basic bWU6"


def test_the_proxy_gets_the_user_agent_of_the_program():
    assert request_of(user_agent_header="Mine/1.0")[1]["user-agent"] == "Mine/1.0"
    assert "user-agent" not in request_of(user_agent_header=None)[1]


def test_the_source_address_is_the_one_for_the_proxy(server):
    addresses = []

    def script(sock):
        addresses.append(sock.getpeername()[0])
        tunnel()(sock)

    with scripted_server(script) as proxy:
        assert_works(through(server, proxy, source_address=("127.0.0.2", 0)))
    assert addresses == ["127.0.0.2"]


# --- the answer ---


@pytest.mark.parametrize(
    "response",
    [
        ESTABLISHED,
        b"HTTP/1.0 200 OK\r\nProxy-agent: old\r\n\r\n",
        b"HTTP/1.1 204 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_any_status_of_2xx_opens_the_tunnel(server, response):
    with scripted_server(tunnel(response=response)) as proxy:
        assert_works(through(server, proxy))


@pytest.mark.parametrize("status", [301, 403, 407, 502])
def test_a_proxy_that_refuses_is_an_error_with_its_response(server, status):
    response = f"HTTP/1.1 {status} No\r\nContent-Length: 4\r\nX-Why: mood\r\n\r\nbody".encode()
    refused = failure(InvalidProxyStatus, f"HTTP {status}")
    with scripted_server(says(response)) as proxy, refused as info:
        through(server, proxy)
    assert info.value.response.status_code == status
    assert info.value.response.headers["X-Why"] == "mood"
    assert info.value.response.body == b"body"


def test_a_refusal_of_which_the_body_never_ends_is_one_all_the_same(server):
    script = mute_after(b"HTTP/1.1 407 No\r\n\r\nno")
    with (
        scripted_server(script) as proxy,
        nothing_left(),
        pytest.raises(InvalidProxyStatus) as info,
    ):
        through(server, proxy, open_timeout=0.2)
    assert info.value.response.body == b"no"


def test_a_refusal_of_which_the_body_never_ends_is_known_long_before_open_timeout(server):
    script = mute_after(b"HTTP/1.1 407 No\r\nContent-Length: 100\r\n\r\nno")
    started = time.monotonic()
    with scripted_server(script) as proxy, failure(InvalidProxyStatus, "407") as info:
        through(server, proxy, open_timeout=SOON)
    assert time.monotonic() - started < SOON / 2
    assert info.value.response.body == b"no"


def test_a_refusal_of_which_the_body_ends_in_a_reset_is_one_all_the_same(server, monkeypatch):
    def recv(transport, deadline=None):
        if not pieces:
            raise ConnectionResetError(104, "Connection reset by peer")
        return pieces.pop(0)

    monkeypatch.setattr("syncws.threaded.transport.Transport.recv", recv)
    pieces = [b"HTTP/1.1 407 No\r\nContent-Length: 100\r\n\r\n", b"no"]
    with scripted_server(silent) as proxy, failure(InvalidProxyStatus, "407") as info:
        through(server, proxy)
    assert info.value.response.body == b"no"


def test_a_refusal_of_which_the_body_is_not_valid_is_one_all_the_same(server):
    script = says(b"HTTP/1.1 407 No\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n")
    with scripted_server(script) as proxy, nothing_left(), pytest.raises(InvalidProxyStatus):
        through(server, proxy)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([], "connection closed before the status line"),
        ([b"HTTP/1.1 200"], "connection closed after 12 bytes"),
        ([b"HTTP/1.1 200 OK\r\nA: b\r\n"], "connection closed after 1 headers"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "malformed status line"),
        ([b"HTTP/2.0 200 OK\r\n\r\n"], "HTTP/2.0"),
        ([b"HTTP/1.1 200 OK\r\nA" + b"a" * 20000 + b": b\r\n\r\n"], "more than 16384"),
        ([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"], "more than 128 headers"),
        ([ESTABLISHED + b"HTTP/1.1 101 "], "sent 13 bytes after its response"),
    ],
)
def test_what_a_proxy_says_is_checked(server, pieces, reason):
    with scripted_server(says(*pieces)) as proxy, failure(InvalidProxyMessage, reason):
        through(server, proxy)


def test_the_limit_of_headers_is_for_the_proxy_s_too(server):
    response = b"HTTP/1.1 200 OK\r\nA: " + b"a" * 20_000 + b"\r\n\r\n"
    with scripted_server(tunnel(response=response)) as proxy:
        assert_works(through(server, proxy, max_header_size=2**15))


def test_a_proxy_that_resets_the_connection_is_an_error(server):
    def script(sock):
        read_head(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    with scripted_server(script) as proxy, nothing_left(), pytest.raises(ConnectionResetError):
        through(server, proxy)


def test_a_silent_proxy_is_a_timeout(server):
    slow = pytest.raises(TimeoutError, match="timed out while waiting for the proxy's response")
    with scripted_server(silent) as proxy, nothing_left(), slow:
        through(server, proxy, open_timeout=0.1)


def test_a_proxy_that_can_not_be_reached_is_an_error_that_names_it(server):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with nothing_left(), pytest.raises(ConnectionRefusedError) as info:
            connect(server.uri, proxy=f"http://127.0.0.1:{port}")
    assert f"'proxy 127.0.0.1 port {port}'" in str(info.value)


def test_a_server_that_is_silent_behind_the_proxy_is_a_timeout():
    slow = failure(TimeoutError, "timed out during opening handshake")
    with scripted_server(silent) as server, scripted_server(tunnel()) as proxy, slow:
        through(server, proxy, open_timeout=0.2)


def test_the_server_s_refusal_is_not_the_proxy_s():
    script = says(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
    refused = failure(InvalidStatus, "HTTP 407")
    with scripted_server(script) as server, scripted_server(tunnel()) as proxy, refused:
        through(server, proxy)


# --- TLS ---


def test_tls_goes_through_the_tunnel():
    server_tls, client_tls = contexts()
    with serving(ssl=server_tls) as server, scripted_server(tunnel()) as proxy:
        ws = through(server, proxy, ssl=client_tls)
        assert ws.secure
        assert_works(ws)


def test_the_proxy_can_be_reached_by_tls(server):
    server_tls, client_tls = contexts()
    with scripted_server(tunnel(), server_tls) as proxy:
        assert_works(through(server, proxy, scheme="https", proxy_ssl=client_tls))


def test_the_proxy_s_certificate_is_checked(server):
    refused = failure(ssl.SSLCertVerificationError, r"pass proxy_ssl=ssl\.create_default_context")
    with scripted_server(refusing(server_context())) as proxy, refused:
        through(server, proxy, scheme="https")


def test_the_proxy_s_name_is_checked(server):
    refused = failure(ssl.SSLCertVerificationError, "pass proxy_server_hostname=")
    with scripted_server(refusing(server_context("other.example"))) as proxy, refused:
        through(server, proxy, scheme="https", proxy_ssl=client_context())


def test_the_proxy_s_certificate_may_be_for_another_name(server):
    context = server_context("proxy.example")
    with scripted_server(tunnel(), context) as proxy:
        ws = through(
            server,
            proxy,
            scheme="https",
            proxy_ssl=client_context(),
            proxy_server_hostname="proxy.example",
        )
        assert_works(ws)


def refusing(context):
    """A script of a server with TLS, whose client refuses its certificate."""

    def script(sock):
        with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
            read_all(tls)

    return script


def test_a_proxy_that_is_silent_in_tls_is_a_timeout(server):
    slow = pytest.raises(TimeoutError, match="timed out during the TLS handshake with the proxy")
    with scripted_server(silent) as proxy, nothing_left(), slow:
        through(server, proxy, scheme="https", proxy_ssl=client_context(), open_timeout=0.1)


@contextlib.contextmanager
def tls_in_tls(handler=echo, regroup=None):
    """A connection by TLS to a server, through a proxy that is reached by TLS."""
    server_tls, client_tls = contexts()
    proxy_script = tunnel(regroup=regroup)
    with (
        serving(handler, ssl=server_tls) as server,
        scripted_server(proxy_script, server_tls) as proxy,
        through(
            server, proxy, scheme="https", ssl=client_tls, proxy_ssl=client_tls, compression=None
        ) as ws,
    ):
        yield ws


def test_tls_in_tls_carries_megabytes_both_ways():
    payload = bytes(range(256)) * 3000
    with tls_in_tls() as ws:
        for _ in range(5):
            ws.send(payload)
            assert ws.recv(SOON) == payload


def test_many_records_in_one_outer_record_are_all_received():
    number = 40
    begin = threading.Event()

    def handler(ws):
        assert ws.recv(SOON) == "go"
        begin.set()
        for index in range(number):
            ws.send(f"message {index}")
        ws.recv()

    with tls_in_tls(handler, grouped(number, begin)) as ws:
        ws.send("go")
        # Nothing more comes over the network after the first of them.
        received = [ws.recv(SOON) for _ in range(number)]
    assert received == [f"message {index}" for index in range(number)]


def test_a_record_may_come_in_many_outer_records():
    with tls_in_tls(regroup=bytewise) as ws:
        ws.send("hello" * 100)
        assert ws.recv(SOON) == "hello" * 100
