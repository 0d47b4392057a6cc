"""Servers, and what runs in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

from typing_extensions import assert_type

from syncws import Data, ServerConnection, Subprotocol, broadcast
from syncws.server import Server, ThreadingServer, serve, unix_serve
from syncws.testing import pair, running


class Mine(ServerConnection):
    user: str = ""


def handler(ws: Mine) -> None:
    with ws as same:
        assert_type(same, Mine)
        ws.send(same.user)
    assert_type(ws.recv(decode=True), str)


def select(ws: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return offered[0] if offered else None


def entering(options: dict[str, Any]) -> None:
    with serve(handler, "localhost", 0, create_connection=Mine, **options) as server:
        assert_type(server, ThreadingServer)
        broadcast(server.connections, "hello")
    with unix_serve(handler, "/tmp/socket", select_subprotocol=select) as server:
        assert_type(server.start(), ThreadingServer)
        same: Server = server
        same.serve_forever()


def testing() -> Data:
    with running(handler) as server:
        assert_type(server, ThreadingServer)
    with pair(subprotocol="chat") as (client, end):
        assert_type(end, ServerConnection)
        client.send("hello")
        assert_type(end.recv(1), Union[str, bytes])
        return end.recv(timeout=1, decode=False)
