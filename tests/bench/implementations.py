"""The implementations, each used as its own documentation shows, with its defaults.

    python implementations.py check NAME ...               print what there is, as JSON
    python implementations.py server NAME WORK TLS PORT    serve until killed
    python implementations.py client NAME WORK TLS PORT COUNT SIZE

Works of a server: "echo"; "sink": read until "done", then answer "ok"; "source": on "COUNT SIZE"
send that many messages; "fanout": send each message to all connections, but answer "hi"; "json":
an echo that takes each message apart, and makes it anew. Works of a client: "roundtrip", "receive"
and "send", the mirror images; "roundtrip_json" sends texts that compression has to do with. All
that can compress agree to it, and leave it to the driver whether that happens. TLS is 0 or 1;
clients trust what SSL_CERT_FILE says. "source_many", "source_batch", "send_many" and "send_batch"
are those of connections that have send_many() and batch(). The driver measures: nothing here looks
at a clock.
"""

import dataclasses
import importlib
import inspect
import itertools
import json
import logging
import os
import platform
import sys
from importlib import metadata
from typing import Callable, Optional

import asynchronous
from children import end_with_parent, report
from secure import VARIABLE, server_context

HOST = "127.0.0.1"
SERVER_WORKS = ("echo", "sink", "source", "fanout")
CLIENT_WORKS = ("roundtrip", "roundtrip_json", "receive", "send")


# --- blocking servers --------------------------------------------------------------


def fan_out(ws, messages, connections, broadcast):
    """Send messages to all connections; answer "hi", once this one is among them."""
    connections.add(ws)
    try:
        for message in messages:
            if message == "hi":
                ws.send(message)
            else:
                broadcast(message)
    finally:
        connections.discard(ws)


def handle(work, messages, send):
    """Do the work of a server with what a blocking connection offers."""
    if work == "echo":
        for message in messages:
            send(message)
    elif work == "json":
        for message in messages:
            send(json.dumps(json.loads(message), separators=(",", ":")))
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


def serve_syncws(work, port, context):
    from syncws import broadcast, serve

    def handler(ws):
        if work == "fanout":
            fan_out(ws, ws, set(), lambda message: broadcast(server, message))
        elif work == "source_many":
            for message in ws:
                count, size = map(int, message.split())
                ws.send_many(itertools.repeat(b"x" * size, count))
        elif work == "source_batch":
            for message in ws:
                with ws.batch():
                    handle("source", [message], ws.send)
        else:
            handle(work, ws, ws.send)

    with serve(handler, HOST, port, ssl=context) as server:
        server.serve_forever()


def serve_websockets(work, port, context):
    from websockets.sync.server import broadcast, serve

    connections = set()

    def handler(ws):
        if work == "fanout":
            fan_out(ws, ws, connections, lambda message: broadcast(connections, message))
        else:
            handle(work, ws, ws.send)

    with serve(handler, HOST, port, ssl=context) as server:
        server.serve_forever()


def serve_simple_websocket(work, port, context):
    from flask import Flask
    from flask_sock import Sock

    logging.getLogger("werkzeug").disabled = True
    app = Flask(__name__)
    sock = Sock(app)

    @sock.route("/")
    def handler(ws):
        handle(work, iter(ws.receive, None), ws.send)

    app.run(HOST, port, ssl_context=context)


# --- blocking clients --------------------------------------------------------------


def work_as_client(work, count, size, recv, send_text, send_bytes):
    """Do the work of a client with what a blocking connection offers."""
    if work.startswith("roundtrip"):
        for text in asynchronous.texts(work, count, size):
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


def run_websocket_rs(work, uri, count, size):
    from websocket_rs.sync.client import connect

    ws = connect(uri)
    work_as_client(work, count, size, ws.recv, ws.send, ws.send)


def run_curl_cffi(work, uri, count, size):
    from curl_cffi import Session

    # It has authorities of its own, whatever the environment says.
    ws = Session(verify=os.environ.get(VARIABLE, True)).ws_connect(uri)
    work_as_client(work, count, size, ws.recv, ws.send_str, ws.send_binary)


# --- all of them -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Implementation:
    """A library, and how to use it.

    Attributes:
        package: what it is installed as.
        modules: what must be importable.
        serve: called with work, port and the context of TLS, or None.
        run_client: called with work, URI, count and size, or None.
        server_modules: what must be importable for the server besides.
        server_works: the works of the server.
        uvloop: whether uvloop is used if it is there.
        deflate: the roles in which it has permessage-deflate.
    """

    package: str
    modules: tuple
    serve: Optional[Callable]
    run_client: Optional[Callable]
    server_modules: tuple = ()
    server_works: tuple = SERVER_WORKS
    uvloop: bool = False
    deflate: tuple = ()


BOTH = ("server", "client")

IMPLEMENTATIONS = {
    "syncws": Implementation("syncws", ("syncws",), serve_syncws, run_syncws, deflate=BOTH),
    "websockets": Implementation(
        "websockets",
        ("websockets.sync.server", "websockets.sync.client"),
        serve_websockets,
        run_websockets,
        deflate=BOTH,
    ),
    "websockets-asyncio": Implementation(
        "websockets",
        ("websockets.asyncio.server", "websockets.asyncio.client"),
        asynchronous.serve_websockets,
        asynchronous.run_websockets,
        uvloop=True,
        deflate=BOTH,
    ),
    "websocket-client": Implementation(
        "websocket-client", ("websocket",), None, run_websocket_client
    ),
    "websocket-rs": Implementation(
        "websocket-rs", ("websocket_rs.sync.client",), None, run_websocket_rs
    ),
    "simple-websocket": Implementation(
        "simple-websocket",
        ("simple_websocket",),
        serve_simple_websocket,
        run_simple_websocket,
        server_modules=("flask", "flask_sock"),
        # Two threads that send on one connection over TLS break it.
        server_works=("echo", "sink", "source"),
        deflate=("server",),
    ),
    "curl_cffi": Implementation("curl_cffi", ("curl_cffi",), None, run_curl_cffi),
    "picows": Implementation(
        "picows", ("picows",), asynchronous.serve_picows, asynchronous.run_picows, uvloop=True
    ),
    "aiohttp": Implementation(
        "aiohttp",
        ("aiohttp",),
        asynchronous.serve_aiohttp,
        asynchronous.run_aiohttp,
        deflate=BOTH,
    ),
    "tornado": Implementation(
        "tornado",
        ("tornado.websocket",),
        asynchronous.serve_tornado,
        asynchronous.run_tornado,
        deflate=BOTH,
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
    """What there is: {"missing": why}, or {"version", "server": works, "client": works, ...}.

    Imported by now, it may have brought the interpreter's lock back: what is said of that is so.
    """
    it = IMPLEMENTATIONS[name]
    missing = _missing(it.modules)
    if missing:
        return {"missing": missing}
    found = {"version": _version(it.package), "server": [], "client": [], "notes": []}
    found["deflate"] = it.deflate
    found["python"] = platform.python_version()
    found["lock"] = getattr(sys, "_is_gil_enabled", lambda: True)()
    if it.uvloop and not _missing(["uvloop"]):
        found["version"] += f" with uvloop {_version('uvloop')}"
    if it.run_client:
        found["client"] = list(CLIENT_WORKS)
    if it.serve:
        missing = _missing(it.server_modules)
        if missing:
            found["notes"].append(f"no server: {missing}")
        else:
            found["server"] = list(it.server_works)
    if name == "syncws":
        _check_syncws(found)
    return found


def _check_syncws(found):
    import syncws
    from syncws import accel
    from syncws.sansio.extensions.zlib_backend import zlib

    found["server"].append("json")
    used = [accel.IMPLEMENTATION]
    if zlib.__name__ != "zlib":
        used.append(zlib.__name__.rpartition(".")[2])
    found["version"] = f"{syncws.__version__} ({', '.join(used)})"
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
    name, work, tls, port, *numbers = args
    it = IMPLEMENTATIONS[name]
    if command == "server":
        context = server_context() if tls == "1" else None
        target, arguments = it.serve, (work, int(port), context)
    else:
        uri = f"{'wss' if tls == '1' else 'ws'}://{HOST}:{port}/"
        target, arguments = it.run_client, (work, uri, *map(int, numbers))
    if inspect.iscoroutinefunction(target):
        asynchronous.run(target(*arguments), uvloop=it.uvloop)
    else:
        target(*arguments)
    # The driver has its figure; how long saying goodbye takes isn't part of it.
    os._exit(0)


if __name__ == "__main__":
    main()
