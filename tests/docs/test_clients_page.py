"""The programs of docs/clients.md."""

import re

from support.serving import serving
from support.snippets import DOCS, block, free_port, run

PAGE = "clients"
TEXT = (DOCS / "clients.md").read_text(encoding="utf-8")


def echoes(name):
    """What a program of the page prints that talks to an echo server."""
    with serving() as server:
        return run(block(PAGE, name), server.port)


def printed(name):
    """What the page says that a program prints."""
    return re.search(rf"<!-- {name}-printed -->\n```\n(.*?)```", TEXT, re.S)[1]


def test_clients_connecting():
    assert echoes("connecting") == "hello\n"


def test_clients_messages():
    assert echoes("messages") == printed("messages")


def test_clients_batch():
    assert echoes("batch") == "True\nTrue\n"


def test_clients_wait():
    output = echoes("wait")
    assert output == "['number 0', 'number 1', 'number 2']\n"
    assert f"It prints `{output.strip()}`" in TEXT


def test_clients_fallback():
    with serving(fallback=True) as server:
        assert run(block(PAGE, "fallback"), server.port) == printed("fallback")


def feed(ws):
    ws.send("one")


def test_clients_errors_where_all_goes_well():
    with serving(feed) as server:
        assert run(block(PAGE, "errors"), server.port) == "one\n"


def test_clients_errors():
    def fail(ws):
        ws.close(4000, "no feed")

    def refuse(ws, request):
        return ws.respond(403, "not you")

    with serving(fail) as server:
        ended = run(block(PAGE, "errors"), server.port)
    assert ended == "ended: 4000 (private use) no feed because of None\n"
    with serving(process_request=refuse) as server:
        refused = run(block(PAGE, "errors"), server.port)
    assert refused == "refused: 403 b'not you'\n"
    assert run(block(PAGE, "errors"), free_port()).startswith("not there: ")


def test_clients_reconnect():
    tokens, messages = [], iter(["one", "two", "last"])

    def handler(ws):
        tokens.append(ws.request.headers["Authorization"])
        ws.send(next(messages))

    with serving(handler) as server:
        assert run(block(PAGE, "reconnect"), server.port) == "one\ntwo\nlast\n"
    assert tokens == ["Bearer secret"] * 3
