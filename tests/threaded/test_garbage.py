"""Connections that have ended go with their last user: none is left to the garbage collector."""

import gc
import logging
import socket
import sys
import threading
import weakref

import pytest
from support.certificates import contexts
from support.pairs import SOON, connect_protocol, run, send_reset, socket_pair, wait_until
from support.serving import serving

from syncws import ConnectionClosed, connect
from syncws.options import Options
from syncws.sansio.state import Role
from syncws.server import ServerConnection
from syncws.threaded import reader

# Free-threaded interpreters leave some of the counting to their collector.
counted = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="references are counted later"
)


@pytest.fixture(autouse=True)
def collector():
    """Keep the garbage collector from freeing what is looked at."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Witness:
    """A handler that tells whether the connections that it had are still there."""

    def __init__(self, handler):
        self._handler = handler
        self._connections = []

    def __call__(self, ws):
        self.note(ws)
        self._handler(ws)

    def note(self, ws):
        self._connections.append(weakref.ref(ws))

    def assert_gone(self, count):
        wait_until(lambda: len(self._connections) == count)
        wait_until(lambda: not any(ref() for ref in self._connections))


def address_of(server):
    return server.socket.getsockname()


def echo(ws):
    for message in ws:
        ws.send(message)


def fail(ws):
    ws.recv()
    raise ZeroDivisionError


def wait(ws):
    ws.recv()
    ws.wait_closed()


def raise_closed(ws):
    while True:
        ws.send(ws.recv())


def close_badly(ws):
    ws.recv()
    ws.fail(1011, "that's it")


def cut(ws):
    ws.recv()
    ws.abort()
    with pytest.raises(ConnectionClosed):
        ws.recv()


def ping(ws):
    ws.ping().wait()
    echo(ws)


KWARGS = {
    "plain": lambda: ({"compression": None}, {"compression": None}),
    "tls": lambda: tuple({"ssl": context} for context in contexts()),
    "compressed": lambda: ({}, {}),
}


@counted
@pytest.mark.parametrize("kind", KWARGS)
@pytest.mark.parametrize(
    "handler", [echo, fail, wait, raise_closed, close_badly, cut, ping], ids=lambda f: f.__name__
)
def test_connections_of_both_sides_go_with_their_last_user(kind, handler):
    of_server, of_client = KWARGS[kind]()
    if kind == "tls":
        of_client["proxy"] = None
    witness = Witness(handler)
    quiet = logging.Logger("quiet", logging.CRITICAL)  # what is captured would stay
    of_server.update(logger=quiet, select_subprotocol=lambda ws, offered: None)
    with serving(witness, **of_server) as server:
        ws = connect(server.uri.replace("127.0.0.1", "localhost"), **of_client)
        witness.note(ws)
        ws.send("a")
        if handler in (echo, raise_closed, ping):
            assert ws.recv(SOON) == "a"
            ws.close()
        elif handler is wait:
            ws.close()
        else:
            assert ws.wait_closed(SOON)
        del ws
        witness.assert_gone(2)


@counted
def test_connections_whose_peer_is_cut_off_are_gone():
    witness = Witness(echo)
    with serving(witness) as server:
        ws = connect(server.uri)
        send_reset(ws._transport.sock)
        assert ws.wait_closed(SOON)
        witness.note(ws)
        del ws
        witness.assert_gone(2)


@counted
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xff",
        b"\x88\x82\0\0\0\0\x03\xe8",
        b"\x88\x81\0\0\0\0\x03",
        b"\x88\x82\0\0\0\0\x00\x01",
        b"\x81\x81\0\0\0\0\xff",
    ],
    ids=["nothing", "garbage", "close", "half a code", "no code", "bad UTF-8"],
)
def test_whatever_ended_it(data):
    witness = Witness(lambda ws: None)
    local, remote = socket_pair()
    ws = connect_protocol(local, Role.SERVER, options=Options(ping_interval=0.01))
    witness.note(ws)
    remote.sendall(data)
    remote.shutdown(socket.SHUT_WR)
    assert ws.wait_closed(SOON)
    with pytest.raises(ConnectionClosed):
        ws.recv()
    del ws
    witness.assert_gone(1)
    remote.close()


@counted
def test_requests_that_are_refused():
    witness = Witness(echo)

    def refuse(ws, request):
        witness.note(ws)
        return ws.respond(403)

    with serving(process_request=refuse) as server:
        with socket.create_connection(server.socket.getsockname()) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 403")
        witness.assert_gone(1)


BEGINNINGS = {
    "nothing": b"",
    "half": b"GET / HTTP/1.1\r\nHost: x",
    "garbage": b"\xff\xff\r\n\r\n",
    "plain": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad version": b"GET / HTTP/3.0\r\n\r\n",
}


@counted
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("ends", [False, True], ids=["waits", "ends"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_openings_that_fail(beginning, ends, tls):
    class Noted(ServerConnection):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            witness.note(self)

    witness = Witness(echo)
    kwargs = {"ssl": contexts()[0]} if tls else {}
    quiet = logging.Logger("quiet", logging.CRITICAL)
    kwargs.update(create_connection=Noted, open_timeout=0.2, logger=quiet)
    with serving(**kwargs) as server, socket.create_connection(address_of(server)) as sock:
        sock.sendall(BEGINNINGS[beginning])
        if ends:
            sock.shutdown(socket.SHUT_WR)
        witness.assert_gone(1)


def test_frames_of_the_program_are_kept():
    def headers():
        raise FileNotFoundError("no token")

    with serving() as server, pytest.raises(FileNotFoundError) as caught:
        connect(server.uri, additional_headers=headers)
    assert caught.traceback[-1].name == "headers"


def test_program_may_add_to_the_logger(caplog):
    with serving() as server, connect(server.uri) as ws:
        ws.logger.extra["user"] = "bob"
        ws.logger.warning("first")
        ws.close()
        ws.logger.warning("second")
        ws.logger.extra = {"user": "eve"}
        ws.logger.warning("third")
    records = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.user for record in records] == ["bob", "bob", "eve"]
    assert all(record.websocket is ws for record in records)


def test_reader_that_is_woken_after_the_end_is_not_started(monkeypatch):
    asked = []
    monkeypatch.setattr(reader, "call_later", lambda *args: asked.append(args))
    local, remote = socket_pair()
    ws = connect_protocol(local, Role.SERVER, options=Options(ping_interval=None))
    remote.close()
    with pytest.raises(ConnectionClosed):
        run(ws.recv).result()
    asked.clear()
    ws._reading.reader.wake()
    assert asked == []


def test_closed_connection_that_is_kept_works_as_before():
    with serving() as server:
        ws = connect(server.uri, ping_interval=0.01)
        ws.send("a")
        wait_until(lambda: ws._queue.count)
        ws.close()
    assert ws.recv() == "a"
    for call in (
        ws.recv,
        ws.ping,
        ws.pong,
        lambda: ws.send("b"),
        lambda: next(ws.recv_streaming()),
    ):
        with pytest.raises(ConnectionClosed):
            call()
    assert list(ws) == []
    ws.close()
    ws.abort()
    ws.fail()
    assert ws.wait_closed()
    assert not ws.open


@counted
def test_logger_of_a_connection_that_is_gone_still_logs(caplog):
    with serving() as server, connect(server.uri) as ws:
        logger, reference = ws.logger, weakref.ref(ws)
    del ws
    wait_until(lambda: reference() is None)
    logger.warning("after all")
    assert caplog.records[-1].websocket is None


@counted
def test_threads_that_wait_for_it_while_it_ends_come_back():
    with serving(lambda ws: ws.recv()) as server:
        ws = connect(server.uri)
        results = []

        def receive(ws):
            with pytest.raises(ConnectionClosed):
                ws.recv()
            results.append(ws.wait_closed(SOON))

        threads = [threading.Thread(target=receive, args=(ws,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        ws.send("end")
        reference = weakref.ref(ws)
        del ws
        for thread in threads:
            thread.join(SOON)
        assert results == [True] * 8
        wait_until(lambda: reference() is None)
