"""A WSGI application for all servers: handlers that behave, some that don't, and plain pages.

Run as a program it starts a server of its own: ``wsgi_app.py KIND [CERTIFICATE]``.
"""

import json
import logging
import os
import signal
import sys
import threading

from syncws.exceptions import InvalidHandshake
from syncws.integrations import wsgi, wsgi_roster
from syncws.integrations.takeover import sinks

logging.basicConfig(level="INFO", format="%(levelname)s %(name)s %(message)s")

wsgi_roster.INTERVAL = 0.05  # the tests wait until nothing is left of connections

PAGE = b"<!doctype html><title>page</title>"


def echo(ws):
    for message in ws:
        ws.send(message)


def fail(ws):
    raise ArithmeticError(ws.recv())


def leave(ws):
    raise SystemExit(ws.recv())


def hold(ws):
    ws.send("ready")
    list(ws)


def respond_late(environ, start_response):
    """Returns a page after all, although nobody reads it."""
    ws = wsgi.accept(environ)
    gateway.handle(ws, echo)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [bytes(1 << 16)] * 16


def use_raw(environ, start_response):
    try:
        ws = wsgi.accept(environ, start_response, compression=None)
    except InvalidHandshake as exc:
        return wsgi.answer(exc, start_response)
    with ws:
        echo(ws)
    return []


def set_cookie(environ, start_response):
    ws = gateway.accept(environ, start_response, extra_headers=[("Set-Cookie", "a=b")])
    gateway.handle(ws, echo)
    return []


def show_page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def show_nothing(environ, start_response):
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return []


def show_status(environ, start_response):
    """What this process holds, none of which may grow."""
    status = {
        "pid": os.getpid(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "open": len(wsgi_roster.roster),
        "waiting": wsgi_roster.roster._waiting,
        "sinks": len(sinks),
    }
    body = json.dumps(status).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def unsupported(environ, start_response):
    try:
        wsgi.accept(environ, start_response)
    except wsgi.UnsupportedServer as exc:
        body = str(exc).encode()
    start_response("501 Not Implemented", [("Content-Type", "text/plain")])
    return [body]


gateway = wsgi.Gateway(idle_timeout=60)

PAGES = {
    "/": show_page,
    "/status": show_status,
    "/echo": wsgi.application(echo, max_size=None, subprotocols=None),
    "/fail": wsgi.application(fail),
    "/leave": wsgi.application(leave),
    "/hold": wsgi.application(hold, close_timeout=2),
    "/one": wsgi.application(echo, max_connections=1),
    "/elsewhere": wsgi.application(echo, origins=["https://elsewhere.example"]),
    "/chat": wsgi.application(echo, subprotocols=["chat"]),
    "/late": respond_late,
    "/raw": use_raw,
    "/cookie": set_cookie,
    "/unsupported": unsupported,
}


def app(environ, start_response):
    return PAGES.get(environ["PATH_INFO"], show_nothing)(environ, start_response)


# --- servers without a command of their own -----------------------


def say(port):
    print(f"Listening at: http://127.0.0.1:{port}", flush=True)


def run_werkzeug(files):
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=tuple(files) or None)
    say(server.port)
    logging.getLogger("werkzeug").setLevel("INFO")
    server.serve_forever()


def run_cheroot(files):
    from cheroot.ssl.builtin import BuiltinSSLAdapter
    from cheroot.wsgi import Server

    def stop(*_):
        raise SystemExit(0)

    def log(message="", level=20, traceback=False):
        logging.getLogger("cheroot").log(level, message, exc_info=traceback)

    server = Server(("127.0.0.1", 0), app, numthreads=3)
    server.error_log = log
    if files:
        server.ssl_adapter = BuiltinSSLAdapter(*files)
    signal.signal(signal.SIGTERM, stop)
    server.prepare()
    say(server.bind_addr[1])
    try:
        server.serve()
    finally:
        server.stop()


def run_wsgiref(files):
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIServer, make_server

    class ThreadingServer(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    server = make_server("127.0.0.1", 0, app, ThreadingServer)
    say(server.server_port)
    server.serve_forever()


def run_pywsgi(files):
    import gevent
    from gevent.pywsgi import WSGIServer

    options = dict(zip(("certfile", "keyfile"), files))
    server = WSGIServer(("127.0.0.1", 0), app, **options)
    server.start()
    say(server.server_port)
    gevent.signal_handler(signal.SIGTERM, server.stop)
    server.serve_forever()


def run_waitress(files):
    from waitress.server import create_server

    server = create_server(app, host="127.0.0.1", port=0)
    say(server.effective_port)
    server.run()


if __name__ == "__main__":
    kind, *files = sys.argv[1:]
    globals()[f"run_{kind}"](files)
