"""Signals, at any time, in a main thread that receives: whatever their handlers do."""

import contextlib
import itertools
import os
import signal
import sys
import threading
import time

import pytest
from support.kinds import KINDS, pair_of, wait_for_callers
from support.pairs import SOON, connection_and_socket, run
from support.wire import build_frames

from syncws import ConnectionClosed, wait
from syncws.threaded.deadline import Deadline

TEXT = 0x81


@pytest.fixture(params=KINDS)
def pair(request):
    with pair_of(request.param) as pair:
        yield pair


pytestmark = [
    # A handler may raise where nobody sees it: in a callback of the interpreter's own.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # Or within the tool, which then never gives its lock back.
    pytest.mark.skipif("coverage" in sys.modules, reason="handlers raise in the coverage tool"),
    pytest.mark.skipif(
        sys.version_info < (3, 10),
        reason="this Python runs handlers between leaving a with block and releasing its lock",
    ),
]

needs_signals = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="there are no signals to a thread"
)


class Interrupted(BaseException):
    """What a handler raises."""


class Storm:
    """Signals to the main thread, one after the other, and what their handler does.

    Attributes:
        armed: whether the next one but ``spared`` raises; that disarms.
        raised: how many did.
    """

    def __init__(self, spared=0):
        self.armed = False
        self.raised = 0
        self._spared = spared
        self._handled = 0
        self._stopped = False

    def _handle(self, *_):
        self._handled += 1
        if self.armed and self._handled % (self._spared + 1) == 0:
            self.armed = False
            self.raised += 1
            raise Interrupted

    def _blow(self):
        main = threading.main_thread().ident
        pause = threading.Event()
        while not self._stopped:
            # The next one only when this one was handled: handlers must not pile up.
            handled = self._handled
            signal.pthread_kill(main, signal.SIGUSR1)
            while self._handled == handled and not self._stopped:
                pause.wait(0.0002)

    def __enter__(self):
        self._before = signal.signal(signal.SIGUSR1, self._handle)
        self._running = run(self._blow)
        return self

    def __exit__(self, *_):
        self.armed = False
        self._stopped = True
        self._running.result()
        signal.signal(signal.SIGUSR1, self._before)


def receive_into(received, receive, timeout, storm):
    """Receive a message; tell whether there was one, whatever was raised.

    What comes out of ``receive`` is in the list before a handler can run again: ``extend()``
    and ``map()`` are not Python code.
    """
    before = len(received)
    with contextlib.suppress(Interrupted, TimeoutError):
        try:
            storm.armed = True
            received.extend(map(receive, (timeout,)))
        finally:
            storm.armed = False  # a handler may still raise right before this
    return len(received) > before


@needs_signals
@pytest.mark.parametrize("timeout", [None, SOON, 0.001, 0])
@pytest.mark.parametrize("spared", [0, 3])
def test_handlers_that_raise_at_any_time_lose_no_message_and_double_none(pair, timeout, spared):
    client, server = pair
    total = 200
    echo = run(lambda: [server.send(message) for message in server])
    received = []
    deadline = Deadline(2 * SOON)
    with Storm(spared) as storm:
        for number in itertools.count():
            if number >= total and storm.raised:
                break
            client.send(str(number))
            while not receive_into(received, client.recv, timeout, storm):
                assert not deadline.expired, f"{number} is lost"
    assert received == [str(sent) for sent in range(number)]
    client.close()
    echo.result()


@needs_signals
def test_handlers_that_raise_between_messages_that_pile_up(pair):
    client, server = pair
    received = []
    deadline, enough = Deadline(3 * SOON), Deadline(2 * SOON)

    def send():
        for number in itertools.count():
            if storm.raised >= 50 or enough.expired:
                break
            server.send(str(number))
        server.send("end")
        return number

    with Storm() as storm:
        sender = run(send)
        while not received or received[-1] != "end":
            receive_into(received, client.recv, SOON, storm)
            assert not deadline.expired, "messages are lost"
    assert received == [*map(str, range(sender.result())), "end"]


@needs_signals
def test_message_of_another_caller_comes_though_handlers_raise_in_the_main_thread(pair):
    client, server = pair
    received = []
    with Storm() as storm:
        for number in range(100):
            other = run(client.recv, SOON)
            receive_into(received, client.recv, 0.001, storm)
            taken = len(received)
            server.send(f"{number} a")
            server.send(f"{number} b")
            received.append(other.result())
            while len(received) < taken + 2:
                receive_into(received, client.recv, SOON, storm)
    assert sorted(received) == sorted(f"{n} {letter}" for n in range(100) for letter in "ab")


@needs_signals
@pytest.mark.parametrize("timeout", [None, 0.001, 0])
@pytest.mark.parametrize("spared", [0, 3])
def test_handlers_that_raise_while_waiting_for_several_leave_nothing(pair, timeout, spared):
    client, server = pair
    echo = run(lambda: [server.send(message) for message in server])
    received = []
    deadline = Deadline(2 * SOON)

    def wait_and_receive():
        with contextlib.suppress(Interrupted):
            try:
                storm.armed = True
                wait([server, client], timeout)
            finally:
                storm.armed = False
        return receive_into(received, client.recv, 0.001, storm)

    with Storm(spared) as storm:
        for number in itertools.count():
            if number >= 200 and storm.raised:
                break
            client.send(str(number))
            while not wait_and_receive():
                assert not deadline.expired, f"{number} is lost"
    assert received == [str(sent) for sent in range(number)]
    for connection in pair:
        assert not connection._inbox._bells
    assert client._queue.waiting == 0
    client.close()
    echo.result()


@needs_signals
def test_handler_may_receive_while_the_main_thread_does(pair):
    client, server = pair
    received = []

    def handler(*_):
        with contextlib.suppress(TimeoutError):
            received.append(client.recv(0))
        entered.set()

    entered = threading.Event()
    before = signal.signal(signal.SIGUSR1, handler)
    try:

        def provoke():
            wait_for_callers(client, 1)
            for number in range(20):
                entered.clear()
                os.kill(os.getpid(), signal.SIGUSR1)
                assert entered.wait(SOON)
                server.send(str(number))
            server.close()

        provoker = run(provoke)
        with contextlib.suppress(ConnectionClosed):
            while True:
                received.append(client.recv())
        provoker.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sorted(received, key=int) == [str(number) for number in range(20)]


@needs_signals
def test_what_a_handler_has_read_is_there_for_the_call_that_it_interrupted():
    with connection_and_socket(ping_interval=None) as (connection, peer):
        received = []
        entered = threading.Event()

        def handler(*_):
            entered.set()
            received.append(connection.recv(SOON))

        def provoke():
            wait_for_callers(connection, 1)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert entered.wait(SOON)
            peer.sendall(build_frames([(TEXT, b"one"), (TEXT, b"two")]))

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            provoker = run(provoke)
            started = time.monotonic()
            received.append(connection.recv(SOON))
            took = time.monotonic() - started
            provoker.result()
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert received == ["one", "two"]
        assert took < SOON / 2
