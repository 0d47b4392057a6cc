"""Servers with rooms in Redis, for rooms.py: each is one process of several.

    python room_servers.py syncws|syncws-positions|flask-socketio|python-socketio URL

Prints its port, as JSON. Clients join rooms, and say something in rooms. For syncws the messages
are "join ROOM [POSITION]", answered by "joined ROOM 1", or 0 if something is missing, and
"say ROOM TEXT"; for the others events of the same names. With positions, members get JSON: room,
position and text. Then lines come in: "publish NAME ROOMS RATE" has it publish as well, and it
prints each time how many are confirmed; "stop" ends that, and prints the hub's figures.
"""

import contextlib
import json
import socket
import sys
import threading

from children import report
from room_traffic import Publisher

HOST = "127.0.0.1"

#: Seconds between pings, where there is no "never".
NEVER = 3600


def serve_syncws(url, positions=False):
    from syncws import serve
    from syncws.exceptions import ConnectionClosed
    from syncws.pubsub import Hub

    def wrap(room, entry):
        return json.dumps([room, str(entry.position), entry.message])

    def handle(ws):
        for line in ws:
            verb, name, *rest = line.split(" ", 2)
            if verb == "say":
                hub.publish(name, rest[0])
            else:
                complete = hub.room(name).add(ws, since=rest[0] if rest else None)
                ws.send(f"joined {name} {complete:d}")

    def handler(ws):
        with contextlib.suppress(ConnectionClosed):  # members are killed in the end
            handle(ws)

    # Nobody is cut for being slow, as many share a processor here.
    options = {"write_limit": 2**27, "compression": None, "ping_interval": None}
    # All that is published stays, so that it can be compared.
    about = {"envelope": wrap, "history": 10**6} if positions else {}
    with Hub(url, **about) as hub, serve(handler, HOST, 0, hub=hub, **options) as server:
        report(port=server.port)
        obey(hub)


def obey(hub):
    """Publish when told to, until the standard input ends."""
    for line in sys.stdin:
        verb, *arguments = line.split()
        if verb == "publish":
            name, rooms, rate = arguments

            def confirmed(count):
                report(confirmed=count)

            publisher = Publisher(hub.publish, name, int(rooms), float(rate), confirmed)
            publisher.start()
        else:
            publisher.stop()
            report(stats=hub.stats()._asdict())


def serve_flask_socketio(url):
    from flask import Flask
    from flask_socketio import SocketIO, emit, join_room
    from werkzeug.serving import make_server

    app = Flask(__name__)
    options = {"async_mode": "threading", "ping_interval": NEVER}
    socketio = SocketIO(app, message_queue=url, **options)

    @socketio.on("join")
    def join(room):
        join_room(room)
        emit("joined", room)

    @socketio.on("say")
    def say(room, text):
        socketio.emit("message", text, to=room)

    server = make_server(HOST, 0, app, threaded=True)
    report(port=server.port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def serve_python_socketio(url):
    import socketio
    import uvicorn

    manager = socketio.AsyncRedisManager(url)
    sio = socketio.AsyncServer(
        async_mode="asgi", client_manager=manager, ping_interval=NEVER, cors_allowed_origins="*"
    )

    @sio.on("join")
    async def join(sid, room):
        await sio.enter_room(sid, room)
        await sio.emit("joined", room, to=sid)

    @sio.on("say")
    async def say(sid, room, text):
        await sio.emit("message", text, to=room)

    sock = socket.create_server((HOST, 0), backlog=1024)
    report(port=sock.getsockname()[1])
    config = uvicorn.Config(
        socketio.ASGIApp(sio),
        log_level="warning",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, args=([sock],), daemon=True).start()
    sys.stdin.read()


SERVERS = {
    "syncws": serve_syncws,
    "syncws-positions": lambda url: serve_syncws(url, positions=True),
    "flask-socketio": serve_flask_socketio,
    "python-socketio": serve_python_socketio,
}


if __name__ == "__main__":
    SERVERS[sys.argv[1]](sys.argv[2])
