"""What a WebSocketHandler's methods are called with, and when."""

import gc
import json
import logging
import socket
import threading
import weakref

import pytest
from support.handlers import Journal, Reporting, connected, listening, reported
from support.pairs import SOON, run, wait_until
from support.scripted import build_request, raw_client, read_head

from syncws import ConnectionClosed, ConnectionClosedError, broadcast, connect
from syncws.styles import Application, WebSocketClosedError, WebSocketHandler


class Echo(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message, binary=isinstance(message, bytes))


# --- open() ---


@pytest.mark.parametrize(
    ("pattern", "path", "args", "kwargs"),
    [
        (r"/", "", (), {}),
        (r"/room/(.*)", "room/k%C3%BCche%2F1", ("küche/1",), {}),
        (r"/a(b)?(c)?", "ac", (None, "c"), {}),
        (r"/(?P<year>\d+)(?:/(?P<day>\d+))?", "2024", (), {"year": "2024", "day": None}),
        (r"/q/(\w+)", "q/x?y=1", ("x",), {}),
    ],
)
def test_open_gets_the_groups_of_the_pattern(pattern, path, args, kwargs):
    with reported(pattern=pattern, path=path) as (_, journal):
        assert journal.next() == ("open", args, kwargs)


def test_groups_are_attributes_too():
    class Handler(Reporting):
        def prepare(self):
            self.journal.put((self.path_args, self.path_kwargs))

    with reported(Handler, pattern=r"/(\w)(x)?", path="a") as (_, journal):
        assert journal.next() == (["a", None], {})
        assert journal.next() == ("open", ("a", None), {})


def test_messages_wait_for_open():
    go = threading.Event()

    class Handler(Reporting):
        def open(self):
            assert go.wait(SOON)
            self.journal.put("opened")

    with reported(Handler) as (ws, journal):
        ws.send("early")
        go.set()
        assert [journal.next(), journal.next()] == ["opened", ("message", "early")]


# --- on_message() ---


def test_messages_are_text_or_bytes():
    with reported() as (ws, journal):
        ws.send("tëxt")
        ws.send(b"\x00\xff")
        ws.send(["in ", "parts"])
        journal.next()
        assert [journal.next()[1] for _ in range(3)] == ["tëxt", b"\x00\xff", "in parts"]


def test_one_message_at_a_time_in_their_order():
    busy = threading.Lock()
    threads = set()

    class Handler(Reporting):
        def on_message(self, message):
            assert busy.acquire(blocking=False)
            threads.add(threading.get_ident())
            self.journal.put(message)
            busy.release()

    with reported(Handler) as (ws, journal):
        ws.send_many(map(str, range(1000)))
        journal.next()
        assert [journal.next() for _ in range(1000)] == list(map(str, range(1000)))
    assert len(threads) == 1


def test_each_connection_has_an_instance_and_a_thread():
    barrier = threading.Barrier(2)
    journal = Journal()

    class Handler(WebSocketHandler):
        def open(self):
            journal.put((self, threading.get_ident()))
            barrier.wait(SOON)

    with (
        listening([("/", Handler)]) as server,
        connect(server.uri),
        connect(server.uri),
    ):
        first, second = journal.next(), journal.next()
        assert first[0] is not second[0]
        assert first[1] != second[1]


def test_on_message_must_be_there(caplog):
    with connected(WebSocketHandler) as ws:
        ws.send("hello")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == 1011
    assert "NotImplementedError: WebSocketHandler has no on_message()" in caplog.text


# --- write_message() ---


class Writing(WebSocketHandler):
    """Writes the arguments that it was made with."""

    def initialize(self, writes):
        self.writes = writes

    def open(self):
        for args in self.writes:
            self.write_message(*args)


def test_what_write_message_sends():
    writes = [
        ("tëxt",),
        (b"as text",),
        ("as bytes", True),
        (b"\xff", True),
        ({"a": [1, "</b>", None]},),
    ]
    with connected(Writing, {"writes": writes}) as ws:
        received = [ws.recv(SOON) for _ in writes]
    assert received[:4] == ["tëxt", "as text", b"as bytes", b"\xff"]
    assert json.loads(received[4]) == {"a": [1, "</b>", None]}


@pytest.mark.parametrize("message", [["a", "b"], 1, None, iter("ab")])
def test_what_write_message_refuses(message, caplog):
    kwargs = {"writes": [(message,)]}
    with connected(Writing, kwargs) as ws, pytest.raises(ConnectionClosedError):
        ws.recv(SOON)
    assert "write_message() takes str, bytes and dict, not " in caplog.text


def test_write_message_from_many_threads():
    handlers = Journal()

    class Handler(WebSocketHandler):
        def open(self):
            handlers.put(self)

    def write(handler, name):
        for number in range(100):
            handler.write_message({"name": name, "number": number})

    with connected(Handler) as ws:
        handler = handlers.next()
        running = [run(write, handler, name) for name in "abcdefgh"]
        seen = {}
        for _ in range(800):
            message = json.loads(ws.recv(SOON))
            assert message["number"] == seen.get(message["name"], -1) + 1
            seen[message["name"]] = message["number"]
        for each in running:
            each.result()


def test_write_message_after_the_end():
    handlers = Journal()

    class Handler(Reporting):
        def open(self):
            handlers.put(self)

    with reported(Handler) as (ws, journal):
        ws.close()
        journal.next()
        handler = handlers.next()
        with pytest.raises(WebSocketClosedError):
            handler.write_message("late")
        with pytest.raises(WebSocketClosedError):
            handler.ping()
        handler.close()
        assert handler.ws_connection is None
    assert WebSocketClosedError is ConnectionClosed


def test_write_message_before_open():
    journal = Journal()

    class Handler(Echo):
        def prepare(self):
            for function in (lambda: self.write_message("x"), self.ping):
                with pytest.raises(WebSocketClosedError, match="before open"):
                    function()
            journal.put("refused")

    with connected(Handler):
        assert journal.next() == "refused"


def test_write_message_while_the_connection_closes(caplog):
    """It does not wait for the client, which may take its time."""
    handlers = Journal()

    class Handler(WebSocketHandler):
        def open(self):
            self.close(4000, "why")
            handlers.put(self)
            self.write_message("too late")  # is no error

        def on_close(self):
            handlers.put("closed")

    with listening([("/", Handler)]) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        read_head(sock)
        handler = handlers.next()
        for function in (lambda: handler.write_message("late"), handler.ping):
            with pytest.raises(WebSocketClosedError) as info:
                function()
            assert (info.value.rcvd, info.value.sent.code) == (None, 4000)
        assert handlers.left() == []  # as the client did not answer yet
        sock.close()
        assert handlers.next() == "closed"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_plain_answers_are_over_once_it_is_open():
    class Handler(WebSocketHandler):
        def open(self):
            with pytest.raises(RuntimeError, match="write_message"):
                self.write("x")
            with pytest.raises(RuntimeError, match="finished already"):
                self.finish()
            self.write_message("refused")

    with connected(Handler) as ws:
        assert ws.recv(SOON) == "refused"


def test_broadcast_to_handlers():
    handlers = Journal()

    class Handler(WebSocketHandler):
        def open(self):
            handlers.put(self)

    with (
        listening([("/", Handler)]) as server,
        connect(server.uri) as first,
        connect(server.uri) as second,
    ):
        known = [handlers.next(), handlers.next()]
        broadcast([handler.ws_connection for handler in known], "to all")
        broadcast(server, "again")
        for ws in (first, second):
            assert [ws.recv(SOON), ws.recv(SOON)] == ["to all", "again"]


# --- instances ---


def test_instances_dont_leak():
    references = Journal()

    class Handler(Echo):
        def open(self):
            references.put(weakref.ref(self))

        def on_ping(self, data):
            pass

    with connected(Handler) as ws:
        reference = references.next()
        ws.send("hello")
        ws.recv(SOON)
        ws.ping(b"x").wait(SOON)
    wait_until(lambda: gc.collect() is not None and reference() is None)


def test_instances_are_freed_without_the_garbage_collector():
    references = Journal()

    class Handler(Echo):
        def open(self):
            references.put(weakref.ref(self))

    gc.collect()
    gc.disable()
    try:
        with connected(Handler) as ws:
            ws.send("hello")
            ws.recv(SOON)
        reference = references.next()
        wait_until(lambda: reference() is None)
    finally:
        gc.enable()


def test_instances_of_refused_requests_dont_leak():
    references = Journal()

    class Handler(Echo):
        def prepare(self):
            references.put(weakref.ref(self))

    with listening([("/", Handler)]) as server:
        for request in (
            build_request(Sec_WebSocket_Key="short"),
            build_request(Origin="https://elsewhere.example"),
            build_request(Upgrade=None),
        ):
            with raw_client(server) as sock:
                sock.sendall(request)
                read_head(sock)
                sock.shutdown(socket.SHUT_WR)
            reference = references.next()
            wait_until(lambda reference=reference: gc.collect() is not None and not reference())


#: Private names that Tornado's handlers have too, so that no program has them for its own use.
TORNADOS = {"_current_user", "_finished", "_headers", "_reason", "_status_code", "_write_buffer"}


def test_private_names_are_left_to_programs():
    journal = Journal()

    class Handler(Echo):
        def open(self):
            journal.put(dir(self))

    with connected(Handler):
        names = [name for name in journal.next() if name[0] == "_" and not name.startswith("__")]
    assert {name for name in names if not name.startswith("_ws_")} == TORNADOS


def test_applications_settings_and_nodelay():
    class Handler(WebSocketHandler):
        def open(self):
            self.set_nodelay(True)
            assert self.application.settings is self.settings
            self.write_message(self.settings["greeting"])

    with connected(Handler, settings={"greeting": "welcome"}) as ws:
        assert ws.recv(SOON) == "welcome"


def test_handler_of_no_request_is_an_error(caplog):
    """A process_response that makes a 101 of a refusal leaves no handler."""

    def process_response(ws, request, response):
        if response.status_code == 404:
            return ws.protocol.accept(request)
        return None

    application = Application([])
    with (
        listening(application, process_response=process_response) as server,
        connect(server.uri) as ws,
    ):
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == 1011
    assert "no handler was chosen" in caplog.text
