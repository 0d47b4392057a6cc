"""wait(): which of several connections have a message, without taking it."""

import contextlib
import math
import socket
import threading
import time

import pytest
from support.kinds import KINDS, kind_and_socket, pair_of
from support.pairs import SOON, connection_and_socket, connection_pair, run, wait_until
from support.serving import serving
from support.waiting import WHERE, assert_nothing_is_left, bells, call, receive_all
from support.wire import build_frame, build_frames

import syncws
from syncws import ConnectionClosed, State, wait
from syncws.threaded import connection as connection_module
from syncws.threaded import watch

TEXT, CONT, FIN, CLOSE, PING = 0x01, 0x00, 0x80, 0x88, 0x89


@pytest.fixture(params=KINDS)
def pair(request):
    with pair_of(request.param) as pair:
        yield pair


@pytest.fixture
def no_look(monkeypatch):
    """No look at connections that nobody reads from: whoever waits gets no help."""
    monkeypatch.setattr(watch._watch, "add", lambda connection: None)


# --- what is returned ---


@pytest.mark.parametrize("where", WHERE)
def test_message_makes_a_connection_ready_and_stays_there(pair, where):
    client, server = pair
    client.send("x")
    for _ in range(3):
        assert call(where, wait, [server], SOON) == [server]
    assert server.recv(0) == "x"
    assert call(where, wait, [server], 0) == []


@pytest.mark.parametrize("where", WHERE)
def test_message_that_comes_meanwhile_ends_the_wait(pair, where):
    client, server = pair

    def send():
        wait_until(lambda: bells(client, server) == 2)
        server.send("x")

    for _ in range(5):
        sender = run(send)
        assert call(where, wait, [server, client]) == [client]
        sender.result()
        assert client.recv(0) == "x"
    assert_nothing_is_left(client, server)


@pytest.mark.parametrize("where", WHERE)
def test_looking_finds_what_receiving_without_waiting_would(pair, where):
    client, server = pair
    for number in range(20):
        assert call(where, wait, [client], 0) == []
        server.send(str(number))
        if client._direct or (where == "another thread" and client._role_is_free):
            # At once, unless the test was held up, and the reader thread reads meanwhile.
            assert (
                call(where, wait, [client], 0) == [client]
                or client._reading.reader.thread is not None
            )
        wait_until(lambda: call(where, wait, [client], 0) == [client])
        assert client.recv(0) == str(number)


@pytest.mark.parametrize("where", WHERE)
def test_large_message_counts_once_it_is_there(pair, where):
    client, server = pair
    sender = run(client.send, "x" * 1_000_000)
    assert call(where, wait, [server], SOON) == [server]
    assert len(server.recv(0)) == 1_000_000
    sender.result()


def test_all_that_are_ready_are_returned_in_the_order_given():
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair_of(kind)) for kind in KINDS * 2]
        clients = [client for client, _ in pairs]
        for number in (4, 1, 2):
            pairs[number][1].send("x")
        wait_until(lambda: len(wait(clients, 0)) == 3)
        assert wait(clients) == [clients[1], clients[2], clients[4]]
        assert wait(clients[::-1]) == [clients[4], clients[2], clients[1]]
        assert wait([clients[0], clients[3]], 0) == []


def test_connections_may_be_in_any_iterable_and_count_once(pair):
    client, server = pair
    client.send("x")
    server.send("y")
    wait_until(lambda: len(wait(pair, 0)) == 2)
    assert wait(iter([client, server])) == [client, server]
    assert wait(dict.fromkeys([server, client])) == [server, client]
    assert set(wait({client, server})) == {client, server}
    assert wait([server, client, server, client]) == [server, client]


def test_one_connection_twice_is_waited_for_once(pair):
    client, server = pair
    waiting = run(wait, [client, client])
    wait_until(lambda: bells(client) == 1)
    server.send("x")
    assert waiting.result() == [client]


def test_public_connections_of_both_sides():
    def echo(ws):
        while wait([ws]) == [ws]:
            ws.send(ws.recv(0))

    with contextlib.ExitStack() as stack:
        uri = stack.enter_context(serving(echo)).uri
        one = stack.enter_context(syncws.connect(uri))
        other = stack.enter_context(syncws.connect(uri, compression=None))
        other.send("x")
        assert wait([one, other], SOON) == [other]
        one.send("y")
        assert other.recv(0) == "x"
        assert wait([one, other], SOON) == [one]


# --- arguments ---


@pytest.mark.parametrize("timeout", [None, 0, SOON])
def test_nothing_is_waited_for_without_connections(timeout):
    assert wait([], timeout) == []


@pytest.mark.parametrize("wrong", ["x", None, 3])
def test_what_is_not_a_connection_is_named(pair, wrong):
    with pytest.raises(TypeError, match=f"^{wrong!r} is not a connection"):
        wait([*pair, wrong])


def test_single_connection_is_not_taken_for_an_iterable_of_them(pair):
    client, server = pair
    server.send("x")
    with pytest.raises(TypeError, match="is one connection"):
        wait(client)
    assert client.recv(SOON) == "x"


def test_timeout_is_a_number(pair):
    with pytest.raises(TypeError):
        wait(pair, "1")


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("timeout", [-1, -math.inf, 0, 0.0, math.nan])
def test_without_time_it_only_looks(pair, where, timeout):
    assert call(where, wait, pair, timeout) == []
    assert_nothing_is_left(*pair)


@pytest.mark.parametrize("where", WHERE)
def test_nothing_is_returned_when_the_time_is_over(pair, where):
    started = time.monotonic()
    assert call(where, wait, pair, 0.3) == []
    assert 0.3 <= time.monotonic() - started < SOON
    assert_nothing_is_left(*pair)


# --- closed connections ---


@pytest.mark.parametrize("end", ["close", "abort", "fail"])
@pytest.mark.parametrize("who", ["this end", "the peer"])
def test_closed_connection_is_ready(pair, who, end):
    client, server = pair
    getattr(client if who == "this end" else server, end)()
    assert client.wait_closed(SOON)
    for _ in range(2):
        assert wait([server, client][who == "this end" :], SOON)[-1] is client
        with pytest.raises(ConnectionClosed):
            client.recv(0)


@pytest.mark.parametrize("end", ["close", "abort", "fail"])
@pytest.mark.parametrize("who", ["this end", "the peer"])
@pytest.mark.parametrize("where", WHERE)
def test_closing_ends_the_wait_once_it_is_done(no_look, pair, who, end, where):
    client, server = pair

    def wait_for_end():
        ready = wait([client])
        return ready, client.closed

    def finish():
        wait_until(lambda: bells(client))
        getattr(client if who == "this end" else server, end)()

    server._ensure_reading()
    finishing = run(finish)
    assert call(where, wait_for_end) == ([client], True)
    finishing.result()
    with pytest.raises(ConnectionClosed):
        client.recv(0)
    assert_nothing_is_left(client)


def test_connection_that_is_closing_is_not_ready_yet():
    with connection_and_socket(close_timeout=SOON) as (connection, peer):
        closing = run(connection.close)
        wait_until(lambda: connection.state is State.CLOSING)
        assert wait([connection], 0.1) == []
        waiting = run(wait, [connection])
        wait_until(lambda: bells(connection))
        peer.sendall(build_frame(CLOSE, b"\x03\xe8"))
        peer.close()
        assert waiting.result() == [connection]
        assert connection.closed
        closing.result()


def test_messages_before_the_end_come_first(pair):
    client, server = pair
    client.send("one")
    client.send("two")
    client.close()
    received = {server: []}
    receive_all([server], received)
    assert received[server] == ["one", "two"]


@pytest.mark.parametrize("kind", ["plain", "compressed"])
@pytest.mark.parametrize("where", WHERE)
def test_messages_before_a_violation_come_first(no_look, monkeypatch, kind, where):
    # The program gets time to answer them, but it comes back for more: no need to use that up.
    monkeypatch.setattr(connection_module, "FAILURE_GRACE", 10 * SOON)
    with kind_and_socket(kind) as (connection, peer):
        received = {connection: []}
        peer.sendall(build_frames([(FIN | TEXT, b"one"), (FIN | TEXT, b"two")]) + b"\x83\x00")
        receiver = run(lambda: peer.recv(1000) and peer.close())
        call(where, receive_all, [connection], received)
        assert received[connection] == ["one", "two"]
        assert connection.close_exc.sent.code == 1002
        receiver.result()


# --- what comes in pieces, and what is no message ---


@pytest.mark.parametrize("kind", ["plain", "compressed"])
@pytest.mark.parametrize("where", WHERE)
def test_incomplete_message_does_not_count(no_look, kind, where):
    with kind_and_socket(kind) as (connection, peer):
        for opcode, data in ((TEXT, b"a"), (PING, b"?"), (CONT, b"b")):
            peer.sendall(build_frame(opcode, data))
            assert call(where, wait, [connection], 0.02) == []
        waiting = run(wait, [connection])
        wait_until(lambda: bells(connection))
        last = build_frame(FIN | CONT, b"c")
        peer.sendall(last[:-1])
        assert call(where, wait, [connection], 0.02) == []
        assert not waiting.done()
        peer.sendall(last[-1:])
        assert waiting.result() == [connection]
        assert connection.recv(0) == "abc"


@pytest.mark.parametrize("where", WHERE)
def test_pings_are_answered_while_waiting(pair, where):
    client, server = pair
    waiting = run(wait, [client])
    wait_until(lambda: bells(client))
    assert call(where, lambda: server.ping().wait(SOON))
    assert not waiting.done()
    server.send("x")
    assert waiting.result() == [client]


@pytest.mark.parametrize("kind", ["plain", "compressed"])
@pytest.mark.parametrize("where", WHERE)
def test_peer_that_sends_no_end_of_pings_holds_nobody_up(kind, where):
    with kind_and_socket(kind) as (connection, peer), connection_pair() as (client, server):
        stop = threading.Event()

        def pour():
            pings = build_frame(PING, b"?" * 125) * 500
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    peer.sendall(pings)

        def drain():
            with contextlib.suppress(OSError):
                while peer.recv(1 << 16):
                    pass

        pouring = [run(pour), run(drain)]
        try:
            for _ in range(5):
                assert call(where, wait, [connection, client], 0) == []
            server.send("x")
            assert call(where, wait, [connection, client], SOON) == [client]
        finally:
            stop.set()
            connection.abort()
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            for running in pouring:
                running.result()
