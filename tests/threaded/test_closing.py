"""The end of a connection, whatever the peer and other threads do."""

import collections
import contextlib
import itertools
import socket
import time

import pytest
from support.pairs import (
    SOON,
    connection_and_socket,
    connection_pair,
    receive_exactly,
    run,
    send_reset,
    wait_until,
)
from support.wire import build_frame

from syncws import (
    ConnectionClosedError,
    ConnectionClosedOK,
    ProtocolError,
    SendTimeout,
    State,
)
from syncws.sansio.state import Role
from syncws.threaded.deadline import clock

KEY = bytes(4)
HUGE = b"x" * (32 << 20)
CLOSE_FROM_CLIENT = b"\x88\x82\0\0\0\0\x03\xe8"
CLOSE_FROM_SERVER = b"\x88\x02\x03\xe8"


@pytest.fixture
def pair():
    with connection_pair(max_size=None) as ends:
        yield ends


@pytest.mark.parametrize("side", [0, 1])
def test_both_ends_know_how_the_connection_was_closed(pair, side):
    ours, theirs = pair[side], pair[1 - side]
    ours.close(4321, "so long")
    assert ours.closed
    assert theirs.wait_closed(SOON)
    for end in pair:
        assert (end.close_code, end.close_reason) == (4321, "so long")
    with pytest.raises(ConnectionClosedError) as caught:
        ours.recv()
    assert caught.value.rcvd_then_sent is False
    with pytest.raises(ConnectionClosedError) as caught:
        theirs.send("x")
    assert caught.value.rcvd_then_sent is True
    assert caught.value.rcvd.reason == "so long"


def test_close_is_idempotent_and_keeps_the_first_code(pair):
    client, _ = pair
    client.close(1001)
    client.close(4000, "too late")
    assert client.close_code == 1001


def test_close_without_a_code(pair):
    client, server = pair
    client.close(None)
    assert server.wait_closed(SOON)
    assert server.close_code == 1005
    with pytest.raises(ConnectionClosedOK):
        server.recv()


@pytest.mark.parametrize(
    ("code", "reason"), [(1006, ""), (999, ""), (1005, ""), (1000, "x" * 124), (None, "reason")]
)
def test_close_that_can_not_be_sent_changes_nothing(pair, code, reason):
    client, server = pair
    with pytest.raises(ProtocolError):
        client.close(code, reason)
    client.send("still open")
    assert server.recv(SOON) == "still open"


def test_both_ends_may_close_at_once(pair):
    closing = [run(end.close) for end in pair]
    for closer in closing:
        closer.result()
    for end in pair:
        with pytest.raises(ConnectionClosedOK):
            end.recv()


def test_many_threads_may_close_at_once(pair):
    client, server = pair
    closing = [run(client.close) for _ in range(10)]
    for closer in closing:
        closer.result()
    assert server.wait_closed(SOON)


def test_close_wakes_whoever_waits_for_a_message(pair):
    client, _ = pair
    waiting = [run(client.recv) for _ in range(3)]
    waiting.append(run(lambda: next(client.recv_streaming())))
    # One of them may be the one that reads.
    wait_until(lambda: len(client._inbox._waiters) + (not client._role_is_free) >= 4)
    client.close()
    for waiter in waiting:
        with pytest.raises(ConnectionClosedOK):
            waiter.result()


def test_close_returns_and_wakes_senders_where_the_peer_does_not_read():
    with connection_and_socket(close_timeout=0.3) as (connection, _peer):
        senders = [run(connection.send, HUGE) for _ in range(3)]
        receiver = run(connection.recv)
        wait_until(lambda: connection.stats.bytes_sent > 0)
        started = time.monotonic()
        connection.close()
        assert time.monotonic() - started < 5
        for blocked in (*senders, receiver):
            with pytest.raises(ConnectionClosedError) as caught:
                blocked.result()
            assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_close_returns_where_the_peer_never_answers(role):
    with connection_and_socket(role, close_timeout=0.2) as (connection, peer):
        receiver = run(connection.recv)
        connection.close()
        assert connection.closed
        assert connection.close_code == 1006
        with pytest.raises(ConnectionClosedError, match="no close frame received") as caught:
            receiver.result()
        assert str(caught.value.__cause__) == "timed out while closing connection"
        assert caught.value.sent.code == 1000
        assert receive_exactly(peer, 4 if role is Role.SERVER else 8)[:1] == b"\x88"
        assert peer.recv(1) == b""


def test_close_returns_where_the_peer_floods_and_nobody_receives():
    with connection_and_socket(close_timeout=SOON, max_queue=2) as (connection, peer):
        peer.sendall(b"\x81\x01x" * 1000)
        wait_until(lambda: connection._is_paused())
        closer = run(connection.close)
        assert receive_exactly(peer, 8)[:1] == b"\x88"
        peer.sendall(b"\x81\x01x" * 1000 + CLOSE_FROM_SERVER)
        peer.shutdown(socket.SHUT_WR)
        closer.result()
        assert connection.close_code == 1000


def test_close_ends_a_peer_that_drips_bytes():
    with connection_and_socket(close_timeout=0.2) as (connection, peer):
        closer = run(connection.close)
        for byte in b"\x82\x7e\xff\xff":
            peer.sendall(bytes((byte,)))
        closer.result()
        assert connection.close_code == 1006


def test_without_a_limit_close_waits_for_the_peer():
    with connection_and_socket(close_timeout=None) as (connection, peer):
        closer = run(connection.close)
        assert receive_exactly(peer, 8)[:1] == b"\x88"
        assert not closer.done()
        peer.sendall(CLOSE_FROM_SERVER)
        peer.close()
        closer.result()


def test_client_leaves_closing_tcp_to_the_server_but_not_forever():
    with connection_and_socket(Role.CLIENT, close_timeout=0.2) as (connection, peer):
        peer.sendall(CLOSE_FROM_SERVER)
        assert receive_exactly(peer, 8)[:1] == b"\x88"
        with pytest.raises(ConnectionClosedOK):
            connection.recv()
        assert peer.recv(1) == b""


def test_server_closes_tcp_first():
    with connection_and_socket(Role.SERVER) as (connection, peer):
        peer.sendall(CLOSE_FROM_CLIENT)
        assert receive_exactly(peer, 4) == CLOSE_FROM_SERVER
        assert peer.recv(1) == b""
        assert not connection.closed
        peer.close()
        assert connection.wait_closed(SOON)
        with pytest.raises(ConnectionClosedOK):
            connection.recv()


def test_peer_that_goes_away_in_the_middle_of_a_frame():
    with connection_and_socket() as (connection, peer):
        peer.sendall(b"\x82\x05abc")
        receiver = run(connection.recv)
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosedError, match="no close frame") as caught:
            receiver.result()
        assert isinstance(caught.value.__cause__, EOFError)
        assert "in the middle of a frame" in str(caught.value.__cause__)
        assert connection.close_code == 1006


def test_peer_that_resets_in_the_middle_of_a_frame():
    with connection_and_socket() as (connection, peer):
        peer.sendall(b"\x82\x05abc")
        wait_until(lambda: connection.stats.bytes_received)
        receiver = run(connection.recv)
        send_reset(peer)
        with pytest.raises(ConnectionClosedError) as caught:
            receiver.result()
        assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_abort_cuts_the_connection_at_once_and_wakes_everybody(pair):
    client, server = pair
    receiver = run(client.recv)
    sender = run(lambda: [client.send(HUGE) for _ in itertools.count()])
    taker = run(collections.deque, server, 0)
    client.abort()
    for blocked in (receiver, sender, taker):
        with pytest.raises(ConnectionClosedError):
            blocked.result()
    assert client.wait_closed(SOON)
    client.abort()


def test_fail_says_why_and_does_not_wait(pair):
    client, server = pair
    client.fail(1008, "r" * 200)
    assert not client.open
    with pytest.raises(ConnectionClosedError) as caught:
        server.recv(SOON)
    assert caught.value.rcvd.code == 1008
    assert caught.value.rcvd.reason == "r" * 123
    assert client.wait_closed(SOON)


def test_failing_where_the_peer_does_nothing_ends_within_the_close_timeout():
    with connection_and_socket(close_timeout=0.1) as (connection, _peer):
        connection.fail(1011)
        assert connection.wait_closed(SOON)


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda connection, peer: connection.close(), 1000),
        (lambda connection, peer: connection.fail(), 1011),
        (lambda connection, peer: peer.sendall(b"\x81\x02\xff\xff"), 1007),
    ],
    ids=["close", "fail", "invalid frame"],
)
def test_without_any_time_to_wait_the_close_frame_is_sent_all_the_same(act, code):
    for _ in range(4):  # what cuts the connection is another thread
        with connection_and_socket(close_timeout=0) as (connection, peer):
            act(connection, peer)
            head = receive_exactly(peer, 8)
            assert head[0] == 0x88
            assert bytes(a ^ b for a, b in zip(head[2:6], head[6:8])) == code.to_bytes(2, "big")
            assert connection.wait_closed(SOON)


def test_invalid_close_frame_fails_the_connection():
    with connection_and_socket() as (connection, peer):
        peer.sendall(b"\x88\x01x")
        with pytest.raises(ConnectionClosedError, match="1002") as caught:
            connection.recv()
        assert isinstance(caught.value.__cause__, ProtocolError)


def test_wait_closed_says_whether_it_is():
    with connection_pair() as (client, server):
        assert not server.wait_closed(0)
        waiter = run(server.wait_closed)
        client.close()
        assert waiter.result() is True


@pytest.mark.parametrize(
    ("exc", "code"), [(None, 1000), (ValueError, 1011), (KeyboardInterrupt, 1001)]
)
def test_block_closes_with_a_code_for_how_it_is_left(pair, exc, code):
    client, server = pair

    def block():
        with client as entered:
            assert entered is client
            if exc is not None:
                raise exc

    if exc is None:
        block()
    else:
        with pytest.raises(exc):
            block()
    assert server.wait_closed(SOON)
    assert server.close_code == code


def test_interrupted_block_does_not_wait_long_for_the_peer():
    with connection_and_socket(close_timeout=60) as (connection, _peer):
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt), connection:
            raise KeyboardInterrupt
        assert connection.closed
        assert time.monotonic() - started < 5


def test_break_out_of_a_loop_over_a_generator_closes_normally(pair):
    client, server = pair

    def messages():
        with client:
            yield from client

    server.send("x")
    generator = messages()
    assert next(generator) == "x"
    generator.close()
    assert server.wait_closed(SOON)
    assert server.close_code == 1000


@pytest.mark.parametrize("reads", ["a caller", "the reader thread"])
def test_internal_failure_of_who_reads_closes_the_connection(pair, caplog, reads):
    client, server = pair

    def fail(frame):
        raise ZeroDivisionError("a defect")

    client._control_received = fail
    receivers = [run(client.recv)] if reads == "a caller" else []
    server.ping()
    assert server.wait_closed(SOON)
    receivers = receivers or [run(client.recv)]
    with pytest.raises(ConnectionClosedError) as caught:
        receivers[0].result()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "reading failed" in caplog.text


def clog(connection, peer):
    """Fill the way to the peer with pings, which never block; return how many bytes these are."""
    # The kernel lets buffers of its own choice grow, and would take more later.
    connection._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sent = 0
    while connection.buffered_amount < 1 << 16:
        connection.ping(sent.to_bytes(125, "big"))
        sent += 1
    return sent * 131


def test_flush_waits_for_what_a_slow_peer_keeps_waiting():
    with connection_and_socket(Role.CLIENT) as (connection, peer):
        connection.flush()
        size = clog(connection, peer)
        with pytest.raises(TimeoutError, match="the peer did not read"):
            connection.flush(0.05)
        assert connection.open
        flusher = run(connection.flush)
        receive_exactly(peer, size)
        flusher.result()
        assert connection.buffered_amount == 0


def test_flush_of_a_connection_that_breaks():
    with connection_and_socket(Role.CLIENT) as (connection, peer):
        clog(connection, peer)
        flusher = run(connection.flush)
        peer.close()
        with pytest.raises(ConnectionClosedError):
            flusher.result()


def test_what_the_kernel_does_not_take_is_written_later_without_anybody_asking():
    with connection_and_socket(Role.CLIENT) as (connection, peer):
        sent = 0
        while not connection.buffered_amount:
            connection.ping(sent.to_bytes(125, "big"))
            sent += 1
        receive_exactly(peer, sent * 131)
        wait_until(lambda: not connection.buffered_amount)
        assert connection.state is State.OPEN


def test_failing_shortens_a_close_that_waits():
    with connection_and_socket(close_timeout=10 * SOON) as (connection, _peer):
        closer = run(connection.close)
        wait_until(lambda: connection.state is State.CLOSING)
        connection.fail(1011)
        assert connection.wait_closed(SOON)
        closer.result()


def test_flush_that_times_out_leaves_the_rest_to_the_timekeeper():
    with connection_and_socket(Role.CLIENT, write_limit=1 << 22) as (connection, peer):
        sent = 0
        while connection.buffered_amount < 1 << 20:  # more than the kernel takes later
            connection.ping(sent.to_bytes(125, "big"))
            sent += 1
        with pytest.raises(TimeoutError):
            connection.flush(0.3)  # the timekeeper finds it at work, and leaves
        receive_exactly(peer, sent * 131)
        wait_until(lambda: not connection.buffered_amount)


def test_control_frames_that_came_during_a_send_that_times_out_are_written():
    assert any(ping_during_a_send(timeout) for timeout in (0.3, 3, 10))


def ping_during_a_send(timeout):
    """Return whether the ping came in time, on a machine that may be busy."""
    with connection_and_socket(Role.SERVER) as (connection, peer):
        size = 0
        # Nothing more may go to the kernel, but all of it is there: no backlog.
        sock = connection._transport.sock
        with contextlib.suppress(BlockingIOError):
            while True:
                size += sock.send(b"\x82\x00" * 50_000, socket.MSG_DONTWAIT)
        sender = run(connection.send, b"x", timeout=timeout)
        wait_until(lambda: sender.done() or not free(connection._writer.lock))
        peer.sendall(b"\x89\x80\0\0\0\0")
        wait_until(lambda: sender.done() or connection.protocol.has_output)
        came = connection.protocol.has_output
        with pytest.raises(SendTimeout):
            sender.result()
        receive_exactly(peer, size)
        assert receive_exactly(peer, 2) == b"\x8a\x00"
        return came


def free(lock):
    return run(lambda: lock.acquire(blocking=False) and lock.release() is None).result()


def test_timekeeper_that_finds_a_writer_at_work_comes_back():
    with connection_and_socket(Role.CLIENT) as (connection, peer):
        sent = 0
        while not connection.buffered_amount:
            connection.ping(sent.to_bytes(125, "big"))
            sent += 1
        writer = connection._writer
        with writer.lock:
            wait_until(lambda: writer._timer is None or writer._timer.when < clock())
        receive_exactly(peer, sent * 131)
        wait_until(lambda: not connection.buffered_amount)


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_after_both_close_frames_the_peer_has_a_second_to_close_tcp(role):
    with connection_and_socket(role, close_timeout=60) as (connection, peer):
        closer = run(connection.close)
        peer.sendall(CLOSE_FROM_SERVER if role is Role.CLIENT else CLOSE_FROM_CLIENT)
        closer.result()
        with pytest.raises(ConnectionClosedOK) as caught:
            connection.recv()
        assert caught.value.__cause__ is None


def test_close_frame_that_waits_for_a_large_message_is_sent_after_it():
    with connection_and_socket(Role.SERVER, close_timeout=SOON) as (connection, peer):
        sender = run(connection.send, HUGE)
        wait_until(lambda: connection.stats.bytes_sent)
        peer.sendall(CLOSE_FROM_CLIENT)
        wait_until(lambda: not connection.open)
        started = time.monotonic()
        wait_until(lambda: time.monotonic() > started + 1.5)  # longer than it would linger
        receive_exactly(peer, len(HUGE) + 10)
        sender.result()
        assert receive_exactly(peer, 4) == CLOSE_FROM_SERVER
        peer.close()
        with pytest.raises(ConnectionClosedOK):
            connection.recv()


@pytest.mark.parametrize("fragmented", [False, True])
def test_what_is_received_while_closing_has_no_gaps(fragmented):
    """Where there is no room messages are dropped; so are those that follow them."""

    def send(*numbers):
        for number in numbers:
            data = str(number).encode()
            if fragmented:
                remote.sendall(build_frame(0x01, data[:1], KEY) + build_frame(0x80, data[1:], KEY))
            else:
                remote.sendall(build_frame(0x81, data, KEY))
        sent.extend(numbers)
        frames = len(sent) * (1 + fragmented)
        wait_until(lambda: ws.stats.frames_received == frames)

    sent = []
    with connection_and_socket(Role.SERVER, max_queue=2) as (ws, remote):
        send(0, 1)
        closing = run(ws.close)
        assert receive_exactly(remote, 4) == CLOSE_FROM_SERVER
        send(2, 3, 4)
        assert ws.recv(SOON) == "0"
        send(5, 6)
        remote.sendall(CLOSE_FROM_CLIENT)
        closing.result()
        assert list(ws) == ["1", "2"]
