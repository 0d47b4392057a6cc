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

from typing import TYPE_CHECKING
from typing import Any as _Any

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
from .server.url_route import route, unix_route
from .threaded.attributes import Stats
from .threaded.connection import Connection
from .threaded.pings import Ping
from .threaded.wait import wait
from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import legacy as legacy
    from . import styles as styles
    from .legacy import BasicAuthWebSocketServerProtocol as BasicAuthWebSocketServerProtocol
    from .legacy import WebSocketClientProtocol as WebSocketClientProtocol
    from .legacy import WebSocketCommonProtocol as WebSocketCommonProtocol
    from .legacy import WebSocketProtocolError as WebSocketProtocolError
    from .legacy import WebSocketServer as WebSocketServer
    from .legacy import WebSocketServerProtocol as WebSocketServerProtocol
    from .legacy import basic_auth_protocol_factory as basic_auth_protocol_factory
    from .stand_in import install_as as install_as
    from .styles import Application as Application
    from .styles import WebSocketApp as WebSocketApp
    from .styles import WebSocketHandler as WebSocketHandler
    from .styles import run_forever as run_forever

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
    "route",
    "serve",
    "unix_connect",
    "unix_route",
    "unix_serve",
    "wait",
]

#: Where the names are that are only loaded when they are used.
_LAZY = {
    "legacy": "legacy",
    "styles": "styles",
    "BasicAuthWebSocketServerProtocol": "legacy",
    "WebSocketClientProtocol": "legacy",
    "WebSocketCommonProtocol": "legacy",
    "WebSocketProtocolError": "legacy",
    "WebSocketServer": "legacy",
    "WebSocketServerProtocol": "legacy",
    "basic_auth_protocol_factory": "legacy",
    "Application": "styles",
    "WebSocketApp": "styles",
    "WebSocketHandler": "styles",
    "run_forever": "styles",
    "install_as": "stand_in",
}


def __getattr__(name: str) -> _Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f".{_LAZY[name]}", __name__)
    value = module if name == _LAZY[name] else getattr(module, name)
    globals()[name] = value  # the next time it is there
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
