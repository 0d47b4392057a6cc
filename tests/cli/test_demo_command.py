"""The demo, and the command that serves it."""

import base64
import contextlib
import hashlib
import http.client
import re
import socket

import pytest
from support.shell import DEADLINE, interrupt, program

import syncws
from syncws import cli, demo
from syncws.cli import demo_command


@pytest.fixture
def demo_server():
    with demo.make_server("localhost", 0) as server:
        yield server


def fetch(server, method="GET", path="/", headers=()):
    connection = http.client.HTTPConnection("localhost", server.port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        return response, response.read().decode()


@pytest.mark.parametrize("path", ["/", "/?query"])
def test_demo_serves_its_page(demo_server, path):
    response, page = fetch(demo_server, path=path)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert page == demo.read_page()


def test_demo_answers_head_without_a_body(demo_server):
    response, body = fetch(demo_server, "HEAD")
    assert response.status == 200
    assert int(response.headers["Content-Length"]) == len(demo.read_page().encode())
    assert body == ""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/favicon.ico", 404), ("GET", "/ws", 404), ("DELETE", "/", 405), ("HEAD", "/x", 404)],
)
def test_demo_refuses_other_requests(demo_server, method, path, status):
    response, _ = fetch(demo_server, method, path)
    assert response.status == status
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Allow"] == ("GET, HEAD" if status == 405 else None)


def test_demo_ignores_an_upgrade_to_something_else(demo_server):
    response, _ = fetch(demo_server, headers={"Connection": "Upgrade", "Upgrade": "h2c"})
    assert response.status == 200


def test_demo_policy_lets_only_the_page_itself_run(demo_server):
    response, page = fetch(demo_server)
    policy = dict(
        directive.split(" ", 1)
        for directive in response.headers["Content-Security-Policy"].split("; ")
    )
    for tag in ("script", "style"):
        [element] = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(element.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"


def test_demo_page_needs_nothing_from_elsewhere_and_inserts_only_text():
    page = demo.read_page()
    assert not re.search(r"<script[^>]+src|<link[^>]+stylesheet|@import|https?://(?!www\.w3)", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)


@pytest.mark.parametrize("path", ["", "ws", "anything?else"])
def test_demo_echoes_at_any_path(demo_server, path):
    with syncws.connect(demo_server.uri + path) as ws:
        for message in ("text", b"\x00\xff"):
            ws.send(message)
            assert ws.recv(DEADLINE) == message


def test_demo_takes_another_port_when_the_usual_one_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(demo, "DEFAULT_PORT", other.getsockname()[1])
        with demo.make_server() as server:
            assert server.port != demo.DEFAULT_PORT
            assert fetch(server)[0].status == 200


def test_demo_takes_the_usual_port_when_it_is_free(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(demo, "DEFAULT_PORT", other.getsockname()[1])
    with demo.make_server() as server:
        assert server.port == demo.DEFAULT_PORT


def test_demo_does_not_replace_a_port_that_was_asked_for(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["demo", "--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"syncws: the demo can't start on localhost: .*port {port}: .+\n", err)


@pytest.mark.usefixtures("no_names")
def test_demo_says_that_a_host_is_unknown(capsys):
    assert cli.main(["demo", "--host", "nosuch.invalid", "--port", "0"]) == 1
    assert capsys.readouterr().err == (
        "syncws: the demo can't start on nosuch.invalid: Name or service not known\n"
    )


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_demo_says_that_a_host_is_wrong(capsys, host):
    assert cli.main(["demo", "--host", host, "--port", "0"]) == 1
    assert re.fullmatch(rf"syncws: the demo can't start on {host}: .+\n", capsys.readouterr().err)


def test_demo_does_not_hide_other_errors_behind_another_port(capsys):
    assert cli.main(["demo", "--host", "192.0.2.1"]) == 1
    assert "192.0.2.1" in capsys.readouterr().err


def test_demo_serves_until_ctrl_c():
    with program("demo", "--port", "0") as process:
        line = process.stdout.readline()
        found = re.fullmatch(
            r"Open http://localhost:(\d+)/ in a browser; Ctrl-C stops it\.\n", line
        )
        assert found, line
        ws = syncws.connect(f"ws://localhost:{found[1]}/ws")
        ws.send("hello")
        assert ws.recv(DEADLINE) == "hello"
        assert interrupt(process) == (0, "")
        assert process.stdout.read() == ""
        assert ws.wait_closed(DEADLINE)
        assert ws.close_code == 1001


def test_demo_ends_cleanly_when_ctrl_c_comes_outside_of_serving(monkeypatch):
    def interrupted(host, port):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_command, "make_server", interrupted)
    assert cli.main(["demo"]) == 0
