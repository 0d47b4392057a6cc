"""How a WebSocketHandler's connection ends: on_close() once, whatever happens."""

import contextlib
import logging
import threading

import pytest
from support.handlers import Journal, Reporting, connected, listening, reported
from support.pairs import SOON, run, wait_until
from support.scripted import build_request, raw_client, read_head

from syncws import ConnectionClosed, ConnectionClosedError, connect
from syncws.styles import HTTPError, WebSocketHandler


class Echo(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)


# --- on_close() ---


def ends(journal):
    """What was noted of the end, once nothing more can come."""
    return [item for item in journal.left() if item[0] == "close"]


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (1000, "", ("close", 1000, None)),
        (4001, "bye", ("close", 4001, "bye")),
        (None, "", ("close", None, None)),
    ],
)
def test_on_close_has_what_the_client_sent(code, reason, expected):
    with reported() as (ws, journal):
        ws.close(code, reason)
    assert ends(journal) == [expected]


def test_on_close_once_when_the_client_vanishes():
    with reported() as (ws, journal):
        journal.next()
        ws.abort()
        assert journal.next() == ("close", None, None)
    assert ends(journal) == []


def test_on_close_once_when_the_server_closes():
    journal = Journal()
    with listening([("/", Reporting, {"journal": journal})]) as server:
        clients = [connect(server.uri) for _ in range(5)]
        assert [journal.next()[0] for _ in clients] == ["open"] * 5
        closing = run(server.close)
        for client in clients:
            with pytest.raises(ConnectionClosed):
                client.recv(SOON)
        closing.result()
    assert ends(journal) == [("close", 1001, None)] * 5


@pytest.mark.parametrize("method", ["open", "on_message"])
def test_errors_are_logged_and_close_with_1011(method, caplog):
    class Handler(Reporting):
        pass

    def fail(self, *args):
        raise ZeroDivisionError("on purpose")

    setattr(Handler, method, fail)
    with reported(Handler) as (ws, journal):
        if method == "on_message":
            ws.send("now")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == 1011
    assert ends(journal) == [("close", 1011, None)]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "Handler failed"
    assert record.exc_info[0] is ZeroDivisionError
    assert record.websocket is not None


def test_http_errors_after_open_are_errors_like_others(caplog):
    class Handler(Reporting):
        def open(self):
            raise HTTPError(403)

    with reported(Handler) as (ws, journal), pytest.raises(ConnectionClosedError) as info:
        ws.recv(SOON)
    assert info.value.rcvd.code == 1011
    assert ends(journal) == [("close", 1011, None)]
    assert "HTTPError: HTTP 403: Forbidden" in caplog.text


def test_leaving_by_sys_exit_is_an_error_of_that_connection(caplog):
    class Handler(Reporting):
        def on_message(self, message):
            raise SystemExit

    with reported(Handler) as (ws, journal):
        ws.send("now")
        with pytest.raises(ConnectionClosedError):
            ws.recv(SOON)
    assert ends(journal) == [("close", 1011, None)]
    assert "SystemExit" in caplog.text


def test_errors_in_on_close_are_logged(caplog):
    class Handler(Reporting):
        def on_close(self):
            super().on_close()
            raise ZeroDivisionError("on purpose")

    with reported(Handler) as (ws, journal):
        ws.close()
    assert ends(journal) == [("close", 1000, None)]
    assert caplog.text.count("ZeroDivisionError: on purpose") == 1


def test_errors_in_log_exception_dont_keep_from_closing(caplog):
    class Handler(Reporting):
        def on_message(self, message):
            raise ZeroDivisionError("first")

        def log_exception(self, typ, value, tb):
            raise ValueError("second")

    with reported(Handler) as (ws, journal):
        ws.send("now")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == 1011
    assert ends(journal) == [("close", 1011, None)]
    assert "second" in caplog.text


def test_log_exception_may_be_overridden(caplog):
    class Handler(Reporting):
        def on_message(self, message):
            raise ZeroDivisionError("on purpose")

        def log_exception(self, typ, value, tb):
            self.journal.put((typ, str(value), tb.tb_frame is not None))

    with reported(Handler) as (ws, journal):
        ws.send("now")
        journal.next()
        assert journal.next() == (ZeroDivisionError, "on purpose", True)
        assert ws.wait_closed(SOON)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_writing_to_a_client_that_is_gone_is_no_error(caplog):
    class Handler(Reporting):
        def on_message(self, message):
            self.ws_connection.wait_closed(SOON)
            self.write_message("too late")

    with reported(Handler) as (ws, journal):
        ws.send("now")
        journal.next()
        ws.abort()
        assert journal.next() == ("close", None, None)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_another_connections_end_is_an_error(caplog):
    others = Journal()

    class Handler(Reporting):
        def open(self):
            others.put(self)

        def on_message(self, message):
            first = others.next()
            first.write_message("too late")

    journal = Journal()
    with listening([("/", Handler, {"journal": journal})]) as server:
        with connect(server.uri) as gone:
            wait_until(lambda: others.qsize() == 1)
            gone.close()
            assert journal.next() == ("close", 1000, None)
        with connect(server.uri) as ws:
            ws.send("relay")
            with pytest.raises(ConnectionClosedError) as info:
                ws.recv(SOON)
            assert info.value.rcvd.code == 1011
    assert "ConnectionClosedOK" in caplog.text


def test_on_close_is_not_called_without_open():
    class Handler(Reporting):
        def prepare(self):
            self.set_status(401)
            self.finish()

    journal = Journal()
    with listening([("/", Handler, {"journal": journal})]) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        assert read_head(sock).startswith(b"HTTP/1.1 401 ")
    assert journal.left() == []


def test_on_close_is_called_once_however_the_end_comes():
    """Client, server and another thread close at once, while messages fail."""
    journal = Journal()

    class Handler(Reporting):
        def open(self):
            super().open()
            threading.Thread(target=self.close, args=(4000, "other thread")).start()

        def on_message(self, message):
            raise ZeroDivisionError

        def log_exception(self, typ, value, tb):
            pass

    for _ in range(20):
        with listening([("/", Handler, {"journal": journal})]) as server:
            ws = connect(server.uri)
            closing = run(server.close, timeout=SOON)
            with contextlib.suppress(ConnectionClosed):
                ws.send("x")
            ws.close()
            closing.result()
    names = [item[0] for item in journal.left()]
    assert names == ["open", "close"] * (len(names) // 2)


def test_every_opened_one_is_closed_once():
    journal = Journal()

    class Handler(Reporting):
        def open(self):
            self.journal.put(("open", id(self)))
            self.close()

        def on_close(self):
            self.journal.put(("close", id(self)))

    with listening([("/", Handler, {"journal": journal})]) as server:
        for _ in range(30):
            with connect(server.uri) as ws, pytest.raises(ConnectionClosed):
                ws.recv(SOON)
        server.close(timeout=SOON)
        items = journal.left()
    assert [name for name, _ in items].count("open") == 30
    assert [name for name, _ in items].count("close") == 30


# --- close() ---


def test_close_from_on_message():
    class Handler(Reporting):
        def on_message(self, message):
            self.close(4002, "enough")
            self.close(4003, "again")
            self.journal.put("still here")

    with reported(Handler) as (ws, journal):
        ws.send("x")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert (info.value.rcvd.code, info.value.rcvd.reason) == (4002, "enough")
        journal.next()
        assert journal.next() == "still here"
    assert ends(journal) == [("close", 4002, "enough")]


@pytest.mark.parametrize(
    ("args", "code"), [((), 1005), ((None, "why"), 1000), ((1001,), 1001), ((1001, None), 1001)]
)
def test_close_without_a_code_or_a_reason(args, code):
    class Handler(WebSocketHandler):
        def open(self):
            self.close(*args)

    with connected(Handler) as ws:
        with pytest.raises(ConnectionClosed) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == code


def test_close_from_another_thread_returns_at_once_and_ends_a_blocked_handler():
    handlers = Journal()

    class Handler(Reporting):
        def open(self):
            handlers.put(self)

    with reported(Handler) as (ws, journal):
        handlers.next().close(4000)
        with pytest.raises(ConnectionClosedError):
            ws.recv(SOON)
        assert journal.next() == ("close", 4000, None)


def test_close_with_a_code_that_cant_be_sent(caplog):
    class Handler(Reporting):
        def on_message(self, message):
            self.close(999)

    with reported(Handler) as (ws, journal):
        ws.send("x")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == 1011
    assert ends(journal) == [("close", 1011, None)]


def test_close_before_open_does_nothing():
    class Handler(Echo):
        def prepare(self):
            self.close()
            assert self.ws_connection is None

    with connected(Handler) as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


def test_server_closes_while_open_blocks():
    go, entered = threading.Event(), threading.Event()

    class Handler(Reporting):
        def open(self):
            entered.set()
            assert go.wait(SOON)

    journal = Journal()
    with listening([("/", Handler, {"journal": journal})]) as server:
        ws = connect(server.uri)
        assert entered.wait(SOON)
        closing = run(server.close)
        with pytest.raises(ConnectionClosed):
            ws.recv(SOON)
        assert ends(journal) == []
        go.set()
        closing.result()
    assert ends(journal) == [("close", 1001, None)]
