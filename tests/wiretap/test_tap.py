"""Connections that are watched: every byte is seen, in order, and nothing changes by it."""

import threading

import pytest
from support.certificates import contexts
from support.fallback_client import TEXT, FallbackClient
from support.pairs import SOON, run, transport_pair, wait_until
from support.serving import echo, serving
from support.wire import parse_frames

from syncws import ClientConnection, InvalidStatus, ServerConnection, connect
from syncws.threaded.deadline import Deadline
from syncws.threaded.transport import Transport
from syncws.wiretap.dissector import Exchange, HttpHead
from syncws.wiretap.tap import TapTransport, tapped

HUGE = bytes(range(256)) * (1 << 14)


class Seen:
    """An observer that keeps what it sees, of each direction; an empty piece is its end."""

    def __init__(self, connection=None):
        self.connection = connection
        self.pieces = {True: [], False: []}

    def __call__(self, sent, data):
        assert type(data) is bytes
        self.pieces[sent].append(data)

    def stream(self, sent):
        return b"".join(self.pieces[sent])

    def ended(self, sent):
        return b"" in self.pieces[sent]


@pytest.fixture(params=["plain", "tls"])
def pair(request):
    """A watched end, what its observer saw, and the other end."""
    near, far = transport_pair(contexts() if request.param == "tls" else None)
    seen = Seen()
    yield TapTransport(near, seen), seen, far
    for end in (near, far):
        end.abort()
        end.close()


def test_what_is_sent_and_received_is_seen(pair):
    tap, seen, far = pair
    tap.send_all(b"one ", Deadline(SOON))
    tap.send_apart(b"two ", bytearray(b"three "), Deadline(SOON))
    tap.send_now(memoryview(b"four "))
    tap.send_all(b"")
    assert far.recv(Deadline(SOON)) in (b"one ", b"one two three four ")
    far.send_all(b"answer")
    assert tap.recv(Deadline(SOON)) == b"answer"
    tap.finish_sending()
    far.finish_sending()
    assert tap.recv(Deadline(SOON)) == b""
    assert seen.pieces[True] == [b"one ", b"two ", b"three ", b"four ", b""]
    assert seen.pieces[False] == [b"answer", b""]


def test_what_is_large_is_seen_in_pieces(pair):
    tap, seen, far = pair

    def drain():
        received = 0
        while received < len(HUGE):
            received += len(far.recv(Deadline(SOON)))

    draining = run(drain)
    tap.send_all(HUGE)
    draining.result()
    assert seen.stream(True) == HUGE
    assert max(map(len, seen.pieces[True])) <= 1 << 18


def test_all_else_is_that_of_the_transport_below(pair):
    tap, _, far = pair
    below = tap._below
    assert tap.descriptor is None
    assert (tap.secure, tap.sock) == (below.secure, below.sock)
    below.kind = "polling"
    assert tap.kind == "polling"
    assert tap.local_address == far.remote_address
    assert tap.remote_address == far.local_address
    tap.send_all(b"x")
    assert (tap.bytes_sent, tap.bytes_received) == (below.bytes_sent, below.bytes_received)
    assert (tap.pending, tap.backlog_size) == (False, 0)
    assert tap.flush()
    assert tap.wait_writable(Deadline(SOON))
    while tap.backlog_size == 0:
        tap.send_now(HUGE)
    assert tap.pending
    with pytest.raises(TimeoutError):
        tap.send_all(b"late", Deadline(0.01))
    with pytest.raises(TimeoutError):
        tap.recv(Deadline(0.01))


def test_aborting_wakes_who_reads_and_closing_releases_the_socket(pair):
    tap, seen, _ = pair
    reading = run(tap.recv)
    tap.abort()
    assert reading.result() == b""
    assert seen.ended(False)
    tap.close()
    assert tap.sock.fileno() == -1


def test_a_forked_child_releases_its_descriptor(pair):
    tap, _, _ = pair
    tap.after_fork()
    assert tap.sock.fileno() == -1


def test_an_observer_that_raises_is_logged_once_and_left_out(pair, caplog):
    tap, _, far = pair
    calls = []

    def observe(sent, data):
        calls.append((sent, data))
        raise ValueError("an observer's defect")

    tap.observe = observe
    for message in (b"one", b"two"):
        tap.send_all(message)
        assert far.recv(Deadline(SOON)) == message
    far.send_all(b"three")
    assert tap.recv(Deadline(SOON)) == b"three"
    far.finish_sending()
    assert tap.recv(Deadline(SOON)) == b""
    tap.finish_sending()
    assert far.recv(Deadline(SOON)) == b""
    assert calls == [(True, b"one")]
    (record,) = caplog.records
    assert record.name == "syncws.tap"
    assert record.exc_info[0] is ValueError


def test_an_observer_may_fail_at_the_end_of_a_direction(pair, caplog):
    tap, _, far = pair
    ready = threading.Barrier(2, timeout=SOON)

    def observe(sent, data):
        ready.wait()  # both fail at once
        raise ValueError

    tap.observe = observe
    far.finish_sending()
    receiving = run(tap.recv, Deadline(SOON))
    tap.finish_sending()
    assert receiving.result() == b""
    assert len([record for record in caplog.records if record.exc_info]) in (1, 2)


def watched_echo(ssl=None):
    """An echo server whose connections are watched, and the observers that it makes."""
    observers = []

    def make_observer(connection):
        observers.append(Seen(connection))
        return observers[-1]

    create = tapped(ServerConnection, make_observer)
    return serving(echo, ssl=ssl, create_connection=create), observers


@pytest.mark.parametrize("kind", ["plain", "tls"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_both_ends_see_all_of_a_connection(kind, compression):
    server_context, client_context = contexts() if kind == "tls" else (None, None)
    servers, at_server = watched_echo(server_context)
    at_client = []

    def make_observer(connection):
        at_client.append(Seen(connection))
        return at_client[-1]

    with servers as server:
        ws = connect(
            server.uri.replace("127.0.0.1", "localhost"),
            ssl=client_context,
            compression=compression,
            create_connection=tapped(ClientConnection, make_observer),
        )
        assert ws.secure == (kind == "tls")
        with ws:
            for message in ("hello" * 100, b"\0" * 70_000, "bye"):
                ws.send(message)
                assert ws.recv(SOON) == message
            ws.ping().wait(SOON)
        wait_until(lambda: at_server[0].ended(True) and at_client[0].ended(False))
    (near,), (far,) = at_client, at_server
    assert near.connection is ws
    assert isinstance(far.connection, ServerConnection)
    assert near.stream(True) == far.stream(False)
    assert near.stream(False) == far.stream(True)
    assert near.stream(True).startswith(b"GET / HTTP/1.1\r\n")
    head, frames = near.stream(True).split(b"\r\n\r\n", 1)
    opcodes = [first & 0x0F for first, _ in parse_frames(frames, masked=True)]
    assert opcodes == [1, 2, 1, 9, 8]
    exchange = Exchange(max_payload=1 << 20)
    exchange.sent(head + b"\r\n\r\n")
    received = [record.what for record in exchange.received(near.stream(False))]
    assert isinstance(received[0], HttpHead)
    assert received[1].text == "hello" * 100
    assert received[1].compressed == (compression is not None)


def test_a_refused_handshake_is_seen():
    seen = Seen()
    create = tapped(ClientConnection, lambda ws: seen)
    refuse = {"process_request": lambda ws, request: ws.respond(404, "no")}
    with serving(echo, **refuse) as server, pytest.raises(InvalidStatus):
        connect(server.uri, create_connection=create)
    assert seen.stream(False).startswith(b"HTTP/1.1 404 ")
    assert seen.stream(False).endswith(b"no")


def test_a_plain_socket_may_be_watched():
    near, far = transport_pair()
    seen = Seen()
    made = []

    def create(transport, *args, **kwargs):
        made.append((transport, args, kwargs))
        return transport

    tap = tapped(create, lambda connection: seen)(near.sock, 1, two=2)
    assert made == [(tap, (1,), {"two": 2})]
    assert isinstance(tap, TapTransport)
    assert type(tap._below) is Transport
    tap.send_all(b"x")
    assert far.recv(Deadline(SOON)) == seen.stream(True) == b"x"
    for end in (tap, far):
        end.close()


def test_pings_are_seen_before_their_pongs():
    order = []
    with serving() as server:
        ws = connect(
            server.uri,
            ping_interval=None,
            create_connection=tapped(ClientConnection, lambda ws: lambda *seen: order.append(seen)),
        )
        with ws:
            for _ in range(20):
                ws.ping().wait(SOON)
    exchange = Exchange()
    names = [
        record.what.name
        for sent, data in order
        for record in (exchange.sent(data) if sent else exchange.received(data))
        if not isinstance(record.what, HttpHead)
    ]
    assert names == ["PING", "PONG"] * 20 + ["CLOSE", "CLOSE"]


def test_a_connection_by_http_is_seen_as_if_it_were_none():
    seen = []

    def watch(ws):
        seen.append(Seen(ws))
        return seen[-1]

    create = tapped(ServerConnection, watch)
    with (
        serving(create_connection=create, fallback=True) as server,
        FallbackClient(server, "/path") as client,
    ):
        client.open()
        client.send("hello")
        assert client.receive() == [(TEXT, b"hello")]
        (ws,) = server.connections
        assert ws.transport == "polling"
        (session,) = [each for each in seen if each.connection is ws]
        exchange = Exchange()
        for sent in (False, True):
            data = session.stream(sent)
            head, frame = exchange.sent(data) if sent else exchange.received(data)
            assert head.what.lines[0] in ("GET /path HTTP/1.1", "HTTP/1.1 101 Switching Protocols")
            assert frame.what.text == "hello"
