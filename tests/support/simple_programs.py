"""A program for simple-websocket that talks to itself, and prints what it has seen as JSON."""

PROGRAM = r"""
import json, os, socket, threading
import simple_websocket
from simple_websocket import Client, ConnectionClosed, ConnectionError, Server
from werkzeug.serving import WSGIRequestHandler, make_server

SOON = 20
seen = []


class Quiet(WSGIRequestHandler):
    def log(self, *args):
        pass


def ended(call, *args):
    try:
        return repr(call(*args))
    except ConnectionClosed as exc:
        name = getattr(exc.reason, "name", None)
        return [type(exc).__name__, int(exc.reason), name, exc.message, str(exc)]
    except ConnectionError as exc:
        return [type(exc).__name__, exc.status_code, str(exc)]


class Reversed(Server):
    def choose_subprotocol(self, request):
        return request.subprotocols[-1] if request.subprotocols else None


results = {}
done = {}


def serve(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/status"):
        start_response(path[len("/status/"):] + " Refused", [("Content-Length", "4")])
        return [b"body"]
    if path == "/limited":
        ws = Server.accept(environ, max_message_size=10)
    elif path == "/reversed":
        ws = Reversed.accept(environ)
    else:
        ws = Server(environ, subprotocols=environ.get("QUERY_STRING").split(",") or None)
    if path == "/echo":
        results["mode"] = [ws.mode, ws.is_server, ws.receive_bytes, ws.ping_interval]
        try:
            while True:
                ws.send(ws.receive(timeout=SOON))
        except ConnectionClosed:
            pass
        results[path] = [
            ws.connected,
            ended(ws.receive),
            ended(ws.receive, 0),
            ended(ws.send, "late"),
            ended(ws.close),
        ]
    elif path == "/sending":
        for message in (b"\x00\xff", 17, bytearray(b"x"), None, ""):
            ws.send(message)
        ws.receive(timeout=SOON)
        ws.close()
        results[path] = [ws.connected, ended(ws.close)]
    elif path.startswith("/close"):
        code = environ["QUERY_STRING"]
        ws.close(int(code) if code else None, "r" * 200 if code == "3001" else "that is all")
    else:
        results[path] = [ws.subprotocol, ended(ws.receive, SOON)]
    done.setdefault(path, threading.Event()).set()
    raise ConnectionResetError  # the server is not to answer


def wait_for(path):
    assert done.setdefault(path, threading.Event()).wait(SOON)
    return results[path]


server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"ws://127.0.0.1:{server.port}"


def connect(path, **kwargs):
    return Client.connect(url + path, **kwargs)


# Messages.
ws = connect("/echo", headers={"X-Additional": "1"})
seen.append(["client", ws.connected, ws.subprotocol, ws.host, ws.path, ws.is_server])
assert ws.port == server.port
for message in ("hello", "\u00e9" * 70000, b"\x00\xff" * 70000, ""):
    ws.send(message)
    seen.append(["echo", ws.receive(timeout=SOON) == message])
seen.append(["nothing", ws.receive(timeout=0), ws.receive(timeout=0.01)])
ws.close(4000, "bye")
seen.append(["closed", ws.connected, ended(ws.send, "late")[0], ended(ws.close)[0]])
seen.append(["server", results["mode"], wait_for("/echo")])

ws = connect("/sending")
seen.append(["sent", [repr(ws.receive(timeout=SOON)) for _ in range(5)]])
ws.send("done")
seen.append(["end", ended(ws.receive, SOON), ended(ws.receive), ws.connected])
wait_for("/sending")
seen.append(["server", results["/sending"][0], results["/sending"][1][0]])

# Closing.
for code in ("", "1000", "1001", "3000", "3001"):
    ws = connect("/close?" + code)
    seen.append(["close", code, ended(ws.receive, SOON / 2), ended(ws.send, "late")])

# Subprotocols.
for path, offered in (
    ("/none?", None), ("/none?", "a"), ("/a?a", "a"), ("/a?b", "a"), ("/ab?b,a", ["c", "a", "b"]),
    ("/reversed?", ["a", "b"]),
):
    ws = connect(path, subprotocols=offered)
    seen.append(["subprotocol", path, ws.subprotocol])
    ws.close()
    name = path.partition("?")[0]
    seen.append(["server", wait_for(name)[0]])
    done.pop(name)

# Limits.
ws = connect("/limited")
ws.send("x" * 11)
seen.append(["limited", ended(ws.receive, SOON)[:3]])

# Refusals.
for status in (401, 403, 404, 302, 503):
    seen.append(["refused", ended(connect, f"/status/{status}")])
try:
    connect.__globals__["Client"]("ws://127.0.0.1:9")
except OSError as exc:
    seen.append(["unreachable", type(exc).__name__])

# A server that goes away.
import base64, hashlib
listener = socket.create_server(("127.0.0.1", 0))
def vanish():
    sock, _ = listener.accept()
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    lines = {name.lower(): value for name, value in lines.items()}
    key = lines["sec-websocket-key"]
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
    results["headers"] = sorted(name for name in lines)
    sock.sendall((
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode())
    sock.recv(4096)
    sock.sendall(b"\x81\x02hi")
    sock.close()
thread = threading.Thread(target=vanish)
thread.start()
ws = Client(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
ws.send("now")
seen.append(["last words", ws.receive(timeout=SOON), ended(ws.receive, SOON)])
thread.join()
listener.close()
seen.append(["headers", results["headers"]])

seen.append(["texts", str(ConnectionClosed()), str(ConnectionError(404))])
seen.append([issubclass(error, RuntimeError) for error in (ConnectionClosed, ConnectionError)])
print(json.dumps(seen), flush=True)
os._exit(0)  # the original's threads may wait for ever in sockets that it has closed
"""
