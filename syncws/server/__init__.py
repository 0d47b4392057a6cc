"""The server's end: accepting connections, answering opening handshakes, running handlers.

::

    from syncws.server import serve

    def echo(ws):
        for message in ws:
            ws.send(message)

    with serve(echo, "localhost", 8765) as server:
        server.serve_forever()

:func:`serve` returns a :class:`ThreadingServer`, which is also known as ``Server``. It listens at
once and accepts connections from the start of its ``with`` block, from ``start()``, or from
``serve_forever()``. Each connection has a thread of its own: it shakes hands by TLS and HTTP,
makes a :class:`ServerConnection`, and calls the handler with it. When the handler returns, the
connection is closed with 1000; when it raises, with 1011.

- :func:`unix_serve` listens on a Unix socket.
- :class:`Router` chooses a handler by path; :func:`route` and :func:`unix_route` take a
  ``werkzeug`` map instead.
- :func:`basic_auth` and :func:`bearer_auth` make functions for ``process_request=``.
- :func:`broadcast` sends one message to many connections without waiting for slow ones;
  :class:`Group` is a set of connections that looks after itself.

All of these are also attributes of ``syncws``. Every method of a server may be called from any
thread.
"""

from __future__ import annotations

from .auth import basic_auth, bearer_auth
from .broadcasting import broadcast
from .fallback import Fallback
from .groups import Group
from .inheriting import listen_fds
from .routing import Router
from .server_connection import ServerConnection
from .serving import serve, unix_serve
from .stats import ServerStats
from .threading_server import ThreadingServer
from .url_route import route, unix_route

#: The class by the name that ``websockets`` has for it.
Server = ThreadingServer

__all__ = [
    "Fallback",
    "Group",
    "Router",
    "Server",
    "ServerConnection",
    "ServerStats",
    "ThreadingServer",
    "basic_auth",
    "bearer_auth",
    "broadcast",
    "listen_fds",
    "route",
    "serve",
    "unix_route",
    "unix_serve",
]
