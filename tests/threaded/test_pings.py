import itertools

import pytest
from support.pairs import (
    SOON,
    connection_and_socket,
    connection_pair,
    receive_exactly,
    run,
    wait_until,
)

from syncws import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedOK,
    ProtocolError,
    SlowPeer,
)
from syncws.sansio.state import Role
from syncws.threaded.pings import Ping

PONG_FOR = {"hi": b"\x8a\x02hi", "abc": b"\x8a\x03abc", "x": b"\x8a\x01x"}


def test_ping_is_answered_and_measures_latency():
    with connection_pair() as (client, server):
        for end in (client, server):
            ping = end.ping()
            assert ping.wait(SOON)
            assert ping.is_set()
            assert ping.latency == end.latency > 0


def test_ping_without_an_answer_times_out():
    with connection_and_socket() as (connection, peer):
        ping = connection.ping("hi")
        assert not ping.wait(0.01)
        assert not ping.is_set()
        assert ping.latency is None
        assert receive_exactly(peer, 8)[:2] == b"\x89\x82"
        peer.sendall(PONG_FOR["hi"])
        assert ping.wait(SOON)


def test_ping_data_is_what_was_asked_for():
    with connection_and_socket(Role.SERVER) as (connection, peer):
        connection.ping("né")
        connection.ping(bytearray(b"x"))
        assert receive_exactly(peer, 8) == b"\x89\x03n\xc3\xa9\x89\x01x"


def test_random_pings_differ():
    with connection_and_socket() as (connection, _peer):
        assert connection.ping().data != connection.ping().data


def test_second_ping_with_the_same_payload_waits_for_the_first():
    with connection_and_socket() as (connection, peer):
        first = connection.ping("hi")
        with pytest.raises(ConcurrencyError, match="hi"):
            connection.ping("hi")
        peer.sendall(PONG_FOR["hi"])
        assert first.wait(SOON)
        connection.ping("hi")


def test_too_long_a_ping_is_refused_and_forgotten():
    with connection_and_socket() as (connection, _peer):
        for _ in range(2):
            with pytest.raises(ProtocolError, match="125"):
                connection.ping("x" * 126)
            with pytest.raises(ProtocolError, match="125"):
                connection.pong("x" * 126)


def test_pong_answers_older_pings_too_but_not_younger_ones():
    with connection_and_socket() as (connection, peer):
        older, middle, younger = (connection.ping(data) for data in ("hi", "abc", "x"))
        peer.sendall(PONG_FOR["abc"])
        assert middle.wait(SOON)
        assert older.wait(0)
        assert not younger.wait(0)


def test_unsolicited_pongs_are_ignored():
    with connection_pair() as (client, server):
        client.pong()
        client.pong("nobody asked")
        client.send("x")
        assert server.recv(SOON) == "x"


def test_waiting_for_a_pong_ends_with_the_connection():
    with connection_and_socket() as (connection, _peer):
        ping = connection.ping()
        waiting = [run(ping.wait) for _ in range(3)]
        wait_until(lambda: len(ping._done._waiters) == 3)
        connection.abort()
        for waiter in waiting:
            with pytest.raises(ConnectionClosed):
                waiter.result()
        with pytest.raises(ConnectionClosed):
            ping.wait(0)


def test_closed_connection_neither_pings_nor_pongs():
    with connection_pair() as (client, _server):
        client.close()
        with pytest.raises(ConnectionClosedOK):
            client.ping()
        with pytest.raises(ConnectionClosedOK):
            client.pong()


def test_pings_are_answered_while_messages_pile_up_below_the_marks():
    with connection_pair() as (client, server):
        for _ in range(10):
            client.send("unread")
        assert client.ping().wait(SOON)
        assert server.recv(SOON) == "unread"


def test_each_ping_is_answered_where_nobody_has_to_wait():
    with connection_and_socket(Role.SERVER) as (_connection, peer):
        peer.sendall(b"".join(b"\x89\x81\0\0\0\0%d" % number for number in range(10)))
        assert receive_exactly(peer, 30) == b"".join(b"\x8a\x01%d" % n for n in range(10))


def test_only_the_newest_pong_waits_for_a_writer():
    with connection_and_socket(Role.SERVER) as (connection, peer):
        sender = run(connection.send, b"x" * (32 << 20))
        wait_until(lambda: connection.stats.bytes_sent)
        peer.sendall(b"".join(b"\x89\x81\0\0\0\0%d" % number for number in range(10)))
        wait_until(lambda: connection.stats.frames_received == 10)
        assert not sender.done()
        receive_exactly(peer, (32 << 20) + 10)
        sender.result()
        connection.send("end")
        assert receive_exactly(peer, 8) == b"\x8a\x019\x81\x03end"


def test_peer_that_sends_pings_and_does_not_read_costs_no_memory(monkeypatch):
    monkeypatch.setattr("syncws.threaded.floods.MAX_CHEAP_FRAMES", 1_000_000)
    with connection_and_socket(Role.SERVER, close_timeout=1) as (connection, peer):
        burst = b"\x89\xfd\0\0\0\0" + b"x" * 125
        for _ in range(200):
            peer.sendall(burst * 1000)  # 25 MB of pongs: far more than the kernel takes
        wait_until(lambda: connection.stats.frames_received == 200_000)
        assert connection.buffered_amount < 100_000
        assert connection.open


def test_pings_and_pongs_that_wait_for_a_slow_peer_are_limited():
    with connection_and_socket(Role.CLIENT, write_limit=10_000) as (connection, peer):
        numbers = itertools.count()

        def flood(call):
            while True:
                call(str(next(numbers)).zfill(125))

        for call in (connection.ping, connection.pong):
            with pytest.raises(SlowPeer, match="more than the limit of 10000") as caught:
                flood(call)
            assert 10_000 < caught.value.buffered < 20_000
        assert connection.open
        size = connection.stats.bytes_sent + connection.buffered_amount
        receive_exactly(peer, size)
        wait_until(lambda: not connection.buffered_amount)
        connection.ping()


def test_latency_is_known_before_whoever_waits_for_the_pong_is_woken(monkeypatch):
    def note(ping, now):
        known.append(client.latency)
        answer(ping, now)

    known, answer = [], Ping._answer
    monkeypatch.setattr(Ping, "_answer", note)
    with connection_pair() as (client, _):
        ping = client.ping()
        assert ping.wait(SOON)
        assert known == [ping.latency]
