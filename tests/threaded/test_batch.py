"""Messages that one thread collects, and that are written in large pieces."""

import contextlib
import enum
import socket
import threading

import pytest
from support.kinds import KINDS, pair_of
from support.pairs import (
    SOON,
    connection_and_socket,
    connection_pair,
    receive_exactly,
    run,
    wait_until,
)
from support.wire import parse_frames

from syncws import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, SendTimeout
from syncws.threaded.batch import PIECE_COUNT, PIECE_SIZE

MESSAGES = ["", "text", "é" * 100, b"", b"bytes", bytearray(b"array"), memoryview(b"view"), b"last"]


@pytest.fixture(params=KINDS)
def pair(request):
    with pair_of(request.param) as pair:
        yield pair


def plain(message):
    return message if isinstance(message, str) else bytes(message)


def receive(connection, count):
    return [connection.recv(SOON) for _ in range(count)]


def receive_frames(peer, count):
    """So many small frames of a client, from a bare socket, as (first byte, payload)."""
    frames = []
    for _ in range(count):
        head = receive_exactly(peer, 2)
        frames += parse_frames(head + receive_exactly(peer, (head[1] & 0x7F) + 4), masked=True)
    return frames


@contextlib.contextmanager
def echoing(connection):
    """The other end of it sends everything back."""

    def echo():
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                connection.send(message)

    running = run(echo)
    yield
    connection.close()
    running.result()


def count_pieces(monkeypatch, connection):
    """The sizes of what is written in one piece, as it comes."""
    sizes, send_all = [], connection._transport.send_all

    def count(data, deadline=None):
        sizes.append(len(data))
        send_all(data, deadline)

    monkeypatch.setattr(connection._transport, "send_all", count)
    return sizes


# --- what arrives ---


def test_messages_of_a_batch_arrive_in_order(pair):
    for sender, receiver in (pair, pair[::-1]):
        with sender.batch():
            for message in MESSAGES:
                sender.send(message)
        assert receive(receiver, len(MESSAGES)) == [plain(message) for message in MESSAGES]


def test_messages_of_send_many_arrive_in_order(pair):
    for sender, receiver in (pair, pair[::-1]):
        sender.send_many(MESSAGES)
        sender.send_many(iter(MESSAGES), timeout=SOON)
        assert receive(receiver, 2 * len(MESSAGES)) == [plain(message) for message in MESSAGES] * 2


def test_text_may_go_as_binary_and_binary_as_text(pair):
    client, server = pair
    with client.batch():
        client.send("é", text=False)
        client.send("é", text=True)
        client.send("é".encode(), text=True)
        client.send(memoryview("é".encode()), text=True)
        client.send(bytearray(b"x"), text=False)
    assert receive(server, 5) == ["é".encode(), "é", "é", "é", b"x"]


class Color(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize("message", [Color.RED, memoryview(b"abcdef")[::2]], ids=["enum", "view"])
@pytest.mark.parametrize("text", [None, True, False])
def test_message_is_sent_as_it_is_without_a_batch(message, text):
    with connection_pair() as (client, server):
        client.send(message, text=text)
        with client.batch():
            client.send(message, text=text)
        first, second = receive(server, 2)
        assert first == second
        assert type(first) is type(second)


def test_message_that_changes_after_it_was_sent_arrives_as_it_was(pair):
    client, server = pair
    message = bytearray(b"before")
    with client.batch():
        client.send(message)
        client.send(memoryview(message))
        message[:] = b"after!"
    assert receive(server, 2) == [b"before", b"before"]


def test_many_messages_arrive_in_large_pieces(pair, monkeypatch):
    client, server = pair
    sizes = count_pieces(monkeypatch, client)
    messages = [f"{number:99d}" for number in range(2000)]
    receiving = run(receive, server, 4000)
    client.send_many(messages)
    assert len(sizes) == -(-2000 * 99 // PIECE_SIZE)
    with client.batch():
        for message in messages:
            client.send(message)
    assert len(sizes) == 2 * -(-2000 * 99 // PIECE_SIZE)
    assert receiving.result() == messages * 2


def test_tiny_messages_are_written_too_when_there_are_many(monkeypatch):
    with connection_pair() as (client, server):
        sizes = count_pieces(monkeypatch, client)
        receiving = run(receive, server, 2 * PIECE_COUNT + 1)
        client.send_many([""] * (2 * PIECE_COUNT + 1))
        assert sizes == [6 * PIECE_COUNT] * 2 + [6]
        assert receiving.result() == [""] * (2 * PIECE_COUNT + 1)


def test_messages_larger_than_a_piece_arrive(pair):
    client, server = pair
    messages = ["before", "x" * 500_000, b"y" * PIECE_SIZE, "after"]
    receiving = run(receive, server, 8)
    client.send_many(messages)
    with client.batch():
        for message in messages:
            client.send(message)
    assert receiving.result() == messages * 2


def test_stats_count_what_was_collected_when_it_is_written(pair):
    client, server = pair
    before = client.stats
    with client.batch():
        for _ in range(10):
            client.send("x")
        assert client.stats == before
    client.send_many(["y"] * 5)
    assert client.stats.messages_sent == before.messages_sent + 15
    assert client.stats.frames_sent == before.frames_sent + 15
    assert client.stats.bytes_sent > before.bytes_sent
    receive(server, 15)
    assert server.stats.messages_received == 15


# --- when it is written ---


def test_nothing_is_written_before_a_piece_is_full_or_the_end(pair):
    client, server = pair
    before = client.stats.bytes_sent
    with client.batch():
        client.send(b"x" * (PIECE_SIZE - 1))
        with pytest.raises(TimeoutError):
            server.recv(0.01)
        assert client.stats.bytes_sent == before
        client.send(b"y")
        assert [len(message) for message in receive(server, 2)] == [PIECE_SIZE - 1, 1]
        client.send("end")
        with pytest.raises(TimeoutError):
            server.recv(0.01)
    assert server.recv(SOON) == "end"


def test_nothing_is_held_back_after_the_block():
    with connection_and_socket() as (connection, peer):
        with connection.batch():
            connection.send("a")
        assert receive_frames(peer, 1) == [(0x81, b"a")]
        connection.send("b")
        assert receive_frames(peer, 1) == [(0x81, b"b")]


def test_batch_without_messages_writes_nothing(pair):
    client, _ = pair
    before = client.stats
    with client.batch():
        pass
    client.send_many([])
    client.send_many(iter(()))
    assert client.stats == before


CALLS = {
    "ping": (lambda ws: ws.ping(b"p"), [(0x89, b"p")]),
    "pong": (lambda ws: ws.pong(b"p"), [(0x8A, b"p")]),
    "flush": (lambda ws: ws.flush(SOON), []),
    "send_many": (lambda ws: ws.send_many(["many"]), [(0x81, b"many")]),
    "fragments": (lambda ws: ws.send(["f", "g"]), [(0x01, b"f"), (0x80, b"g")]),
    "compress": (lambda ws: ws.send("c", compress=False), [(0x81, b"c")]),
}


@pytest.mark.parametrize("name", CALLS)
def test_other_calls_first_write_what_was_collected(name):
    call, frames = CALLS[name]
    with connection_and_socket() as (connection, peer), connection.batch():
        connection.send("a")
        connection.send(b"b")
        call(connection)
        frames = [(0x81, b"a"), (0x82, b"b"), *frames]
        assert receive_frames(peer, len(frames)) == frames
        connection.send("last")
        connection.flush()
        assert receive_frames(peer, 1) == [(0x81, b"last")]


def test_receiving_first_writes_what_was_collected(pair):
    client, server = pair
    with echoing(server), client.batch():
        for number in range(3):
            client.send(str(number))
            assert client.recv(SOON) == str(number)
        client.send("stream")
        assert "".join(client.recv_streaming()) == "stream"
        client.send("iteration")
        assert next(iter(client)) == "iteration"
        client.send("ping")
        assert client.ping().wait(SOON)
        assert client.recv(SOON) == "ping"


def test_receiving_a_message_that_is_there_already_first_writes_too():
    with connection_pair() as (client, server):
        server.send_many(["first", "second"])
        assert client.recv(SOON) == "first"
        wait_until(lambda: client._queue.count == 1)
        with client.batch():
            client.send("collected")
            assert client.recv(SOON) == "second"
            assert server.recv(SOON / 10) == "collected"


def test_closing_first_writes_what_was_collected(pair):
    client, server = pair
    with client.batch():
        client.send("last")
        closing = run(lambda: (receive(server, 1), server.wait_closed(SOON)))
        client.close()
        assert closing.result() == (["last"], True)
    with pytest.raises(ConnectionClosedOK):
        server.recv(SOON)


def test_messages_keep_their_order_around_others_of_every_kind(pair):
    client, server = pair
    long = "long " * 100
    with client.batch():
        client.send("a")
        client.send(["b", "b"])
        client.send("c")
        client.send(long, compress=False)
        client.send(long)
        client.send(long, compress=True)
        client.send_many(["d", b"e"])
        client.send("f")
    expected = ["a", "bb", "c", long, long, long, "d", b"e", "f"]
    assert receive(server, len(expected)) == expected


# --- errors ---


def send_and_raise(connection, exc):
    with connection.batch():
        connection.send("before")
        raise exc


def test_error_in_the_block_still_sends_what_came_before(pair):
    client, server = pair
    with pytest.raises(ZeroDivisionError):
        send_and_raise(client, ZeroDivisionError)
    client.send("after")
    assert receive(server, 2) == ["before", "after"]


@pytest.mark.parametrize("exc", [KeyboardInterrupt, SystemExit])
def test_interrupt_in_the_block_sends_nothing(pair, exc):
    client, server = pair
    with pytest.raises(exc):
        send_and_raise(client, exc)
    client.send("after")
    assert server.recv(SOON) == "after"


@pytest.mark.parametrize(
    ("message", "text", "error"),
    [
        (5, None, TypeError),
        (None, None, TypeError),
        ({"a": 1}, None, TypeError),
        ("\ud800", None, UnicodeEncodeError),
        ("\ud800", False, UnicodeEncodeError),
        (b"\xff", True, UnicodeDecodeError),
        (object(), None, TypeError),
    ],
)
def test_bad_message_is_refused_at_once_and_the_rest_is_sent(pair, message, text, error):
    client, server = pair
    with client.batch():
        client.send("long " * 100)
        with pytest.raises(error):
            client.send(message, text=text)
        client.send("long " * 100)
    client.send("long " * 100)
    assert receive(server, 3) == ["long " * 100] * 3


@pytest.mark.parametrize(
    ("message", "error"), [(5, TypeError), (["a"], TypeError), ("\ud800", UnicodeEncodeError)]
)
def test_what_comes_before_a_bad_message_of_many_is_sent(pair, message, error):
    client, server = pair
    with pytest.raises(error):
        client.send_many(["a", b"b", message, "never"])
    client.send("c")
    assert receive(server, 3) == ["a", b"b", "c"]


def test_what_comes_before_the_error_of_an_iterator_is_sent(pair):
    client, server = pair

    def messages():
        yield "a"
        yield b"b"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.send_many(messages())
    client.send("c")
    assert receive(server, 3) == ["a", b"b", "c"]


def test_connection_that_is_closed_says_so(pair):
    client, server = pair
    server.close()
    assert client.wait_closed(SOON)
    with pytest.raises(ConnectionClosedOK):
        client.send_many(["x"])
    with pytest.raises(ConnectionClosedOK), client.batch():
        client.send("x")
    with client.batch():
        client.send("x")
        with pytest.raises(ConnectionClosedOK):
            client.recv(SOON)
        with pytest.raises(ConnectionClosedOK):
            client.send(b"x" * PIECE_SIZE)
    with pytest.raises(ConnectionClosedOK) as caught:
        send_and_raise(client, ZeroDivisionError)
    exc = caught.value
    while exc is not None and not isinstance(exc, ZeroDivisionError):
        exc = exc.__context__
    assert exc is not None, "the error of the block is not shown"
    assert not client._batching
    with client.batch():
        pass  # nothing to be sent


def fill(connection, peer):
    """Send until the peer has no room for more; return the bytes."""
    connection._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)

    def send():
        while True:
            connection.send(b"x" * 1000, timeout=0.05)

    sent = -1
    while sent != connection.stats.bytes_sent:  # the kernel may make room a moment later
        sent = connection.stats.bytes_sent
        with pytest.raises(SendTimeout, match="the peer did not read"):
            send()
    return sent


def test_peer_that_does_not_read_is_a_timeout_and_the_connection_stays_usable():
    with connection_and_socket(send_timeout=0.02) as (connection, peer):
        size = fill(connection, peer)
        with pytest.raises(SendTimeout, match="the peer did not read"), connection.batch():
            connection.send("lost")
        with pytest.raises(SendTimeout, match="the peer did not read"):
            connection.send_many(["lost"], timeout=0.01)
        with connection.batch():
            connection.send("lost")
            with pytest.raises(SendTimeout):
                connection.ping()
        assert connection.open
        receive_exactly(peer, size)
        connection.send_many(["after"], timeout=SOON)
        assert receive_frames(peer, 1) == [(0x81, b"after")]


@pytest.mark.parametrize("timeout", [None, 0, SOON])
def test_receiving_says_that_what_was_collected_is_lost(timeout):
    with connection_and_socket(send_timeout=0.02) as (connection, peer):
        fill(connection, peer)
        with connection.batch():
            connection.send("lost")
            with pytest.raises(SendTimeout, match="the peer did not read"):
                connection.recv(timeout)
        assert connection.open


def test_closing_does_not_wait_for_a_peer_that_does_not_read():
    with connection_and_socket(send_timeout=0.02, close_timeout=0.05) as (connection, peer):
        fill(connection, peer)
        with connection.batch():
            connection.send("lost")
            connection.close()
        assert connection.closed


def test_piece_that_is_written_in_part_when_time_is_up_fails_the_connection():
    with connection_and_socket() as (connection, _):
        with pytest.raises(ConnectionClosedError) as caught:
            connection.send_many([b"x" * (32 << 20)], timeout=0.1)
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert connection.wait_closed(SOON)


# --- several batches, several threads ---


def test_batch_may_be_entered_again():
    with connection_and_socket() as (connection, peer):
        batch = connection.batch()
        with batch:
            connection.send("a")
            with batch:
                connection.send("b")
            connection.send("c")
            connection.flush()
        with batch:
            connection.send("d")
        frames = [(0x81, letter.encode()) for letter in "abcd"]
        assert receive_frames(peer, 4) == frames
        assert not connection._batching


def test_thread_has_one_batch_at_a_time(pair):
    client, server = pair
    with client.batch():
        client.send("a")
        with pytest.raises(RuntimeError, match="collects messages already"), client.batch():
            pytest.fail("it was entered")
        client.send("b")
        with server.batch():  # of another connection
            server.send("c")
        assert client.recv(SOON) == "c"
    assert receive(server, 2) == ["a", "b"]


def test_batch_holds_back_no_other_thread(pair):
    client, server = pair
    with client.batch():
        client.send("held")
        run(client.send, "other").result()
        assert server.recv(SOON) == "other"
        run(client.send_many, ["more"]).result()
        assert server.recv(SOON) == "more"
        with pytest.raises(TimeoutError):
            server.recv(0.01)
    assert server.recv(SOON) == "held"


def test_end_of_one_threads_batch_is_not_the_end_of_anothers():
    with connection_pair() as (client, server):
        entered, go_on = threading.Event(), threading.Event()

        def collect():
            with client.batch():
                entered.set()
                assert go_on.wait(SOON)
                client.send("held")
                with pytest.raises(TimeoutError):
                    server.recv(0.01)

        with client.batch():
            other = run(collect)
            assert entered.wait(SOON)
        go_on.set()
        other.result()
        assert server.recv(SOON) == "held"


def test_messages_of_several_threads_stay_whole_and_in_order(pair):
    client, server = pair

    def collect(name):
        with client.batch():
            for number in range(300):
                client.send(f"{name} {number} {'x' * 700}")

    def send_many(name):
        client.send_many(f"{name} {number} {'x' * 700}" for number in range(300))

    def send(name):
        for number in range(300):
            client.send(f"{name} {number} {'x' * 700}")

    def send_fragments(name):
        for number in range(300):
            client.send([f"{name} ", f"{number} ", "x" * 700])

    kinds = [collect, collect, send_many, send, send, send_fragments]
    threads = [run(kind, str(name)) for name, kind in enumerate(kinds)]
    numbers = {str(name): [] for name in range(len(kinds))}
    for message in receive(server, 300 * len(kinds)):
        name, number, rest = message.split(" ")
        numbers[name].append(int(number))
        assert rest == "x" * 700
    for thread in threads:
        thread.result()
    assert all(seen == list(range(300)) for seen in numbers.values())
