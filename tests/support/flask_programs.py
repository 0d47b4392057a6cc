"""Programs written as flask-sock's documentation teaches, and one more; they run until killed.

Their import is replaced by that of this library: see :func:`ported`.
"""

ECHO = """
from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)


@app.route("/")
def index():
    return "a page"


@sock.route("/echo")
def echo(ws):
    while True:
        data = ws.receive()
        if data == "close":
            break
        ws.send(data)


@sock.route("/greet/<name>/<int:times>")
def greet(ws, name, times):
    for number in range(times):
        ws.send(f"{number}: hello, {name}")
    ws.receive()


@sock.route("/end")
def end(ws):
    ws.close(reason=3000, message="that is all")


if __name__ == "__main__":
    app.run(port=8765)
"""

FACTORY = """
from flask import Blueprint, Flask, current_app, request
from flask_sock import Sock

sock = Sock()
rooms = Blueprint("rooms", __name__, url_prefix="/rooms")


@sock.route("/where")
def where(ws):
    ws.send(f"{current_app.name} {request.path} {ws.subprotocol}")
    while True:
        ws.send(len(ws.receive()))


@sock.route("/<room>", bp=rooms)
def enter(ws, room):
    ws.send(f"{room} of {request.blueprint}, {request.args['name']}")
    ws.receive()


def create_app():
    app = Flask("factory")
    app.config["SOCK_SERVER_OPTIONS"] = {
        "ping_interval": 25,
        "max_message_size": 1000,
        "subprotocols": ["chat"],
    }
    sock.init_app(app)
    app.register_blueprint(rooms)
    return app
"""

BROADCAST = """
import json

from flask import Flask
from flask_sock import ConnectionClosed, Sock

app = Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 25}
sock = Sock(app)

clients = set()


@sock.route("/chat")
def chat(ws):
    clients.add(ws)
    try:
        while True:
            data = ws.receive(timeout=60)
            for client in clients.copy():
                try:
                    client.send(json.dumps({"text": data, "clients": len(clients)}))
                except ConnectionClosed:
                    clients.discard(client)
    finally:
        clients.discard(ws)


@sock.route("/waiting")
def waiting(ws):
    while ws.receive(timeout=0.05) is not None:
        pass
    ws.send("nothing came")
    while ws.connected:
        if ws.receive(timeout=0) is not None:
            ws.send(17)


if __name__ == "__main__":
    app.run(port=8765)
"""

LOGIN = """
from flask import Flask, session
from flask_sock import Sock

app = Flask(__name__)
app.secret_key = "secret"
sock = Sock(app)


@app.route("/login/<name>")
def login(name):
    session["name"] = name
    return "welcome"


@sock.route("/echo")
def echo(ws):
    while True:
        data = ws.receive()
        ws.send(f"{session.get('name')}: {data}")


if __name__ == "__main__":
    app.run(port=8765)
"""


def ported(text):
    """The same program, with the import changed and nothing else."""
    assert text.count("from flask_sock import") == 1
    return text.replace("from flask_sock import", "from syncws.integrations.flask import")
