"""python-socketio's client, and the server of Flask-SocketIO with threads."""

import contextlib
import json
import socket
import threading
import time

import flask
import flask_socketio
import socketio
from werkzeug.serving import WSGIRequestHandler, make_server

SOON = 20
seen = []


class Quiet(WSGIRequestHandler):
    def log(self, *args):
        pass


app = flask.Flask(__name__)
server = flask_socketio.SocketIO(app, async_mode="threading", max_http_buffer_size=10**7)
gone = threading.Event()


@server.on("connect")
def accept(auth=None):
    if auth == {"token": "wrong"}:
        raise ConnectionRefusedError("no")


@server.on("disconnect")
def disconnected(reason=None):
    # Which of two reasons, is a race between threads of the package.
    gone.set()


@server.on("echo")
def echo(data):
    flask_socketio.emit("answer", data)
    return data


@server.on("leave")
def leave():
    flask_socketio.disconnect()


http = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
threading.Thread(target=http.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{http.port}"


class Relay:
    """A network between both, which can be cut."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._target))
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self):
        for end in self._ends:
            end.shutdown(socket.SHUT_RDWR)


def make_client(**options):
    sio = socketio.Client(**options)
    answers, ended = [], threading.Event()
    sio.on("answer", answers.append)
    sio.on("disconnect", lambda reason=None: ended.set())
    return sio, answers, ended


def upgraded(sio):
    deadline = time.monotonic() + SOON
    while sio.transport() != "websocket" and time.monotonic() < deadline:
        time.sleep(0.01)
    return sio.transport()


for transports in (["websocket"], ["polling", "websocket"]):
    sio, answers, ended = make_client(reconnection=False)
    sio.connect(url, transports=transports, wait_timeout=SOON)
    seen.append(["transport", upgraded(sio)])
    for data in ("hello", {"a": [1, 2]}, b"\x00\xff" * 1000, "x" * 300_000, b"y" * 1_000_000):
        seen.append(["call", sio.call("echo", data, timeout=SOON) == data])
    seen.append(["answers", [type(answer).__name__ for answer in answers]])
    gone.clear()
    sio.disconnect()
    seen.append(["server knows", gone.wait(SOON)])
    sio, answers, ended = make_client(reconnection=False)
    sio.connect(url, transports=transports, wait_timeout=SOON)
    upgraded(sio)
    gone.clear()
    sio.emit("leave")
    seen.append(["sent away", ended.wait(SOON), gone.wait(SOON)])
    sio.wait()
    seen.append(["left", sio.connected])

sio, answers, ended = make_client(reconnection=False)
try:
    sio.connect(url, transports=["websocket"], auth={"token": "wrong"}, wait_timeout=SOON)
except socketio.exceptions.ConnectionError as exc:
    seen.append(["refused", str(exc)])

sio, answers, ended = make_client(reconnection_delay=0.05, randomization_factor=0)
again = threading.Event()
opened = []


@sio.event
def connect():
    opened.append(1)
    if len(opened) == 2:
        again.set()


relay = Relay(http.port)
sio.connect(f"http://127.0.0.1:{relay.port}", transports=["websocket"], wait_timeout=SOON)
relay.cut()
seen.append(["again", again.wait(SOON), sio.call("echo", "x", timeout=SOON)])
sio.disconnect()

try:
    make_client()[0].connect("http://127.0.0.1:9", transports=["websocket"])
except socketio.exceptions.ConnectionError as exc:
    seen.append(["unreachable", type(exc).__name__])
print(json.dumps(seen, indent=0))
