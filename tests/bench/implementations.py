"""The implementations, each used as its own documentation shows, with its defaults.

    python implementations.py check NAME ...               print what there is, as JSON
    python implementations.py server NAME WORK PORT        serve until killed
    python implementations.py client NAME WORK PORT COUNT SIZE

Works of a server: "echo"; "sink": read until "done", then answer "ok"; "source": on "COUNT SIZE"
send that many messages. Works of a client: "roundtrip", "receive" and "send", the mirror images.
"source_many", "source_batch", "send_many" and "send_batch" are those of connections that have
send_many() and batch(). The driver measures: nothing here looks at a clock.
"""

import dataclasses
import importlib
import inspect
import itertools
import logging
import os
import sys
from importlib import metadata
from typing import Callable, Optional

import asynchronous
from children import end_with_parent, report

HOST = "127.0.0.1"
SERVER_WORKS = ["echo", "sink", "source"]
CLIENT_WORKS = ["roundtrip", "receive", "send"]


# --- blocking servers --------------------------------------------------------------


def handle(work, messages, send):
    """Do the work of a server with what a blocking connection offers."""
    if work == "echo":
        for message in messages:
            send(message)
    elif work == "sink":
        for message in messages:
            if message == "done":
                send("ok")
    else:
        for message in messages:
            count, size = map(int, message.split())
            payload = b"x" * size
            for _ in range(count):
                send(payload)


def serve_syncws(work, port):
    from syncws import serve

    def handler(ws):
        if work == "source_many":
            for message in ws:
                count, size = map(int, message.split())
                ws.send_many(itertools.repeat(b"x" * size, count))
        elif work == "source_batch":
            for message in ws:
                with ws.batch():
                    handle("source", [message], ws.send)
        else:
            handle(work, ws, ws.send)

    with serve(handler, HOST, port) as server:
        server.serve_forever()


def serve_websockets(work, port):
    from websockets.sync.server import serve

    def handler(ws):
        handle(work, ws, ws.send)

    with serve(handler, HOST, port) as server:
        server.serve_forever()


def serve_simple_websocket(work, port):
    from flask import Flask
    from flask_sock import Sock

    logging.getLogger("werkzeug").disabled = True
    app = Flask(__name__)
    sock = Sock(app)

    @sock.route("/")
    def handler(ws):
        handle(work, iter(ws.receive, None), ws.send)

    app.run(HOST, port)


# --- blocking clients --------------------------------------------------------------


def work_as_client(work, count, size, recv, send_text, send_bytes):
    """Do the work of a client with what a blocking connection offers."""
    if work == "roundtrip":
        text = "x" * size
        for _ in range(count):
            send_text(text)
            recv()
    elif work == "receive":
        send_text("go")
        for _ in range(count):
            recv()
        send_text("ok")
    else:
        data = b"x" * size
        send_text("go")
        recv()
        for _ in range(count):
            send_bytes(data)
        recv()


def run_syncws(work, uri, count, size):
    from syncws import connect

    ws = connect(uri)
    if work == "send_many":
        ws.send("go")
        ws.recv()
        ws.send_many(itertools.repeat(b"x" * size, count))
        ws.recv()
    elif work == "send_batch":
        ws.send("go")
        ws.recv()
        with ws.batch():
            for message in itertools.repeat(b"x" * size, count):
                ws.send(message)
        ws.recv()
    else:
        work_as_client(work, count, size, ws.recv, ws.send, ws.send)


def run_websockets(work, uri, count, size):
    from websockets.sync.client import connect

    ws = connect(uri)
    work_as_client(work, count, size, ws.recv, ws.send, ws.send)


def run_websocket_client(work, uri, count, size):
    import websocket

    ws = websocket.create_connection(uri)
    work_as_client(work, count, size, ws.recv, ws.send, ws.send_binary)


def run_simple_websocket(work, uri, count, size):
    from simple_websocket import Client

    ws = Client(uri)
    work_as_client(work, count, size, ws.receive, ws.send, ws.send)


# --- all of them -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Implementation:
    """A library, and how to use it.

    Attributes:
        package: what it is installed as.
        modules: what must be importable.
        serve: called with work and port, or None.
        run_client: called with work, URI, count and size, or None.
        server_modules: what must be importable for the server besides.
        uvloop: whether uvloop is used if it is there.
    """

    package: str
    modules: tuple
    serve: Optional[Callable]
    run_client: Optional[Callable]
    server_modules: tuple = ()
    uvloop: bool = False


IMPLEMENTATIONS = {
    "syncws": Implementation("syncws", ("syncws",), serve_syncws, run_syncws),
    "websockets": Implementation(
        "websockets",
        ("websockets.sync.server", "websockets.sync.client"),
        serve_websockets,
        run_websockets,
    ),
    "websockets-asyncio": Implementation(
        "websockets",
        ("websockets.asyncio.server", "websockets.asyncio.client"),
        asynchronous.serve_websockets,
        asynchronous.run_websockets,
        uvloop=True,
    ),
    "websocket-client": Implementation(
        "websocket-client", ("websocket",), None, run_websocket_client
    ),
    "simple-websocket": Implementation(
        "simple-websocket",
        ("simple_websocket",),
        serve_simple_websocket,
        run_simple_websocket,
        server_modules=("flask", "flask_sock"),
    ),
    "picows": Implementation(
        "picows", ("picows",), asynchronous.serve_picows, asynchronous.run_picows, uvloop=True
    ),
    "aiohttp": Implementation(
        "aiohttp", ("aiohttp",), asynchronous.serve_aiohttp, asynchronous.run_aiohttp
    ),
    "tornado": Implementation(
        "tornado", ("tornado.websocket",), asynchronous.serve_tornado, asynchronous.run_tornado
    ),
}


def _missing(modules):
    """Why one of the modules can't be imported, or None."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as exc:  # a broken installation may raise anything
            return f"{type(exc).__name__}: {exc}".splitlines()[0]
    return None


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def check(name):
    """What there is: {"missing": why}, or {"version", "server": works, "client": works, ...}."""
    it = IMPLEMENTATIONS[name]
    missing = _missing(it.modules)
    if missing:
        return {"missing": missing}
    found = {"version": _version(it.package), "server": [], "client": [], "notes": []}
    if it.uvloop and not _missing(["uvloop"]):
        found["version"] += f" with uvloop {_version('uvloop')}"
    if it.run_client:
        found["client"] = list(CLIENT_WORKS)
    if it.serve:
        missing = _missing(it.server_modules)
        if missing:
            found["notes"].append(f"no server: {missing}")
        else:
            found["server"] = list(SERVER_WORKS)
    if name == "syncws":
        _check_syncws(found)
    return found


def _check_syncws(found):
    import syncws
    from syncws import accel

    found["version"] = f"{syncws.__version__} ({accel.IMPLEMENTATION})"
    for method, suffix in (("send_many", "many"), ("batch", "batch")):
        if hasattr(syncws.Connection, method):
            found["server"].append(f"source_{suffix}")
            found["client"].append(f"send_{suffix}")


def main():
    command, *args = sys.argv[1:]
    if command == "check":
        report(**{name: check(name) for name in args})
        return
    end_with_parent()
    name, work, port, *numbers = args
    it = IMPLEMENTATIONS[name]
    if command == "server":
        target, arguments = it.serve, (work, int(port))
    else:
        target, arguments = it.run_client, (work, f"ws://{HOST}:{port}/", *map(int, numbers))
    if inspect.iscoroutinefunction(target):
        asynchronous.run(target(*arguments), uvloop=it.uvloop)
    else:
        target(*arguments)
    # The driver has its figure; how long saying goodbye takes isn't part of it.
    os._exit(0)


if __name__ == "__main__":
    main()
