"""idle_timeout: how long connections stay over which no messages go."""

import threading
import time

import pytest
from support.pairs import SOON, connection_pair, wait_until
from support.scripted import (
    build_request,
    raw_client,
    read_head,
)
from support.serving import assert_works, messages, serving

from syncws import (
    connect,
)
from syncws.server import idleness


@pytest.fixture(autouse=True)
def debug(caplog):
    caplog.set_level("DEBUG")


def test_idle_connections_are_closed():
    with serving(idle_timeout=0.2) as server:
        start = time.monotonic()
        ws = connect(server.uri)
        assert ws.wait_closed(SOON)
        assert time.monotonic() - start >= 0.2
        assert (ws.close_code, ws.close_reason) == (1001, "idle timeout")


@pytest.mark.parametrize("from_server", [False, True])
def test_messages_in_either_direction_keep_a_connection(from_server):
    def handler(ws):
        for _ in range(15):
            if from_server:
                ws.send("hello")
                ended.wait(0.1)
            else:
                ws.recv(SOON)
        ws.send("done")

    ended = threading.Event()
    with serving(handler, idle_timeout=1) as server, connect(server.uri) as ws:
        if not from_server:
            for _ in range(15):
                ws.send("hello")
                ended.wait(0.1)
        for message in ws:
            last = message
        assert last == "done"


def test_pings_do_not_keep_a_connection():
    pinging = serving(idle_timeout=0.3, ping_interval=0.02)
    with pinging as server, connect(server.uri, ping_interval=0.02) as ws:
        assert ws.wait_closed(SOON)
        assert ws.close_reason == "idle timeout"


def test_fragments_and_parts_of_frames_keep_a_connection():
    def client(sock):
        sock.sendall(b"\x01\x81\0\0\0\0a")
        for _ in range(10):  # fragments
            pause.wait(0.15)
            sock.sendall(b"\x00\x81\0\0\0\0b")
        sock.sendall(b"\x80\x8a\0\0\0\0")
        for _ in range(10):  # bytes
            pause.wait(0.15)
            sock.sendall(b"c")

    pause = threading.Event()
    with serving(idle_timeout=1) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        read_head(sock)
        client(sock)
        header = sock.recv(2)
        assert header == bytes([0x81, 21])


def test_a_message_that_waits_for_the_handler_keeps_a_connection():
    def handler(ws):
        assert not ended.wait(1)
        ws.send(ws.recv())

    ended = threading.Event()
    with serving(handler, idle_timeout=0.2) as server, connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


def test_a_handler_that_has_just_taken_a_message_has_time_however_late_the_look_is(monkeypatch):
    calls, closed, now = [], [], [100.0]
    monkeypatch.setattr(idleness, "call_later", lambda *args: calls.append(args))
    monkeypatch.setattr(idleness, "clock", lambda: now[0])
    monkeypatch.setattr(idleness, "_is_writing", lambda connection: False)

    def look(seconds):
        now[0] += seconds
        calls.pop()[1]()

    with connection_pair() as (connection, peer):
        connection._begin_close = lambda *args: closed.append(now[0])
        idleness.IdleWatch(60).add(connection)
        peer.send("hello")
        connection._ensure_reading()
        wait_until(lambda: connection._queue.count)
        look(50)
        assert connection.recv(SOON) == "hello"
        look(100)
        assert not closed
        look(50)
        assert not closed
        look(15)
        assert closed == [315.0]


def test_a_message_on_its_way_to_a_slow_client_keeps_a_connection():
    size = 1 << 24
    sending = serving(lambda ws: ws.send(bytes(size)), idle_timeout=0.2)
    with sending as server, raw_client(server) as sock:
        sock.sendall(build_request())
        read_head(sock)
        threading.Event().wait(1)
        received = 0
        while received < size:
            received += len(sock.recv(1 << 16))


def test_a_connection_that_ends_by_itself_is_forgotten():
    with serving(idle_timeout=SOON) as server:
        assert_works(connect(server.uri))
        wait_until(lambda: not server._roster.running)
        assert not server._handling._idle._entries


def test_many_idle_connections_need_one_timer_and_no_thread(monkeypatch):
    calls = []
    monkeypatch.setattr(idleness, "call_later", lambda *args: calls.append(args))
    watch = idleness.IdleWatch(60)

    class Connection:
        activity = (0, None)

        def _activity(self):
            return self.activity

    now = [100.0]
    monkeypatch.setattr(idleness, "clock", lambda: now[0])
    connections = [Connection() for _ in range(10_000)]
    for connection in connections:
        watch.add(connection)
    assert len(calls) == 1
    now[0] += 5
    calls.pop()[1]()  # before any is due
    assert len(calls) == 1
    assert calls[0][0] == 10
    for connection in connections:
        watch.discard(connection)
        watch.discard(connection)
    calls.pop()[1]()
    assert not calls
    watch.add(connections[0])
    assert len(calls) == 1


def test_one_that_can_not_be_closed_does_not_keep_others_open(monkeypatch, caplog):
    def fail(*args):
        raise ZeroDivisionError("mine")

    with serving(idle_timeout=0.1) as server:
        first = connect(server.uri)
        wait_until(lambda: server.connections)
        (broken,) = server.connections
        broken._begin_close = fail
        second = connect(server.uri)
        assert second.wait_closed(SOON)
        assert first.open
        del broken._begin_close
        assert first.wait_closed(SOON)
    assert "closing an idle connection failed" in messages(caplog, "ERROR")


def test_without_threads_idle_connections_are_looked_at_later(monkeypatch):
    def no_more(*args):
        raise RuntimeError("can't start new thread")

    watch = idleness.IdleWatch(60)
    monkeypatch.setattr(idleness, "call_later", no_more)
    with serving() as server, connect(server.uri):
        wait_until(lambda: server.connections)
        (connection,) = server.connections
        with pytest.raises(RuntimeError):
            watch.add(connection)
        assert not watch._armed
