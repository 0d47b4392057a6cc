import socket
import threading
import time

import pytest
from support.pairs import SOON, run, wait_until
from support.scripted import (
    build_request,
    nothing_left,
    parse_head,
    raw_client,
    read_all,
    read_head,
)
from support.serving import echo, serving

from syncws import (
    ConnectionClosedOK,
    ProtocolError,
    ServerConnection,
    ServerProtocol,
    connect,
    serve,
)
from syncws.server import shutdown
from syncws.server.roster import Job
from syncws.threaded import blocking
from syncws.threaded.deadline import Deadline
from syncws.threaded.latch import Latch


def elapsed(function, *args, **kwargs):
    start = time.monotonic()
    function(*args, **kwargs)
    return time.monotonic() - start


class Stuck:
    """A handler that returns when it is told to, whatever happens to its connection."""

    def __init__(self):
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self, ws):
        self.entered.set()
        self.released.wait(SOON)


@pytest.fixture
def stuck():
    handler = Stuck()
    yield handler
    handler.released.set()


# --- close() ---


@pytest.mark.parametrize("name", ["close", "shutdown"])
def test_closing_tells_clients_and_waits_for_handlers(name):
    def handler(ws):
        for message in ws:
            ws.send(message)
        ended.append(ws.close_code)

    ended = []
    with nothing_left():
        server = serve(handler, "127.0.0.1").start()
        clients = [connect(server.uri) for _ in range(3)]
        wait_until(lambda: len(server.connections) == 3)
        getattr(server, name)()
        assert ended == [1001] * 3
        for ws in clients:
            with pytest.raises(ConnectionClosedOK) as info:
                ws.recv(SOON)
            assert info.value.rcvd.code == 1001
        assert server.connections == set()
        assert server.sockets[0].fileno() == -1
        with pytest.raises(ConnectionRefusedError):
            connect(server.uri)


def test_closing_may_have_a_code_and_a_reason():
    with serving() as server, connect(server.uri) as ws:
        wait_until(lambda: server.connections)
        server.close(code=1012, reason="back soon")
        assert ws.wait_closed(SOON)
        assert (ws.close_code, ws.close_reason) == (1012, "back soon")


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (1006, ""), (999, ""), (1000, "a" * 124)])
def test_a_code_or_reason_that_can_not_be_sent_leaves_the_server_as_it_is(code, reason):
    with serving() as server, connect(server.uri) as ws:
        with pytest.raises(ProtocolError):
            server.close(code=code, reason=reason)
        assert server.is_serving()
        ws.send("hello")
        assert ws.recv() == "hello"


def test_closing_a_server_that_never_started_closes_its_sockets():
    with nothing_left():
        server = serve(echo)
        server.close()
        server.close()
        assert server.wait_closed(0)
        assert server.sockets[0].fileno() == -1


def test_handlers_that_are_stuck_are_left_behind_at_the_deadline(stuck):
    server = serve(stuck, "127.0.0.1").start()
    with connect(server.uri) as ws:
        assert stuck.entered.wait(SOON)
        assert 0.1 < elapsed(server.close, timeout=0.2) < SOON / 2
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1001


def test_the_deadline_is_close_timeout_by_default(stuck):
    server = serve(stuck, "127.0.0.1", close_timeout=0.2).start()
    with connect(server.uri):
        assert stuck.entered.wait(SOON)
        assert 0.1 < elapsed(server.close) < SOON / 2


def test_clients_that_ignore_close_are_cut_off_at_the_deadline():
    server = serve(echo, "127.0.0.1").start()
    with raw_client(server) as sock:
        sock.sendall(build_request())
        read_head(sock)
        wait_until(lambda: server.connections)
        assert elapsed(server.close, timeout=0.2) < SOON / 2
        assert read_all(sock) == b"\x88\x02\x03\xe9"


def test_no_time_at_all_cuts_connections_off():
    server = serve(echo, "127.0.0.1").start()
    ws = connect(server.uri)
    wait_until(lambda: server.connections)
    server.close(timeout=0)
    assert ws.wait_closed(SOON)
    assert server.wait_closed(0)


def test_opening_handshakes_under_way_are_answered_503():
    server = serve(echo, "127.0.0.1").start()
    with raw_client(server) as sock:
        sock.sendall(build_request()[:30])
        wait_until(lambda: server._roster.opening)
        closing = run(server.close)
        wait_until(lambda: not server.is_serving())
        sock.sendall(build_request()[30:])
        first, headers, body = parse_head(read_all(sock))
        assert first == "HTTP/1.1 503 Service Unavailable"
        assert headers["retry-after"] == "5"
        assert b"the server is shutting down" in body
        sock.close()
        closing.result()


def test_clients_that_say_nothing_do_not_hold_up_closing(monkeypatch):
    monkeypatch.setattr(shutdown, "OPENING_GRACE", 0.1)
    server = serve(echo, "127.0.0.1", open_timeout=None, close_timeout=None).start()
    with raw_client(server) as sock:
        wait_until(lambda: server._roster.opening)
        assert elapsed(server.close) < SOON / 2
        assert read_all(sock) == b""


@pytest.mark.parametrize(
    ("args", "told"), [({}, (1001, "")), ({"code": 1012, "reason": "later"}, (1012, "later"))]
)
def test_a_connection_that_opens_while_the_server_closes_is_closed(args, told):
    def process_response(ws, request, response):
        answering.set()
        released.wait(SOON)

    answering, released = threading.Event(), threading.Event()
    handled = []
    server = serve(handled.append, "127.0.0.1", process_response=process_response).start()
    client = run(connect, server.uri)
    assert answering.wait(SOON)
    closing = run(server.close, **args)
    wait_until(lambda: not server.is_serving())
    released.set()
    ws = client.result()
    assert ws.wait_closed(SOON)
    assert (ws.close_code, ws.close_reason) == told
    closing.result()
    assert not handled


# --- close(close_connections=False) ---


def test_connections_may_go_on():
    server = serve(echo, "127.0.0.1").start()
    with connect(server.uri) as ws:
        wait_until(lambda: server.connections)
        closing = run(server.close, close_connections=False)
        wait_until(lambda: not server.is_serving())
        ws.send("hello")
        assert ws.recv() == "hello"
        assert not closing.done()
        assert not server.wait_closed(0)
    closing.result()
    assert ws.close_code == 1000
    assert server.wait_closed(0)


def opened_while_the_server_closes(**kwargs):
    """Have a client connect whose handshake ends while the server closes, and leaves it open."""

    def process_response(ws, request, response):
        answering.set()
        released.wait(SOON)

    answering, released = threading.Event(), threading.Event()
    server = serve(echo, "127.0.0.1", process_response=process_response).start()
    client = run(connect, server.uri)
    assert answering.wait(SOON)
    closing = run(server.close, close_connections=False, **kwargs)
    wait_until(lambda: not server.is_serving())
    released.set()
    ws = client.result()
    return server, ws, closing


def test_a_connection_that_opens_meanwhile_goes_on_too():
    _, ws, closing = opened_while_the_server_closes()
    with ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
        assert not closing.done()
    closing.result()
    assert ws.close_code == 1000


def test_a_connection_that_opened_meanwhile_is_closed_by_a_second_call():
    server, ws, closing = opened_while_the_server_closes()
    ws.send("hello")
    assert ws.recv(SOON) == "hello"
    server.close(code=1012)
    assert ws.wait_closed(SOON)
    assert ws.close_code == 1012
    closing.result()


def test_a_connection_that_has_just_opened_is_not_cut_off_with_those_that_say_nothing(monkeypatch):
    class Late(ServerConnection):
        def handshake(self, timeout=None):
            super().handshake(timeout)
            opened.set()
            released.wait(SOON)

    opened, released = threading.Event(), threading.Event()
    monkeypatch.setattr(shutdown, "OPENING_GRACE", 0.05)
    server = serve(echo, "127.0.0.1", create_connection=Late).start()
    with connect(server.uri) as ws, raw_client(server) as silent:
        assert opened.wait(SOON)
        wait_until(lambda: len(server._roster.opening) == 2)
        ending = run(server.close, close_connections=False)
        assert read_all(silent) == b""  # it was cut off
        released.set()
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
    ending.result()
    assert ws.close_code == 1000


def test_connections_that_go_on_are_cut_off_at_the_deadline_if_there_is_one():
    server = serve(echo, "127.0.0.1").start()
    ws = connect(server.uri)
    wait_until(lambda: server.connections)
    server.close(close_connections=False, timeout=0.1)
    assert ws.wait_closed(SOON)
    assert ws.close_code == 1006


def test_a_second_call_closes_connections_that_went_on():
    server = serve(echo, "127.0.0.1").start()
    ws = connect(server.uri)
    wait_until(lambda: server.connections)
    first = run(server.close, close_connections=False)
    wait_until(lambda: not server.is_serving())
    server.close()
    assert ws.wait_closed(SOON)
    assert ws.close_code == 1001
    first.result()


def test_a_second_call_has_a_deadline_of_its_own(stuck):
    server = serve(stuck, "127.0.0.1").start()
    ws = connect(server.uri)
    assert stuck.entered.wait(SOON)
    first = run(server.close, close_connections=False)
    wait_until(lambda: not server.is_serving())
    server.close(timeout=0.1)
    assert ws.wait_closed(SOON)
    assert not first.done()
    stuck.released.set()
    first.result()


# --- from where ---


def test_a_handler_may_close_the_server():
    def handler(ws):
        ws.recv()
        ws.server.close()
        closed.append(ws.server.wait_closed(0))
        ws.server.close()

    closed = []
    server = serve(handler, "127.0.0.1").start()
    others = [connect(server.uri) for _ in range(2)]
    with connect(server.uri) as ws:
        ws.send("close")
        assert server.wait_closed(SOON)
        for client in (ws, *others):
            assert client.wait_closed(SOON)
            assert client.close_code == 1001
    wait_until(lambda: closed)
    assert closed == [True]


def test_a_handler_may_close_the_server_and_go_on():
    def handler(ws):
        ws.recv()
        ws.server.close(close_connections=False)
        ws.send("still here")

    server = serve(handler, "127.0.0.1").start()
    with connect(server.uri) as ws:
        ws.send("close")
        assert ws.recv() == "still here"
    assert server.wait_closed(0)


def test_several_handlers_may_close_the_server_at_once():
    def handler(ws):
        barrier.wait(SOON)
        ws.server.close()

    barrier = threading.Barrier(3)
    server = serve(handler, "127.0.0.1").start()
    clients = [connect(server.uri) for _ in range(3)]
    assert server.wait_closed(SOON)
    for ws in clients:
        assert ws.wait_closed(SOON)


def test_closing_again_while_closing_does_not_wait_for_oneself(monkeypatch):
    # As a signal handler would that interrupts close().
    def interrupted(*args):
        monkeypatch.undo()
        server.close()

    server = serve(echo, "127.0.0.1").start()
    monkeypatch.setattr(server._shutdown, "_wait_for_connections", interrupted)
    assert elapsed(server.close) < SOON / 2
    assert server.wait_closed(0)


def test_an_interrupted_close_cuts_connections_off(monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    server = serve(echo, "127.0.0.1").start()
    ws = connect(server.uri)
    wait_until(lambda: server.connections)
    monkeypatch.setattr(server._shutdown, "_wait_for_connections", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.close()
    assert server.wait_closed(0)
    assert ws.wait_closed(SOON)


def test_a_thread_that_is_just_being_started_is_waited_for():
    server = serve(echo, "127.0.0.1").start()
    thread = threading.Thread()
    server._roster.running[thread] = Job()
    closing = run(server.close)
    wait_until(lambda: not server.is_serving())
    assert not closing.done()
    server._roster.end(thread)
    closing.result()


# --- serve_forever(), stop(), wait_closed() ---


@pytest.mark.parametrize("name", ["close", "stop"])
def test_serving_forever_ends_when_another_thread_closes(name):
    server = serve(echo, "127.0.0.1")
    serving = run(server.serve_forever)
    with connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"
        assert not serving.done()
        getattr(server, name)()
        serving.result()
        assert ws.wait_closed(SOON)


def test_serving_forever_in_the_main_thread_looks_up_now_and_then(monkeypatch):
    monkeypatch.setattr(blocking, "SIGNAL_INTERVAL", 0.01)
    server = serve(echo, "127.0.0.1")
    timer = threading.Timer(0.1, server.close)
    timer.start()
    server.serve_forever()
    timer.join()
    assert server.wait_closed(0)


def test_serving_forever_ends_when_a_handler_stops_it():
    server = serve(lambda ws: ws.server.stop(), "127.0.0.1")
    serving = run(server.serve_forever)
    with connect(server.uri) as ws:
        assert ws.wait_closed(SOON)
    serving.result()


def test_serving_forever_within_the_block_as_tutorials_write_it():
    with serve(echo, "127.0.0.1") as server:
        server.stop()
        server.serve_forever()
    server.serve_forever()


def test_stopping_is_idempotent_and_does_not_wait(stuck):
    server = serve(stuck, "127.0.0.1", close_timeout=0.2).start()
    with connect(server.uri):
        assert stuck.entered.wait(SOON)
        server.stop()
        server.stop()
        assert not server.wait_closed(0)
        assert server.wait_closed(SOON)


def test_waiting_for_the_end_has_a_timeout():
    with serving() as server:
        assert server.wait_closed(0.01) is False
    assert server.wait_closed() is True


class Interrupted(Latch):
    def wait(self, timeout=None):
        raise KeyboardInterrupt


def test_an_interruption_of_serving_forever_closes_the_server():
    server = serve(echo, "127.0.0.1")
    server._shutdown.closed = Interrupted()
    server.serve_forever()
    assert server._shutdown.closed.is_set()


@pytest.mark.parametrize("exc", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_in_the_block_closes_the_server(exc, stuck):
    def fail(**kwargs):
        with serve(stuck, "127.0.0.1", **kwargs) as server:
            connect(server.uri)
            assert stuck.entered.wait(SOON)
            raise exc

    start = time.monotonic()
    with nothing_left():
        with pytest.raises(exc):
            fail(close_timeout=0.1 if exc is ZeroDivisionError else SOON)
        assert time.monotonic() - start < SOON / 2
        stuck.released.set()


# --- adopted connections ---


def accepted_elsewhere():
    """A connection accepted by a server that isn't the one in question."""
    opened, ended = [], threading.Event()

    def handler(ws):
        opened.append(ws)
        ws.wait_closed(SOON)
        ended.wait(SOON)

    return handler, opened, ended


def test_adopted_connections_are_closed_too_with_a_handshake():
    handler, opened, ended = accepted_elsewhere()
    with serving(handler) as elsewhere, connect(elsewhere.uri) as ws:
        wait_until(lambda: opened)
        server = serve(echo, "127.0.0.1").start()
        server.register(opened[0])
        assert server.connections == {opened[0]}
        server.close()
        assert opened[0].closed
        assert ws.wait_closed(SOON)
        assert ws.close_code == opened[0].close_code == 1001
        ended.set()


def test_connections_that_are_given_back_are_left_alone():
    handler, opened, ended = accepted_elsewhere()
    with serving(handler) as elsewhere, connect(elsewhere.uri) as ws:
        wait_until(lambda: opened)
        server = serve(echo, "127.0.0.1").start()
        server.register(opened[0])
        server.unregister(opened[0])
        server.unregister(opened[0])
        server.close()
        assert ws.open
        ended.set()


def test_connections_adopted_too_late_are_closed():
    handler, opened, ended = accepted_elsewhere()
    with serving(handler) as elsewhere, connect(elsewhere.uri) as ws:
        wait_until(lambda: opened)
        server = serve(echo, "127.0.0.1")
        server.close(code=1012)
        server.register(opened[0])
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1012
        ended.set()


def test_a_connection_of_no_server_is_never_refused():
    left, right = socket.socketpair()
    with right:
        ws = ServerConnection(left, ServerProtocol())
        assert ws._opening_handshake.refuse_when_busy(ws) is None
        ws.abort()


# --- the end of the process ---


def test_at_exit_no_more_is_accepted_and_closing_is_still_possible():
    server = serve(echo, "127.0.0.1").start()
    ws = connect(server.uri)
    wait_until(lambda: server.connections)
    server.begin_exit()
    assert not server.is_serving()
    wait_until(lambda: server.sockets[0].fileno() == -1)
    server.end_exit(Deadline(0))
    server.close()
    assert ws.wait_closed(SOON)
    assert ws.close_code == 1001


def test_a_forked_child_has_a_closed_server():
    # What happens in the child, without one: the connections of the parent stay its own.
    server = serve(echo, "127.0.0.1").start()
    thread = server._acceptor.thread
    server._acceptor._stopping = True
    server._acceptor._selector.wake()
    thread.join(SOON)
    left, right = socket.socketpair()
    with right:
        server._roster.opening.add(ServerConnection(left, ServerProtocol()))
        server.after_fork()
        assert left.fileno() == -1
    assert not server.is_serving()
    assert server.wait_closed(0)
    server.close()
    server.serve_forever()


def test_groups_of_a_forked_child_do_not_wait_for_a_thread_of_its_parent():
    # As above: the thread that has the lock is one that the child doesn't have.
    with serving() as server, connect(server.uri):
        wait_until(lambda: server.connections)
        (connection,) = server.connections
        groups = server._roster.groups
        server.group("news").add(connection)
        run(groups._lock.acquire).result()
        groups.after_fork()
        run(groups.end, connection).result()
        assert groups.members("news") == set()
