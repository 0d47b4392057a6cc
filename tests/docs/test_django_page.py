"""The programs of docs/django.md."""

import pytest
from support.pairs import SOON
from support.snippets import block, run, running_server

from syncws import connect

PAGE = "django"

pytest.importorskip("django")


def test_django_echo():
    with (
        running_server(block(PAGE, "echo")) as (port, _),
        connect(f"ws://localhost:{port}/echo/ann") as ws,
    ):
        ws.send("hello")
        assert ws.recv(SOON) == "ann: hello"


def test_django_fallback():
    pytest.importorskip("waitress")
    with (
        running_server(block(PAGE, "fallback")) as (port, _),
        connect(f"http://localhost:{port}/echo") as ws,
    ):
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


def test_django_testing():
    output = run(block(PAGE, "testing"))
    assert output.splitlines() == ["['0', '1', '2']", "the view raised ValueError"]
