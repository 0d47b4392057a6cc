"""Mistakes of servers. Beside each: what mypy calls it / what pyright calls it."""

from __future__ import annotations

from syncws import ClientConnection, Request, ServerConnection, Subprotocol, basic_auth
from syncws.server import serve
from syncws.testing import pair


class Mine(ClientConnection):
    pass


def process_request(ws: ServerConnection, request: Request) -> int:
    return 200


with serve(print, "localhost", 8765) as server:
    server.sockets = []  # expect: assignment misc / reportAttributeAccessIssue
    print(server.websockets)  # expect: attr-defined / reportAttributeAccessIssue
    server.close(wait=True)  # expect: call-arg / reportCallIssue

serve(print, "localhost", "8765")  # expect: arg-type / reportArgumentType
serve(print, create_connection=Mine)  # expect: arg-type / reportArgumentType
serve(print, process_request=process_request)  # expect: arg-type / reportArgumentType
basic_auth("realm", 5)  # expect: arg-type / reportArgumentType
chat: Subprotocol = "chat"  # expect: assignment / reportAssignmentType
with pair() as (client, _):
    end: ServerConnection = client  # expect: assignment / reportAssignmentType
