"""The programs of docs/fallback.md."""

import contextlib
import re

import pytest
from support.fallback_client import FallbackClient, texts
from support.node import needs_node, run_node
from support.pairs import SOON
from support.snippets import DOCS, block, running_server

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


RESUME = """
    const options = { transports: ["polling"], reconnect: { minDelay: 10 }, SINCE };
    const ws = new Syncws(url, [], options);
    const textOf = async (socket) => JSON.parse((await next(socket, "message")).data).text;
    await next(ws, "open");
    ws.send("first");
    report(await textOf(ws));
    const other = new Syncws(url, [], { transports: ["websocket"] });
    await next(other, "open");
    page.dispatchEvent(new Event("pagehide")); // ends the session
    const { code } = await next(ws, "reconnecting");
    report(code);
    other.send("missed");
    report(await textOf(ws));
    done();
"""


@needs_node
def test_fallback_since():
    text = (DOCS / f"{PAGE}.md").read_text(encoding="utf-8")
    (since,) = re.findall(r"^ +(since: .*),$", text, flags=re.M)
    with running_server(block(PAGE, "since")) as (port, _):
        said = run_node(RESUME.replace("SINCE", since), f"ws://localhost:{port}/")
    assert said == ["first", 1006, "missed"]
