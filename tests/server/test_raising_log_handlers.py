"""Log handlers of the program that raise: no thread of the library ends for them."""

import errno
import logging
import threading

import pytest
from support.pairs import SOON, run, wait_until

from syncws import ConnectionClosed, connect, serve
from syncws.server import accepting
from syncws.server.accepting import Acceptor
from syncws.threaded import timekeeper
from syncws.threaded.reading import Reading


class Raising(logging.Handler):
    """Raises for each record, but in the main thread, which is the program's."""

    def __init__(self, error):
        super().__init__()
        self.error = error
        self.messages = []

    def handle(self, record):
        self.messages.append(record.getMessage())
        if threading.current_thread() is not threading.main_thread():
            raise self.error


@pytest.fixture
def handler(monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger = logging.getLogger("syncws")
    handler = Raising(ZeroDivisionError("by the handler"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_connections_open_are_handled_counted_and_closed(handler):
    with serve(lambda ws: ws.send(ws.recv()), "127.0.0.1", 0, max_connections=2) as server:
        for _ in range(3):
            with (
                connect(server.uri, proxy=None) as first,
                connect(server.uri, proxy=None) as second,
            ):
                wait_until(lambda: len(server.connections) == 2)
                with pytest.raises(Exception, match="503"):
                    connect(server.uri, proxy=None)
                for ws in (first, second):
                    ws.send("hello")
                    assert ws.recv(SOON) == "hello"
                    assert ws.wait_closed(SOON)
            wait_until(lambda: not server._roster.running)
        assert server.is_serving()
    assert any("open" in message for message in handler.messages)


def test_a_handler_that_fails_closes_its_connection_with_1011(handler):
    def fail(ws):
        raise ZeroDivisionError

    with serve(fail, "127.0.0.1", 0) as server, connect(server.uri, proxy=None) as ws:
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv(SOON)
        assert caught.value.rcvd.code == 1011
        wait_until(lambda: not server.stats().connections_open)


def test_accepting_goes_on_after_descriptors_ran_out(handler, monkeypatch):
    failures = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EMFILE, "again")]
    accepted = Acceptor._accept

    def scarce(self, listener):
        if failures:
            raise failures.pop()
        accepted(self, listener)

    monkeypatch.setattr(Acceptor, "_accept", scarce)
    with serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0) as server:
        with connect(server.uri, proxy=None) as ws:
            assert ws.open
        assert not failures
        assert server.is_serving()
    assert any("accepting" in message for message in handler.messages)


def test_time_goes_on_after_a_timer_that_failed(handler):
    def fail():
        raise handler.error

    timekeeper.call_later(0, fail)
    after = threading.Event()
    timekeeper.call_later(0.01, after.set)
    assert after.wait(SOON)
    with (
        serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0) as server,
        connect(server.uri, proxy=None, ping_interval=0.02, ping_timeout=SOON) as ws,
    ):
        wait_until(lambda: ws.latency)


def test_close_answers_and_leaves_nothing_open(handler):
    server = serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0).start()
    clients = [connect(server.uri, proxy=None) for _ in range(5)]
    server.close()
    for ws in clients:
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1001
    assert server.stats().threads == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_accept_loop_that_ends_in_spite_of_all_closes_the_server(monkeypatch):
    def defective(self, exc):
        raise ZeroDivisionError

    monkeypatch.setattr(Acceptor, "_trouble", defective)
    with serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0) as server:
        ws = connect(server.uri, proxy=None)
        forever = run(server.serve_forever)
        if accepting.INHERITS:  # it has looked for a second client: none is accepted from now on
            wait_until(lambda: server.socket in server._acceptor._bequeathing)
        monkeypatch.setattr(
            Acceptor, "_accept", lambda self, listener: (_ for _ in ()).throw(OSError())
        )
        with pytest.raises(OSError):  # noqa: PT011  # whichever it is
            connect(server.uri, proxy=None, open_timeout=SOON)
        forever.result()
        assert not server.is_serving()
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1001


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_thread_that_ends_in_spite_of_all_closes_the_connection(monkeypatch):
    read_here = Reading.read_here

    def defective(reading, deadline, done):
        if reading is not ws._reading:
            return read_here(reading, deadline, done)
        monkeypatch.undo()
        raise ZeroDivisionError

    with serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0) as server:
        ws = connect(server.uri, proxy=None)
        monkeypatch.setattr(Reading, "read_here", defective)
        ws._reading.reader.wake()
        assert ws.wait_closed(SOON)
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv()
        assert str(caught.value.__cause__) == "the reader thread ended"
