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
from .aliases import (
    Data,
    ExtensionName,
    ExtensionParameter,
    LoggerLike,
    Origin,
    StatusLike,
    Subprotocol,
)
from .client import ClientConnection, connect, reconnect, unix_connect, unix_reconnect
from .exceptions import *  # noqa: F403
from .options import Deflate
from .sansio.client_protocol import ClientProtocol
from .sansio.close import Close, CloseCode
from .sansio.frames import Frame, Opcode
from .sansio.headers import Headers, HeadersLike
from .sansio.http11 import Request, Response
from .sansio.origins import SAME_ORIGIN
from .sansio.protocol import Protocol
from .sansio.server_protocol import ServerProtocol
from .sansio.state import Role, State
from .sansio.uri import WebSocketURI, parse_uri
from .server import (
    Fallback,
    Group,
    Router,
    Server,
    ServerConnection,
    ServerStats,
    ThreadingServer,
    basic_auth,
    bearer_auth,
    broadcast,
    listen_fds,
    route,
    serve,
    unix_route,
    unix_serve,
)
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

#: The role of an endpoint, by the name that ``websockets`` has for it.
Side = Role

__all__ = [
    *exceptions.__all__,
    "SAME_ORIGIN",
    "ClientConnection",
    "ClientProtocol",
    "Close",
    "CloseCode",
    "Connection",
    "Data",
    "Deflate",
    "ExtensionName",
    "ExtensionParameter",
    "Fallback",
    "Frame",
    "Group",
    "Headers",
    "HeadersLike",
    "LoggerLike",
    "Opcode",
    "Origin",
    "Ping",
    "Protocol",
    "Request",
    "Response",
    "Role",
    "Router",
    "Server",
    "ServerConnection",
    "ServerProtocol",
    "ServerStats",
    "Side",
    "State",
    "Stats",
    "StatusLike",
    "Subprotocol",
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
    "unix_reconnect",
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
