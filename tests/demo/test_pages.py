"""The demo over plain HTTP, who may connect, and the echo beside it."""

import contextlib
import http.client
import platform
import re

import pytest
from support.fallback_client import TEXT, FallbackClient
from support.pairs import SOON

import syncws
from syncws import demo
from syncws.demo import pages
from syncws.demo.chat import Chat

FILES = pages.read_files()


@pytest.fixture(scope="module")
def server():
    with demo.make_server("localhost", 0) as server:
        yield server


def fetch(server, method="GET", path="/", headers=()):
    connection = http.client.HTTPConnection("localhost", server.port, timeout=SOON)
    with contextlib.closing(connection):
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        return response, response.read()


# --- the page --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/?query"])
def test_page_is_served(server, path):
    response, body = fetch(server, path=path)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert body == FILES["/"].body
    assert b"<script" in body


@pytest.mark.parametrize("path", FILES)
def test_every_file_is_served_with_its_type_and_a_strict_policy(server, path):
    response, body = fetch(server, path=path)
    assert response.status == 200
    assert body == FILES[path].body
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    policy = dict(
        directive.split(" ", 1)
        for directive in response.headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect")} == {"'self'"}


def test_whatever_the_page_and_its_scripts_load_is_there():
    texts = {path: file.body.decode() for path, file in FILES.items()}
    loaded = set(re.findall(r'(?:href|src)="(/[^"]*)"', texts["/"]))
    for path, text in texts.items():
        if path.endswith(".js"):
            loaded |= {f"/{name}" for name in re.findall(r'from "\./(\w+\.js)"', text)}
    assert loaded == set(FILES) - {"/"}


@pytest.mark.parametrize("path", FILES)
def test_nothing_is_loaded_from_elsewhere_or_inserted_as_html(path):
    text = FILES[path].body.decode()
    assert not re.search(r"@import|https?://(?!www\.w3)", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert not re.search(r"""<script>|<style>|\sstyle=|\son\w+=["']""", text)


def test_head_is_answered_without_a_body(server):
    response, body = fetch(server, "HEAD")
    assert response.status == 200
    assert int(response.headers["Content-Length"]) == len(FILES["/"].body)
    assert body == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/favicon.ico", 404),
        ("GET", "/chat", 404),
        ("GET", "/page.html", 404),
        ("GET", "/../__init__.py", 404),
        ("HEAD", "/x", 404),
        ("DELETE", "/", 405),
        ("POST", "/page.css", 405),
    ],
)
def test_other_requests_are_refused(server, method, path, status):
    response, _ = fetch(server, method, path)
    assert response.status == status
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Allow"] == ("GET, HEAD" if status == 405 else None)


def test_upgrade_to_something_else_is_ignored(server):
    response, _ = fetch(server, headers={"Connection": "Upgrade", "Upgrade": "h2c"})
    assert response.status == 200


# --- who may connect -------------------------------------------------------------


@pytest.mark.parametrize("path", ["chat", "wire", "echo"])
def test_pages_of_other_origins_are_refused(server, path):
    with pytest.raises(syncws.InvalidStatus) as caught:
        syncws.connect(server.uri + path, origin="http://evil.example")
    assert caught.value.response.status_code == 403


def test_page_of_the_demo_may_connect(server):
    with syncws.connect(f"{server.uri}chat", origin=f"http://localhost:{server.port}") as ws:
        assert "welcome" in ws.recv(SOON)


@pytest.mark.parametrize("path", ["/", "/main.js"])
def test_names_that_were_made_to_point_here_are_refused(server, path):
    assert (
        fetch(server, path=path, headers={"Host": f"evil.example:{server.port}"})[0].status == 421
    )
    assert fetch(server, path=path, headers={"Host": f"127.0.0.1:{server.port}"})[0].status == 200


@pytest.fixture(scope="module")
def open_server():
    with demo.make_server("0.0.0.0", 0) as server:
        yield server


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.168.1.7:8765", 200),
        ("[fe80::1]:8765", 200),
        ("localhost", 200),
        (platform.node().upper(), 200),
        (f"{platform.node().partition('.')[0]}.local:80", 200),
        ("evil.example", 421),
        ("192.168.1.7.evil.example", 421),
        ("127.1:8765", 421),
        ("no host", 421),
    ],
)
def test_server_on_all_interfaces_goes_by_its_addresses_and_its_machines_name(
    open_server, host, status
):
    assert fetch(open_server, headers={"Host": host})[0].status == status


@pytest.mark.parametrize("host", ["", "@", "user@127.0.0.1", "[::1"])
def test_what_is_no_host_is_not_ours(host):
    assert not pages.is_own_host(host)


def test_server_on_one_address_goes_by_that():
    with demo.make_server("127.0.0.2", 0) as server, syncws.connect(f"{server.uri}echo") as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


# --- the echo --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "echo", "ws", "deep/er?query", "anything?else"])
def test_other_paths_echo(server, path):
    with syncws.connect(server.uri + path) as ws:
        for message in ("text", b"\x00\xff", "x" * 100_000):
            ws.send(message)
            assert ws.recv(SOON) == message


def test_path_that_is_no_uri_is_nowhere(server, caplog):
    with pytest.raises(syncws.InvalidStatus, match="404"):
        syncws.connect(f"{server.uri}/[")
    assert not caplog.records


def test_one_address_can_not_take_all_connections(monkeypatch):
    monkeypatch.setattr(demo, "MAX_CONNECTIONS_PER_ADDRESS", 2)
    with demo.make_server("localhost", 0) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(syncws.connect(f"{server.uri}echo"))
        with pytest.raises(syncws.InvalidStatus, match="503"):
            syncws.connect(f"{server.uri}echo")


# --- plain HTTP in place of WebSocket ----------------------------------------------


@pytest.fixture
def own_server():
    """A server with a thread more, which ends with it."""
    with demo.make_server("localhost", 0) as server:
        yield server


def test_echo_and_chat_are_there_by_plain_http_as_well(own_server):
    with FallbackClient(own_server, "/echo") as client:
        client.open()
        client.send("hello")
        assert client.receive() == [(TEXT, b"hello")]
    with FallbackClient(own_server, "/chat") as client:
        client.open()
        assert b"welcome" in client.receive()[0][1]
        client.send('{"type":"leave"}')
        assert b'"code":"no-room"' in client.receive()[-1][1]


def test_pages_of_other_origins_are_refused_by_plain_http_as_well(own_server):
    with FallbackClient(own_server, "/chat", Origin="http://evil.example") as client:
        assert client.open().status == 403
    host = f"localhost:{own_server.port}"
    with FallbackClient(own_server, "/chat", Origin=f"http://{host}", Host=host) as client:
        assert client.open().status == 200
        assert b'"http":true' in client.receive()[0][1]


def test_names_that_were_made_to_point_here_are_refused_by_plain_http_as_well():
    with (
        demo.make_server("0.0.0.0", 0) as server,
        FallbackClient(server, "/chat", Host="evil.example") as client,
    ):
        assert client.open().status == 421


def test_chat_of_several_processes_has_no_plain_http():
    with (
        contextlib.closing(Chat(by_http=False)) as chat,
        demo.make_server("localhost", 0, chat) as server,
        FallbackClient(server, "/chat") as client,
    ):
        assert client.open().status == 405
        assert fetch(server, path="/syncws.js")[0].status == 200
        with syncws.connect(f"{server.uri}chat") as ws:
            assert '"http":false' in ws.recv(SOON)
