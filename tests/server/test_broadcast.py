import contextlib
import itertools
import os
import sys
import threading
import time

import pytest
from support.certificates import client_context, server_context
from support.pairs import (
    SOON,
    connect_protocol,
    connection_pair,
    cut_at_the_end,
    run,
    transport_pair,
    wait_until,
)
from support.scripted import nothing_left
from support.serving import serving

from syncws import ConnectionClosedError, Deflate, Role, SlowPeer, State, broadcast, connect
from syncws.sansio.extensions.interface import Extension
from syncws.server import broadcasting as module


class Gathering:
    """A handler that gathers connections, and holds them open until they are closed."""

    def __init__(self, number):
        self.connections = []
        self.complete = threading.Event()
        self._number = number

    def __call__(self, ws):
        self.connections.append(ws)
        if len(self.connections) == self._number:
            self.complete.set()
        ws.wait_closed()


@pytest.fixture
def audience():
    """What starts a server with clients: returns it, its connections in order, and theirs."""
    with contextlib.ExitStack() as stack:

        def start(number=3, client=None, **kwargs):
            gathering = Gathering(number)
            server = stack.enter_context(serving(gathering, **kwargs))
            clients = []
            for index in range(number):
                clients.append(connect(server.uri, **(client or {})))
                stack.callback(clients[-1].abort)
                wait_until(lambda index=index: len(gathering.connections) > index)
            return server, gathering.connections, clients

        yield start


# --- what arrives ---


KINDS = {
    "plain": ({"compression": None}, {}),
    "tls": ({"compression": None, "ssl": client_context()}, {"ssl": server_context()}),
    "deflate": ({}, {}),
    "tls and deflate": ({"ssl": client_context()}, {"ssl": server_context()}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("message", ["text", b"binary", "", b"", "x" * 1000, bytes(100_000)])
def test_everybody_gets_the_message(audience, kind, message):
    client, options = KINDS[kind]
    server, _, clients = audience(client=client, **options)
    broadcast(server, message)
    assert [ws.recv(SOON) for ws in clients] == [message] * 3


def test_connections_may_be_any_iterable(audience):
    server, connections, clients = audience()
    for targets in (connections, set(connections), iter(connections), server):
        broadcast(targets, "hello")
        assert [ws.recv(SOON) for ws in clients] == ["hello"] * 3


def test_clients_can_broadcast_too(audience):
    _, connections, clients = audience()
    broadcast(clients, "hello" * 50)
    assert [ws.recv(SOON) for ws in connections] == ["hello" * 50] * 3


@pytest.mark.parametrize(
    ("message", "text", "expected"),
    [
        (b"bytes", True, "bytes"),
        ("str", False, b"str"),
        (bytearray(b"array"), None, b"array"),
        (memoryview(b"view"), None, b"view"),
    ],
)
def test_the_kind_of_message_can_be_chosen(audience, message, text, expected):
    server, _, clients = audience(1)
    broadcast(server, message, text=text)
    assert clients[0].recv(SOON) == expected


@pytest.mark.parametrize("message", [["a", "b"], 1, None])
def test_what_can_not_be_sent_is_refused(audience, message):
    server, _, _ = audience(1)
    with pytest.raises(TypeError):
        broadcast(server, message)
    with pytest.raises(UnicodeError):
        broadcast(server, "\ud800")


def test_an_empty_audience_is_fine():
    broadcast([], "hello")


def test_connections_that_are_not_open_are_left_out(audience, caplog):
    _, connections, clients = audience()
    clients[0].close()
    assert connections[0].wait_closed(SOON)
    broadcast(connections, "hello", raise_exceptions=sys.version_info >= (3, 11))
    assert [ws.recv(SOON) for ws in clients[1:]] == ["hello"] * 2
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_it_is_serialized_and_compressed_once_for_the_same_parameters(audience, monkeypatch):
    from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate

    calls = []
    encode_apart = PerMessageDeflate.encode_apart

    def counting(self, frame):
        calls.append(self)
        return encode_apart(self, frame)

    monkeypatch.setattr(PerMessageDeflate, "encode_apart", counting)
    server, _, clients = audience(4)
    other = connect(server.uri, compression=Deflate(server_max_window_bits=9))
    wait_until(lambda: len(server.connections) == 5)
    broadcast(server, "hello" * 100)
    assert [ws.recv(SOON) for ws in (*clients, other)] == ["hello" * 100] * 5
    assert len(calls) == 2
    other.close()


# --- order, and the compression of what comes before and after ---


@pytest.mark.parametrize("client", [{}, {"compression": None}])
def test_broadcasts_and_messages_of_a_thread_stay_in_order(audience, client):
    server, connections, clients = audience(2, client)
    texts = [f"message {number} " + "abc" * number for number in range(60)]
    for number, text in enumerate(texts):
        if number % 3:
            for ws in connections:
                ws.send(text)
        else:
            broadcast(server, text)
    for ws in clients:
        assert [ws.recv(SOON) for _ in texts] == texts


@pytest.mark.parametrize("client", [{}, {"compression": None}])
@pytest.mark.parametrize("window", [9, 15])
def test_broadcasts_between_the_messages_of_other_threads_damage_nothing(audience, client, window):
    number = 150
    settings = Deflate(server_max_window_bits=window, compress_window_bits=window)
    _, connections, clients = audience(3, client, compression=settings)
    alike = "the same words come again and again, so that compression looks back "

    def sending(ws):
        for index in range(number):
            ws.send(f"{alike}sent {index} " + alike * (index % 7))

    senders = [run(sending, ws) for ws in connections]
    for index in range(number):
        broadcast(connections, f"{alike}broadcast {index} " + alike * (index % 5))
    for ws in clients:
        received = [ws.recv(SOON) for _ in range(2 * number)]
        for kind in ("sent", "broadcast"):
            mine = [text for text in received if f"{kind} " in text]
            assert [int(text.split(f"{kind} ")[1].split()[0]) for text in mine] == list(
                range(number)
            )
    for sender in senders:
        sender.result()


@pytest.mark.parametrize("client", [{}, {"compression": None}])
def test_a_message_in_fragments_comes_first_and_whole(audience, client):
    server, connections, clients = audience(2, client)
    began, go_on = threading.Event(), threading.Event()

    def fragments():
        yield "one " * 20
        yield "two " * 20
        began.set()
        assert go_on.wait(SOON)
        yield "three " * 20

    sender = run(connections[0].send, fragments())
    assert began.wait(SOON)
    broadcast(server, "broadcast" * 10)
    broadcast(server, "another" * 10)
    assert clients[1].recv(SOON) == "broadcast" * 10
    go_on.set()
    sender.result()
    connections[0].send("after" * 20)
    received = [clients[0].recv(SOON) for _ in range(4)]
    assert received == [
        "one " * 20 + "two " * 20 + "three " * 20,
        "broadcast" * 10,
        "another" * 10,
        "after" * 20,
    ]


def test_what_is_broadcast_during_a_message_that_fails_is_gone_with_the_connection(audience):
    server, connections, clients = audience(1)
    began, go_on = threading.Event(), threading.Event()

    def fragments():
        yield "one"
        yield "two"
        began.set()
        assert go_on.wait(SOON)
        raise ZeroDivisionError

    sender = run(connections[0].send, fragments())
    assert began.wait(SOON)
    broadcast(server, "hello")
    go_on.set()
    with pytest.raises(ZeroDivisionError):
        sender.result()
    with pytest.raises(ConnectionClosedError):
        clients[0].recv(SOON)


class Counting(Extension):
    """An extension whose frames depend on all those before."""

    name = "x-counting"
    rsv = 0

    def __init__(self):
        self.count = itertools.count()

    def decode(self, frame, *, max_size=None):
        return frame

    def encode(self, frame, *, compress=None):
        return type(frame)(frame.opcode, b"%d:%s" % (next(self.count), frame.data), frame.fin)


def test_extensions_that_remember_are_asked_for_each_connection():
    transports = transport_pair()
    client = connect_protocol(transports[0], Role.CLIENT)
    server = connect_protocol(transports[1], Role.SERVER, extensions=[Counting()])
    with cut_at_the_end(client, server):
        server.send("a")
        broadcast([server], "b")
        server.send("c")
        assert [client.recv(SOON) for _ in range(3)] == ["0:a", "1:b", "2:c"]
        client.close()
        broadcast([server], "too late")


def test_such_an_extension_s_message_is_not_waited_with(caplog):
    transports = transport_pair()
    client = connect_protocol(transports[0], Role.CLIENT)
    server = connect_protocol(transports[1], Role.SERVER, extensions=[Counting()])
    with cut_at_the_end(client, server):
        while server.state is State.OPEN:
            broadcast([server], bytes(10_000))
        assert isinstance(server.protocol.parser_exc, (SlowPeer, TimeoutError))
    assert "broadcasting failed" in caplog.text


# --- slow peers ---


def fill(ws, broadcasting):
    """Broadcast until something waits for a peer that doesn't read."""
    while not ws.buffered_amount:
        broadcasting()


@pytest.mark.parametrize("compression", ["deflate", None])
def test_a_peer_that_never_reads_is_closed_and_its_buffer_bounded(audience, compression, caplog):
    limit = 20_000
    server, connections, clients = audience(
        2, {"compression": compression}, write_limit=limit, ping_interval=None
    )
    stalled, healthy = connections
    payload = os.urandom(1000)
    sent = most = 0
    # Its inbox is full soon, and then the kernel's buffers.
    while stalled.state is State.OPEN:
        broadcast(server, payload)
        sent += 1
        most = max(most, stalled.buffered_amount)
        assert clients[1].recv(SOON) == payload
    assert 0 < most <= limit
    assert stalled.wait_closed(SOON)
    exc = stalled.protocol.close_exc
    assert exc.sent.code == 1008
    assert exc.sent.reason == "too slow"
    assert isinstance(exc.__cause__, SlowPeer)
    assert exc.__cause__.limit == limit
    broadcast(server, "still there")
    assert clients[1].recv(SOON) == "still there"
    assert healthy.stats.messages_sent == sent + 1
    assert "broadcasting failed" in caplog.text


def test_messages_can_be_skipped_for_a_slow_peer(audience):
    limit = 20_000
    server, connections, clients = audience(1, {"compression": None}, write_limit=limit)
    ws = connections[0]
    sent = []
    while True:
        payload = b"%08d" % len(sent) + bytes(5000)
        before = ws.stats.messages_sent
        broadcast(server, payload, slow_peers="skip")
        if ws.stats.messages_sent == before:
            break
        sent.append(payload)
    assert ws.open
    assert [clients[0].recv(SOON) for _ in sent] == sent
    wait_until(lambda: not ws.buffered_amount)
    broadcast(server, "reads again")
    assert clients[0].recv(SOON) == "reads again"


def test_what_is_being_written_waits_once(audience, monkeypatch):
    server, connections, clients = audience(1, {"compression": None})
    ws = connections[0]
    transport = ws._transport
    amounts = []

    def send(data):
        amounts.append(ws.buffered_amount)
        return real(data)

    real = transport._send_without_waiting
    monkeypatch.setattr(transport, "_send_without_waiting", send)
    with ws._writer.lock:
        run(broadcast, server, bytes(1000)).result()
    ws._writer.drain()
    assert clients[0].recv(SOON) == bytes(1000)
    assert amounts == [1004]  # with its header


def test_a_message_larger_than_the_limit_is_fine_if_nothing_waits(audience):
    server, _, clients = audience(1, {"compression": None, "max_size": None}, write_limit=1000)
    message = bytes(8_000_000)
    broadcast(server, message)
    assert clients[0].recv(SOON) == message


def test_broadcasting_never_waits(audience):
    server, connections, _ = audience(3, {"compression": None}, write_limit=10**9)
    running = run(lambda: [broadcast(server, bytes(100_000)) for _ in range(200)])
    running.result()  # within a deadline
    assert all(ws.buffered_amount > 1_000_000 for ws in connections)


def is_held(lock):
    """Whether a thread has a lock; one that wants it meanwhile gets it a moment later."""
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return True


def test_a_thread_that_is_stuck_in_send_does_not_hold_up_broadcasting(audience):
    server, connections, clients = audience(2, {"compression": None}, write_limit=10**6)
    slow = clients.pop(0)
    wait_until(slow._take_role)  # so that nobody reads
    stuck = run(connections[0].send, bytes(20_000_000))
    wait_until(lambda: is_held(connections[0]._writer.lock))
    for number in range(50):
        broadcast(server, b"%d" % number)
        assert clients[0].recv(SOON) == b"%d" % number
    connections[0].abort()
    with pytest.raises(ConnectionClosedError):
        stuck.result()
    slow._give_up_role()
    slow.abort()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no ExceptionGroup")
def test_failures_can_be_raised_together(audience):
    server, connections, clients = audience(3, {"compression": None}, write_limit=10)
    for ws in connections[:2]:
        fill(ws, lambda: broadcast([connections[0], connections[1]], bytes(100_000)))
    with pytest.raises(BaseException, match="broadcasting failed") as info:
        broadcast(server, "hello", raise_exceptions=True)
    assert all(isinstance(exc, SlowPeer) for exc in info.value.exceptions)
    assert len(info.value.exceptions) == 2
    assert clients[2].recv(SOON) == "hello"


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="there is ExceptionGroup")
def test_failures_can_not_be_raised_together_without_exception_groups(audience):
    with pytest.raises(ValueError, match=r"Python 3\.11"):
        broadcast([], "hello", raise_exceptions=True)


def test_slow_peers_are_closed_or_skipped():
    with pytest.raises(ValueError, match="'close' or 'skip', not 'wait'"):
        broadcast([], "hello", slow_peers="wait")


# --- groups ---


def test_groups_have_members(audience):
    server, connections, clients = audience(3)
    group = server.group("room")
    assert len(group) == 0
    for ws in connections[:2]:
        group.add(ws)
        group.add(ws)
    assert set(group) == set(connections[:2]) == server.group("room").connections
    assert connections[0] in group
    assert connections[2] not in group
    assert repr(group) == "<Group 'room' of 2>"
    group.broadcast("hello")
    broadcast(server.group("room"), "again")
    broadcast(server, "everybody")
    assert [ws.recv(SOON) for ws in clients] == ["hello", "hello", "everybody"]
    assert [ws.recv(SOON) for ws in clients[:2]] == ["again"] * 2
    group.discard(connections[0])
    group.discard(connections[0])
    assert set(group) == {connections[1]}


def test_membership_ends_with_the_connection(audience):
    server, connections, clients = audience(2)
    for name in ("a", "b"):
        for ws in connections:
            server.group(name).add(ws)
    clients[0].close()
    wait_until(lambda: len(server.connections) == 1)
    assert set(server.group("a")) == set(server.group("b")) == {connections[1]}
    server.group("a").add(connections[0])  # too late, and no error
    assert connections[0] not in server.group("a")
    clients[1].close()
    wait_until(lambda: not server._roster.known())
    assert server._roster.groups._members == server._roster.groups._names == {}


def test_a_stranger_can_not_join(audience):
    server, _, clients = audience(1)
    with pytest.raises(ValueError, match="isn't one of this server's"):
        server.group("room").add(clients[0])


def test_an_adopted_connection_can_join(audience):
    server, _, _ = audience(1)
    with connection_pair() as (client, ours):
        server.register(ours)
        server.group("room").add(ours)
        server.group("room").broadcast("hello")
        assert client.recv(SOON) == "hello"
        server.unregister(ours)
        assert len(server.group("room")) == 0


def test_many_threads_may_join_leave_and_broadcast(audience):
    server, connections, _ = audience(4, {"compression": None})
    group = server.group("room")

    def work(ws):
        for _ in range(100):
            group.add(ws)
            group.broadcast("x", slow_peers="skip")
            group.discard(ws)

    for running in [run(work, ws) for ws in connections]:
        running.result()
    assert len(group) == 0


def test_nothing_is_left_behind():
    with nothing_left():
        gathering = Gathering(1)
        with serving(gathering) as server, connect(server.uri) as ws:
            assert gathering.complete.wait(SOON)
            broadcast(server, "hello")
            assert ws.recv(SOON) == "hello"


# --- a thread that broadcasts and does nothing else ---


@pytest.fixture(params=KINDS)
def at_pace(audience, monkeypatch, request):
    """What broadcasts to one client, at a pace; and whether messages were to be held."""
    client, options = KINDS[request.param]
    server, (connection,), (client,) = audience(1, client, **options)
    held = []
    post_now = connection._post_now

    def post(frame, hold):
        held.append(hold)
        return post_now(frame, hold)

    monkeypatch.setattr(connection, "_post_now", post)

    def send(message, took, idle):
        module._pace.took = took
        module._pace.ended = time.monotonic() - idle
        broadcast(server, message)

    yield send, connection, client, held
    wait_until(lambda: not module._held)


def test_messages_of_a_busy_thread_are_held_for_a_moment(at_pace):
    send, _, client, held = at_pace
    for message in "abc":
        send(message, 1.0, 0.0)
    assert held == [True] * 3
    assert [client.recv(SOON) for _ in range(3)] == list("abc")
    wait_until(lambda: not module._held)


@pytest.mark.parametrize(("took", "idle"), [(0.0, 0.0), (0.0004, 0.0), (0.001, 1.0), (1.0, 0.5)])
def test_other_messages_are_not_held(at_pace, took, idle):
    send, _, client, held = at_pace
    send("hello", took, idle)
    assert held == [False]
    assert not module._held
    assert client.recv(SOON) == "hello"


def test_what_follows_a_held_message_goes_after_it(at_pace):
    send, connection, client, _ = at_pace
    send("held", 1.0, 0.0)
    connection.send("sent")
    assert [client.recv(SOON) for _ in range(2)] == ["held", "sent"]


def test_a_held_message_goes_out_before_the_close(at_pace):
    send, connection, client, _ = at_pace
    send("held", 1.0, 0.0)
    connection.close()
    assert client.recv(SOON) == "held"
    assert client.wait_closed(SOON)
    assert client.close_code == 1000


def test_a_connection_that_is_cut_while_messages_are_held_troubles_nobody(at_pace, caplog):
    send, connection, _, _ = at_pace
    send("held", 1.0, 0.0)
    connection.abort()
    wait_until(lambda: not module._held)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_a_thread_is_busy_by_what_it_broadcasts_itself(audience):
    server, _, (client,) = audience(1)
    module._pace.took = 1.0
    module._pace.ended = time.monotonic() + 1000
    run(broadcast, server, "hello").result()
    assert module._pace.took == 1.0
    assert client.recv(SOON) == "hello"
    broadcast(server, "hello")
    assert module._pace.took < 1.0
