"""A server of Flask-SocketIO with threads, which serves until standard input ends."""

import sys
import threading

from flask import Flask, abort, request
from flask_socketio import SocketIO, disconnect, emit, join_room
from socketio import exceptions
from support.telling import settings, tell
from werkzeug.serving import make_server

app = Flask(__name__)
socketio = SocketIO(
    app,
    async_mode="threading",
    cors_allowed_origins=[],
    max_http_buffer_size=2**22,
    ping_interval=1,
    ping_timeout=10,
)

names = {}


@socketio.on("connect")
def connect(auth):
    names[request.sid] = auth["name"]
    tell(auth["name"], "connected", request.headers.get("Origin"), request.args["transport"])
    if auth.get("password") == "wrong":
        raise exceptions.ConnectionRefusedError("who are you?", {"code": 17})
    join_room("everybody" if auth.get("public") else request.sid)


@socketio.on("disconnect")
def disconnected(reason):
    # What a client says before it closes is heard, or not.
    gone = {"client disconnect": "gone", "transport close": "gone"}
    tell(names[request.sid], "disconnected", gone.get(reason, reason))


@socketio.on("message")
def answer_message(data):
    tell(names[request.sid], "message", len(data))
    emit("message", data)


@socketio.on("json")
def answer_json(data):
    emit("json", data)


@socketio.on("sum")
def add(*numbers):
    return sum(numbers)


@socketio.on("news")
def spread(text):
    emit("news", text, to="everybody", include_self=False)


@socketio.on("send me away")
def send_away():
    disconnect()


@socketio.on("fail")
def fail():
    raise ValueError("as it was told")


@socketio.on_error_default
def failed(exc):
    tell(names[request.sid], "failed", exc)


@socketio.on("connect", namespace="/admin")
def connect_admin():
    return False


@app.before_request
def refuse():
    if request.path.startswith("/refused/"):
        abort(int(request.path.split("/")[2]))


def serve(**options):
    server = make_server("127.0.0.1", 0, app, threaded=True, **options)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


tell("ports", serve(), serve(ssl_context=(settings["certificate"], settings["key"])))
sys.stdin.read()
