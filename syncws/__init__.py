"""WebSocket (RFC 6455, RFC 7692) for programs that use threads and blocking calls.

A client::

    from syncws import connect

    with connect("ws://localhost:8765/") as ws:
        ws.send("hello")
        print(ws.recv())

A server::

    from syncws import serve

    def echo(ws):
        for message in ws:
            ws.send(message)

    with serve(echo, "localhost", 8765) as server:
        server.serve_forever()

Everything may be called from any thread.
"""

from __future__ import annotations

from . import exceptions as exceptions
from .client.client_connection import ClientConnection
from .client.connect import connect, unix_connect
from .client.reconnect import reconnect
from .exceptions import *  # noqa: F403
from .options import Deflate
from .sansio.client_protocol import ClientProtocol
from .sansio.close import Close, CloseCode
from .sansio.frames import Frame, Opcode
from .sansio.handshake import SAME_ORIGIN
from .sansio.headers import Headers
from .sansio.http11 import Request, Response
from .sansio.server_protocol import ServerProtocol
from .sansio.state import Role, State
from .sansio.uri import WebSocketURI, parse_uri
from .server.auth import basic_auth, bearer_auth
from .server.broadcast import broadcast
from .server.groups import Group
from .server.inheriting import listen_fds
from .server.routing import Router
from .server.serve import ThreadingServer, serve, unix_serve
from .server.stats import ServerStats
from .server.upgrade import ServerConnection
from .threaded.attributes import Stats
from .threaded.connection import Connection
from .threaded.pings import Ping
from .threaded.wait import wait
from .version import __version__ as __version__

__all__ = [
    *exceptions.__all__,
    "SAME_ORIGIN",
    "ClientConnection",
    "ClientProtocol",
    "Close",
    "CloseCode",
    "Connection",
    "Deflate",
    "Frame",
    "Group",
    "Headers",
    "Opcode",
    "Ping",
    "Request",
    "Response",
    "Role",
    "Router",
    "ServerConnection",
    "ServerProtocol",
    "ServerStats",
    "State",
    "Stats",
    "ThreadingServer",
    "WebSocketURI",
    "basic_auth",
    "bearer_auth",
    "broadcast",
    "connect",
    "listen_fds",
    "parse_uri",
    "reconnect",
    "serve",
    "unix_connect",
    "unix_serve",
    "wait",
]
