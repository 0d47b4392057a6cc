"""Servers that echo, for fallback.py: each is a process of its own.

    python fallback_servers.py syncws|werkzeug|gunicorn

The last two have Socket.IO, with threads. Prints its port and the number of the process, as JSON.
Each line of its standard input is sent to all clients.
"""

import os
import sys
import threading

from children import report

HOST = "127.0.0.1"

#: Seconds between pings, where there is no "never".
NEVER = 3600

#: Connections of a crowd, and more.
MANY = 100_000


def serve_syncws():
    from syncws import Fallback, broadcast, serve

    def echo(ws):
        for message in ws:
            ws.send(message)

    # All clients have one address here.
    fallback = Fallback(max_sessions=MANY, max_sessions_per_address=None)
    options = {"fallback": fallback, "compression": None, "ping_interval": None}
    options["max_connections"] = MANY
    with serve(echo, HOST, 0, **options) as server:
        report(port=server.port, pid=os.getpid())
        for line in sys.stdin:
            broadcast(server.connections, line.strip())


def make_socketio():
    """Socket.IO's server, and the application with it."""
    import socketio

    # Handlers are called one after the other: a thread for each message would take longer, and
    # change their order.
    sio = socketio.Server(async_mode="threading", async_handlers=False, ping_interval=NEVER)

    @sio.on("message")
    def echo(sid, text):
        sio.emit("message", text, to=sid)

    return sio, socketio.WSGIApp(sio)


def obey_socketio(sio):
    for line in sys.stdin:
        sio.emit("message", line.strip())


def serve_werkzeug():
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        def log(self, *args):
            pass

    sio, app = make_socketio()
    server = make_server(HOST, 0, app, threaded=True, request_handler=Handler)
    report(port=server.port, pid=os.getpid())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    obey_socketio(sio)


def serve_gunicorn():
    from gunicorn.app.base import BaseApplication

    sio, app = make_socketio()

    def begin(worker):
        port = worker.sockets[0].getsockname()[1]
        report(port=port, pid=os.getpid())
        threading.Thread(target=obey_socketio, args=[sio], daemon=True).start()

    class Application(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", f"{HOST}:0")
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("threads", 1100)  # each request that waits takes one
            self.cfg.set("worker_connections", 10_000)
            self.cfg.set("backlog", 2048)
            self.cfg.set("keepalive", 60)
            self.cfg.set("post_worker_init", begin)
            self.cfg.set("loglevel", "error")

        def load(self):
            return app

    Application().run()


SERVERS = {
    "syncws": serve_syncws,
    "werkzeug": serve_werkzeug,
    "gunicorn": serve_gunicorn,
}


if __name__ == "__main__":
    SERVERS[sys.argv[1]]()
