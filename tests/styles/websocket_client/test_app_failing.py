"""``WebSocketApp``: what becomes of what the program's functions raise."""

import logging
import threading

import pytest
from support.pairs import SOON, wait_until
from support.scripted import build_response, nothing_left, says, scripted_server
from support.serving import serving
from support.websockets import Recorder, recorder
from support.wire import build_frames

from syncws import styles as websocket
from syncws.styles import WebSocketApp

FUNCTIONS = ["on_open", "on_message", "on_data", "on_ping", "on_pong"]


def failing(*_):
    raise ZeroDivisionError("in a function of the program's")


def sending_everything(ws):
    ws.ping()
    ws.pong()
    ws.send("x")
    ws.close(4001, "done")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_raises_is_reported_and_the_run_goes_on(name, caplog):
    seen = Recorder("on_error", "on_close")
    with serving(sending_everything) as server, nothing_left():
        app = seen.app(server.uri, **{name: failing})
        assert app.run_forever() is False
    (_, exc), (_, closing), closed = seen.calls
    assert isinstance(exc, ZeroDivisionError)
    assert isinstance(closing, websocket.WebSocketConnectionClosedException)
    assert closed == ("on_close", 4001, "done")
    assert caplog.records == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_raises_is_logged_if_nobody_is_told(name, caplog):
    with serving(sending_everything) as server:
        app = WebSocketApp(server.uri, **{name: failing})
        assert app.run_forever() is False
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "failing of the WebSocketApp failed"
    assert record.exc_info[0] is ZeroDivisionError
    assert record.exc_info[2] is not None


def test_headers_that_can_not_be_had_end_the_run(caplog):
    seen = Recorder("on_error", "on_close")
    with serving() as server:
        assert seen.app(server.uri, header=failing).run_forever() is True
        assert caplog.records == []
        assert seen.app(server.uri, header=failing, on_error=None).run_forever() is True
    (_, exc), closed, _ = seen.calls
    assert isinstance(exc, ZeroDivisionError)
    assert closed == ("on_close", None, None)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_what_on_cont_message_raises_is_reported_each_time():
    seen = Recorder("on_error")
    frames = ((0x01, b"a"), (0x80, b"b"), (0x02, b"x"), (0x00, b""), (0x80, b"y"), (0x88, b""))
    with scripted_server(says(build_response, build_frames(frames))) as server:
        assert seen.app(server.uri, on_cont_message=failing).run_forever() is False
    kinds = [type(call[1]) for call in seen.calls]
    assert kinds[:-1] == [ZeroDivisionError] * 5


def test_what_on_close_raises_is_reported():
    seen = Recorder("on_error")
    with serving(lambda ws: None) as server:
        assert seen.app(server.uri, on_close=failing).run_forever() is False
    assert isinstance(seen.calls[-1][1], ZeroDivisionError)


def test_what_on_error_raises_is_logged(caplog):
    def error(app, exc):
        raise LookupError("in on_error")

    with serving(lambda ws: None) as server:
        assert not WebSocketApp(server.uri, on_error=error).run_forever()
        assert not WebSocketApp(server.uri, on_error=error, on_close=failing).run_forever()
    assert [record.exc_info[0] for record in caplog.records] == [LookupError] * 3


def test_run_ends_if_on_error_raises_when_it_is_told_what_another_has():
    told = []

    def error(app, exc):
        told.append(type(exc))
        raise LookupError("in on_error")

    seen = Recorder("on_close", "on_message")
    with serving(lambda ws: ws.wait_closed()) as server, nothing_left():
        app = seen.app(server.uri, on_open=failing, on_error=error)
        assert app.run_forever() is app.has_errored is True
    assert told == [ZeroDivisionError, LookupError]
    assert seen.calls == [("on_close", None, None)]


def test_system_exit_goes_through():
    def leave(app, message=None):
        raise SystemExit(3)

    seen = recorder()
    with serving(lambda ws: ws.wait_closed()) as server, nothing_left():
        app = seen.app(server.uri, on_open=leave)
        with pytest.raises(SystemExit):
            app.run_forever()
        assert [call[0] for call in seen.calls] == ["on_error", "on_close"]
        assert seen.calls[1] == ("on_close", None, None)
        assert not app.keep_running


def test_sending_over_a_closed_connection_is_reported_like_its_end():
    closed = threading.Event()

    def handler(ws):
        ws.send("1")
        ws.close(1001)
        closed.set()

    def answer(app, message):
        assert closed.wait(SOON)
        wait_until(lambda: not app.sock.connection.open)
        app.send("answer")

    seen = recorder()
    with serving(handler) as server:
        assert seen.app(server.uri, on_message=answer).run_forever() is False
    assert [call[0] for call in seen.calls] == ["on_open", "on_error", "on_error", "on_close"]
    for _, exc in seen.calls[1:3]:
        assert isinstance(exc, websocket.WebSocketConnectionClosedException)
    assert seen.calls[3] == ("on_close", 1001, None)
