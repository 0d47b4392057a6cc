"""The reading role on its way between callers of recv() and the reader thread."""

import contextlib
import itertools
import socket
import threading

import pytest
from support.kinds import KINDS, kind_and_socket, pair_of, wait_for_callers
from support.pairs import (
    SOON,
    connection_and_socket,
    connection_pair,
    receive_exactly,
    run,
    socket_pair,
    wait_until,
)
from support.scripted import build_response, mute_after, scripted_server
from support.wire import build_frame, build_frames

from syncws import ConnectionClosedError, ConnectionClosedOK, connect
from syncws.options import Options
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role
from syncws.threaded.connection import Connection
from syncws.threaded.reading import READ_SOME

TEXT, BINARY, CONT, FIN = 0x81, 0x82, 0x80, 0x80
CLOSE, PING, PONG = 0x88, 0x89, 0x8A

#: Seconds within which what a peer asks for is done though the program does not receive.
PROMPTLY = 1


@pytest.fixture(params=KINDS)
def pair(request):
    with pair_of(request.param) as pair:
        yield pair


def reader_threads(connection):
    name = f"syncws-reader-{connection.side}-{connection.number}"
    return [thread for thread in threading.enumerate() if thread.name == name]


def exchange(client, server, count, first=0):
    """Messages back and forth, both by this thread."""
    for number in range(first, first + count):
        client.send(str(number))
        assert server.recv(SOON) == str(number)
        server.send(str(number))
        assert client.recv(SOON) == str(number)


# --- threads ---


def test_connection_that_is_read_by_callers_needs_no_reader_thread():
    with pair_of("plain", ping_interval=None) as (client, server):
        if not client._direct:
            pytest.skip("the main thread does not read by itself without the accelerator")
        echo = run(lambda: [server.send(message) for message in server])
        client._was_active()
        for number in range(100):
            client.send(str(number))
            assert client.recv(SOON) == str(number)
        client.close()
        echo.result()


def test_no_thread_is_left_after_closing(pair):
    client, server = pair
    exchange(client, server, 3)
    client.ping().wait(SOON)
    server.ping().wait(SOON)
    client.close()
    assert server.wait_closed(SOON)
    wait_until(lambda: not reader_threads(client) and not reader_threads(server))


def test_connection_has_one_reader_thread_however_often_it_is_needed(pair):
    client, server = pair
    for _ in range(5):
        pings = [client.ping() for _ in range(5)] + [server.ping() for _ in range(5)]
        assert all(ping.wait(SOON) is not None for ping in pings)
        exchange(client, server, 1)
        assert len(reader_threads(client)) <= 1
        assert len(reader_threads(server)) <= 1


# --- from a caller to the reader thread ---


@pytest.mark.parametrize("where", ["main thread", "another thread"])
def test_pings_are_answered_though_the_program_stopped_receiving(pair, where):
    client, server = pair
    if where == "main thread":
        exchange(client, server, 3)
    else:
        run(exchange, client, server, 3).result()
    for _ in range(3):
        assert client.ping().wait(PROMPTLY) is not None


def test_closing_handshake_is_done_though_the_program_stopped_receiving(pair):
    client, server = pair
    exchange(client, server, 3)
    closing = run(client.close)
    closing.result(PROMPTLY)
    assert client.close_code == 1000
    assert server.wait_closed(SOON)
    assert server.close_code == 1000


def test_pings_of_a_peer_that_waits_are_answered_within_a_second():
    with connection_and_socket(ping_interval=None) as (connection, peer):
        peer.sendall(build_frame(TEXT, b"x"))
        assert connection.recv(SOON) == "x"
        peer.settimeout(PROMPTLY)
        for _ in range(3):
            peer.sendall(build_frame(PING, b"?"))
            assert receive_exactly(peer, 7)[:2] == b"\x8a\x81"


def test_messages_are_kept_for_a_program_that_stopped_receiving(pair):
    client, server = pair
    exchange(client, server, 1)
    for number in range(10):
        client.send(str(number))
    wait_until(lambda: server._inbox.queue.count == 10)
    assert [server.recv(0) for _ in range(10)] == [str(number) for number in range(10)]


# --- from the reader thread to a caller ---


def test_reader_thread_parks_after_it_has_served_a_caller():
    with connection_pair(ping_interval=None) as (client, server):
        for number in range(5):
            client._ensure_reading()
            wait_until(lambda: not client._role_is_free)
            receiver = run(client.recv)
            wait_until(lambda: client._inbox._waiters)
            server.send(str(number))
            assert receiver.result() == str(number)
            wait_until(lambda: client._role_is_free)


def test_callers_take_turns_with_the_reader_thread_and_nothing_is_lost(pair):
    client, server = pair
    for number in range(50):
        client.send(str(number))
        if number % 3 == 0:
            server._ensure_reading()
        if number % 2:
            assert run(server.recv, SOON).result() == str(number)
        else:
            assert server.recv(SOON) == str(number)


# --- from caller to caller ---


@pytest.mark.parametrize("message", ["whole", "fragments"])
@pytest.mark.parametrize("count", [2, 4])
def test_each_message_goes_to_exactly_one_of_several_callers(pair, count, message):
    client, server = pair
    total = 400

    def work():
        received = []
        with contextlib.suppress(ConnectionClosedOK):
            while True:
                received.append(server.recv())
        return received

    receivers = [run(work) for _ in range(count)]
    for number in range(total):
        text = f"{number:08}"
        client.send(text if message == "whole" else [text[:4], text[4:]])
    client.close()
    received = [receiver.result() for receiver in receivers]
    for numbers in received:
        assert numbers == sorted(numbers)
    everything = sorted(itertools.chain.from_iterable(received))
    assert everything == [f"{number:08}" for number in range(total)]


def test_who_leaves_with_a_message_has_another_caller_read(pair):
    client, server = pair
    receivers = [run(client.recv) for _ in range(5)]
    wait_for_callers(client, 5)
    done = []
    for number in range(5):
        server.send(str(number))  # nothing else is on its way: somebody must be reading
        wait_until(lambda: sum(receiver.done() for receiver in receivers) > len(done))
        done.append(number)
    assert sorted(receiver.result() for receiver in receivers) == list("01234")


def test_who_leaves_by_its_timeout_has_another_caller_read(pair):
    client, server = pair
    for number in range(10):
        impatient = run(client.recv, 0.02)
        wait_for_callers(client, 1)
        patient = run(client.recv)
        with pytest.raises(TimeoutError, match=r"no message within 0\.02 s"):
            impatient.result()
        server.send(str(number))
        assert patient.result() == str(number)


def test_who_is_to_read_but_leaves_by_its_timeout_has_another_caller_read(
    nobody_looks, pair, monkeypatch
):
    client, server = pair
    leaving, may_leave = threading.Event(), threading.Event()
    leave = client._inbox.leave

    def leave_later(waiter):
        leaving.set()
        assert may_leave.wait(SOON)
        leave(waiter)

    assert client._take_role()
    monkeypatch.setattr(client._inbox, "leave", leave_later)
    impatient = run(client.recv, 0.01)
    assert leaving.wait(SOON)  # its time is over
    patient = run(client.recv)
    wait_until(lambda: len(client._inbox._waiters) == 2)
    with client._inbox._lock:
        (first, _) = client._inbox._waiters
        client._give_up_role()
        assert client._inbox.pass_on()
        assert first.woken
    may_leave.set()
    with pytest.raises(TimeoutError):
        impatient.result()
    server.send("x")
    assert patient.result() == "x"


def test_messages_that_one_read_brings_wake_as_many_callers():
    with connection_and_socket() as (connection, peer):
        receivers = [run(connection.recv) for _ in range(4)]
        wait_for_callers(connection, 4)
        peer.sendall(b"".join(build_frame(TEXT, b"%d" % number) for number in range(4)))
        assert sorted(receiver.result() for receiver in receivers) == list("0123")


def test_who_gets_the_role_late_does_not_wait_for_more_than_is_there(nobody_looks, pair):
    # As a thread does that finds nothing, while another one, which reads, is just about to leave.
    _, server = pair
    if not server._direct:
        pytest.skip("here callers look once they have the role")
    assert server._take_role()
    server._queue.put(["read by another thread"])
    server._give_up_role()
    assert run(server._read_direct, None).result(SOON) == READ_SOME
    assert server.recv(0) == "read by another thread"


def test_callers_with_short_timeouts_lose_nothing(pair):
    client, server = pair
    total = 200

    def work():
        received = []
        with contextlib.suppress(ConnectionClosedOK):
            while True:
                with contextlib.suppress(TimeoutError):
                    received.append(server.recv(0.0005))
        return received

    receivers = [run(work) for _ in range(3)]
    for number in range(total):
        client.send(f"{number:04}")
    client.close()
    received = itertools.chain.from_iterable(receiver.result() for receiver in receivers)
    assert sorted(received) == [f"{number:04}" for number in range(total)]


# --- polling ---


def test_polling_finds_messages_as_they_come(pair):
    client, server = pair
    received = []
    for number in range(20):
        client.send(str(number))

        def look():
            with contextlib.suppress(TimeoutError):
                received.append(server.recv(timeout=0))
            return len(received) > number  # noqa: B023

        wait_until(look)
    assert received == [str(number) for number in range(20)]


def test_polling_while_another_thread_receives_takes_nothing_from_it(pair):
    client, server = pair
    receiver = run(server.recv)
    wait_for_callers(server, 1)
    for _ in range(100):
        with pytest.raises(TimeoutError, match="no message within 0 s"):
            server.recv(0)
    client.send("x")
    assert receiver.result() == "x"


# --- streaming at the same time ---


def test_stream_and_other_callers_share_the_messages(pair):
    client, server = pair
    go_on = threading.Event()

    def fragments():
        yield "a"
        yield "b"
        assert go_on.wait(SOON)
        yield "c"

    sender = run(client.send, fragments())
    stream = server.recv_streaming()
    assert next(stream) == "a"
    receiver = run(server.recv)
    wait_for_callers(server, 1)
    rest = run(lambda: "".join(stream))
    go_on.set()
    sender.result()
    client.send("next")
    assert rest.result() == "bc"
    assert receiver.result() == "next"


def test_streams_and_receivers_get_each_message_once(pair):
    client, server = pair
    total = 200

    def work(receive):
        received = []
        with contextlib.suppress(ConnectionClosedOK):
            while True:
                received.append(receive())
        return received

    workers = [
        run(work, receive)
        for receive in (server.recv, lambda: "".join(server.recv_streaming())) * 2
    ]
    for number in range(total):
        text = f"{number:08}"
        client.send([text[:3], text[3:]] if number % 2 else text)
    client.close()
    received = itertools.chain.from_iterable(worker.result() for worker in workers)
    assert sorted(received) == [f"{number:08}" for number in range(total)]


# --- closing meanwhile ---


@pytest.mark.parametrize("who", ["another thread", "the peer"])
@pytest.mark.parametrize("callers", [0, 1, 3])
def test_closing_wakes_every_caller(pair, who, callers):
    client, server = pair
    receivers = [run(client.recv) for _ in range(callers)]
    wait_for_callers(client, callers)
    run((client if who == "another thread" else server).close, 4000).result()
    for receiver in receivers:
        with pytest.raises(ConnectionClosedError, match="4000"):
            receiver.result()
    assert client.wait_closed(SOON)
    assert client.close_code == 4000
    wait_until(lambda: not reader_threads(client))


@pytest.mark.parametrize("who", ["another thread", "the peer"])
def test_closing_wakes_the_main_thread(pair, who):
    client, server = pair

    def close():
        wait_for_callers(client, 1)
        (client if who == "another thread" else server).close()

    closer = run(close)
    with pytest.raises(ConnectionClosedOK):
        client.recv()
    closer.result()


def test_closing_while_the_reader_thread_reads(pair):
    client, server = pair
    client._ensure_reading()
    wait_until(lambda: not client._role_is_free)
    client.close()
    assert server.wait_closed(SOON)
    wait_until(lambda: not reader_threads(client))


def test_cutting_the_connection_wakes_every_caller(pair):
    client, _ = pair
    receivers = [run(client.recv) for _ in range(3)]
    wait_for_callers(client, 3)
    client.abort()
    for receiver in receivers:
        with pytest.raises(ConnectionClosedError):
            receiver.result()


def test_messages_before_the_close_frame_are_received_after_it(pair):
    client, server = pair
    for number in range(5):
        client.send(str(number))
    client.close()
    assert server.wait_closed(SOON)
    assert list(server) == list("01234")


# --- timeouts meanwhile ---


@pytest.mark.parametrize("reader", [False, True])
def test_timeouts_hold_whoever_reads(pair, reader):
    client, server = pair
    if reader:
        client._ensure_reading()
        wait_until(lambda: not client._role_is_free)
    with pytest.raises(TimeoutError, match=r"no message within 0\.05 s"):
        client.recv(0.05)
    with pytest.raises(TimeoutError, match=r"no message within 0\.05 s"):
        run(client.recv, 0.05).result()
    server.send("x")
    assert client.recv(SOON) == "x"


# --- what one segment brings ---


@pytest.mark.parametrize("where", ["main thread", "another thread"])
def test_ping_between_two_messages_of_one_segment_is_answered(where):
    with connection_and_socket(ping_interval=None) as (connection, peer):
        peer.sendall(build_frames([(TEXT, b"one"), (PING, b"?"), (TEXT, b"two"), (TEXT, b"three")]))

        def receive():
            return [connection.recv(SOON) for _ in range(3)]

        received = receive() if where == "main thread" else run(receive).result()
        assert received == ["one", "two", "three"]
        peer.settimeout(PROMPTLY)
        assert receive_exactly(peer, 7)[:2] == b"\x8a\x81"


def test_message_cut_anywhere_is_received_whole(pair):
    client, server = pair
    client.send("x" * 300_000)
    client.send("y")
    assert server.recv(SOON) == "x" * 300_000
    assert server.recv(SOON) == "y"


@pytest.mark.parametrize("kind", ["plain", "compressed"])
@pytest.mark.parametrize("where", ["main thread", "another thread", "nobody until later"])
@pytest.mark.parametrize("violation", [b"\x83\x00", b"\x81\x81\0\0\0\0x", b"\xb1\x00"])
def test_messages_before_a_violation_are_received_first(kind, where, violation):
    with kind_and_socket(kind) as (connection, peer):
        peer.sendall(build_frames([(TEXT, b"one"), (BINARY, b"two")]) + violation)
        answered = run(lambda: (receive_exactly(peer, 8), peer.shutdown(socket.SHUT_WR)))

        def receive():
            received = [connection.recv(SOON), connection.recv(SOON)]
            with pytest.raises(ConnectionClosedError) as caught:
                connection.recv(5)
            assert caught.value.sent.code == 1002
            return received

        if where == "nobody until later":
            wait_until(lambda: not connection.open)
        received = run(receive).result() if where == "another thread" else receive()
        assert received == ["one", b"two"]
        assert answered.result()[0][:1] == b"\x88"


@pytest.mark.parametrize("where", ["main thread", "another thread"])
def test_messages_before_a_close_frame_in_one_segment_are_received_first(where):
    with connection_and_socket() as (connection, peer):
        peer.sendall(build_frames([(TEXT, b"one"), (CLOSE, b"\x03\xe8"), (TEXT, b"never")]))
        receiver = run(list, connection) if where == "another thread" else None
        closer = run(lambda: (receive_exactly(peer, 8), peer.close()))
        received = list(connection) if receiver is None else receiver.result()
        assert received == ["one"]
        closer.result()


def test_frames_of_a_server_that_does_not_wait_for_the_client_are_received():
    early = build_frames([(TEXT, b"one"), (PING, b"?"), (TEXT, b"two")])
    with scripted_server(mute_after(lambda request: build_response(request) + early)) as server:
        ws = connect(server.uri, compression=None)
        assert [ws.recv(SOON), ws.recv(SOON)] == ["one", "two"]
        ws.abort()
        assert ws.wait_closed(SOON)


@pytest.mark.parametrize("where", ["main thread", "another thread", "the reader thread"])
def test_frames_that_came_with_the_opening_handshake_are_received(where):
    ours, peer = socket_pair()
    with peer:
        peer.settimeout(PROMPTLY)
        connection = Connection(ours, Protocol(Role.CLIENT), options=Options(ping_interval=None))
        early = build_frames([(TEXT, b"one"), (PING, b"?"), (TEXT, b"two")])
        connection.protocol.take_early = lambda: early + build_frame(TEXT, b"three")[:3]
        connection._start()
        if where == "the reader thread":
            assert receive_exactly(peer, 7)[:2] == b"\x8a\x81"
        peer.sendall(b"hree")

        def receive():
            return [connection.recv(SOON) for _ in range(3)]

        received = run(receive).result() if where == "another thread" else receive()
        assert received == ["one", "two", "three"]
        if where != "the reader thread":
            assert receive_exactly(peer, 7)[:2] == b"\x8a\x81"
        connection.abort()
        assert connection.wait_closed(SOON)


# --- backpressure ---


def test_nobody_reads_above_the_marks_and_all_is_received_in_the_end(pair):
    client, server = pair
    total = 3000
    sender = run(lambda: [client.send(f"{number:0500}") for number in range(total)])
    wait_until(server._is_paused)
    assert [int(server.recv(SOON)) for _ in range(total)] == list(range(total))
    sender.result()
