"""By way of proxies that others have written: tinyproxy, HAProxy, Dante and microsocks."""

import contextlib
import socket
import ssl

import pytest
from support import peers
from support.certificates import client_context, contexts, server_context
from support.pairs import SOON, run
from support.scripted import nothing_left, scripted_server
from support.serving import serving

from syncws import (
    ConnectionClosedError,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
    connect,
)

pytestmark = pytest.mark.peers

#: Every kind of proxy: the fixture that runs it, the scheme, and credentials.
KINDS = {
    "http": ("http_proxy", "http", None),
    "http with credentials": ("strict_http_proxy", "http", f"{peers.USER}:{peers.PASSWORD}"),
    "https with credentials": ("https_proxy", "https", peers.HARD),
    "socks4": ("socks_proxy", "socks4", None),
    "socks5": ("socks_proxy", "socks5", None),
    "socks5h": ("socks_proxy", "socks5h", None),
    "socks5 with credentials": ("strict_socks_proxy", "socks5", peers.HARD),
    "socks5h with credentials": ("strict_socks_proxy", "socks5h", peers.HARD),
}

#: Of these, the ones whose proxy has IPv6 here.
SOCKS_OF_IPV6 = ("socks5 with credentials", "socks5h with credentials")


class Through:
    """A proxy, and what to give to connect() to have it used."""

    def __init__(self, proxy, scheme, credentials):
        self.port = proxy.port
        self.url = proxy.uri(scheme, credentials).replace("127.0.0.1", "localhost")
        self.arguments = {"proxy": self.url}
        if scheme == "https":
            self.arguments["proxy_ssl"] = client_context()

    def connect(self, server, **kwargs):
        """A connection; it does go by the proxy."""
        if server.uri.startswith("wss"):
            kwargs["ssl"] = client_context()
        ws = connect(server.uri, **self.arguments, **kwargs)
        assert ws.remote_address[1] == self.port
        return ws


@pytest.fixture(params=KINDS)
def through(request):
    name, scheme, credentials = KINDS[request.param]
    if scheme.startswith("socks"):
        peers.need_python_socks()
    return Through(request.getfixturevalue(name), scheme, credentials)


@pytest.fixture(params=["ws", "wss"])
def server(request):
    """A server with a name, for each address that it has."""
    with serving(host="localhost", ssl=contexts()[0] if request.param == "wss" else None) as server:
        yield server


@pytest.fixture
def plain_server():
    with serving(host="localhost") as server:
        yield server


def assert_works(ws):
    with ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
    assert ws.close_code == 1000


# --- what goes through ---


def test_connections_work_through_every_kind_of_proxy(through, server):
    with nothing_left():
        assert_works(through.connect(server))


def test_megabytes_go_both_ways_at_once_through_every_kind_of_proxy(through):
    def send_all(ws):
        for number in range(8):
            ws.send(bytes([number]) * (1 << 20))

    def talk(ws):
        sending = run(send_all, ws)
        received = [ws.recv(SOON) for _ in range(8)]
        sending.result()
        return [(message[0], len(message), len(set(message))) for message in received]

    def handler(ws):
        outcome.append(talk(ws))

    outcome = []
    with serving(handler, host="localhost", ssl=contexts()[0], compression=None) as server:
        with through.connect(server, compression=None) as ws:
            outcome.append(talk(ws))
            assert ws.wait_closed(SOON)
        assert ws.close_code == 1000
    assert outcome == [[(number, 1 << 20, 1) for number in range(8)]] * 2


def test_closing_by_the_server_comes_through_every_kind_of_proxy(through):
    tls = contexts()[0]
    with serving(lambda ws: ws.close(4321, "enough"), host="localhost", ssl=tls) as server:
        ws = through.connect(server)
        assert ws.wait_closed(SOON)
    assert (ws.close_code, ws.close_reason) == (4321, "enough")


def test_a_refusal_of_the_server_is_not_one_of_the_proxy(through):
    def refuse(connection, request):
        return connection.respond(403, "not you\n")

    with serving(host="localhost", process_request=refuse) as server:
        with nothing_left(), pytest.raises(InvalidStatus) as info:
            through.connect(server)
        assert info.value.response.status_code == 403
        assert info.value.response.body == b"not you\n"


def test_the_server_s_certificate_is_checked_through_every_kind_of_proxy(through):
    refused = pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)hostname mismatch")
    with serving(host="localhost", ssl=server_context("example.com")) as server:
        with nothing_left(), refused:
            through.connect(server)
        assert_works(through.connect(server, server_hostname="example.com"))


def test_a_proxy_serves_many_threads_at_once(through, plain_server):
    clients = [run(lambda: assert_works(through.connect(plain_server))) for _ in range(10)]
    for client in clients:
        client.result()


def test_addresses_are_asked_for_as_well_as_names(through):
    with serving(ssl=contexts()[0]) as server:
        assert server.uri.startswith("wss://127.0.0.1:")
        assert_works(through.connect(server))


@pytest.mark.parametrize("kind", ["http", "https with credentials", *SOCKS_OF_IPV6])
def test_ipv6_addresses_are_asked_for_too(request, kind):
    name, scheme, credentials = KINDS[kind]
    if scheme.startswith("socks"):
        peers.need_python_socks()
    through = Through(request.getfixturevalue(name), scheme, credentials)
    with serving(host="::1", ssl=contexts()[0]) as server:
        assert server.uri.startswith("wss://[::1]:")
        assert_works(through.connect(server))


def test_a_proxy_that_ends_ends_the_connection(plain_server):
    with peers.tinyproxy() as proxy, connect(plain_server.uri, proxy=proxy.uri("http")) as ws:
        proxy.close()
        with pytest.raises(ConnectionClosedError):
            ws.recv(SOON)


# --- what HTTP proxies refuse ---


@contextlib.contextmanager
def refused_with(status):
    """A proxy refuses in the block, with this status; yields its response, when it is there."""
    with nothing_left(), pytest.raises(InvalidProxyStatus) as info:
        yield info
    assert info.value.response.status_code == status
    assert info.value.response.body


def test_a_proxy_that_gets_no_credentials_says_407(strict_http_proxy, server):
    with refused_with(407) as info:
        connect(server.uri, proxy=strict_http_proxy.uri("http"))
    assert info.value.response.headers["Proxy-Authenticate"] == 'Basic realm="Tinyproxy"'
    assert b"requires authentication" in info.value.response.body


def test_a_proxy_that_gets_wrong_credentials_refuses(strict_http_proxy, server):
    with refused_with(401):  # that's what it says then
        connect(server.uri, proxy=strict_http_proxy.uri("http", f"{peers.USER}:wrong"))


@pytest.mark.parametrize(
    "credentials", [None, f"{peers.USER}:wrong", f"nobody:{peers.HARD}", "nobody:"]
)
def test_an_https_proxy_that_gets_wrong_credentials_says_407(https_proxy, server, credentials):
    through = Through(https_proxy, "https", credentials)
    with refused_with(407) as info:
        through.connect(server)
    assert info.value.response.headers["Proxy-Authenticate"] == 'Basic realm="people"'


def test_credentials_for_the_proxy_are_for_nobody_else(strict_http_proxy, plain_server):
    through = Through(strict_http_proxy, "http", f"{peers.USER}:{peers.PASSWORD}")
    with through.connect(plain_server) as ws:
        assert "Proxy-Authorization" not in ws.request.headers
        assert "Authorization" not in ws.request.headers


def test_credentials_for_the_server_are_not_for_the_proxy(strict_http_proxy, plain_server):
    uri = plain_server.uri.replace("://", f"://{peers.USER}:{peers.PASSWORD}@")
    with refused_with(407):
        connect(uri, proxy=strict_http_proxy.uri("http"))
    with refused_with(407):
        headers = {"Proxy-Authorization": "Basic YWxhZGRpbjpvcGVuLXNlc2FtZQ=="}
        connect(uri, proxy=strict_http_proxy.uri("http"), additional_headers=headers)


def test_a_port_that_a_proxy_does_not_allow_is_403(refusing_http_proxy, server):
    with refused_with(403):
        connect(server.uri, proxy=refusing_http_proxy.uri("http"))


def test_a_host_that_a_proxy_does_not_allow_is_403(tmp_path, plain_server):
    (tmp_path / "filter").write_text("^localhost$\n")
    with peers.tinyproxy(f'Filter "{tmp_path}/filter"') as proxy:
        with refused_with(403):
            connect(plain_server.uri, proxy=proxy.uri("http"))
        through = Through(proxy, "http", None)
        with serving() as server:
            assert_works(through.connect(server))


def test_a_server_that_the_proxy_can_not_reach_is_a_refusal(http_proxy, closed_port):
    with refused_with(500):
        connect(f"ws://localhost:{closed_port}/", proxy=http_proxy.uri("http"))


def test_a_server_that_the_https_proxy_can_not_reach_is_a_refusal(https_proxy, closed_port):
    with refused_with(500):
        connect(
            f"ws://localhost:{closed_port}/", **Through(https_proxy, "https", peers.HARD).arguments
        )


# --- proxies of another kind than their URL says, and those that aren't there ---


@pytest.mark.parametrize("scheme", ["http", "https", "socks4", "socks4a", "socks5", "socks5h"])
def test_a_proxy_that_can_not_be_reached_is_an_error_that_says_so(closed_port, server, scheme):
    if scheme.startswith("socks"):
        peers.need_python_socks()
    with nothing_left(), pytest.raises(ConnectionRefusedError, match="proxy") as info:
        connect(server.uri, proxy=f"{scheme}://127.0.0.1:{closed_port}")
    assert str(closed_port) in str(info.value)


@pytest.fixture(scope="module")
def web_server():
    with peers.nginx("server {{ listen 127.0.0.1:{}; }}".format, 1, "localhost") as web_server:
        yield web_server


def test_a_web_server_is_no_http_proxy(web_server, server):
    with nothing_left(), pytest.raises(InvalidProxyStatus) as info:
        connect(server.uri, proxy=web_server.uri("http"))
    assert info.value.response.status_code in (400, 405)  # newer ones say that CONNECT is known


def test_tls_is_not_what_an_http_proxy_says(https_proxy, server):
    # HAProxy closes at once, or sends an alert of TLS before.
    with nothing_left(), pytest.raises((InvalidProxyMessage, ConnectionError)):
        connect(server.uri, proxy=https_proxy.uri("http"))


def test_http_is_not_what_an_https_proxy_says(web_server, server):
    with nothing_left(), pytest.raises(ssl.SSLError):
        Through(web_server, "https", None).connect(server)


def test_socks_is_not_what_an_http_proxy_says(strict_socks_proxy, server):
    with nothing_left(), pytest.raises((InvalidProxyMessage, ConnectionError)):
        connect(server.uri, proxy=strict_socks_proxy.uri("http"))


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
def test_http_is_not_what_a_socks_proxy_says(web_server, server, scheme):
    peers.need_python_socks()
    with nothing_left(), pytest.raises(ProxyError):
        connect(server.uri, proxy=web_server.uri(scheme))


@pytest.mark.parametrize("scheme", ["https", "socks4", "socks5"])
def test_an_http_proxy_that_waits_for_more_is_a_timeout_elsewhere(http_proxy, server, scheme):
    if scheme.startswith("socks"):
        peers.need_python_socks()
    with nothing_left(), pytest.raises(TimeoutError, match="proxy"):
        connect(server.uri, proxy=http_proxy.uri(scheme), open_timeout=0.2)


# --- the certificate of an HTTPS proxy ---


def test_the_proxy_s_certificate_must_be_trusted(https_proxy, server):
    refused = pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer")
    with nothing_left(), refused:
        connect(server.uri, proxy=f"https://{peers.HARD}@localhost:{https_proxy.port}")


def test_trust_in_the_server_s_authority_is_not_trust_in_the_proxy_s(https_proxy):
    refused = pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer")
    with serving(host="localhost", ssl=contexts()[0]) as server, nothing_left(), refused:
        proxy = f"https://{peers.HARD}@localhost:{https_proxy.port}"
        connect(server.uri, proxy=proxy, ssl=client_context())


def test_trust_in_the_proxy_s_authority_is_not_trust_in_the_server_s(https_proxy):
    through = Through(https_proxy, "https", peers.HARD)
    refused = pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer")
    with serving(host="localhost", ssl=contexts()[0]) as server, nothing_left(), refused:
        connect(server.uri, **through.arguments)


def test_the_proxy_s_certificate_must_have_its_name(https_proxy, server):
    refused = pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)mismatch.*127\.0\.0\.1")
    with nothing_left(), refused:
        connect(server.uri, proxy=https_proxy.uri("https", peers.HARD), proxy_ssl=client_context())


def test_another_name_of_the_proxy_can_be_checked(https_proxy, plain_server):
    ws = connect(
        plain_server.uri,
        proxy=https_proxy.uri("https", peers.HARD),
        proxy_ssl=client_context(),
        proxy_server_hostname="localhost",
    )
    assert_works(ws)


def test_server_hostname_is_not_the_proxy_s(https_proxy):
    through = Through(https_proxy, "https", peers.HARD)
    with serving(host="localhost", ssl=server_context("example.com")) as server:
        assert_works(through.connect(server, server_hostname="example.com"))


# --- SOCKS ---


@pytest.fixture
def looked_up(monkeypatch):
    """The names that have been looked up here."""
    peers.need_python_socks()
    names = []
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        found = real(host, port, *args, **kwargs)
        names.append(host)
        return found

    with serving(host="localhost") as server:  # it looks them up, too
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield names, server


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_names_are_looked_up_here_with(looked_up, socks_proxy, scheme):
    names, server = looked_up
    with connect(server.uri, proxy=socks_proxy.uri(scheme)) as ws:
        assert ws.remote_address[1] == socks_proxy.port
        assert "localhost" in names
        assert_works(ws)


def test_names_are_looked_up_by_the_proxy_with_socks5h(looked_up, socks_proxy, strict_socks_proxy):
    names, server = looked_up
    for url in (socks_proxy.uri("socks5h"), strict_socks_proxy.uri("socks5h", peers.HARD)):
        assert_works(connect(server.uri, proxy=url))
    assert set(names) == {"127.0.0.1"}  # the proxy


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_names_that_only_we_know_can_be_reached_by(monkeypatch, socks_proxy, scheme):
    def getaddrinfo(host, port, *args, flags=0, **kwargs):
        if host == "only-here.example" and not flags:
            host = "127.0.0.1"
        return real(host, port, *args, flags=flags, **kwargs)

    peers.need_python_socks()
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with serving() as server:
        uri = f"ws://only-here.example:{server.port}/"
        with connect(uri, proxy=socks_proxy.uri(scheme)) as ws:
            assert ws.request.headers["Host"] == f"only-here.example:{server.port}"
            assert_works(ws)


def test_a_proxy_that_knows_socks4_but_not_4a_refuses_names(socks_proxy, plain_server):
    peers.need_python_socks()
    with nothing_left(), pytest.raises(ProxyError, match="localhost"):
        connect(plain_server.uri, proxy=socks_proxy.uri("socks4a"))


def socks4a_relay(sock):
    """A script: SOCKS4a by its specification, since none of these proxies has it."""
    reader = sock.makefile("rb", buffering=0)
    request = reader.read(8)
    user, name = (b"".join(iter(lambda: reader.read(1), b"\0")) for _ in range(2))
    assert request[:2] == b"\x04\x01"
    assert request[4:7] == bytes(3)
    assert request[7] != 0
    assert (user, name) == (b"aladdin", b"localhost")
    port = int.from_bytes(request[2:4], "big")
    with socket.create_connection((name.decode(), port), timeout=SOON) as server:
        sock.sendall(b"\x00\x5a" + bytes(6))
        back = run(pump, server, sock)
        pump(sock, server)
        back.result()


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_names_are_looked_up_by_the_proxy_with_socks4a(looked_up):
    names, server = looked_up
    with scripted_server(socks4a_relay) as proxy:
        assert_works(connect(server.uri, proxy=f"socks4a://aladdin@127.0.0.1:{proxy.port}"))
        assert names.count("localhost") == 1  # by the proxy, which is in this process


@pytest.mark.parametrize("credentials", [None, f"{peers.USER}:wrong", f"nobody:{peers.HARD}"])
def test_a_socks_proxy_that_gets_wrong_credentials_refuses(strict_socks_proxy, server, credentials):
    peers.need_python_socks()
    with nothing_left(), pytest.raises(ProxyError):
        connect(server.uri, proxy=strict_socks_proxy.uri("socks5", credentials))


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
def test_a_server_that_a_socks_proxy_can_not_reach_is_a_refusal(socks_proxy, closed_port, scheme):
    peers.need_python_socks()
    with nothing_left(), pytest.raises(ProxyError, match=f"localhost|127.*{closed_port}"):
        connect(f"ws://localhost:{closed_port}/", proxy=socks_proxy.uri(scheme))


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
def test_a_server_that_a_socks_proxy_does_not_allow_is_a_refusal(server, scheme):
    peers.need_python_socks()
    rule = f"socks block {{ from: 0/0 to: 0/0 port = {server.port} }}"
    with peers.danted(rule) as proxy, nothing_left(), pytest.raises(ProxyError):
        connect(server.uri, proxy=proxy.uri(scheme))
