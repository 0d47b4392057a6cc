"""Exceptions that a signal handler raises in the main thread, at any point of any call.

After one the connection is untouched or failed, never damaged. The points are found by
counting: a profile function raises at the Nth of the points at which the interpreter runs
signal handlers (where a function begins, and where a built-in one has returned), for every N
there is within a call.
"""

import contextlib
import gc
import operator
import os
import signal
import threading
import time

import pytest
from support.certificates import contexts
from support.interrupting import Bomb, Interrupted
from support.kinds import wait_for_callers
from support.pairs import (
    SOON,
    connect_protocol,
    connection_and_socket,
    connection_pair,
    cut_at_the_end,
    run,
    transport_pair,
    wait_until,
)

from syncws import ConcurrencyError, ConnectionClosed, ConnectionClosedError, wait
from syncws.accel import IMPLEMENTATION
from syncws.sansio.state import Role


def assert_no_lock_is_held(connection):
    for lock in (connection._writer.lock, connection._state_lock, connection._inbox._lock):
        assert run(lambda lock=lock: lock.acquire(timeout=SOON) and lock.release() is None).result()


def every_point(call, *, has_points=True):
    """Interrupt a call at each of its points; ``call`` returns whether it was interrupted."""
    gc.collect()  # generators of other tests must not end while a bomb is there
    fuse = 1
    while call(Bomb(fuse)):
        fuse += 1
    assert fuse > 5 or not has_points, "nothing was interrupted"


def receive_two(client, server):
    """Have two messages in the inbox."""
    server.send("first")
    server.send("second")
    client._ensure_reading()
    wait_until(lambda: client._inbox.queue.count == 2)


def assert_nothing_is_left(client):
    assert client._inbox.queue.count == client._inbox.queue.size == 0
    assert client._inbox.queue.first() is None
    assert client._inbox.queue.waiting == 0
    assert not client._inbox._waiters
    assert not client._inbox._bells


def test_message_is_received_once_whatever_interrupts_recv():
    with connection_pair() as (client, server):

        def call(bomb):
            receive_two(client, server)
            try:
                with bomb:
                    first = client.recv(SOON)
            except Interrupted:
                first = client.recv(SOON)
            assert first == "first"
            assert client.recv(SOON) == "second"
            assert_no_lock_is_held(client)
            assert_nothing_is_left(client)
            return bomb.exploded

        # In C there is no point between looking for a message and returning it.
        every_point(call, has_points=IMPLEMENTATION == "pure")


def test_message_is_received_once_whatever_interrupts_recv_streaming():
    with connection_pair() as (client, server):

        def call(bomb):
            receive_two(client, server)
            stream = client.recv_streaming()  # it goes when no handler can raise any more
            try:
                with bomb:
                    first = next(stream)
            except Interrupted:
                first = client.recv(SOON)
            assert first == "first"
            assert client.recv(SOON) == "second"
            assert_no_lock_is_held(client)
            assert_nothing_is_left(client)
            return bomb.exploded

        every_point(call)


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_nothing_is_lost_where_waiting_is_interrupted(kind):
    with connection_pair(contexts() if kind == "tls" else None) as (client, server):

        def call(bomb):
            try:
                with bomb:
                    client.recv(0.001)
            except (Interrupted, TimeoutError):
                pass
            server.send("x")
            assert client.recv(SOON) == "x"
            assert_no_lock_is_held(client)
            assert_nothing_is_left(client)
            return bomb.exploded

        # The accelerator waits and reads without a point in between.
        every_point(call, has_points=IMPLEMENTATION == "pure")


@pytest.mark.parametrize("message", ["there", "on its way", "none"])
@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_interrupted_wait_takes_nothing_and_leaves_nothing(kind, message):
    with connection_pair(contexts() if kind == "tls" else None) as (client, server):

        def call(bomb):
            if message != "none":
                server.send("x")
            if message == "there":
                client._ensure_reading()
                wait_until(lambda: client._queue.count)
            try:
                with bomb:
                    wait([client, server], 0.001)
            except Interrupted:
                pass
            if message == "none":
                server.send("x")
            assert wait([client, server], SOON) == [client]
            assert client.recv(SOON) == "x"
            for connection in (client, server):
                assert_no_lock_is_held(connection)
                assert_nothing_is_left(connection)
            return bomb.exploded

        every_point(call)


def test_who_waits_for_several_is_not_forgotten_whatever_interrupts_who_wakes_it():
    with connection_pair() as (client, server):

        def call(bomb):
            caller = run(wait, [server, client])
            wait_until(lambda: client._inbox._bells)
            try:
                with bomb:
                    client._inbox.put(["x"])
            except Interrupted:
                pass
            client._inbox.put(["y"])
            assert caller.result() == [client]
            assert_no_lock_is_held(client)
            while client._queue.count:
                client.recv(0)
            return bomb.exploded

        every_point(call)


def test_caller_that_waits_is_not_forgotten_whatever_interrupts_who_wakes_it(nobody_looks):
    with connection_pair() as (client, _server):

        def call(bomb):
            assert client._take_role()  # or the caller would read by itself
            caller = run(client.recv, SOON)
            wait_until(lambda: client._queue.waiting)
            try:
                with bomb:
                    client._inbox.put(["x"])
            except Interrupted:
                pass
            client._inbox.put(["y"])
            assert caller.result() in ("x", "y")
            assert_no_lock_is_held(client)
            client._give_up_role()
            while client._queue.count:
                client.recv(0)
            return bomb.exploded

        every_point(call)


def test_caller_that_waits_is_not_forgotten_whatever_interrupts_who_reads_for_it():
    def call(bomb):
        with connection_pair() as (client, server):
            callers, received = [], []

            def provoke():
                wait_for_callers(client, 1)
                callers.append(run(client.recv))
                wait_for_callers(client, 2)
                server.send("x")
                wait_until(lambda: received or bomb.exploded or callers[0].done())
                if not (received or bomb.exploded):
                    server.send("x")  # the other one took what was read here

            provoker = run(provoke)
            with contextlib.suppress(Interrupted), bomb:
                received.append(client.recv(SOON))
            provoker.result()
            if received:
                server.send("x")
            assert callers[0].result() == "x"
            assert_no_lock_is_held(client)
            return bomb.exploded

    every_point(call)


@pytest.mark.parametrize("message", ["short", ["in", "three", "fragments"]])
def test_interrupted_send_leaves_the_connection_whole_or_failed(message):
    whole = "".join(message)

    def call(bomb):
        with connection_pair(close_timeout=5) as (client, server):
            interrupted = False
            try:
                with bomb:
                    client.send(message, timeout=SOON)
            except Interrupted:
                interrupted = True
            assert_no_lock_is_held(client)
            try:
                client.send("after", timeout=SOON)
            except ConnectionClosed:
                assert interrupted
                received = []
                with pytest.raises(ConnectionClosedError):
                    received.extend(server)
                assert received in ([], [whole])
            else:
                received = server.recv(SOON)
                if received == whole:
                    received = server.recv(SOON)
                assert received == "after"
            return bomb.exploded

    every_point(call)


def test_interrupted_ping_and_close_end_with_the_connection():
    def call(bomb):
        with connection_pair(close_timeout=1) as (client, server):
            server._ensure_reading()  # at once, and not when nobody has for a while
            try:
                with bomb:
                    client.ping()
                    client.close()
            except Interrupted:
                pass
            assert_no_lock_is_held(client)
            client.close()
            assert client.closed
            assert server.wait_closed(SOON)
            return bomb.exploded

    every_point(call)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_storm_of_signals_loses_nothing():
    """Handlers that return: interrupted calls go on, and every echo comes once."""
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        with connection_pair() as (client, server):
            echo = run(lambda: [server.send(message) for message in server])
            for number in range(1500):
                client.send(str(number))
                assert client.recv(SOON) == str(number)
            client.close()
            echo.result()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
@pytest.mark.parametrize("waiting", ["recv", "send", "close", "wait_closed", "pong", "wait"])
def test_handler_that_raises_ends_a_wait_at_once(waiting):
    def handler(*_):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with connection_and_socket(close_timeout=SOON) as (connection, _peer):
            calls = {
                "recv": connection.recv,
                "send": lambda: connection.send(b"x" * (32 << 20)),
                "close": connection.close,
                "wait_closed": connection.wait_closed,
                "pong": lambda: connection.ping().wait(),
                "wait": lambda: wait([connection]),
            }
            stop = threading.Event()

            def pester():
                # Once it lands in the wait; before that it would not be caught. And again: what is
                # raised while the garbage collector calls somebody is lost.
                pause = 0.05
                while not stop.wait(pause):
                    if ready:
                        os.kill(os.getpid(), signal.SIGUSR1)
                        pause = SOON / 5

            ready = []
            pesterer = run(pester)
            try:
                ready.append(True)
                with pytest.raises(Interrupted):
                    calls[waiting]()
            finally:
                stop.set()
                pesterer.result()
            assert_no_lock_is_held(connection)
            if waiting in ("recv", "pong", "wait_closed", "wait"):
                assert connection.open
                assert_nothing_is_left(connection)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
def test_handler_may_close_the_connection_that_the_main_thread_waits_on():
    with connection_pair() as (client, server):
        before = signal.signal(signal.SIGUSR1, lambda *_: client.close(4000))
        try:
            caller = threading.main_thread()
            assert threading.current_thread() is caller
            killer = run(
                lambda: (
                    wait_until(lambda: client._inbox._waiters or not client._role_is_free),
                    os.kill(os.getpid(), signal.SIGUSR1),
                )
            )
            with pytest.raises(ConnectionClosedError, match="4000"):
                client.recv()
            killer.result()
            assert server.wait_closed(SOON)
        finally:
            signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("lock", ["_writer.lock", "_state_lock", "_inbox._lock"])
def test_handler_that_closes_does_not_wait_for_what_it_interrupts(lock):
    with connection_pair(close_timeout=10 * SOON) as (client, server):
        started = time.monotonic()
        with operator.attrgetter(lock)(client):  # as if it came in the middle of a call
            client.close()
        assert time.monotonic() - started < SOON
        client.close()
        assert client.closed
        assert server.wait_closed(SOON)


def test_handler_can_not_flush_into_the_frame_that_it_interrupts():
    with connection_pair() as (client, server):
        with client._writer.lock, client._state_lock:
            client.protocol.send_ping(b"in the middle")
            with pytest.raises(ConcurrencyError):
                client.flush()
        client.send("x")
        assert server.recv(SOON) == "x"


def test_interrupted_fragmented_message_keeps_nobody_waiting():
    def call(bomb):
        with connection_pair(close_timeout=1) as (client, _server):
            waiting = []

            def fragments():
                yield "a"
                yield "b"
                waiting.append(run(client.send, "after", timeout=SOON))
                wait_until(lambda: client._writer._fragmented.done._waiters)
                yield "c"

            try:
                with bomb:
                    client.send(fragments())
            except Interrupted:
                pass
            for waiter in waiting:
                with contextlib.suppress(ConnectionClosed):
                    waiter.result()
            assert client._writer._fragmented is None
            return bomb.exploded

    every_point(call)


def test_handler_can_not_wait_for_messages_in_the_middle_of_tls():
    near, far = transport_pair(contexts())
    caught = []

    class Tls:
        """A TLS object, for Python code, whose write() a signal handler interrupts."""

        def __init__(self, tls):
            self._tls = tls
            self.read, self.unwrap = tls.read, tls.unwrap

        def write(self, data):
            with pytest.raises(ConcurrencyError, match="interrupts TLS") as raised:
                client.recv()
            caught.append(raised)
            return self._tls.write(data)

    near.ssl_object = Tls(near.ssl_object)
    client = connect_protocol(near, Role.CLIENT)
    server = connect_protocol(far, Role.SERVER)
    with cut_at_the_end(client, server):
        client.send("x")
        assert server.recv(SOON) == "x"
        assert caught


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_handler_that_receives_is_told_the_end_at_once():
    took = []
    with connection_and_socket(Role.SERVER, close_timeout=10 * SOON) as (connection, peer):

        def handler(*_):
            signal.setitimer(signal.ITIMER_REAL, 0)
            peer.close()
            started = time.monotonic()
            with pytest.raises(ConnectionClosedError):
                connection.recv()
            took.append(time.monotonic() - started)

        before = signal.signal(signal.SIGALRM, handler)
        # And again: what comes just before a wait does not end it.
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.05)
        try:
            with pytest.raises(ConnectionClosedError):
                connection.send(bytes(30_000_000))  # until the handler has the peer leave
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert took[0] < SOON
