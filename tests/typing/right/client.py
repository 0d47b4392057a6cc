"""Clients: what they get is known without an annotation of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Union

from typing_extensions import assert_type

from syncws import ClientConnection, Data, Headers, connect
from syncws.client import reconnect, unix_connect, unix_reconnect


class Mine(ClientConnection):
    def greet(self) -> None:
        self.send("hello")


def entering(options: dict[str, Any]) -> None:
    with connect("ws://localhost/") as ws:
        assert_type(ws, ClientConnection)
    with unix_connect("/tmp/socket", "ws://localhost/chat", compression=None) as ws:
        assert_type(ws, ClientConnection)
    with connect("ws://localhost/", fallback=True) as ws:
        assert_type(ws.transport, str)
    assert_type(connect("ws://localhost/", **options), ClientConnection)
    assert_type(connect("ws://localhost/", create_connection=Mine), ClientConnection)


def entering_a_subclass(ws: Mine) -> None:
    with ws as same:
        assert_type(same, Mine)
        same.greet()


def receiving(ws: ClientConnection, decode: bool | None) -> None:
    assert_type(ws.recv(), Union[str, bytes])
    assert_type(ws.recv(1.5), Union[str, bytes])
    assert_type(ws.recv(timeout=1), Union[str, bytes])
    assert_type(ws.recv(decode=None), Union[str, bytes])
    assert_type(ws.recv(decode=decode), Union[str, bytes])
    assert_type(ws.recv(decode=True), str)
    assert_type(ws.recv(timeout=1, decode=True), str)
    assert_type(ws.recv(1, True), str)
    assert_type(ws.recv(None, True), str)
    assert_type(ws.recv(decode=False), bytes)
    assert_type(ws.recv(decode=False, timeout=1), bytes)
    assert_type(ws.recv(1, False), bytes)
    for message in ws:
        assert_type(message, Union[str, bytes])


def streaming(ws: ClientConnection, decode: bool | None) -> Iterator[bytes]:
    assert_type(ws.recv_streaming(), Iterator[Data])
    assert_type(ws.recv_streaming(True), Iterator[str])
    assert_type(ws.recv_streaming(decode=decode), Iterator[Data])
    return ws.recv_streaming(decode=False)


def again() -> None:
    for ws in reconnect("ws://localhost/", max_attempts=3, backoff=[1.0, 2.0]):
        assert_type(ws, ClientConnection)
    for ws in unix_reconnect("/tmp/socket", ssl=None):
        assert_type(ws, ClientConnection)


def attributes(ws: ClientConnection) -> None:
    assert_type(ws.close_code, Union[int, None])
    assert_type(ws.latency, float)
    if ws.response is not None:
        assert_type(ws.response.headers, Headers)
