"""The programs of docs/migrating/websocket-client.md."""

import pytest
from support.serving import serving
from support.snippets import block, run

PAGE = "migrating/websocket-client"


def echoes(name, **options):
    """What a program of the page prints that talks to an echo server."""
    with serving() as server:
        return run(block(PAGE, name), server.port, **options)


def test_websocket_client_connection_before():
    pytest.importorskip("websocket")
    assert echoes("connection-before", warnings="ignore") == "hello\n"


def test_websocket_client_connection_after():
    assert echoes("connection-after") == "hello\n"


def test_websocket_client_connection_own():
    assert echoes("connection-own") == "hello\n"


def test_websocket_client_callbacks_before():
    pytest.importorskip("websocket")
    output = echoes("callbacks-before", warnings="ignore")
    assert output in ("hello\nclosed: 1000\n", "hello\nclosed: None\n")  # before 1.9.2


def test_websocket_client_callbacks_after():
    assert echoes("callbacks-after") == "hello\nclosed: 1000\n"


def test_websocket_client_callbacks_own():
    assert echoes("callbacks-own") == "hello\n"


def test_websocket_client_before_and_after_differ_by_the_import():
    for name in ("connection", "callbacks"):
        before, after = block(PAGE, f"{name}-before"), block(PAGE, f"{name}-after")
        assert after == before.replace("import websocket\n", "import syncws.styles as websocket\n")


def test_websocket_client_closed():
    def handler(ws):
        ws.send("hello")
        ws.close(1001, "see you")

    with serving(handler) as server:
        output = run(block(PAGE, "closed"), server.port)
    assert output == "hello\nclosed: 1001 see you\n"


def test_websocket_client_options():
    requests = []

    def note(ws, request):
        requests.append(request.headers)

    with serving(process_request=note) as server:
        assert run(block(PAGE, "options"), server.port) == "hello\n"
    (headers,) = requests
    assert headers["X-Client"] == "example"
    assert headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")


def test_websocket_client_threads():
    # Threads that print at once may print each other's line ends.
    assert echoes("threads").replace("\n", "") == "hello" * 3
