"""Pings and pongs as a WebSocketHandler sees them: in its thread, in order with the messages."""

import threading

import pytest
from support.handlers import Journal, Reporting, connected, listening, reported
from support.pairs import SOON, run, wait_until
from support.scripted import build_request, raw_client, read_head

from syncws import ConnectionClosedError, ProtocolError
from syncws.sansio.frames import Frame, Opcode
from syncws.styles import WebSocketHandler
from syncws.styles.tornado.handler_connection import MAX_CONTROLS


class Pinged(Reporting):
    def open(self):
        self.thread = threading.get_ident()

    def on_message(self, message):
        self.note("message", message)

    def on_ping(self, data):
        self.note("ping", data)

    def on_pong(self, data):
        self.note("pong", data)

    def note(self, *item):
        assert threading.get_ident() == self.thread
        self.journal.put(item)


def test_on_ping():
    with reported(Pinged) as (ws, journal):
        assert ws.ping(b"one").wait(SOON)
        ws.ping("two")
        assert [journal.next(), journal.next()] == [("ping", b"one"), ("ping", b"two")]


def test_on_pong():
    class Handler(Pinged):
        def on_message(self, message):
            self.ping(message)

    with reported(Handler) as (ws, journal):
        ws.send("a")
        ws.send(b"\xff")
        assert [journal.next(), journal.next()] == [("pong", b"a"), ("pong", b"\xff")]


def test_ping_without_data():
    class Handler(Pinged):
        def open(self):
            super().open()
            self.ping()
            self.ping()  # stands for the same

    with reported(Handler) as (_, journal):
        assert journal.next() == ("pong", b"")


def test_ping_with_too_much_data(caplog):
    class Handler(WebSocketHandler):
        def open(self):
            with pytest.raises(ProtocolError):
                self.ping(bytes(126))
            self.write_message("refused")

    with connected(Handler) as ws:
        assert ws.recv(SOON) == "refused"


def test_pongs_of_keepalive_pings():
    class Handler(Pinged):
        pongs = 0

        def on_pong(self, data):
            super().on_pong(data)
            self.pongs += 1
            if self.pongs == 3:
                self.write_message("three pongs")

    settings = {"websocket_ping_interval": 0.01, "websocket_ping_timeout": SOON}
    with reported(Handler, settings=settings) as (ws, journal):
        assert ws.recv(SOON) == "three pongs"
        assert [journal.next()[0] for _ in range(3)] == ["pong"] * 3


def test_pings_come_in_order_with_messages():
    with reported(Pinged) as (ws, journal):
        for number in range(50):
            ws.send(str(number))
            ws.ping(b"%d" % number)
        for number in range(50):
            assert journal.next() == ("message", str(number))
            assert journal.next() == ("ping", b"%d" % number)


def test_pings_wait_for_the_handler_and_are_answered_at_once():
    go, entered = threading.Event(), threading.Event()

    class Handler(Pinged):
        def on_message(self, message):
            entered.set()
            assert go.wait(SOON)
            super().on_message(message)

    with reported(Handler) as (ws, journal):
        ws.send("slow")
        assert entered.wait(SOON)
        assert ws.ping(b"x").wait(SOON)
        assert journal.left() == []
        go.set()
        assert [journal.next(), journal.next()] == [("message", "slow"), ("ping", b"x")]


def test_pings_between_fragments_come_after_the_message():
    journal = Journal()
    frames = [
        Frame(Opcode.PING, b"1"),
        Frame(Opcode.TEXT, b"be", fin=False),
        Frame(Opcode.PING, b"2"),
        Frame(Opcode.PING, b"3"),
        Frame(Opcode.CONT, b"gin", fin=True),
        Frame(Opcode.PING, b"4"),
        Frame(Opcode.BINARY, b"x"),
    ]
    with listening([("/", Pinged, {"journal": journal})]) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        read_head(sock)
        for frame in frames:
            sock.sendall(frame.serialize(masked=True))
        assert [journal.next() for _ in range(6)] == [
            ("ping", b"1"),
            ("message", "begin"),
            ("ping", b"2"),
            ("ping", b"3"),
            ("ping", b"4"),
            ("message", b"x"),
        ]


def test_a_flood_of_pings_between_fragments_takes_little_memory():
    journal = Journal()
    frames = [
        Frame(Opcode.TEXT, b"be", fin=False),
        *(Frame(Opcode.PING, b"%d" % number) for number in range(1000)),
        Frame(Opcode.CONT, b"gin", fin=True),
        Frame(Opcode.BINARY, b"x"),
    ]
    with listening([("/", Pinged, {"journal": journal})]) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        read_head(sock)
        sock.sendall(b"".join([frame.serialize(masked=True) for frame in frames]))
        assert journal.next() == ("message", "begin")
        newest = [("ping", b"%d" % number) for number in range(1000 - MAX_CONTROLS, 1000)]
        assert [journal.next() for _ in newest] == newest
        assert journal.next() == ("message", b"x")


def test_pings_on_a_compressed_connection():
    class Handler(Pinged):
        def get_compression_options(self):
            return {}

    with reported(Handler) as (ws, journal):
        ws.send("x" * 1000)
        ws.ping(b"1")
        assert [journal.next(), journal.next()] == [("message", "x" * 1000), ("ping", b"1")]


def test_nothing_is_kept_for_handlers_that_dont_look():
    with reported() as (ws, journal):
        journal.next()
        for _ in range(100):
            assert ws.ping().wait(SOON)
        ws.send("end")
        assert journal.next() == ("message", "end")


@pytest.mark.parametrize("method", ["on_ping", "on_pong"])
def test_errors_close_with_1011(method, caplog):
    class Handler(Reporting):
        def open(self):
            self.ping(b"x")

    def fail(self, data):
        raise ZeroDivisionError("on purpose")

    setattr(Handler, method, fail)
    with reported(Handler) as (ws, journal):
        ws.ping(b"x")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == 1011
    assert journal.next() == ("close", 1011, None)
    assert caplog.text.count("ZeroDivisionError: on purpose") == 1


def test_a_flood_of_pings_makes_reading_pause(monkeypatch):
    monkeypatch.setattr("syncws.threaded.floods.MAX_CHEAP_FRAMES", 1 << 30)
    go = threading.Event()
    handlers = Journal()
    payload = bytes(100)

    class Handler(Pinged):
        def open(self):
            super().open()
            handlers.put(self)
            assert go.wait(SOON)

    journal = Journal()
    count = 20000
    flood = b"".join(
        [Frame(Opcode.PING, payload + b"%d" % n).serialize(masked=True) for n in range(count)]
    )
    with listening([("/", Handler, {"journal": journal})]) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        read_head(sock)
        connection = handlers.next().ws_connection
        sending = run(sock.sendall, flood)
        wait_until(connection._is_paused)
        assert connection.stats.frames_received < count
        go.set()
        sending.result()
        for number in range(count):
            assert journal.next() == ("ping", payload + b"%d" % number)
