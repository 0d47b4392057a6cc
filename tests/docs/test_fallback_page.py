"""The programs of docs/fallback.md."""

import contextlib

import pytest
from support.fallback_client import FallbackClient, texts
from support.pairs import SOON
from support.snippets import block, running_server

from syncws import connect

PAGE = "fallback"


class Server:
    """What a client must know of a server in another process."""

    def __init__(self, port):
        self.port = port


def check_both(name):
    """A server of the page serves clients of both kinds."""
    with contextlib.ExitStack() as stack:
        port, _ = stack.enter_context(running_server(block(PAGE, name)))
        ws = stack.enter_context(connect(f"ws://localhost:{port}/"))
        client = stack.enter_context(FallbackClient(Server(port)))
        ws.send("by WebSocket")
        assert ws.recv(SOON) == "by WebSocket"
        client.open()
        client.send("by HTTP")
        assert texts(client.receive()) == ["by HTTP"]
        return client.opened


def test_fallback_echo():
    assert check_both("echo")["session_timeout"] == pytest.approx(30)


def test_fallback_limits():
    assert check_both("limits")["session_timeout"] == pytest.approx(60)
