"""The programs of docs/flask.md and docs/migrating/flask-sock.md."""

import urllib.request
from http.cookiejar import CookieJar

import pytest
from support.pairs import SOON
from support.snippets import block, run, running_server

from syncws import InvalidStatus, connect

PAGE = "flask"
MIGRATING = "migrating/flask-sock"

pytest.importorskip("flask")


def assert_echoes(port, path="/echo", prefix=""):
    with connect(f"ws://localhost:{port}{path}") as ws:
        ws.send("hello")
        assert ws.recv(SOON) == f"{prefix}hello"


def test_flask_echo():
    with running_server(block(PAGE, "echo")) as (port, _):
        assert_echoes(port, "/echo/ann", "ann: ")


def test_flask_login():
    pytest.importorskip("flask_login")
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with running_server(block(PAGE, "login")) as (port, _):
        with pytest.raises(InvalidStatus) as info:
            connect(f"ws://localhost:{port}/me", cookies=jar)
        assert info.value.response.status_code == 401
        browser.open(f"http://localhost:{port}/login/ann", timeout=SOON).close()
        with connect(f"ws://localhost:{port}/me", cookies=jar) as ws:
            assert ws.recv(SOON) == "you are ann"


def test_flask_fallback():
    pytest.importorskip("waitress")
    with (
        running_server(block(PAGE, "fallback")) as (port, _),
        connect(f"ws://localhost:{port}/echo", fallback=True) as ws,
    ):
        ws.send("hello")
        ways = ("streaming", "polling")  # the server knows once the client asks for messages
        assert ws.recv(SOON) in [f"127.0.0.1 by {way}: hello" for way in ways]


def test_flask_testing():
    assert run(block(PAGE, "testing")).splitlines() == [
        "hello, ann: how are you?",
        "404",
        "the handler raised KeyError('name')",
    ]


def test_flask_sock_before():
    pytest.importorskip("flask_sock")
    with running_server(block(MIGRATING, "before"), warnings="ignore") as (port, _):
        assert_echoes(port)


def test_flask_sock_after():
    before, after = block(MIGRATING, "before"), block(MIGRATING, "after")
    assert after == before.replace("from flask_sock", "from syncws.integrations.flask")
    with running_server(after) as (port, _):
        assert_echoes(port)
