import errno
import logging
import os
import resource
import selectors
import socket
import struct
import threading
import time

import pytest
from support.pairs import SOON, socket_pair, wait_until
from support.scripted import nothing_left
from support.serving import echo, messages, serving

from syncws import connect, serve
from syncws.server import accepting
from syncws.server.accepting import Acceptor
from syncws.threaded.deadline import Deadline
from syncws.threaded.transport import Transport
from syncws.threaded.wakeable_selector import WakeableSelector


def assert_works(server):
    with connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


def keep(sockets):
    """Called by an acceptor: keeps the sockets that it accepts."""
    return lambda sock, address: sockets.append(sock)


class Listener(socket.socket):
    """A listening socket that fails as it is told before it accepts."""

    def __init__(self):
        super().__init__(socket.AF_INET)
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.failures = []

    def accept(self):
        if self.failures:
            raise self.failures.pop(0)
        return super().accept()


@pytest.fixture
def listener():
    return Listener()


def test_clients_that_wait_are_accepted_in_turns_of_several(monkeypatch):
    turns = []
    accept_some = Acceptor._accept_some

    def note(acceptor, listener):
        before = len(accepted)
        accept_some(acceptor, listener)
        turns.append((listener, len(accepted) - before))

    def listening():
        sock = socket.create_server(("127.0.0.1", 0))
        clients.extend(socket.create_connection(sock.getsockname()) for _ in range(10))
        return sock

    monkeypatch.setattr(Acceptor, "_accept_some", note)
    monkeypatch.setattr(accepting, "BATCH", 4)
    clients, accepted = [], []
    listeners = [listening(), listening()]
    acceptor = Acceptor(listeners, keep(accepted), logging.getLogger())
    acceptor.start()
    wait_until(lambda: len(accepted) == 20)
    acceptor.stop(Deadline(SOON))
    for sock in (*clients, *accepted):
        sock.close()
    assert [number for _, number in turns[:6]] == [4, 4, 4, 4, 2, 2]
    assert {listener for listener, _ in turns[:2]} == set(listeners)


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionAbortedError(errno.ECONNABORTED, "aborted"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        BlockingIOError(errno.EAGAIN, "gone"),
        InterruptedError(errno.EINTR, "interrupted"),
        OSError(errno.EPROTO, "protocol error"),
    ],
)
def test_a_client_that_went_away_is_nothing_to_talk_of(listener, caplog, failure):
    listener.failures = [failure] * 3
    with serving(host=None, sock=listener) as server:
        assert_works(server)
    assert not listener.failures
    assert not [record for record in caplog.records if record.levelname != "INFO"]


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENOBUFS, "No buffer space available"),
        ZeroDivisionError("a defect"),
        SystemExit(1),
    ],
)
def test_an_error_is_logged_and_survived(listener, caplog, monkeypatch, failure):
    monkeypatch.setattr(accepting, "BACK_OFF", 0.01)
    listener.failures = [failure] * 4  # without a descriptor it tries twice
    with serving(host=None, sock=listener) as server:
        assert_works(server)
        assert server.is_serving()
    errors = messages(caplog, "ERROR")
    # A defect is logged each time, of shortages the first one and how many more there were.
    assert len(errors) == (2 if isinstance(failure, OSError) else 4)
    assert "accepting a connection failed" in errors[0]
    assert ("Traceback" in caplog.text) is not isinstance(failure, OSError)


def test_after_an_error_there_is_a_pause_that_closing_ends(listener, caplog, monkeypatch):
    monkeypatch.setattr(accepting, "BACK_OFF", 2 * SOON)
    listener.failures = [OSError(errno.EMFILE, "Too many open files")]
    server = serve(echo, sock=listener).start()
    with socket.create_connection(("127.0.0.1", server.port)):
        wait_until(lambda: messages(caplog, "ERROR"))
        start = time.monotonic()
        server.close(timeout=SOON)
        assert time.monotonic() - start < SOON / 2


def test_running_out_of_descriptors_is_survived(caplog, monkeypatch):
    monkeypatch.setattr(accepting, "BACK_OFF", 0.01)
    with serving() as server:
        assert_works(server)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        clients = [socket.socket() for _ in range(3)]
        in_use = max(int(name) for name in os.listdir("/proc/self/fd"))
        spare = [os.open("/dev/null", os.O_RDONLY)]
        while spare[-1] < in_use:
            spare.append(os.open("/dev/null", os.O_RDONLY))
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare[-1] + 1, hard))
        try:
            for client in clients:
                client.connect(("127.0.0.1", server.port))
            wait_until(lambda: messages(caplog, "ERROR"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for number in spare:
                os.close(number)
        assert_works(server)
        for client in clients:
            client.close()
    assert "Too many open files" in messages(caplog, "ERROR")[0]


def test_clients_that_reset_before_they_are_accepted_are_survived():
    server = serve(echo, "127.0.0.1")
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with server:
        assert_works(server)


# --- starting and stopping ---


def test_no_descriptor_to_start_with_is_an_error(monkeypatch):
    def no_more():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(accepting.socket, "socketpair", no_more)
    with nothing_left():
        server = serve(echo, "127.0.0.1")
        with pytest.raises(OSError, match="Too many open files"):
            server.start()
        assert not server.is_serving()
        server.close()


def test_no_thread_to_start_with_is_an_error(monkeypatch):
    def no_more(thread):
        raise RuntimeError("can't start new thread")

    with nothing_left():
        server = serve(echo, "127.0.0.1")
        monkeypatch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            server.start()
        monkeypatch.undo()
        with server:
            assert_works(server)


def test_stopping_before_the_thread_runs_stops_it(listener):
    # As a signal handler would that interrupts start().
    acceptor = Acceptor([listener], lambda sock, _: sock.close(), None)
    acceptor.thread = threading.Thread()
    acceptor.stop(Deadline(SOON))
    acceptor.start()
    acceptor.thread.join(SOON)
    assert not acceptor.thread.is_alive()
    assert listener.fileno() == -1


def test_stopping_twice_does_no_harm(listener):
    acceptor = Acceptor([listener], lambda sock, _: sock.close(), None)
    acceptor.start()
    acceptor.stop(Deadline(SOON))
    acceptor.stop(Deadline(SOON))
    assert listener.fileno() == -1


def test_connections_that_come_with_the_end_are_not_accepted(listener):
    def select():
        acceptor._stopping = True
        return [selectors.SelectorKey(listener, listener.fileno(), 1, None)]

    accepted = []
    acceptor = Acceptor([listener], keep(accepted), None)
    with nothing_left(), socket.create_connection(listener.getsockname()):
        with pytest.MonkeyPatch.context() as patch:
            selector = WakeableSelector()
            selector.select = select
            patch.setattr(accepting, "WakeableSelector", lambda: selector)
            acceptor.start()
        acceptor.stop(Deadline(SOON))
    assert not accepted


# --- time ---


def test_a_client_that_says_nothing_does_not_block_others():
    with serving() as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        assert_works(server)
        for sock in silent:
            sock.close()


def test_many_clients_at_once_are_all_accepted():
    with serving() as server:
        clients = [connect(server.uri) for _ in range(50)]
        wait_until(lambda: len(server.connections) == 50)
        for number, ws in enumerate(clients):
            ws.send(str(number))
        assert [ws.recv() for ws in clients] == [str(number) for number in range(50)]
        for ws in clients:
            ws.close()
        wait_until(lambda: not server.connections)


# --- what accepted sockets are like ---


def test_all_clients_have_nodelay_those_that_came_before_it_was_set_too(monkeypatch):
    listener = socket.create_server(("127.0.0.1", 0))
    accepted, clients = [], []
    acceptor = Acceptor([listener], keep(accepted), logging.getLogger())
    clients.append(socket.create_connection(listener.getsockname()))
    acceptor.start()
    wait_until(lambda: len(accepted) == 1)
    if accepting.INHERITS:
        wait_until(lambda: listener in acceptor._bequeathing)
        monkeypatch.setattr(accepting, "send_at_once", None)  # not called any more
    clients += [socket.create_connection(listener.getsockname()) for _ in range(2)]
    wait_until(lambda: len(accepted) == 3)
    acceptor.stop(Deadline(SOON))
    for sock in accepted:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    for sock in (*clients, *accepted):
        sock.close()


def test_a_timeout_that_the_program_sets_for_all_sockets_is_not_ours():
    def handler(ws):
        assert ws.recv() == "later"
        ws.send("yes")

    before = socket.getdefaulttimeout()
    with serving(handler) as server:
        socket.setdefaulttimeout(0.05)
        try:
            ws = connect(server.uri)
            time.sleep(0.2)  # it would have passed by now
            ws.send("later")
            assert ws.recv(SOON) == "yes"
        finally:
            socket.setdefaulttimeout(before)


@pytest.mark.parametrize("closes", ["client", "server"])
def test_addresses_are_known_and_stay_when_it_is_closed(closes):
    addresses = []

    def handler(ws):
        connections.append(ws)
        addresses.append(ws.remote_address)
        ws.recv() if closes == "client" else None

    connections = []
    with serving(handler) as server:
        with connect(server.uri) as ws:
            if closes == "server":
                assert ws.wait_closed(SOON)
            local = ws.local_address
        (connection,) = connections
        assert connection.wait_closed(SOON)
        assert addresses == [local]
        assert connection.remote_address == local
        assert connection.local_address == ("127.0.0.1", server.port)


def test_own_address_that_nobody_has_asked_for_is_known_after_a_fork():
    near, far = socket_pair()
    address = near.getsockname()
    transport = Transport(near, near.getpeername())
    transport.after_fork()  # as in a child
    assert transport.local_address == address
    far.close()
