"""Mistakes with websocket-client's style. Beside each: mypy's name / pyright's."""

from __future__ import annotations

from syncws import ClientConnection
from syncws.styles import WebSocketApp, create_connection

ws = create_connection("ws://localhost/")
ws.sned("hello")  # expect: attr-defined / reportAttributeAccessIssue
text: str = ws.recv()  # expect: assignment / reportAssignmentType
create_connection(5)  # expect: call-overload / reportArgumentType
create_connection("ws://", 5, ClientConnection)  # expect: type-var / reportArgumentType
WebSocketApp("ws://localhost/", on_message="hello")  # expect: arg-type / reportArgumentType
