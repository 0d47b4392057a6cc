"""A program for ``websockets.sync``, with another import."""

from __future__ import annotations

import logging

from syncws import (
    Data,
    ExtensionName,
    ExtensionParameter,
    HeadersLike,
    LoggerLike,
    Origin,
    Protocol,
    Request,
    Response,
    Side,
    StatusLike,
    Subprotocol,
)
from syncws.client import ClientConnection, connect
from syncws.server import Server, ServerConnection, basic_auth, broadcast, serve

LOGGER: LoggerLike = logging.LoggerAdapter(logging.getLogger("chat"), {})
ORIGIN = Origin("https://example.com")
CHAT = Subprotocol("chat")
STATUS: StatusLike = 403
HEADERS: HeadersLike = {"X-A": "b"}
EXTENSION: tuple[ExtensionName, list[ExtensionParameter]] = (ExtensionName("x-name"), [("a", None)])

connected: set[ServerConnection] = set()


def refuse(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(STATUS, "no") if "X-A" not in request.headers else None


def handler(websocket: ServerConnection) -> None:
    connected.add(websocket)
    for message in websocket:
        broadcast(connected, message)


def start() -> Server:
    return serve(
        handler,
        "localhost",
        8765,
        origins=[ORIGIN],
        subprotocols=[CHAT],
        process_request=[refuse, basic_auth(realm="chat", credentials=("a", "b"))],
        logger=LOGGER,
    )


def talk() -> Data:
    client: ClientConnection
    with connect(
        "ws://localhost:8765/",
        origin=ORIGIN,
        subprotocols=[CHAT],
        additional_headers=HEADERS,
        logger=LOGGER,
    ) as client:
        protocol: Protocol = client.protocol
        assert protocol.role is Side.CLIENT
        client.send("hello")
        return client.recv(timeout=1)
