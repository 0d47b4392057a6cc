"""The process's edges, called by hand; test_process.py has them for real."""

import contextlib
import errno
import os
import signal
import threading
import warnings

import pytest
from support.interrupting import Interrupted
from support.pairs import (
    SOON,
    connection_and_socket,
    connection_pair,
    receive_exactly,
    run,
    socket_pair,
    wait_until,
)

from syncws import ConnectionClosedError
from syncws.accel import IMPLEMENTATION
from syncws.options import Options
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role
from syncws.threaded import connection as connection_module
from syncws.threaded import lifecycle, timekeeper
from syncws.threaded.connection import Connection
from syncws.threaded.deadline import Deadline
from syncws.threaded.watch import unwatch, watch


class Mortal:
    def __init__(self):
        self.calls = []

    def begin_exit(self):
        self.calls.append("begin")

    def end_exit(self, deadline):
        assert deadline.remaining() is not None
        self.calls.append("end")

    def after_fork(self):
        self.calls.append("fork")


@pytest.fixture
def alive(monkeypatch):
    alive = set()
    monkeypatch.setattr(lifecycle, "_alive", alive)
    return alive


@pytest.fixture
def own_exit(alive, monkeypatch):
    """An exit without the connections of others, and undone afterwards."""
    monkeypatch.setattr(lifecycle, "_exiting", False)
    monkeypatch.setattr(lifecycle, "_no_threads", False)


class Slow(threading.Thread):
    """A thread that takes its time to start."""

    def __init__(self):
        super().__init__(target=lambda: None)
        self.starting, self.may_start = threading.Event(), threading.Event()

    def start(self):
        self.starting.set()
        assert self.may_start.wait(SOON)
        super().start()


def test_exit_waits_for_a_thread_that_another_thread_starts(own_exit, monkeypatch):
    monkeypatch.setattr(lifecycle, "START_TIMEOUT", SOON)
    slow = Slow()
    starting = run(lifecycle.start_thread, slow)
    assert slow.starting.wait(SOON)
    exiting = run(lifecycle._exit)
    wait_until(lambda: lifecycle._no_threads)
    assert not exiting.done()
    slow.may_start.set()
    starting.result()
    exiting.result()
    slow.join(SOON)


@pytest.mark.parametrize("size", [None, 1 << 18])
def test_thread_that_is_started_may_start_another_before_it_has(own_exit, size):
    """Finalizers that the garbage collector calls may do so, in either of the two threads."""
    inner = [threading.Thread(target=lambda: None) for _ in range(2)]

    class Outer(threading.Thread):
        def start(self):
            lifecycle.start_thread(inner[0], size)
            done = run(lifecycle.start_thread, inner[1], size)
            super().start()
            done.result()

    before = threading.stack_size()
    outer = Outer(target=lambda: None)
    run(lifecycle.start_thread, outer, size).result()
    for thread in (*inner, outer):
        thread.join(SOON)
        assert thread.ident
    assert threading.stack_size() == before
    assert not lifecycle._starting


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_child_has_the_program_s_stack_size(own_exit):
    before = threading.stack_size()
    slow = Slow()
    starting = run(lifecycle.start_thread, slow, 1 << 18)
    assert slow.starting.wait(SOON)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = os.fork()
    if not child:
        os._exit(0 if threading.stack_size() == before and not lifecycle._starting else 1)
    assert os.waitpid(child, 0) == (child, 0)
    slow.may_start.set()
    starting.result()
    slow.join(SOON)
    assert threading.stack_size() == before


def test_exit_does_not_wait_long_for_a_thread_that_does_not_start(own_exit, monkeypatch):
    monkeypatch.setattr(lifecycle, "START_TIMEOUT", 0.01)
    slow = Slow()
    starting = run(lifecycle.start_thread, slow)
    assert slow.starting.wait(SOON)
    lifecycle._exit()
    assert not starting.done()
    slow.may_start.set()
    starting.result()
    slow.join(SOON)


def test_only_the_main_thread_starts_threads_after_the_exit(own_exit):
    lifecycle._exit()
    late = threading.Thread(target=lambda: None)
    with pytest.raises(RuntimeError, match="can't start new thread: the interpreter ends"):
        run(lifecycle.start_thread, late).result()
    lifecycle.start_thread(late)
    late.join(SOON)


def test_exit_asks_all_before_it_waits_for_any(alive):
    first, second, gone = Mortal(), Mortal(), Mortal()
    order = []
    for mortal in (first, second):
        mortal.calls = order
        lifecycle.register(mortal)
        lifecycle.register(mortal)
    lifecycle.register(gone)
    lifecycle.unregister(gone)
    lifecycle.unregister(gone)
    lifecycle._at_exit()
    assert order == ["begin", "begin", "end", "end"]
    assert gone.calls == []


def test_child_forgets_what_the_parent_has(alive):
    mortal = Mortal()
    lifecycle.register(mortal)
    lifecycle._in_child()
    assert mortal.calls == ["fork"]
    assert not alive


def test_open_connections_are_looked_after_and_closed_ones_are_not(alive):
    with connection_pair() as (client, server):
        assert alive == {client, server}
        client.close()
        assert server.wait_closed(SOON)
        assert not alive


def test_exit_closes_with_going_away():
    with connection_pair() as (client, server):
        client.begin_exit()
        client.end_exit(Deadline(SOON))
        assert client.closed
        assert server.wait_closed(SOON)
        assert server.close_code == 1001


def test_exit_cuts_what_does_not_answer():
    with connection_and_socket() as (connection, _peer):
        connection.begin_exit()
        connection.end_exit(Deadline(0))
        assert connection.wait_closed(SOON)


@contextlib.contextmanager
def handled_while_reading(handler):
    """Have a signal handler run while the main thread reads, as it does at exit."""
    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


reads_in_one_call = pytest.mark.skipif(
    IMPLEMENTATION == "pure" or not hasattr(signal, "setitimer"),
    reason="handlers run between the steps of a read only in the accelerator",
)


@reads_in_one_call
@pytest.mark.parametrize("exception", [TimeoutError(), OSError(errno.EIO, "x"), Interrupted()])
def test_handler_that_raises_at_exit_leaves_the_role_to_the_thread_that_has_it(exception):
    with connection_pair() as (client, server):

        def handler():
            assert run(client._take_role).result()
            raise exception

        with handled_while_reading(handler), pytest.raises(type(exception)) as caught:
            client._reading.read_here(Deadline(SOON), lambda: False)
        assert caught.value is exception
        assert not client._role_is_free
        assert not client.closed
        client._give_up_role()
        server.send("x")
        assert client.recv(SOON) == "x"


@reads_in_one_call
def test_handler_that_raises_in_a_child_at_exit_is_not_ignored(caplog):
    with connection_pair() as (client, _server):

        def handler():
            client.after_fork()
            raise Interrupted

        with handled_while_reading(handler), pytest.raises(Interrupted):
            client._reading.read_here(Deadline(SOON), lambda: False)
        assert not caplog.records
        assert client.closed


@reads_in_one_call
def test_role_that_was_lost_once_is_not_taken_for_lost_the_next_time(caplog):
    with connection_pair() as (client, _server):
        with handled_while_reading(lambda: run(client._take_role).result()):
            client._reading.read_here(Deadline(SOON), lambda: False)
        client._give_up_role()
        client._reading.read_here(Deadline(SOON), lambda: 1 // 0)
        assert client.wait_closed(SOON)
        assert "reading failed" in caplog.text


def test_copy_of_a_connection_in_a_child_is_closed_and_says_nothing():
    with connection_and_socket(Role.SERVER, ping_interval=None) as (connection, peer):
        inbox = connection._inbox
        connection.after_fork()
        assert connection.closed
        with pytest.raises(ConnectionClosedError) as caught:
            connection.send("x")
        assert "forked" in str(caught.value.__cause__)
        with pytest.raises(ConnectionClosedError):
            connection.recv()
        connection.close()
        connection.abort()
        assert inbox is not connection._inbox
        assert peer.recv(1) == b""  # the end, as there is no other copy; and nothing before it
        unwatch(connection)  # the child would have forgotten it


def test_child_has_a_timekeeper_of_its_own(monkeypatch):
    monkeypatch.setattr(timekeeper, "_timekeeper", timekeeper._timekeeper)
    before = timekeeper._timekeeper
    timekeeper._after_fork()
    assert timekeeper._timekeeper is not before
    assert not timekeeper._timekeeper._claim.locked()


def test_peer_that_answers_is_told_why():
    with connection_and_socket(Role.SERVER) as (connection, peer):
        connection.begin_exit()
        assert receive_exactly(peer, 4) == b"\x88\x02\x03\xe9"


@pytest.mark.parametrize("reading", [False, True])
def test_connection_ends_once_whatever_interrupts_the_start(monkeypatch, reading):
    def interrupted(connection):
        watch(connection)
        if reading:
            connection._ensure_reading()
            wait_until(lambda: not connection._role_is_free)
        raise KeyboardInterrupt

    ours, theirs = socket_pair()
    with theirs:
        connection = Connection(ours, Protocol(Role.CLIENT), options=Options(ping_interval=None))
        finish = connection._finish
        enders = []
        connection._finish = lambda cause: (
            enders.append(threading.current_thread()),
            finish(cause),
        )
        monkeypatch.setattr(connection_module, "watch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            connection._start()
        assert connection.wait_closed(SOON)
        assert len(enders) == 1
        if reading:  # who reads has the last word
            assert enders == [connection._reading.reader.thread]
