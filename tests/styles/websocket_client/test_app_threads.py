"""``WebSocketApp`` and other threads, Ctrl-C: whatever happens, a run ends once."""

import random
import signal
import threading
import time

import pytest
from support.pairs import SOON, run, wait_until
from support.programs import Program
from support.scripted import (
    build_response,
    mute_after,
    nothing_left,
    read_all,
    read_head,
    says,
    scripted_server,
    silent,
)
from support.serving import serving
from support.websockets import Watched
from support.wire import build_frames

import syncws
from syncws import styles as websocket
from syncws.styles import WebSocketApp
from syncws.styles.websocket_client.app_run import Run
from syncws.styles.websocket_client.attempt import Attempt
from syncws.threaded.latch import Latch


class Mute:
    """A script that says nothing, and an event: somebody has connected."""

    def __init__(self):
        self.reached = threading.Event()

    def __call__(self, sock):
        self.reached.set()
        silent(sock)


# --- close() ---


def test_close_of_another_thread_ends_the_run():
    with serving() as server, nothing_left():
        app = Watched(server.uri)
        running = run(app.run_forever)
        assert app.opened.wait(SOON)
        app.close(status=4000, reason="enough")
        assert running.result() is False
        assert app.events == [("on_open",), ("on_close", 4000, "enough")]
        app.close()


def test_a_closed_run_whose_function_goes_on_does_not_keep_the_next_one():
    entered, leave = threading.Event(), threading.Event()

    def on_message(app, message):
        if not entered.is_set():
            entered.set()
            assert leave.wait(SOON)

    with serving(lambda ws: ws.send("x") or ws.wait_closed()) as server, nothing_left():
        app = Watched(server.uri, on_message=on_message)
        first = run(app.run_forever)
        assert entered.wait(SOON)
        app.close()
        app.opened.clear()
        second = run(app.run_forever)  # as programs that restart do
        assert app.opened.wait(SOON)
        sock = app.sock
        leave.set()
        assert first.result() is False
        assert app.sock is sock
        assert app.keep_running
        app.close()
        assert second.result() is False
        assert [event[0] for event in app.events].count("on_close") == 2


def test_function_may_close_and_run_again():
    turns = []

    def on_message(app, message):
        turns.append(message)
        app.close()
        if len(turns) < 3:
            app.run_forever()

    with serving(lambda ws: ws.send("x") or ws.wait_closed()) as server, nothing_left():
        app = WebSocketApp(server.uri, on_message=on_message)
        assert run(app.run_forever).result() is False
        assert turns == ["x"] * 3


def test_application_whose_sock_was_taken_away_ends_and_can_run_again():
    def on_message(app, message):
        app.sock = None

    with serving(lambda ws: [ws.send("x"), ws.send("x"), ws.wait_closed()]) as server:
        with nothing_left():
            app = Watched(server.uri, on_message=on_message)
            for _ in range(2):
                run(app.run_forever).result()
                assert app.sock is None
        assert [event[0] for event in app.events] == ["on_open", "on_close"] * 2


def test_threads_may_close_at_once():
    with serving() as server, nothing_left():
        app = Watched(server.uri)
        running = run(app.run_forever)
        assert app.opened.wait(SOON)
        for closing in [run(app.close) for _ in range(5)]:
            closing.result()
        assert running.result() is False
        assert app.names() == ["on_open", "on_close"]


@pytest.mark.parametrize("name", ["on_open", "on_message", "on_data", "on_ping"])
def test_functions_may_close(name):
    def greet(ws):
        ws.ping()
        ws.send("hello")
        ws.send("again")
        ws.wait_closed()

    with serving(greet) as server, nothing_left():
        app = Watched(server.uri, **{name: lambda app, *args: app.close()})
        assert app.run_forever() is False
        assert app.names()[-1] == "on_close"
        assert app.names().count("on_close") == 1
        assert "on_error" not in app.names()


def test_on_error_and_on_close_may_close():
    with serving(lambda ws: ws.abort()) as server:
        app = Watched(server.uri)
        app.on_error = lambda app, exc: app.close()
        app.on_close = lambda app, code, reason: app.close()
        assert app.run_forever(reconnect=60) is True


def test_keep_running_set_to_false_ends_the_run():
    with serving() as server:
        app = Watched(server.uri)
        running = run(app.run_forever)
        assert app.opened.wait(SOON)
        app.keep_running = True
        assert app.keep_running
        app.keep_running = False
        assert running.result() is False
        assert app.events[-1] == ("on_close", 1000, None)
        app.keep_running = False  # nothing runs


@pytest.mark.parametrize("way", ["close", "keep_running"])
def test_nothing_is_handed_out_after_closing(way):
    def on_message(app, message):
        app.events.append(message)
        wait_until(lambda: app.sock.connection.stats.messages_received == 3)
        if way == "close":
            app.close()
        else:
            app.keep_running = False

    frames = [(0x81, b"a"), (0x89, b"ping"), (0x81, b"b"), (0x81, b"c"), (0x88, b"\x03\xe8")]
    with scripted_server(says(build_response, build_frames(frames))) as server:
        app = Watched(server.uri, on_message=on_message, on_ping=pytest.fail)
        assert app.run_forever() is False
        assert app.events == [("on_open",), "a", ("on_close", 1000, None)]


def test_close_frame_that_cannot_be_sent_does_not_end_the_run():
    with serving() as server:
        app = Watched(server.uri)
        running = run(app.run_forever)
        assert app.opened.wait(SOON)
        for wrong in ({"status": 1005}, {"status": 1006}, {"reason": "x" * 124}):
            with pytest.raises(websocket.WebSocketProtocolException):
                app.close(**wrong)
        assert app.keep_running
        app.send("hello")
        wait_until(lambda: ("on_message", "hello") in app.events)
        app.close()
        assert running.result() is False


def test_no_run_begins_while_the_program_has_set_a_socket():
    app = WebSocketApp("ws://localhost:1/")
    app.sock = websocket.WebSocket()
    with pytest.raises(websocket.WebSocketException, match="socket is already opened"):
        app.run_forever()


def test_closing_ends_connecting_to_a_server_that_says_nothing():
    mute = Mute()
    with nothing_left(), scripted_server(mute) as server:
        app = Watched(server.uri)
        running = run(app.run_forever)
        assert mute.reached.wait(SOON)
        assert not app.ready()
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="isn't open"):
            app.send("too early")
        start = time.monotonic()
        app.close()
        assert running.result() is False
        assert time.monotonic() - start < 5  # and not the ten seconds of connecting
        assert app.events == [("on_close", None, None)]


def test_keep_running_set_to_false_ends_connecting():
    mute = Mute()
    with nothing_left(), scripted_server(mute) as server:
        app = Watched(server.uri)
        running = run(app.run_forever)
        assert mute.reached.wait(SOON)
        app.keep_running = False
        assert running.result() is False


def test_connection_that_is_opened_too_late_is_cut():
    reached, go = threading.Event(), threading.Event()

    def script(sock):
        request = read_head(sock)
        reached.set()
        assert go.wait(SOON)
        sock.sendall(build_response(request))
        ended.append(read_all(sock))

    ended = []
    with scripted_server(script) as server, nothing_left():
        app = Watched(server.uri)
        running = run(app.run_forever)
        assert reached.wait(SOON)
        app.close()
        assert running.result() is False
        go.set()
        wait_until(lambda: ended == [b""])
        assert app.names() == ["on_close"]


def test_closing_may_come_before_the_run_begins():
    with serving() as server:
        app = Watched(server.uri)
        app.close()
        assert run(app.run_forever).result() is False  # at once
        assert app.events == [("on_close", None, None)]
        running = run(app.run_forever)  # once only
        assert app.opened.wait(SOON)
        app.close()
        assert running.result() is False


def test_closing_before_a_run_in_the_same_thread_is_about_what_was_before():
    with serving(lambda ws: None) as server:
        app = Watched(server.uri)
        app.close()
        assert app.run_forever() is False
        app.close()
        assert app.run_forever() is False
        assert app.names() == ["on_open", "on_error", "on_close"] * 2
        app.close()
        assert run(app.run_forever).result() is False
        assert app.names() == ["on_open", "on_error", "on_close"] * 3


def test_close_and_connecting_may_race():
    delays = random.Random(0)
    with serving() as server, nothing_left():
        for _ in range(50):
            app = Watched(server.uri)
            running = run(app.run_forever)
            threading.Event().wait(delays.uniform(0, 0.004))
            app.close()
            assert running.result() is False
            assert app.names() in (["on_close"], ["on_open", "on_close"])


def test_closing_gives_up_on_a_server_that_does_not_answer():
    with scripted_server(mute_after(build_response)) as server, nothing_left():
        app = Watched(server.uri)
        running = run(app.run_forever)
        assert app.opened.wait(SOON)
        app.close(timeout=0.05)
        assert running.result() is False
        assert app.events[-1] == ("on_close", None, None)


# --- runs ---


def test_one_run_at_a_time():
    with serving() as server:
        app = Watched(server.uri)
        running = run(app.run_forever)
        assert app.opened.wait(SOON)
        with pytest.raises(websocket.WebSocketException, match="runs already"):
            app.run_forever()
        app.close()
        assert running.result() is False


def test_on_close_may_run_it_again():
    with serving(lambda ws: None) as server:
        app = Watched(server.uri)
        left = [2]

        def on_close(app, code, reason):
            if left[0]:
                left[0] -= 1
                app.run_forever()

        app.on_close = on_close
        assert app.run_forever() is False
        assert app.names() == ["on_open", "on_error"] * 3


def test_run_that_ends_leaves_the_next_one_its_connection(monkeypatch):
    finish = Run.finish
    next_one = []

    def finish_late(ending):
        monkeypatch.undo()
        next_one.append(run(app.run_forever))
        assert app.opened.wait(SOON)
        finish(ending)

    with serving() as server:
        app = Watched(server.uri)
        monkeypatch.setattr(Run, "finish", finish_late)
        running = run(app.run_forever)
        assert app.opened.wait(SOON)
        app.opened.clear()
        app.close()
        assert running.result() is False
        app.send("to the next one's")
        app.close()
        assert next_one[0].result() is False


def test_sending_without_a_run_says_so():
    app = WebSocketApp("ws://localhost/")
    for send in (app.send, app.send_text, app.send_bytes):
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="doesn't run"):
            send(b"x")
    with serving(lambda ws: None) as server:
        app = WebSocketApp(server.uri)
        app.run_forever()
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="doesn't run"):
            app.send("x")


def test_threads_send_while_it_runs():
    received = []

    def on_message(app, message):
        received.append(message)
        if len(received) == 200:
            app.close()

    with serving() as server:
        app = Watched(server.uri, on_message=on_message)
        running = run(app.run_forever)
        assert app.opened.wait(SOON)
        senders = [run(lambda i=i: [app.send(f"{i} {j}") for j in range(50)]) for i in range(4)]
        for sender in senders:
            sender.result()
        assert running.result() is False
    assert sorted(received) == sorted(f"{i} {j}" for i in range(4) for j in range(50))


def test_several_applications_run_side_by_side():
    with serving() as server, nothing_left():
        apps = [Watched(server.uri, on_open=lambda app: app.send("x")) for _ in range(5)]
        for app in apps:
            app.on_message = lambda app, message: app.close()
        runs = [run(app.run_forever) for app in apps]
        assert [each.result() for each in runs] == [False] * 5


def test_default_timeout_is_for_connecting_and_not_for_waiting():
    websocket.setdefaulttimeout(0.1)
    try:
        with scripted_server(silent) as server:
            app = Watched(server.uri)
            assert app.run_forever() is True
            assert isinstance(app.events[0][1], websocket.WebSocketTimeoutException)
        websocket.setdefaulttimeout(1)
        with serving(lambda ws: ws.wait_closed(1.5)) as server:
            app = Watched(server.uri)
            assert app.run_forever() is False
            assert app.names() == ["on_open", "on_error", "on_close"]
            assert app.events[-1] == ("on_close", 1000, None)
    finally:
        websocket.setdefaulttimeout(None)


# --- a thread that cannot be had, and signals ---


def test_thread_that_is_not_to_be_had_is_an_error(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    with serving() as server:
        app = Watched(server.uri)
        with monkeypatch.context() as context:
            context.setattr("syncws.styles.websocket_client.attempt.threading.Thread.start", start)
            assert app.run_forever(reconnect=60) is True
        assert app.names() == ["on_error", "on_close"]


class Interrupt(BaseException):
    """What a signal handler raises."""


@pytest.mark.parametrize("where", ["WebSocket.adopt", "app_run.Run._use"])
def test_handler_that_raises_leaves_nothing_open(where, monkeypatch):
    def interrupt(*args):
        raise Interrupt

    with serving(lambda ws: ws.wait_closed()) as server, nothing_left():
        app = Watched(server.uri)
        with monkeypatch.context() as context:
            name = "websocket.WebSocket.adopt" if where == "WebSocket.adopt" else where
            context.setattr(f"syncws.styles.{name}", interrupt)
            with pytest.raises(Interrupt):
                app.run_forever()
        assert app.names() == ["on_error", "on_close"]
        assert syncws.connect(server.uri).close() is None


PROGRAM = """
import socket, sys, threading
import syncws
from syncws.styles import WebSocketApp

def say(*what):
    print(*what, flush=True)

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
uri = f"ws://127.0.0.1:{port}/"
server = None

def run(**kwargs):
    say(port)
    app = WebSocketApp(uri, on_open=lambda app: say("there"),
        on_error=lambda app, exc: say("error", type(exc).__name__),
        on_close=lambda app, code, reason: say("close", code))
    returned = app.run_forever(**kwargs)
    say("returned", returned, app.keep_running)
"""

WAYS = {
    "receiving": """
listener.close()
server = syncws.serve(lambda ws: ws.wait_closed(), "127.0.0.1", port).start()
run()
server.close()
""",
    "connecting": """
accepted = []
def tell():
    accepted.append(listener.accept()[0])
    say("there")
threading.Thread(target=tell, daemon=True).start()
run()
for sock in (listener, *accepted):
    sock.close()
""",
    "delaying": """
listener.close()
from syncws.styles.websocket_client.app_run import Run
pause = Run._pause
def paused(run, delay):
    say("there")
    pause(run, delay)
Run._pause = paused
run(reconnect=60)
""",
    "calling": """
listener.close()
server = syncws.serve(lambda ws: ws.wait_closed(), "127.0.0.1", port).start()
def wait(app):
    say("there")
    while True:  # a wait that has just begun may miss the signal
        threading.Event().wait(0.1)
init = WebSocketApp.__init__
def changed(self, *args, **kwargs):
    init(self, *args, **{**kwargs, "on_open": wait})
WebSocketApp.__init__ = changed
run()
server.close()
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_ends_a_run(way):
    with Program(PROGRAM + WAYS[way]) as program:
        lines = [program.read_line()]
        while lines[-1] != "there":
            assert lines[-1], program.process.stderr.read()
            lines.append(program.read_line())
        program.process.send_signal(signal.SIGINT)
        start = time.monotonic()
        output, errors = program.process.communicate(timeout=SOON)
        took = time.monotonic() - start
    assert (program.process.returncode, errors) == (0, b"")
    assert output.decode().splitlines() == [
        "error KeyboardInterrupt",
        "close None",
        "returned True False",
    ]
    assert took < 5


HANDLER = """
import signal
listener.close()
server = syncws.serve(lambda ws: ws.wait_closed(), "127.0.0.1", port).start()
run_forever = WebSocketApp.run_forever
def closed_by_handler(app, **kwargs):
    signal.signal(signal.SIGTERM, lambda *_: app.close())
    return run_forever(app, **kwargs)
WebSocketApp.run_forever = closed_by_handler
run()
server.close()
"""


def test_signal_handler_may_close():
    with Program(PROGRAM + HANDLER) as program:
        assert program.read_line() == "there"
        program.process.send_signal(signal.SIGTERM)
        output, errors = program.process.communicate(timeout=SOON)
    assert (program.process.returncode, errors) == (0, b"")
    assert output.decode().splitlines() == ["close 1000", "returned False False"]


def test_attempt_that_was_abandoned_does_not_begin():
    attempt = Attempt(pytest.fail, Latch())
    attempt.abandon()
    attempt._start()
    assert attempt.connection() is None


def test_server_that_ends_without_a_close_frame_is_an_error():
    with scripted_server(says(build_response)) as server:
        app = Watched(server.uri)
        assert app.run_forever() is True
        assert app.events[-1] == ("on_close", None, None)
