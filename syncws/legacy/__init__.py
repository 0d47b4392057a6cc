"""The names that tutorials of the ``websockets`` library use, from before its version 14.

They are thin subclasses and functions that give older names to what the real classes do. All are
attributes of :mod:`syncws` as well, loaded when they are first used; so a tutorial's program,
without ``async`` and ``await``, runs after ``import syncws as websockets``.

    ================================  =================================================
    older name                        what it is
    ================================  =================================================
    ``WebSocketServer``               :class:`~syncws.ThreadingServer`
    ``WebSocketCommonProtocol``       :class:`~syncws.Connection`, with older names
    ``WebSocketServerProtocol``       :class:`~syncws.ServerConnection`, the same
    ``WebSocketClientProtocol``       :class:`~syncws.ClientConnection`, the same
    ``basic_auth_protocol_factory``   :func:`~syncws.basic_auth`
    ``WebSocketProtocolError``        :exc:`~syncws.ProtocolError`
    ================================  =================================================

:func:`connect` and :func:`serve` here also take the parameters' oldest names (``timeout=``,
``klass=``), and say why others (``loop=``) mean nothing without an event loop.
"""

from __future__ import annotations

from ..exceptions import (
    AbortHandshake,
    InvalidStatusCode,
    RedirectHandshake,
    WebSocketProtocolError,
)
from .auth import BasicAuthWebSocketServerProtocol, basic_auth_protocol_factory
from .client import WebSocketClientProtocol, connect, unix_connect
from .protocol import WebSocketCommonProtocol
from .server import WebSocketServer, WebSocketServerProtocol, serve, unix_serve

__all__ = [
    "AbortHandshake",
    "BasicAuthWebSocketServerProtocol",
    "InvalidStatusCode",
    "RedirectHandshake",
    "WebSocketClientProtocol",
    "WebSocketCommonProtocol",
    "WebSocketProtocolError",
    "WebSocketServer",
    "WebSocketServerProtocol",
    "basic_auth_protocol_factory",
    "connect",
    "serve",
    "unix_connect",
    "unix_serve",
]
