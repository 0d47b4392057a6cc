"""Mistakes of clients. Beside each: what mypy calls it / what pyright calls it."""

from __future__ import annotations

from syncws import ServerConnection, connect, exceptions, reconnect


class Mine(ServerConnection):
    pass


with connect("ws://localhost/") as ws:
    ws.sned("hello")  # expect: attr-defined / reportAttributeAccessIssue
    print(ws.loop)  # expect: attr-defined / reportAttributeAccessIssue
    ws.send(5)  # expect: arg-type / reportArgumentType
    ws.send("hello", True)  # expect: misc / reportCallIssue
    text: str = ws.recv()  # expect: assignment / reportAssignmentType
    text = ws.recv(decode=False)  # expect: assignment / reportAssignmentType
    text = ws.recv(timeout=1, decode=None)  # expect: assignment / reportAssignmentType
    data: bytes = ws.recv(1, True)  # expect: assignment / reportAssignmentType
    ws.recv(decode="utf-8")  # expect: call-overload / reportArgumentType reportCallIssue
    for piece in ws.recv_streaming(decode=True):
        data = piece  # expect: assignment / reportAssignmentType
    ws.close_code = 1000  # expect: misc / reportAttributeAccessIssue

connect("ws://localhost/", create_connection=Mine)  # expect: arg-type / reportArgumentType
connect("ws://localhost/", timeout=5)  # expect: call-arg / reportCallIssue
connect("ws://localhost/", fallback="http")  # expect: arg-type / reportArgumentType
reconnect("ws://localhost/", backoff=5)  # expect: arg-type / reportArgumentType
print(exceptions.ConnectionClosed.nothing)  # expect: attr-defined / reportAttributeAccessIssue
