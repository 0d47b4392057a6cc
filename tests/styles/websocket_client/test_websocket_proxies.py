"""``WebSocket``, websocket-client's object: proxies, by its options or by the environment."""

import pytest
from support.pairs import SOON
from support.proxies import tunnel
from support.scripted import failure, says, scripted_server
from support.serving import serving

from syncws import styles as websocket
from syncws.styles.websocket_client.options import connect_arguments


def proxy_of(**options):
    return connect_arguments("ws://chat.example.com/", None, options)["proxy"]


@pytest.fixture
def _no_proxies(monkeypatch):
    for name in ("http", "https", "ws", "wss", "socks", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


@pytest.mark.usefixtures("_no_proxies")
def test_proxy_becomes_a_url():
    assert proxy_of() is None
    at = {"http_proxy_host": "proxy", "http_proxy_port": 3128}
    assert proxy_of(**at) == "http://proxy:3128"
    assert proxy_of(**at, proxy_type="socks5h") == "socks5h://proxy:3128"
    assert proxy_of(**at, http_proxy_auth=("me", "p@ss:/")) == "http://me:p%40ss%3A%2F@proxy:3128"
    assert proxy_of(**at, http_proxy_auth=("me", None)) == "http://me:@proxy:3128"
    assert proxy_of(**at, http_proxy_auth=(None, None)) == "http://proxy:3128"
    assert proxy_of(http_proxy_host="::1", http_proxy_port="8080") == "http://[::1]:8080"
    assert proxy_of(http_proxy_host="[::1]", http_proxy_port="8080") == "http://[::1]:8080"


@pytest.mark.usefixtures("_no_proxies")
def test_proxy_of_the_environment_is_that_of_the_scheme(monkeypatch):
    def proxies():
        return [
            connect_arguments(f"{scheme}://chat.example.com/", None, {})["proxy"]
            for scheme in ("ws", "wss")
        ]

    for name in ("all_proxy", "socks_proxy", "ws_proxy", "wss_proxy"):
        monkeypatch.setenv(name, "http://never:1")
    assert proxies() == [None, None]
    monkeypatch.setenv("https_proxy", "http://secure:1")
    assert proxies() == [None, "http://secure:1"]
    monkeypatch.setenv("HTTP_PROXY", "http://me:pass@plain:1")
    assert proxies() == ["http://me:pass@plain:1", "http://secure:1"]
    monkeypatch.setenv("http_proxy", "")  # it counts, though it is empty
    assert proxies() == [None, "http://secure:1"]
    monkeypatch.setenv("https_proxy", "secure:1")
    assert proxies() == [None, None]


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_environment_says_which_hosts_are_reached_without_a_proxy(name, monkeypatch):
    at = {"http_proxy_host": "proxy", "http_proxy_port": 3128}
    monkeypatch.setenv("http_proxy", "http://plain:1")
    monkeypatch.setenv(name, "localhost, example.com")
    assert proxy_of() is None
    assert proxy_of(**at) is None
    assert proxy_of(**at, proxy_type="socks5") == "socks5://proxy:3128"
    assert proxy_of(**at, http_no_proxy=["example.org"]) == "http://proxy:3128"  # in its place
    assert proxy_of(http_no_proxy=["example.org"]) == "http://plain:1"


@pytest.mark.usefixtures("_no_proxies")
def test_plain_connection_goes_through_the_proxy_for_plain_ones(monkeypatch):
    requests = []
    with serving() as server, scripted_server(tunnel(requests)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        ws = websocket.create_connection(server.uri, timeout=SOON)
        ws.send("hello")
        assert ws.recv() == "hello"
        ws.close()
    assert len(requests) == 1


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("excluded", [["example.com"], [".example.com", "x"], "example.com", "*"])
def test_hosts_are_reached_without_the_proxy(excluded):
    at = {"http_proxy_host": "proxy", "http_proxy_port": 3128}
    assert proxy_of(**at, http_no_proxy=excluded) is None
    assert proxy_of(http_no_proxy=excluded) is None
    assert proxy_of(**at, http_no_proxy=["example.org"]) == "http://proxy:3128"


def test_proxy_is_used():
    requests = []
    with serving() as server, scripted_server(tunnel(requests)) as proxy:
        ws = websocket.create_connection(
            server.uri,
            http_proxy_host="127.0.0.1",
            http_proxy_port=str(proxy.port),
            http_proxy_auth=("me", "secret"),
        )
        ws.send("hello")
        assert ws.recv() == "hello"
        ws.close()
    ((first, headers),) = requests
    assert first == f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"
    assert headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


def test_proxy_that_refuses_is_told_by_its_name():
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
    with scripted_server(says(refusal)) as proxy, failure(websocket.WebSocketProxyException):
        websocket.create_connection(
            "ws://localhost:1/", http_proxy_host="127.0.0.1", http_proxy_port=proxy.port
        )
