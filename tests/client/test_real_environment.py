"""The environment names proxies that others have written; and who is reached without."""

import socket

import pytest
from support import peers
from support.certificates import client_context, contexts
from support.pairs import SOON
from support.scripted import nothing_left
from support.serving import serving

from syncws import InvalidProxyStatus, connect

pytestmark = pytest.mark.peers


@pytest.fixture
def plain_server():
    with serving(host="localhost") as server:
        yield server


def assert_works_by(ws, port):
    """What we are connected to listens there, and messages go to and fro."""
    with ws:
        assert ws.remote_address[1] == port
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


@pytest.mark.parametrize(
    "name", ["ws_proxy", "http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"]
)
def test_the_proxy_of_the_environment_is_used(monkeypatch, http_proxy, plain_server, name):
    monkeypatch.setenv(name, http_proxy.uri("http"))
    assert_works_by(connect(plain_server.uri), http_proxy.port)


@pytest.mark.parametrize("name", ["wss_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_the_proxy_of_the_environment_is_used_for_wss(monkeypatch, http_proxy, name):
    monkeypatch.setenv(name, http_proxy.uri("http"))
    with serving(ssl=contexts()[0]) as server:
        assert_works_by(connect(server.uri, ssl=client_context()), http_proxy.port)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks", "http"])
def test_socks_of_the_environment_comes_first(
    monkeypatch, socks_proxy, http_proxy, plain_server, scheme
):
    peers.need_python_socks()
    monkeypatch.setenv("socks_proxy", socks_proxy.uri(scheme))
    monkeypatch.setenv("https_proxy", http_proxy.uri("http"))
    assert_works_by(connect(plain_server.uri), socks_proxy.port)


def test_an_https_proxy_of_the_environment_is_used(monkeypatch, https_proxy, plain_server):
    monkeypatch.setenv("https_proxy", f"https://{peers.HARD}@localhost:{https_proxy.port}")
    assert_works_by(connect(plain_server.uri, proxy_ssl=client_context()), https_proxy.port)


def test_no_proxy_at_all_can_be_asked_for(monkeypatch, refusing_http_proxy, plain_server):
    monkeypatch.setenv("https_proxy", refusing_http_proxy.uri("http"))
    assert_works_by(connect(plain_server.uri, proxy=None), plain_server.port)


@pytest.fixture
def named_server(monkeypatch, refusing_http_proxy):
    """A server that has every name, and a proxy in the environment that refuses them all."""

    def getaddrinfo(host, port, *args, **kwargs):
        return real("127.0.0.1" if host.endswith("example.com") else host, port, *args, **kwargs)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("https_proxy", refusing_http_proxy.uri("http"))
    with serving() as server:
        yield server


@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("127.0.0.1", "10.0.0.0/8, 127.0.0.0/30"),
        ("127.0.0.1", "127.0.0.1:PORT"),
        ("127.0.0.1", "*"),
        ("chat.example.com", "chat.example.com"),
        ("chat.example.com", "Chat.Example.COM:PORT"),
        ("chat.example.com", "example.org,example.com"),
        ("chat.example.com", ".example.com"),
        ("chat.example.com", ".example.com:PORT"),
        ("CHAT.example.com", "*.example.com"),
    ],
)
def test_no_proxy_is_for_hosts_suffixes_and_networks(monkeypatch, named_server, host, no_proxy):
    monkeypatch.setenv("no_proxy", no_proxy.replace("PORT", str(named_server.port)))
    assert_works_by(connect(f"ws://{host}:{named_server.port}/"), named_server.port)


@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        ("127.0.0.1", ""),
        ("127.0.0.1", "127.0.0.1:1"),
        ("127.0.0.1", "10.0.0.0/8"),
        ("127.0.0.1", "localhost"),
        ("chat.example.com", "example.com:1"),
        ("chat.example.com", "other.example.com"),
        ("chatexample.com", "example.com, .example.com"),
        ("chat.example.com", "127.0.0.1"),
    ],
)
def test_no_proxy_is_for_nobody_else(monkeypatch, named_server, host, no_proxy):
    monkeypatch.setenv("no_proxy", no_proxy)
    with nothing_left(), pytest.raises(InvalidProxyStatus, match="403"):
        connect(f"ws://{host}:{named_server.port}/")
