"""How handlers of Flask applications end, and what is logged."""

import logging

import pytest
from support.pairs import SOON

from syncws import ConnectionClosed

pytest.importorskip("flask")

from flask import Flask, Response, abort, got_request_exception, redirect

from syncws.integrations.flask import Sock


@pytest.fixture
def app():
    return Flask("ending")


@pytest.fixture
def sock(app):
    return Sock(app)


def closing(sock, handler):
    """Code and reason with which a connection to a handler is closed."""
    sock.route("/", endpoint="handler")(handler)
    with sock.test_client().connect() as ws:
        with pytest.raises(ConnectionClosed) as info:
            ws.recv(SOON)
        return info.value.code, info.value.reason


def errors(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def fail(ws):
    raise ValueError("broken")


def test_a_handler_that_returns_closes_normally(sock, caplog):
    assert closing(sock, lambda ws: None) == (1000, "")
    assert errors(caplog) == []


def test_a_client_that_leaves_ends_the_handler_quietly(sock, caplog):
    ended = []

    @sock.route("/")
    def handler(ws):
        try:
            while True:
                ws.send(ws.receive())
        finally:
            ended.append(True)

    for leave in ("close", "abort"):
        with sock.test_client().connect() as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            getattr(ws, leave)()
    assert ended == [True, True]
    assert errors(caplog) == []


def test_the_end_of_another_connection_is_said_in_one_line(sock, caplog):
    others = []

    @sock.route("/first")
    def first(ws):
        others.append(ws)

    @sock.route("/second")
    def second(ws):
        others[0].send("hello")

    for path in ("/first", "/second"):
        with sock.test_client().connect(path) as ws:
            assert list(ws) == []
        assert ws.close_code == 1000
    (record,) = errors(caplog)
    assert record.getMessage().startswith("the handler ended as another connection was closed")
    assert record.exc_info is None


@pytest.mark.parametrize(
    ("make_args", "reason"),
    [
        (lambda: (403, "not you"), "not you"),
        (lambda: (418,), "This server is a teapot, not a coffee machine"),
        (lambda: (redirect("/login"),), "302 FOUND"),
        (lambda: (400, "é" * 100), "é" * 61),
    ],
)
def test_http_errors_close_with_1008_and_their_description(sock, caplog, make_args, reason):
    assert closing(sock, lambda ws: abort(*make_args())) == (1008, reason)
    assert errors(caplog) == []


@pytest.mark.parametrize(
    ("make_answer", "expected"),
    [
        (lambda: redirect("/login"), (1008, "302 FOUND")),
        (lambda: Response("no", 401), (1008, "401 UNAUTHORIZED")),
        (lambda: ("no", 401), (1008, "401 UNAUTHORIZED")),
        (lambda: ("fine", 200), (1000, "")),
        (lambda: ("fine", "too"), (1000, "")),
        (lambda: Response("fine"), (1000, "")),
        (lambda: "fine", (1000, "")),
    ],
)
def test_answers_that_refuse_close_with_1008(sock, caplog, make_answer, expected):
    # As a decorator below the route's gives them, which comes too late for HTTP.
    assert closing(sock, lambda ws: make_answer()) == expected
    assert errors(caplog) == []


def test_exceptions_close_with_1011_and_are_logged_by_the_application(app, sock, caplog):
    signals = []

    def note(sender, exception):
        signals.append((sender, exception))

    with got_request_exception.connected_to(note, app):
        assert closing(sock, fail) == (1011, "")
    (record,) = errors(caplog)
    assert record.name == "ending"
    assert record.getMessage() == "Exception on / [GET]"
    assert isinstance(record.exc_info[1], ValueError)
    ((sender, exception),) = signals
    assert sender is app
    assert str(exception) == "broken"


def test_debug_mode_says_the_exception_to_the_client(app, sock, caplog):
    app.debug = True
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert closing(sock, fail) == (1011, "ValueError: broken")
    assert len(errors(caplog)) == 1


def test_exceptions_are_raised_to_the_test_where_flask_would(app, sock, caplog):
    app.testing = True
    sock.route("/")(fail)
    signals = []

    def note(sender, exception):
        signals.append(exception)

    with (
        got_request_exception.connected_to(note, app),
        pytest.raises(ValueError, match="broken"),
        sock.test_client().connect() as ws,
    ):
        ws.recv(SOON)
    assert len(signals) == 1
    assert errors(caplog) == []


def test_error_handlers_do_not_hide_exceptions_from_the_test(app, sock):
    app.testing = True
    called = []

    @app.errorhandler(Exception)
    def answer(exc):
        called.append(exc)
        return "sorry", 500

    with pytest.raises(ValueError, match="broken"):
        closing(sock, fail)
    assert called == []


def test_exceptions_before_the_handler_are_raised_by_connecting(app, sock):
    sock.route("/")(lambda ws: None)
    app.testing = True
    app.before_request(lambda: fail(None))
    with pytest.raises(ValueError, match="broken"):
        sock.test_client().connect()


def test_what_ends_a_thread_closes_with_1001(app, sock):
    def leave(ws):
        raise SystemExit(3)

    sock.route("/")(leave)
    with pytest.raises(SystemExit), sock.test_client().connect() as ws:  # noqa: PT012
        with pytest.raises(ConnectionClosed) as info:
            ws.recv(SOON)
        assert info.value.code == 1001
        ws.close()
