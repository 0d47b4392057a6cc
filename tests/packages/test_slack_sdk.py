"""slack_sdk's socket mode, which is over websocket-client."""

import json

import pytest
from support.pairs import SOON
from support.partners import HANDLERS, assert_same, drop, need

need("slack_sdk", "websocket")

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]


def open_connection(partner, ws):
    """Answer ``apps.connections.open`` with the address that the token names."""
    server, path = ws.request.headers["Authorization"].split()[1:]
    answer = json.dumps({"ok": True, "url": partner.settings[server] + path})
    return ws.respond(200, answer, {"Content-Type": "application/json"})


def requests(ws):
    """Greet, make two requests, and tell how long the other messages are."""
    ws.send(json.dumps({"type": "hello", "num_connections": 1}))
    for number in range(2):
        request = {"type": "events_api", "envelope_id": str(number), "payload": {"text": "ünï"}}
        ws.send(json.dumps(request))
        ws.received.append(ws.recv(SOON))
    echo(ws)


def echo(ws):
    """Answer with a message as long as what came."""
    for message in ws:
        ws.received.append(message if len(message) < 1000 else len(message))
        ws.send(json.dumps({"type": "echo", "text": message}))


def once(ws):
    """Close the first connection, and echo on the others."""
    (echo if ws.count else HANDLERS["/end"])(ws)


def unreliable(ws):
    """Cut the first connection, and echo on the others."""
    (echo if ws.count else drop)(ws)


def away(ws):
    """Ask the first connection to come again, and echo on the others."""
    if not ws.count:
        ws.received.append(ws.recv(SOON))
        ws.send(json.dumps({"type": "disconnect", "reason": "warning"}))
    echo(ws)


PAGES = {"/api": open_connection}
HANDLERS = {
    **HANDLERS,
    "/requests": requests,
    "/once": once,
    "/unreliable": unreliable,
    "/away": away,
}


def test_socket_mode_does_the_same_as_with_websocket_client(tmp_path):
    assert_same("slack_socket_mode", HANDLERS, tmp_path, ["websocket"], pages=PAGES)
