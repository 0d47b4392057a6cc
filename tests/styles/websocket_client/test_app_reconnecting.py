"""``WebSocketApp`` that reconnects: when, how long it waits, and what ends it."""

import threading

import pytest
from support.pairs import SOON, run, wait_until
from support.peers import reserved_port
from support.scripted import nothing_left
from support.serving import messages, serving
from support.websockets import Watched

from syncws import styles as websocket
from syncws.styles import WebSocketApp


def closing_at(number):
    """An ``on_open`` that closes when it is called for this time."""
    count = [0]

    def on_open(app):
        count[0] += 1
        if count[0] == number:
            app.close()

    return on_open


def test_run_reconnects_whatever_ended_the_connection():
    endings = iter([lambda ws: ws.abort(), lambda ws: None, lambda ws: ws.close(1011)])

    def handler(ws):
        next(endings, lambda ws: ws.wait_closed())(ws)

    with serving(handler) as server, nothing_left():
        app = Watched(server.uri, on_reconnect=closing_at(3))
        assert app.run_forever(reconnect=0.01) is True  # one was cut
    assert app.names() == ["on_open", "on_error", "on_close"]
    assert app.events[-1] == ("on_close", 1000, None)


def test_what_on_reconnect_raises_is_reported_and_the_run_goes_on():
    endings = iter([lambda ws: ws.abort(), lambda ws: ws.send("still here")])

    def handler(ws):
        next(endings)(ws)
        ws.wait_closed()

    def on_reconnect(app):
        raise ZeroDivisionError("in on_reconnect")

    with serving(handler) as server, nothing_left():
        app = Watched(
            server.uri, on_reconnect=on_reconnect, on_message=lambda app, message: app.close()
        )
        assert app.run_forever(reconnect=0.01) is True
    _, (_, lost), (_, raised), closed = app.events
    assert str(lost) == "Connection to remote host was lost."
    assert isinstance(raised, ZeroDivisionError)
    assert closed == ("on_close", 1000, None)


def test_headers_that_can_not_be_had_yet_are_asked_for_again():
    asked = []

    def header():
        asked.append(True)
        if len(asked) < 3:
            raise ZeroDivisionError("no token yet")
        return {"X-Token": "abc"}

    with serving() as server, nothing_left():
        app = Watched(server.uri, header=header, on_open=lambda app: app.close())
        assert app.run_forever(reconnect=0.01) is True
    assert app.names() == ["on_error", "on_error", "on_close"]
    assert isinstance(app.events[0][1], ZeroDivisionError)


def test_on_open_is_called_again_without_on_reconnect():
    with serving(lambda ws: None) as server:
        app = Watched(server.uri, on_open=closing_at(3))
        assert app.run_forever(reconnect=0.01) is False
        assert app.names() == ["on_close"]


def test_run_waits_for_a_server_that_does_not_listen(caplog):
    caplog.set_level("INFO", "syncws.client")
    with reserved_port() as port:
        app = Watched(
            f"ws://127.0.0.1:{port}/", on_reconnect=lambda app: app.events.append(("again",))
        )
        running = run(app.run_forever, reconnect=0.02)
        wait_until(lambda: app.names().count("on_error") >= 2)
        with serving(port=port) as server:
            assert server.port == port
            assert app.opened.wait(SOON)  # and not on_reconnect: it is the first
            app.close()
            assert running.result() is True
    assert "again" not in app.names()
    assert f"connecting to ws://127.0.0.1:{port}/ again in 0.0 s" in messages(caplog)


@pytest.mark.parametrize("reconnect", [60, True])
def test_closing_ends_a_delay(reconnect, monkeypatch):
    monkeypatch.setattr("syncws.client.retry.random.uniform", lambda low, high: 60)
    errors = threading.Event()
    app = WebSocketApp("ws://127.0.0.1:1/", on_error=lambda app, exc: errors.set())
    with nothing_left():
        running = run(app.run_forever, reconnect=reconnect)
        assert errors.wait(SOON)
        app.close()
        assert running.result() is True


def test_delays_grow_while_connections_are_of_no_use(monkeypatch):
    limits = []

    def uniform(low, high):
        limits.append(high)
        return 0.001

    monkeypatch.setattr("syncws.client.retry.random.uniform", uniform)
    left = [4]

    def handler(ws):
        left[0] -= 1
        if left[0] == 1:
            ws.send("of use")

    with serving(handler) as server:
        app = Watched(server.uri, on_open=closing_at(5))
        app.run_forever(reconnect=True)
    assert limits[:4] == [1, 2, 1, 2]


@pytest.mark.parametrize("status", [401, 404])
def test_refusal_is_final(status):
    def refuse(ws, request):
        return ws.respond(status, "no\n")

    with serving(process_request=refuse) as server:
        app = Watched(server.uri)
        assert app.run_forever(reconnect=60) is True
        assert app.names() == ["on_error", "on_close"]
        assert app.events[0][1].status_code == status


def test_busy_server_is_tried_again_when_it_says(monkeypatch):
    waits = []
    monkeypatch.setattr(
        "syncws.styles.websocket_client.app_run.Run._pause", lambda run, delay: waits.append(delay)
    )
    answers = iter([503])

    def refuse(ws, request):
        status = next(answers, None)
        return status and ws.respond(status, "busy\n", {"Retry-After": "7"})

    with serving(process_request=refuse) as server:
        app = Watched(server.uri, on_open=lambda app: app.close())
        assert app.run_forever(reconnect=0.01) is True
        assert waits[0] == 7


def test_default_of_reconnect_can_be_set():
    websocket.set_reconnect(0.01)
    try:
        with serving(lambda ws: None) as server:
            app = Watched(server.uri, on_open=closing_at(2))
            assert app.run_forever() is False
    finally:
        websocket.set_reconnect(0)
