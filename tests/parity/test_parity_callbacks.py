"""Tornado's client, which tutorials call ``WebSocketClient``: ``WebSocketApp`` and ``recv()``."""

import pytest
from support.pairs import run
from support.serving import serving

from syncws import ConnectionClosedOK, connect, styles
from syncws.styles import WebSocketApp


def test_T3_WebSocketApp_calls_functions_as_things_happen():
    calls = []
    requests = []

    def on_open(ws):
        calls.append(("open", ws.sock.subprotocol))
        ws.send("text")
        ws.send_text("more text")
        ws.send_bytes(b"bytes")

    def on_message(ws, message):
        calls.append(("message", message))
        if message == b"bytes":
            ws.close()

    def note(ws, request):
        requests.append(request.headers)

    with serving(process_request=note, subprotocols=["chat"]) as server:
        app = WebSocketApp(
            server.uri,
            header=["X-A: b"],
            cookie="c=d",
            subprotocols=["chat"],
            on_open=on_open,
            on_message=on_message,
            on_error=lambda ws, exc: calls.append(("error", exc)),
            on_close=lambda ws, code, reason: calls.append(("close", code, reason)),
        )
        assert app.run_forever() is False
    assert calls == [
        ("open", "chat"),
        ("message", "text"),
        ("message", "more text"),
        ("message", b"bytes"),
        ("close", 1000, None),
    ]
    assert (requests[0]["X-A"], requests[0]["Cookie"]) == ("b", "c=d")


def test_T3_WebSocketApp_pings_and_is_pinged():
    def ping(ws):
        ws.ping(b"hello")
        ws.wait_closed()

    calls = {}

    def note(name):
        def function(ws, data):
            calls.setdefault(name, data)
            if len(calls) == 2:
                ws.close()

        return function

    with serving(ping) as server:
        app = WebSocketApp(server.uri, on_ping=note("ping"), on_pong=note("pong"))
        app.run_forever(ping_interval=0.05, ping_payload="beat")
    assert calls == {"ping": b"hello", "pong": b"beat"}


def test_T3_WebSocketApp_reconnects():
    calls = []

    def on_reconnect(ws):
        calls.append("again")
        ws.close()

    with serving(lambda ws: None) as server:
        app = WebSocketApp(
            server.uri, on_open=lambda ws: calls.append("open"), on_reconnect=on_reconnect
        )
        app.run_forever(reconnect=0.01)
    assert calls == ["open", "again"]


def test_T3_WebSocketApp_tells_what_went_wrong_with_its_traceback(caplog):
    def on_open(ws):
        raise ZeroDivisionError

    with serving(lambda ws: ws.close()) as server:
        assert WebSocketApp(server.uri, on_open=on_open).run_forever() is False
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.exc_info[0] is ZeroDivisionError


def test_T3_WebSocketApp_is_closed_by_another_thread():
    with serving() as server:
        app = WebSocketApp(server.uri)
        running = run(app.run_forever)
        app.close()
        assert running.result() is False


def test_T3_WebSocketClient_says_what_to_use():
    with pytest.raises(AttributeError, match="WebSocketApp"):
        styles.WebSocketClient  # noqa: B018  # raises


def test_T8_recv_is_read_message_but_the_end_is_an_exception():
    with serving(lambda ws: ws.send("hello")) as server, connect(server.uri) as ws:
        assert ws.recv() == "hello"
        with pytest.raises(ConnectionClosedOK):
            ws.recv()
