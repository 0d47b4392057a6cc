"""Programs of the kind that websocket-client's documentation has, run by it and by syncws.styles.

The text is the same, but for the import; so must be what is printed. Where websocket-client does
what shouldn't come along (see docs/migrating/websocket-client.md), the programs don't show it.
"""

import pytest
from support.documented import documented_server
from support.snippets import run

pytestmark = pytest.mark.interop


PROGRAMS = {}


def program(name, text):
    PROGRAMS[name] = text


program(
    "a long-lived application",
    """
import websocket

def on_open(ws):
    print("opened", ws.sock.connected)
    ws.send("hello")

def on_message(ws, message):
    print("received", message)
    if message == "hello":
        ws.close()

def on_error(ws, error):
    print("error", error)

def on_close(ws, status, message):
    print("closed", status)

app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/",
    on_open=on_open, on_message=on_message, on_error=on_error, on_close=on_close,
)
print("returned", app.run_forever())
print(app.sock, app.keep_running, app.has_errored)
""",
)

program(
    "a short-lived connection",
    """
from websocket import create_connection

ws = create_connection("ws://127.0.0.1:8765/", timeout=10)
print(ws.recv())
print("sent", ws.send("Hello, world"))
print(ws.recv())
print("sent", ws.send("ä" * 100))
print(ws.recv())
ws.close()
print(ws.connected)
""",
)

program(
    "an object that connects",
    """
import websocket

ws = websocket.WebSocket()
print(ws.connected, ws.getstatus(), ws.getheaders(), ws.getsubprotocol(), ws.gettimeout())
ws.connect("ws://127.0.0.1:8765/bytes", origin="http://127.0.0.1:8765", timeout=10)
print(ws.connected, ws.getstatus(), ws.headers["upgrade"].lower(), ws.gettimeout())
ws.send_text("text")
print(ws.recv())
print("sent", ws.send_binary(bytes(range(5))))
print(ws.recv())
ws.send_bytes(b"bytes")
print(ws.recv_data())
ws.send("more", opcode=websocket.ABNF.OPCODE_TEXT)
opcode, frame = ws.recv_data_frame()
print(opcode == websocket.ABNF.OPCODE_TEXT, frame.data, int(frame.fin))
ws.close(status=websocket.STATUS_NORMAL, reason=b"done", timeout=5)
""",
)

program(
    "a server that says something and closes",
    """
import websocket

ws = websocket.create_connection("ws://127.0.0.1:8765/count", timeout=10)
while True:
    opcode, data = ws.recv_data()
    if opcode == websocket.ABNF.OPCODE_CLOSE:
        print("close", int.from_bytes(data[:2], "big"), data[2:].decode())
        break
    print(data.decode())
ws.shutdown()
print(ws.connected)
""",
)

program(
    "an application whose server closes",
    """
import websocket

messages = []
app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/count",
    on_message=lambda ws, message: messages.append(message),
    on_close=lambda ws, status, message: print("closed", status, message),
)
print("returned", app.run_forever())
print(messages)
""",
)

program(
    "a subprotocol",
    """
import websocket

ws = websocket.create_connection(
    "ws://127.0.0.1:8765/subprotocol", subprotocols=["unknown", "chat"], timeout=10
)
print(ws.subprotocol, ws.getsubprotocol(), ws.recv())
ws.close()
app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/subprotocol",
    subprotocols=["other"],
    on_message=lambda ws, message: print(message, ws.sock.subprotocol),
)
app.run_forever()
""",
)

for form in ('["X-Custom: yes"]', '{"X-Custom": "yes", "X-Not": None}'):
    program(
        f"headers as {'a list' if form[0] == '[' else 'a dict'}",
        f"""
import websocket

def show(*args, **options):
    ws = websocket.create_connection("ws://127.0.0.1:8765/headers", timeout=10, **options)
    print([ws.recv() for _ in range(4)])
    ws.close()

show()
show(header={form}, cookie="a=b; c=d")
show(suppress_origin=True)
show(host="example.com", origin="http://example.com")
app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/headers",
    header=lambda: {form},
    cookie="e=f",
    on_message=lambda ws, message: print(message),
)
app.run_forever(origin="http://example.com", host="example.com")
""",
    )

program(
    "timeouts",
    """
import websocket

websocket.setdefaulttimeout(15.5)
print(websocket.getdefaulttimeout())
ws = websocket.create_connection("ws://127.0.0.1:8765/silent")
print(ws.gettimeout())
ws.settimeout(0.05)
for error in (websocket.WebSocketTimeoutException, websocket.WebSocketException):
    try:
        ws.recv()
    except error:
        print("nothing came")
ws.settimeout(0.01)
print(ws.timeout)
try:
    ws.recv_data()
except websocket.WebSocketTimeoutException:
    print("nothing came")
print(ws.connected)
ws.close()
""",
)

program(
    "pings of the program",
    """
import websocket

ws = websocket.create_connection("ws://127.0.0.1:8765/silent", timeout=10)
ws.ping("one")
print(ws.recv_data(control_frame=True))
ws.send("two", opcode=websocket.ABNF.OPCODE_PING)
opcode, frame = ws.recv_data_frame(control_frame=True)
print(int(opcode), frame.data)
ws.pong("unasked")
ws.close()
""",
)

program(
    "pings of the server",
    """
import websocket

ws = websocket.create_connection("ws://127.0.0.1:8765/ping", timeout=10)
print(ws.recv_data(control_frame=True))
print(ws.recv())
ws.close()
app = websocket.WebSocketApp("ws://127.0.0.1:8765/ping")
app.on_ping = lambda ws, data: print("ping", data)
app.on_message = lambda ws, message: (print(message), ws.close())
app.run_forever()
""",
)

program(
    "pings of the application",
    """
import websocket

pongs = []

def on_pong(ws, data):
    pongs.append(data)
    print("pong", data, ws.last_pong_tm >= ws.last_ping_tm > 0)
    if len(pongs) == 2:
        ws.close()

app = websocket.WebSocketApp("ws://127.0.0.1:8765/silent", on_pong=on_pong)
print(app.run_forever(ping_interval=0.2, ping_timeout=0.1, ping_payload="tick"))
""",
)

program(
    "data and its kind",
    """
import websocket

def on_open(ws):
    ws.send("text")
    ws.send(b"binary", websocket.ABNF.OPCODE_BINARY)

def on_data(ws, data, kind, fin):
    print("data", data, kind == websocket.ABNF.OPCODE_TEXT, bool(fin))

def on_message(ws, message):
    print("message", message)
    if isinstance(message, bytes):
        ws.close()

app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/bytes", on_open=on_open, on_data=on_data, on_message=on_message
)
app.run_forever()
""",
)

program(
    "fragments",
    """
import websocket

ws = websocket.create_connection("ws://127.0.0.1:8765/fragments", timeout=10)
print(ws.recv())
ws.close()
ws = websocket.create_connection(
    "ws://127.0.0.1:8765/fragments", timeout=10, fire_cont_frame=True
)
for _ in range(3):
    opcode, frame = ws.recv_data_frame()
    print(int(opcode), frame.data, int(frame.fin))
ws.close()
ws = websocket.create_connection("ws://127.0.0.1:8765/bytes", timeout=10)
for data, opcode, fin in (("to", 1, 0), ("get", 0, 0), ("her", 0, 1)):
    ws.send_frame(websocket.ABNF.create_frame(data.encode(), opcode, fin))
print(ws.recv())
ws.close()
""",
)

program(
    "reconnecting",
    """
import websocket

def on_message(ws, message):
    print(message)
    ws.close()

app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/unreliable",
    on_open=lambda ws: print("opened"),
    on_reconnect=lambda ws: print("reconnected"),
    on_message=on_message,
    on_close=lambda ws, status, message: print("closed", status),
)
app.run_forever(reconnect=0.05)
""",
)

program(
    "a thread",
    """
import threading
import websocket

opened = threading.Event()
received = []

def on_message(ws, message):
    received.append(message)
    if len(received) == 4:
        print(received)
        ws.close()

app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/", on_open=lambda ws: opened.set(), on_message=on_message
)
thread = threading.Thread(target=app.run_forever)
thread.start()
opened.wait()
for text in ("a", "b", "c"):
    app.send(text)
thread.join()
print(app.keep_running)
""",
)

program(
    "closing from another thread",
    """
import threading
import websocket

opened = threading.Event()
app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/",
    on_message=lambda ws, message: opened.set(),
    on_close=lambda ws, status, message: print("closed"),
)
results = []
thread = threading.Thread(target=lambda: results.append(app.run_forever(ping_timeout=0.1)))
thread.start()
opened.wait()
app.close()
thread.join()
print(app.sock)
""",
)

program(
    "refusals",
    """
import websocket

try:
    websocket.create_connection("ws://127.0.0.1:8765/private", timeout=10)
except websocket.WebSocketBadStatusException as exc:
    print(exc.status_code, exc.status_message, exc.resp_body)
    print(exc.resp_headers["content-length"])
try:
    websocket.create_connection("ws://127.0.0.1:1/", timeout=10)
except ConnectionRefusedError:
    print("nobody listens")
app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/private",
    on_open=lambda ws: print("never"),
    on_error=lambda ws, exc: print(type(exc).__name__, exc.status_code),
    on_close=lambda ws, status, message: print("closed", status, message),
)
print("returned", app.run_forever())
""",
)

program(
    "sending too late",
    """
import websocket

ws = websocket.create_connection("ws://127.0.0.1:8765/", timeout=10)
print(ws.recv())
ws.close()
for call in (ws.recv, lambda: ws.send("x"), lambda: ws.ping()):
    try:
        call()
    except websocket.WebSocketConnectionClosedException:
        print("closed")
app = websocket.WebSocketApp("ws://127.0.0.1:8765/")
try:
    app.send("x")
except websocket.WebSocketException:
    print("not open")
""",
)

program(
    "a class of one's own",
    """
import websocket

class Echo(websocket.WebSocket):
    def ask(self, text):
        self.send(text)
        return self.recv()

ws = websocket.create_connection("ws://127.0.0.1:8765/bytes", timeout=10, class_=Echo)
print(ws.ask("hello"))
ws.close()

class Client(websocket.WebSocketApp):
    def __init__(self, url):
        super().__init__(url, on_open=self.opened, on_message=self.received)

    def opened(self, ws):
        self.send("from a method")

    def received(self, ws, message):
        print(message, ws is self)
        self.close()

Client("ws://127.0.0.1:8765/bytes").run_forever()
""",
)


program(
    "exceptions",
    """
import websocket

def show(function, *args, **options):
    try:
        print("returned", function(*args, **options))
    except Exception as exc:
        print(type(exc).__name__, isinstance(exc, websocket.WebSocketException))

ws = websocket.create_connection("ws://127.0.0.1:8765/count", timeout=10)
print([ws.recv() for _ in range(4)])
show(ws.recv)
ws = websocket.create_connection("ws://127.0.0.1:8765/", timeout=10)
print(ws.recv())
for code in (-1, 65536):
    try:
        ws.close(code)
    except ValueError:
        print("no close code")
ws.close()
show(ws.recv)
for url in ("http://127.0.0.1/", "127.0.0.1", "ws://"):
    try:
        websocket.create_connection(url)
    except ValueError:
        print("no URL of a WebSocket server")
try:
    websocket.WebSocketApp("ws://127.0.0.1:8765/").run_forever(ping_timeout=0)
except websocket.WebSocketException:
    print("no timeout")
for exc in (
    websocket.WebSocketConnectionClosedException("text"),
    websocket.WebSocketConnectionClosedException(),
    websocket.WebSocketProtocolException("text"),
    websocket.WebSocketPayloadException("text"),
    websocket.WebSocketProxyException("text"),
    websocket.WebSocketTimeoutException("text"),
    websocket.WebSocketBadStatusException("no such", 404, "Not Found", {"a": "b"}, b"body"),
    websocket.WebSocketBadStatusException("no such", 404),
):
    print(type(exc).__name__, exc, exc.args)
print(exc.status_code, exc.status_message, exc.resp_headers, exc.resp_body)
try:
    websocket.create_connection("ws://127.0.0.1:8765/private")
except websocket.WebSocketBadStatusException as exc:
    print([part.split("only")[0] for part in str(exc).split(" -+-+- ")[::2]])
    print("content-length" in str(exc))  # line ends are escaped by syncws
""",
)

program(
    "close frames and callbacks that raise",
    """
import websocket

def on_message(ws, message):
    print(message)
    raise LookupError(message)

app = websocket.WebSocketApp(
    "ws://127.0.0.1:8765/count",
    on_message=on_message,
    on_error=lambda ws, exc: print("error", type(exc).__name__, exc),
    on_close=lambda ws, status, message: print("closed", ws.sock, status, message),
)
print(app.run_forever(), app.has_errored)
""",
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_prints_the_same(name):
    pytest.importorskip("websocket", minversion="1.9.2")  # it had other failings before
    theirs = PROGRAMS[name]
    ours = theirs.replace("import websocket\n", "import syncws.styles as websocket\n")
    ours = ours.replace("from websocket import", "from syncws.styles import")
    assert ours != theirs
    with documented_server() as running:
        expected = run(theirs, running.port, warnings="ignore")
    with documented_server() as running:
        assert run(ours, running.port) == expected != ""
