"""A WSGI application whose WebSockets are served over plain HTTP as well, for all servers.

Run as a program it starts a server of its own: ``fallback_app.py KIND``.
"""

import json
import os
import sys

from support import wsgi_app

from syncws import Fallback
from syncws.integrations import wsgi


def count(ws):
    """Send as many numbered messages as the client wants, and close with a code."""
    for number in range(int(ws.recv())):
        ws.send(str(number))
    ws.close(4321, "that is all")


def tell(ws):
    ws.send(
        json.dumps(
            {
                "pid": os.getpid(),
                "transport": ws.transport,
                "remote": ws.remote_address,
                "secure": ws.secure,
                "subprotocol": ws.subprotocol,
                "script": ws.environ["SCRIPT_NAME"],
                "path": ws.environ["PATH_INFO"],
                "query": ws.environ["QUERY_STRING"],
                "cookie": ws.request.headers.get("Cookie"),
                "method": ws.environ["REQUEST_METHOD"],
            }
        )
    )


def fail(ws):
    raise ArithmeticError(ws.recv())


def break_down(environ, start_response):
    raise ArithmeticError("before there is an answer")


PAGES = {
    **wsgi_app.PAGES,
    "/count": wsgi.application(count),
    "/tell": wsgi.application(tell, subprotocols=["chat"], trusted_proxies=["127.0.0.1"]),
    "/fail": wsgi.application(fail),
    "/broken": break_down,
}


def find_page(environ, start_response):
    page = PAGES.get(environ["PATH_INFO"], wsgi_app.show_nothing)
    return page(environ, start_response)


app = wsgi.FallbackMiddleware(find_page, Fallback(session_timeout=10))
application = app  # uWSGI's and mod_wsgi's name


if __name__ == "__main__":
    wsgi_app.app = app
    getattr(wsgi_app, f"run_{sys.argv[1]}")([])
