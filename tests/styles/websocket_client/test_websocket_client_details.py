"""What programs of websocket-client notice: run by it and by syncws.styles, they print the same."""

import contextlib

import pytest
from support.serving import echo, serving
from support.snippets import run

from syncws import Router

pytestmark = pytest.mark.interop


def count(ws):
    for number in range(3):
        ws.send(f"number {number}")


def end(ws):
    ws.send("last")
    ws.abort()


def choose(ws, offered):
    return offered[0] if offered else None


@contextlib.contextmanager
def server():
    router = Router()
    for path, handler in {"/": echo, "/count": count, "/end": end}.items():
        router.route(path)(handler)
    with serving(router, select_subprotocol=choose) as running:
        yield running


PROGRAMS = {
    "polling": """
import select
import selectors
import websocket

ws = websocket.create_connection("ws://127.0.0.1:8765/", timeout=10)
print(bool(select.select([ws], [], [], 0)[0]), bool(select.select([], [ws.sock], [], 10)[1]))
for text in ("one", "two"):
    ws.send(text)
    print(bool(select.select([ws.sock], [], [], 10)[0]), ws.recv())
with selectors.DefaultSelector() as selector:
    selector.register(ws.sock, selectors.EVENT_READ)
    ws.ping("x")
    print(len(selector.select(10)), ws.recv_data(True))
    print(len(selector.select(0)))
    ws.send_close()
    print(len(selector.select(10)), ws.recv_data())
sock = ws.sock
print(sock.gettimeout(), sock.fileno() >= 0)
ws.shutdown()
print(ws.sock, sock.fileno(), ws.connected)
try:
    sock.send(b"x")
except OSError as exc:
    print(exc)
""",
    "frames over the socket": """
import websocket

ws = websocket.create_connection("ws://127.0.0.1:8765/", timeout=10)
data = websocket.ABNF.create_frame("hello", websocket.ABNF.OPCODE_TEXT).format()
print(ws.sock.send(data), ws.recv())
ws.sock.sendall(data[:3])
ws.sock.sendall(data[3:])
print(ws.recv())
print(ws.sock_opt.timeout, ws.handshake_response.status, ws.close_frame)
ws.close(4000, "bye")
print(ws.close_frame.data, ws.close_frame)
""",
    "looping": """
import websocket

ws = websocket.create_connection("ws://127.0.0.1:8765/count", timeout=10)
try:
    for message in ws:
        print(repr(message))
except websocket.WebSocketConnectionClosedException as exc:
    print("closed", ws.sock, ws.connected)
ws = websocket.create_connection("ws://127.0.0.1:8765/end", timeout=10)
print(ws.recv())
try:
    ws.recv()
except websocket.WebSocketConnectionClosedException as exc:
    print(exc, ws.sock, ws.connected)
""",
    "headers": """
import websocket

for header in (["sec-websocket-protocol: v5,v4"], {"Sec-WebSocket-Protocol": "v5, v4"}):
    ws = websocket.create_connection(
        "ws://127.0.0.1:8765/", header=header, connection="Connection: Upgrade", timeout=10
    )
    print(ws.headers["sec-websocket-protocol"])
    ws.close()
ws = websocket.create_connection("ws://127.0.0.1:8765/", subprotocols=["V5"], timeout=10)
print(ws.subprotocol)
ws.close()
for wrong in ([("X-A", "b")], [b"X-A: b"], {"X-A": b"b"}):
    try:
        websocket.create_connection("ws://127.0.0.1:8765/", header=wrong, timeout=10)
    except TypeError:
        print("refused")
""",
    "callbacks at the end": """
import logging
import websocket

logging.disable()

def told(ws, exc):
    print("error", type(exc).__name__, exc, getattr(exc, "status_code", ""),
          getattr(exc, "reason", "") or None)

def failing(ws):
    raise LookupError("in on_open")

def failing_error(ws, exc):
    print("told", exc)
    raise ValueError("in on_error")

def header():
    raise LookupError("no header")

closed = lambda ws, *args: print("closed", args)
uri = "ws://127.0.0.1:8765/"
print(websocket.WebSocketApp(uri + "count", on_error=told, on_close=closed).run_forever())
print(websocket.WebSocketApp(uri, header=header, on_error=told, on_close=closed).run_forever())
print(websocket.WebSocketApp(
    uri, on_open=failing, on_error=failing_error, on_close=closed
).run_forever())
for times in ((1, 1), (1, 2), (-1, None), (1, 0)):
    try:
        websocket.WebSocketApp(uri).run_forever(ping_interval=times[0], ping_timeout=times[1])
    except websocket.WebSocketException as exc:
        print(type(exc).__name__)
app = websocket.WebSocketApp(uri)
app.sock = websocket.WebSocket()
try:
    app.run_forever()
except websocket.WebSocketException as exc:
    print(exc)
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_notices_nothing(name):
    pytest.importorskip("websocket", minversion="1.9.2")  # it had other failings before
    theirs = PROGRAMS[name]
    ours = theirs.replace("import websocket\n", "import syncws.styles as websocket\n")
    assert ours != theirs
    with server() as running:
        expected = run(theirs, running.port, warnings="ignore")
    with server() as running:
        assert run(ours, running.port) == expected != ""
