"""The programs of docs/wsgi.md."""

import pytest
from support.pairs import SOON
from support.snippets import block, running_server

from syncws import InvalidStatus, connect

PAGE = "wsgi"


def test_wsgi_application():
    with running_server(block(PAGE, "application")) as (port, _):
        ws = connect(f"ws://localhost:{port}/echo")
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
        ws.close()


def test_wsgi_fallback():
    pytest.importorskip("waitress")
    with (
        running_server(block(PAGE, "fallback")) as (port, _),
        connect(f"ws://localhost:{port}/echo", fallback=True) as ws,
    ):
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
        assert ws.transport in ("polling", "streaming")


def test_wsgi_gateway():
    pytest.importorskip("werkzeug")
    with running_server(block(PAGE, "gateway")) as (port, _):
        uri = f"ws://localhost:{port}/"
        with pytest.raises(InvalidStatus) as info:
            connect(uri)
        assert info.value.response.status_code == 401
        with connect(uri, additional_headers={"Cookie": "name=ann"}) as ws:
            assert ws.response_headers["Set-Cookie"] == "seen=yes"
            ws.send("hello")
            assert ws.recv(SOON) == "ann: hello"
