"""The style of websocket-client: its calls, and its callbacks."""

from __future__ import annotations

from typing import Union

from typing_extensions import assert_type

from syncws.styles import WebSocket, WebSocketApp, create_connection


class Mine(WebSocket):
    def greet(self) -> int:
        return self.send("hello")


def calls() -> str | bytes:
    ws = create_connection("ws://localhost/", timeout=5, header={"X-A": "b"})
    ws.send("hello")
    with create_connection("ws://localhost/") as same:
        assert_type(same, WebSocket)
    mine = create_connection("ws://localhost/", 5, class_=Mine)
    mine.greet()
    with create_connection("ws://localhost/", 5, Mine) as mine:
        mine.greet()
    assert_type(ws.recv(), Union[str, bytes])
    return ws.recv()


def on_message(app: WebSocketApp, message: str | bytes) -> None:
    app.send(message)


def callbacks() -> None:
    WebSocketApp("ws://localhost/", on_message=on_message).run_forever(reconnect=5)
