"""Signal handlers in the middle of TLS: nothing is lost, doubled or held, whatever they do there.

The methods of Python's TLS object let handlers run after OpenSSL has done its work. Here a stand-in
for that object runs something at just that moment, at each of them in turn.
"""

import contextlib
import signal
import ssl
import threading

import pytest
from support.certificates import contexts
from support.interrupting import Interrupted
from support.pairs import (
    SOON,
    connect_protocol,
    cut_at_the_end,
    run,
    socket_pair,
    transport_pair,
    wait_until,
)

from syncws import ConcurrencyError, ConnectionClosedError
from syncws.accel import IMPLEMENTATION
from syncws.options import Options
from syncws.sansio.state import Role
from syncws.threaded.deadline import Deadline
from syncws.threaded.reading import Reading
from syncws.threaded.tls_socket import TlsSocketTransport
from syncws.threaded.tls_transport import TlsTransport
from syncws.threaded.transport import Transport

pytestmark = [
    pytest.mark.skipif(IMPLEMENTATION == "pure", reason="TLS is called by Python code"),
    pytest.mark.usefixtures("nobody_looks_at_clients"),
]


@pytest.fixture
def nobody_looks_at_clients(monkeypatch):
    """The timekeeper starts no reader thread for clients: its calls on TLS would not count."""
    look = Reading.look

    def look_at_servers(reading):
        if reading._connection.protocol.role is Role.SERVER:
            look(reading)

    monkeypatch.setattr(Reading, "look", look_at_servers)


class Handled:
    """A TLS object that runs a handler after the Nth call that a thread makes.

    Attributes:
        left: calls until then; 0 is never.
        handler: what to run.
    """

    def __init__(self, tls, thread):
        self._tls = tls
        self._thread = thread
        self.pending = tls.pending
        self.left = 0
        self.handler = None
        self.calls = []

    def read(self, *args):
        return self._call("read", self._tls.read, args)

    def write(self, *args):
        return self._call("write", self._tls.write, args)

    def _call(self, name, method, args):
        try:
            return method(*args)
        finally:
            if threading.get_ident() == self._thread:
                self.calls.append(name)
                self.left -= 1
                if self.left == 0:
                    self.handler()


carrier = "buffers"


@pytest.fixture(params=["buffers", "socket"])
def either_carrier(request, monkeypatch):
    """What OpenSSL works with: two buffers in memory, or, for WSGI servers, the socket."""
    monkeypatch.setitem(globals(), "carrier", request.param)


def socket_of_tls_pair():
    """Transports of which the first has OpenSSL work with the socket."""
    near, far = socket_pair()
    server_context, client_context = contexts()
    server = TlsTransport(Transport(far), server_context, server_side=True)
    shaking = run(server.handshake, Deadline(SOON))
    client = client_context.wrap_socket(near, server_hostname="localhost")
    shaking.result()
    return TlsSocketTransport(client), server


@contextlib.contextmanager
def handled_pair(**options):
    """A client whose TLS object runs handlers in this thread; that object; and the server."""
    near, far = socket_of_tls_pair() if carrier == "socket" else transport_pair(contexts())
    tls = Handled(near.tls[0], threading.get_ident())
    parts = (tls, *near.tls[1:])

    class Patched(type(near)):
        tls = parts

    near.__class__ = Patched
    options = Options(ping_interval=None, **options)
    client = connect_protocol(near, Role.CLIENT, options=options, max_size=None)
    server = connect_protocol(far, Role.SERVER, options=options, max_size=None)
    with cut_at_the_end(client, server):
        assert client._direct
        yield client, tls, server


def each_call(use, **options):
    """Let ``use(client, tls, server)`` be interrupted at its first call on TLS, its second..."""
    number = interrupted = 0
    while True:
        number += 1
        with handled_pair(**options) as (client, tls, server):
            before = list(tls.calls)
            use(client, tls, server, number)
            if len(tls.calls) - len(before) < number or tls.left > 0:
                return interrupted
            interrupted += 1


def interrupt():
    raise Interrupted


MESSAGES = ["a", "", "ü" * 50, b"\x7f", b"x" * 5000, "y" * 100_000, b"z" * 20_000, "end"]


def receive(client, received):
    """Receive what there is; after an interruption, too."""
    while not received or received[-1] != "end":
        with contextlib.suppress(Interrupted):
            received.append(client.recv(SOON))


def test_a_handler_that_raises_while_receiving_loses_nothing(either_carrier):
    def use(client, tls, server, number):
        tls.left, tls.handler = number, interrupt
        for message in MESSAGES:
            server.send(message)
        received = []
        receive(client, received)
        assert received == MESSAGES

    assert each_call(use) > 1  # messages may come in any number of records


def test_a_handler_that_receives_gets_the_next_messages_in_order(either_carrier):
    def use(client, tls, server, number):
        received = []

        def handle():
            with contextlib.suppress(TimeoutError):
                received.append(client.recv(0.05))

        tls.left, tls.handler = number, handle
        for message in MESSAGES:
            server.send(message)
        while "end" not in received:
            with contextlib.suppress(TimeoutError):  # the handler had the last one
                received.append(client.recv(0.05))
        # The interrupted call may return a message that came before the handler's.
        assert sorted(map(repr, received)) == sorted(map(repr, MESSAGES))

    assert each_call(use) > 1  # messages may come in any number of records


def test_a_handler_that_sends_while_receiving_is_heard(either_carrier):
    def use(client, tls, server, number):
        tls.left, tls.handler = number, lambda: client.send("from the handler")
        for message in MESSAGES:
            server.send(message)
        received = []
        receive(client, received)
        assert received == MESSAGES
        if tls.left <= 0:
            assert server.recv(SOON) == "from the handler"

    assert each_call(use) > 1  # messages may come in any number of records


def test_a_handler_that_raises_while_sending_leaves_a_whole_message():
    def use(client, tls, server, number):
        sent = []
        tls.left, tls.handler = number, interrupt
        for message in ["a", b"b" * 3000, "c" * 16000]:
            with contextlib.suppress(Interrupted):
                client.send(message)
            sent.append(message)
        assert [server.recv(SOON) for _ in sent] == sent
        assert client.stats.messages_sent == len(sent)

    assert each_call(use) == 3


def test_a_handler_that_raises_while_openssl_writes_cuts_the_connection(monkeypatch):
    monkeypatch.setitem(globals(), "carrier", "socket")
    with handled_pair() as (client, tls, _):
        tls.left, tls.handler = 1, interrupt
        with pytest.raises(Interrupted):
            client.send("a")  # or only a part of it
        with pytest.raises(ConnectionClosedError):
            client.recv(SOON)
        with pytest.raises(ConnectionClosedError):
            client.send("b")


def test_a_handler_that_sends_while_sending_is_told_that_it_can_not():
    def use(client, tls, server, number):
        told = []

        def handle():
            try:
                client.send("in between")
            except ConcurrencyError as exc:
                told.append(exc)

        tls.left, tls.handler = number, handle
        client.send("a")
        client.send("b")
        assert [server.recv(SOON), server.recv(SOON)] == ["a", "b"]
        assert len(told) == (tls.left <= 0)

    assert each_call(use) == 2


def test_a_handler_that_receives_while_sending(either_carrier):
    def use(client, tls, server, number):
        received = []
        server.send("hello")
        tls.left, tls.handler = number, lambda: received.append(client.recv(SOON))
        client.send("a")
        assert server.recv(SOON) == "a"
        assert received == (["hello"] if tls.left <= 0 else [])

    assert each_call(use) == 1


def test_a_handler_that_receives_while_sending_and_another_thread_reads(either_carrier):
    def use(client, tls, server, number):
        client._ensure_reading()
        wait_until(lambda: not client._role_is_free)
        received = []

        def handle():
            server.send("hello")
            received.append(client.recv(SOON))

        tls.left, tls.handler = number, handle
        client.send("a")
        assert server.recv(SOON) == "a"
        assert received == (["hello"] if tls.left <= 0 else [])

    assert each_call(use) == 1


@pytest.mark.parametrize("what", ["thread's ping", "handler's ping", "pong"])
def test_what_finds_the_lock_taken_while_a_send_encrypts_goes_out_behind(either_carrier, what):
    def use(client, tls, server, number):
        pongs = []

        def handle():
            if what == "pong":
                pongs.append(server.ping())
                with contextlib.suppress(TimeoutError):
                    client.recv(0.1)
            else:
                in_thread = what == "thread's ping"
                pongs.append(run(client.ping).result() if in_thread else client.ping())

        tls.left, tls.handler = number, handle
        client.send("a")
        assert not client._writer.is_behind
        assert server.recv(SOON) == "a"
        assert all(pong.wait(SOON) for pong in pongs)

    assert each_call(use) == 1


def test_a_thread_sees_what_a_handler_has_received_while_it_waited_for_it(either_carrier):
    def use(client, tls, server, number):
        receiving = []

        def handle():
            receiving.append(run(client.recv))
            threading.Event().wait(0.1)  # it comes to the lock; if not, nothing is tested
            with server.batch():
                server.send("first")
                server.send("second")
            received.append(client.recv(SOON))

        received = []
        tls.left, tls.handler = number, handle
        client.send("a")
        received += [thread.result() for thread in receiving]
        assert sorted(received) == (["first", "second"] if tls.left <= 0 else [])

    assert each_call(use) == 1


def test_a_message_that_is_sent_does_not_wait_for_those_of_others(nobody_looks, either_carrier):
    def use(client, tls, server, number):
        sending = []

        def handle():
            sending.append(run(client.send, bytes(20_000_000)))
            threading.Event().wait(0.1)  # it comes to the write lock

        assert server._take_role()  # nobody reads
        later = threading.Timer(SOON / 3, server._give_up_role)
        later.start()
        tls.left, tls.handler = number, handle
        client.send("a")
        assert all(not thread.done() for thread in sending)
        later.cancel()
        server._give_up_role()
        assert server.recv(SOON) == "a"
        for thread in sending:
            server.recv(SOON)
            thread.result()

    assert each_call(use) == 1


def test_a_handler_that_closes_while_receiving(either_carrier):
    def use(client, tls, server, number):
        tls.left, tls.handler = number, client.close
        closing = run(server.wait_closed, SOON)
        server.send("first")
        server.send("end")
        received = []
        with contextlib.suppress(Exception):
            receive(client, received)
        client.close()
        assert client.close_code == 1000
        assert closing.result()

    assert each_call(use, close_timeout=SOON) >= 1


def test_handlers_that_raise_while_another_thread_has_the_lock_lose_nothing():
    with handled_pair() as (client, _, server):
        lock = client._transport._lock
        held, release = threading.Event(), threading.Event()

        def hold():
            with lock:
                held.set()
                release.wait(SOON)

        holding = run(hold)
        held.wait(SOON)
        server.send("a")

        # The main thread waits for the lock, with the role and the record in its hands.
        def handle(*_):
            release.set()
            raise Interrupted

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(Interrupted):
                client.recv(SOON)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        holding.result()
        assert client.recv(SOON) == "a"
        server.send("b")
        assert client.recv(SOON) == "b"


def test_a_handler_does_not_wait_for_a_thread_that_waits_for_tls():
    with handled_pair() as (client, tls, server):
        held, release, told = threading.Event(), threading.Event(), []

        def send():  # as a thread does that has the write lock, and waits for OpenSSL
            with client._writer.lock:
                held.set()
                release.wait(SOON)

        def handle():
            sending = run(send)
            held.wait(SOON)
            for call in (lambda: client.send("hello"), lambda: client.flush(SOON)):
                client.protocol._output.append(b"\x8a\x80\0\0\0\0")
                try:
                    call()
                except ConcurrencyError as exc:
                    told.append(str(exc))
            client.protocol._output.clear()
            release.set()
            sending.result()

        tls.left, tls.handler = 1, handle
        server.send("a")
        assert client.recv(SOON) == "a"
        assert len(told) == 2
        client.send("b")
        assert server.recv(SOON) == "b"


def test_an_error_that_a_handler_s_use_of_tls_has_caused_is_none(either_carrier):
    """Python asks the object how its last call went, and that was the handler's."""
    with handled_pair() as (client, tls, server):
        original, confused = tls._tls, []
        main = threading.get_ident()  # handlers run in no other thread, such as the reader's

        class Confused:
            def read(self, *args):
                if threading.get_ident() == main and len(confused) % 2 == 0:
                    confused.append(1)
                    raise ssl.SSLError(10, "Invalid error code (_ssl.c:2580)")
                confused.append(0)
                return original.read(*args)

            def write(self, *args):
                return original.write(*args)

        tls._tls = Confused()
        for message in MESSAGES:
            server.send(message)
        received = []
        receive(client, received)
        assert received == MESSAGES
        assert len(confused) > 4


def test_an_exception_of_a_handler_that_looks_like_one_of_tls_is_the_handler_s(either_carrier):
    def use(client, tls, server, number):
        def handle():
            raise ssl.SSLWantReadError("mine")

        tls.left, tls.handler = number, handle
        for message in MESSAGES:
            server.send(message)
        received = []
        while not received or received[-1] != "end":
            with contextlib.suppress(ssl.SSLWantReadError):
                received.append(client.recv(SOON))
        assert received == MESSAGES

    assert each_call(use) > 1  # messages may come in any number of records
