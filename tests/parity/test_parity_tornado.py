"""What tutorials have of Tornado and ws4py, and the sample program of theirs."""

import inspect
import json
import threading

import pytest
from support.handlers import Journal, Reporting, connected, listening, reported
from support.pairs import SOON, run
from support.snippets import run as run_program
from support.snippets import running_server

import syncws
from syncws import (
    Application,
    ConnectionClosed,
    ConnectionClosedError,
    InvalidStatus,
    ThreadingServer,
    WebSocketApp,
    WebSocketHandler,
    broadcast,
    connect,
    run_forever,
    serve,
)

# --- T: Tornado ---


def test_T0_no_event_loop_is_behind_any_of_them():
    code = """
import sys
from syncws import Application, WebSocketApp, WebSocketHandler, run_forever
Application([("/", WebSocketHandler)]).listen(0, "localhost").close()
run_forever()
print({"asyncio", "tornado", "ws4py"} & set(sys.modules))
"""
    assert run_program(code) == "set()\n"


def test_T1_the_handler_that_does_not_exist_names_the_one_that_does():
    assert not hasattr(syncws.styles, "WebSocketRequestHandler")
    with pytest.raises(AttributeError, match="use WebSocketHandler"):
        _ = syncws.styles.WebSocketRequestHandler


def test_T2_a_handler_is_an_instance_for_each_connection_in_its_own_thread():
    journal = Journal()

    class Handler(WebSocketHandler):
        def open(self):
            journal.put((id(self), threading.current_thread()))

        def on_message(self, message):
            self.write_message(str(threading.current_thread() is self.thread()))

        def thread(self):
            return seen[id(self)]

    with (
        listening([("/", Handler)]) as server,
        connect(server.uri) as one,
        connect(server.uri) as two,
    ):
        seen = dict([journal.next(), journal.next()])
        assert len(seen) == len(set(seen.values())) == 2
        for ws in (one, two):
            ws.send("is it the same thread?")
            assert ws.recv(SOON) == "True"


NAMES = """open on_message on_close on_ping on_pong write_message close ping check_origin
select_subprotocol selected_subprotocol get_compression_options set_nodelay close_code close_reason
prepare initialize settings get_argument current_user ping_interval ping_timeout max_message_size
"""


def test_T2_it_has_the_names_of_tornados():
    assert [name for name in NAMES.split() if not hasattr(WebSocketHandler, name)] == []
    tornado = pytest.importorskip("tornado.websocket").WebSocketHandler
    for name in ("write_message", "close", "ping", "check_origin", "select_subprotocol"):
        ours, theirs = (
            [(each.name, each.default) for each in inspect.signature(function).parameters.values()]
            for function in (getattr(WebSocketHandler, name), getattr(tornado, name))
        )
        assert ours == theirs


def test_T2_its_attributes_say_what_was_asked_and_agreed_on():
    class Handler(WebSocketHandler):
        def select_subprotocol(self, subprotocols):
            return subprotocols[0]

        def open(self, name):
            self.set_nodelay(True)
            self.write_message(
                {
                    "path": self.request.path,
                    "agent": "User-Agent" in self.request.headers,
                    "args": self.path_args,
                    "kwargs": self.path_kwargs,
                    "subprotocol": self.selected_subprotocol,
                    "setting": self.application.settings["title"],
                    "close": [self.close_code, self.close_reason],
                }
            )

    options = {"pattern": "/(.*)", "path": "x", "settings": {"title": "it"}}
    with connected(Handler, subprotocols=["a"], **options) as ws:
        assert json.loads(ws.recv(SOON)) == {
            "path": "/x",
            "agent": True,
            "args": ["x"],
            "kwargs": {},
            "subprotocol": "a",
            "setting": "it",
            "close": [None, None],
        }


def test_T2_pings_origins_and_compression():
    class Handler(Reporting):
        def check_origin(self, origin):
            return origin == "https://app.example"

        def get_compression_options(self):
            return {"compression_level": 6, "mem_level": 5}

        def on_ping(self, data):
            self.journal.put(("ping", data))
            self.ping(b"back")

        def on_pong(self, data):
            self.journal.put(("pong", data))

    with reported(Handler, origin="https://app.example") as (ws, journal):
        assert len(ws.extensions) == 1
        ws.ping(b"there")
        assert [journal.next() for _ in range(3)][1:] == [("ping", b"there"), ("pong", b"back")]
    with (
        listening([("/", Handler, {"journal": journal})]) as server,
        pytest.raises(InvalidStatus) as info,
    ):
        connect(server.uri, origin="https://elsewhere.example")
    assert info.value.response.status_code == 403


def test_T3_the_client_that_does_not_exist_names_those_that_do():
    with pytest.raises(AttributeError, match=r"use WebSocketApp, or connect\(\)"):
        _ = syncws.styles.WebSocketClient
    with pytest.raises(AttributeError, match=r"use connect\(\)"):
        _ = syncws.styles.websocket_connect


def test_T3_a_client_with_callbacks():
    journal = Journal()

    class Handler(WebSocketHandler):
        def open(self):
            self.write_message(self.request.headers["X-Who"] + self.get_cookie("c"))

        def on_message(self, message):
            self.close(4000, message)

        def select_subprotocol(self, subprotocols):
            return subprotocols[0]

    def on_message(app, message):
        journal.put(message)
        app.send("enough")

    with listening([("/", Handler)]) as server:
        WebSocketApp(
            server.uri,
            on_open=lambda app: journal.put("open"),
            on_message=on_message,
            on_close=lambda app, code, reason: journal.put((code, reason)),
            header={"X-Who": "me"},
            cookie="c=1",
            subprotocols=["a"],
        ).run_forever(ping_interval=20, ping_timeout=10)
    assert journal.left() == ["open", "me1", (4000, "enough")]


def test_T4_open_gets_the_groups_of_the_pattern():
    with reported(pattern=r"/(\w+)/(.*)", path="room/k%C3%BCche") as (_, journal):
        assert journal.next() == ("open", ("room", "k\u00fcche"), {})
    with reported(pattern=r"/(?P<room>\w+)", path="x") as (_, journal):
        assert journal.next() == ("open", (), {"room": "x"})


def test_T5_messages_come_one_at_a_time_as_str_or_bytes():
    go, entered = threading.Event(), threading.Event()

    class Handler(Reporting):
        def on_message(self, message):
            if message == "first":
                entered.set()
                assert go.wait(SOON)
            super().on_message(message)

    with reported(Handler) as (ws, journal):
        ws.send("first")
        ws.send(b"second")
        assert entered.wait(SOON)
        assert journal.left() == [("open", (), {})]
        go.set()
        assert [journal.next(), journal.next()] == [("message", "first"), ("message", b"second")]


def test_T5_it_must_be_overridden(caplog):
    with connected(WebSocketHandler) as ws:
        ws.send("hello")
        with pytest.raises(ConnectionClosedError):
            ws.recv(SOON)
    assert "NotImplementedError" in caplog.text


def test_T6_on_close_is_called_once_with_code_and_reason():
    with reported() as (ws, journal):
        ws.close(4001, "bye")
    assert journal.left() == [("open", (), {}), ("close", 4001, "bye")]


def test_T6_on_close_is_called_after_errors_too(caplog):
    class Handler(Reporting):
        def on_message(self, message):
            raise ZeroDivisionError

    with reported(Handler) as (ws, journal):
        ws.send("x")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == 1011
    assert journal.left() == [("open", (), {}), ("close", 1011, None)]
    assert "ZeroDivisionError" in caplog.text


def test_T7_write_message_sends_text_bytes_and_json():
    class Handler(WebSocketHandler):
        def open(self):
            self.write_message("text")
            self.write_message(b"\xff", binary=True)
            self.write_message({"a": [1, None]})

    with connected(Handler) as ws:
        assert [ws.recv(SOON) for _ in range(2)] == ["text", b"\xff"]
        assert json.loads(ws.recv(SOON)) == {"a": [1, None]}


def test_T7_write_message_from_any_thread():
    class Handler(WebSocketHandler):
        def open(self):
            for name in "abcd":
                threading.Thread(target=self.write, args=(name,)).start()

        def write(self, name):
            for number in range(50):
                self.write_message(f"{name}{number}")

    with connected(Handler) as ws:
        heard = [ws.recv(SOON) for _ in range(200)]
    for name in "abcd":
        own = [message for message in heard if message[0] == name]
        assert own == [f"{name}{number}" for number in range(50)]


def test_T8_recv_reads_messages_and_raises_at_the_end():
    class Handler(WebSocketHandler):
        def open(self):
            self.write_message("only one")
            self.close()

    with connected(Handler) as ws:
        assert ws.recv(SOON) == "only one"
        with pytest.raises(ConnectionClosed):
            ws.recv(SOON)
    with pytest.raises(AttributeError, match=r"recv\(\)"):
        _ = ws.read_message


def test_T9_an_application_routes_by_patterns():
    class Named(WebSocketHandler):
        def initialize(self, name):
            self.name = name

        def open(self):
            self.write_message(self.name + self.settings["mark"])

    application = Application([(r"/websocket", Named, {"name": "first"})], mark="!")
    application.add_handlers(r".*", [(r"/other", Named, {"name": "added"})])
    with listening(application) as server:
        for path, expected in (("websocket", "first!"), ("other", "added!")):
            with connect(server.uri + path) as ws:
                assert ws.recv(SOON) == expected
        with pytest.raises(InvalidStatus) as info:
            connect(f"{server.uri}websocket/")
        assert info.value.response.status_code == 404


def test_T10_listen_returns_a_server_that_accepts():
    class Handler(WebSocketHandler):
        def open(self):
            self.write_message("open")

    server = Application([("/", Handler)]).listen(0)
    try:
        assert isinstance(server, ThreadingServer)
        with connect(f"ws://localhost:{server.port}/") as ws:
            assert ws.recv(SOON) == "open"
    finally:
        server.close()


def test_T11_serve_forever_waits_for_one_server_and_run_forever_for_all():
    application = Application([])
    with listening(application) as first, listening(application) as second:
        one, both = run(first.serve_forever), run(run_forever)
        first.close()
        one.result()
        assert not both.done()
        second.close()
        both.result()
    with pytest.raises(AttributeError, match=r"there is no event loop: run_forever\(\) waits"):
        _ = syncws.styles.IOLoop


def test_T12_messages_are_whole_whatever_the_size_of_packets():
    def pieces(ws):
        ws.send([b"ab", b"cd", b"ef"])
        assert ws.recv(SOON) == b"abcdef"
        return list(ws.recv_streaming())

    def answer(ws):
        ws.send(ws.recv(SOON))
        ws.send(["in", " parts"])
        ws.wait_closed(SOON)

    with serve(answer, "localhost", 0) as server, connect(server.uri) as ws:
        assert "".join(pieces(ws)) == "in parts"
    with reported() as (ws, journal):
        ws.send(["x" * 1000] * 1000)
        assert [journal.next(), journal.next()][1] == ("message", "x" * 1_000_000)


# --- P: sample programs ---

SAMPLE = """
import tornado.ioloop
import tornado.web
import tornado.websocket


class MyWebSocket(tornado.websocket.WebSocketHandler):
    def open(self):
        print("a client came")

    def on_message(self, message):
        print("it says", message)
        self.write_message("server got: " + message)

    def on_close(self):
        print("it went")


if __name__ == "__main__":
    app = tornado.web.Application([(r"/websocket", MyWebSocket)])
    app.listen(8765)
    tornado.ioloop.IOLoop.instance().start()
"""

#: What a reader changes.
CHANGES = {
    "import tornado.ioloop\n": "",
    "import tornado.web\n": "",
    "import tornado.websocket\n": "from syncws import Application, WebSocketHandler, run_forever\n",
    "tornado.websocket.WebSocketHandler": "WebSocketHandler",
    "tornado.web.Application": "Application",
    "tornado.ioloop.IOLoop.instance().start()": "run_forever()",
}


def check_sample(code, **options):
    with running_server(code, **options) as (port, program):
        with connect(f"ws://127.0.0.1:{port}/websocket") as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "server got: hello"
        lines = [program.readline() for _ in range(3)]
        assert lines == ["a client came", "it says hello", "it went"]
        return program.interrupt()


def test_P4_the_sample_runs_with_its_imports_changed():
    code = SAMPLE
    for old, new in CHANGES.items():
        code = code.replace(old, new)
    assert "tornado" not in code
    assert check_sample(code) == ("", "")


def test_P4_the_sample_runs_in_tornado():
    pytest.importorskip("tornado")
    check_sample(SAMPLE, warnings="ignore")


# --- X: ws4py ---


def test_X1_a_handler_has_what_its_server_class_has():
    journal = Journal()

    class Handler(WebSocketHandler):
        def open(self):  # opened()
            self.ping("beat")

        def on_pong(self, data):  # ponged(pong)
            journal.put(data)

        def on_message(self, message):  # received_message(m)
            self.write_message(message, binary=True)  # send(payload, binary=True)
            self.close(1000, "done")

        def on_close(self):  # closed(code, reason)
            journal.put((self.close_code, self.close_reason, self.ws_connection is None))

    with connected(Handler) as ws:
        ws.send("x")
        assert ws.recv(SOON) == b"x"
        with pytest.raises(ConnectionClosed):
            ws.recv(SOON)
    assert journal.left() == [b"beat", (1000, "done", True)]


def test_X1_a_server_has_what_its_manager_has():
    journal = Journal()

    class Handler(WebSocketHandler):
        def open(self):
            journal.put("open")

    with listening([("/", Handler)]) as server:
        clients = [connect(server.uri) for _ in range(3)]
        assert [journal.next() for _ in clients] == ["open"] * 3
        assert len(server.connections) == 3  # add(), len(manager)
        broadcast(server, "to all")
        assert [ws.recv(SOON) for ws in clients] == ["to all"] * 3
        closing = run(server.close, code=4000)  # close_all()
        for ws in clients:
            with pytest.raises(ConnectionClosedError) as info:
                ws.recv(SOON)
            assert info.value.rcvd.code == 4000
        closing.result()


def test_X1_an_app_has_what_its_client_class_has():
    journal = Journal()

    class Handler(WebSocketHandler):
        def on_message(self, message):
            self.write_message(message)

    def on_message(app, message):
        journal.put(message)
        app.close(status=1000)

    with listening([("/", Handler)]) as server:
        WebSocketApp(
            server.uri,
            on_open=lambda app: app.send("hello"),
            on_message=on_message,
            on_close=lambda app, code, reason: journal.put(code),
        ).run_forever()
    assert journal.left() == ["hello", 1000]
