"""The Kubernetes client's streams, which are over websocket-client, and poll its sockets."""

import json

import pytest
from support.pairs import SOON
from support.partners import assert_same, drop, need

need("kubernetes", "websocket")

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]

STDIN, STDOUT, STDERR, STATUS = b"\0", b"\1", b"\2", b"\3"


def exit_with(ws, code):
    """Tell how the command ended, and close."""
    status = {"status": "Success"}
    if code:
        status = {"status": "Failure", "details": {"causes": [{"message": str(code)}]}}
    ws.send(STATUS + json.dumps(status).encode())
    ws.close()


def execute(ws):
    """Print something, in several messages, and end well."""
    for _ in range(3):
        ws.send(STDOUT + "a line, and ünïcode\n".encode())
    ws.send(STDERR + b"an error\n")
    exit_with(ws, 0)


def large(ws):
    """Print much."""
    for number in range(200):
        ws.send(STDOUT + bytes([65 + number % 26]) * 10_000)
    exit_with(ws, 0)


def shell(ws):
    """Print what comes, up to ``exit``."""
    while True:
        message = ws.recv()
        message = message.encode() if isinstance(message, str) else message
        ws.received.append(message if len(message) < 1000 else len(message))
        assert message[:1] == STDIN
        if message[1:] == b"exit\n":
            break
        ws.ping().wait(SOON)
        ws.send(STDOUT + message[1:])
    ws.send(STDERR + b"it failed\n")
    exit_with(ws, 3)


def ports(ws):
    """Send back what comes for the first port, up to ``end``."""
    for channel in range(2):
        ws.send(bytes([channel]) + (80).to_bytes(2, "little"))
    while True:
        message = ws.recv()
        if message == b"\0end":
            break
        assert message[0] == 0
        ws.send(message)
    ws.send(b"\1that is all")
    ws.close()


HANDLERS = {"/exec": execute, "/large": large, "/shell": shell, "/ports": ports, "/drop": drop}


def test_streams_do_the_same_as_with_websocket_client(tmp_path):
    assert_same("kubernetes_streams", HANDLERS, tmp_path, ["websocket"])
