"""Keepalive, by a clock that the tests move."""

import threading

import pytest
from support.pairs import (
    SOON,
    connection_and_socket,
    connection_pair,
    receive_exactly,
    run,
    wait_until,
)

from syncws import ConnectionClosedError
from syncws.sansio.state import Role
from syncws.threaded import keepalive, pings, timekeeper
from syncws.threaded.keepalive import Keepalive


class Clock:
    """Time and timers under control."""

    def __init__(self):
        self.now = 1000.0
        self.timers = []

    def __call__(self):
        return self.now

    def call_later(self, delay, callback):
        timer = timekeeper.Timer(self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds):
        """Let time pass, running what becomes due."""
        end = self.now + seconds
        while True:
            due = [timer for timer in self.timers if timer.callback and timer.when <= end]
            if not due:
                break
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.callback()
        self.now = end

    def armed(self):
        return any(timer.callback for timer in self.timers)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(keepalive, "clock", clock)
    monkeypatch.setattr(keepalive, "call_later", clock.call_later)
    monkeypatch.setattr(pings, "clock", clock)
    return clock


def ping_on(peer):
    """Read one ping of a server; return its payload."""
    assert receive_exactly(peer, 2) == b"\x89\x04"
    return receive_exactly(peer, 4)


def pong(peer, connection, payload):
    received = connection.stats.frames_received
    peer.sendall(b"\x8a\x84\0\0\0\0" + payload)
    ping = connection._keepalive._ping
    assert ping.data == payload
    assert ping.wait(SOON)
    assert connection.stats.frames_received == received + 1


def test_ping_is_sent_each_interval_while_it_is_answered(clock):
    with connection_and_socket(Role.SERVER, ping_interval=20, ping_timeout=20) as (ws, peer):
        clock.advance(19.9)
        assert ws.stats.bytes_sent == 0
        clock.advance(0.2)
        for _ in range(5):
            pong(peer, ws, ping_on(peer))
            sent = ws.stats.bytes_sent
            clock.advance(19)
            assert ws.stats.bytes_sent == sent
            clock.advance(1)
        assert ws.open


def first_pings(clock, monkeypatch, count, alive):
    """When connections that open at the same time ping for the first time, with so many others."""
    monkeypatch.setattr(keepalive.lifecycle, "count_alive", lambda: alive)
    for _ in range(count):
        Keepalive(None, 20, 20).start()
    return sorted(timer.when - clock.now for timer in clock.timers)


def test_few_connections_ping_after_an_interval(clock, monkeypatch):
    assert first_pings(clock, monkeypatch, 10, alive=keepalive.SPREAD_ABOVE) == [20] * 10


def test_first_pings_of_many_lie_evenly_in_the_second_half_of_the_interval(clock, monkeypatch):
    pings = first_pings(clock, monkeypatch, 1000, alive=keepalive.SPREAD_ABOVE + 1)
    assert 10 <= pings[0] < 10.1
    assert 19.9 < pings[-1] <= 20
    assert max(later - earlier for earlier, later in zip(pings, pings[1:])) < 0.03


@pytest.mark.parametrize(("interval", "timeout"), [(20, 5), (5, 20), (20, 20)])
def test_peer_that_does_not_answer_is_failed_after_the_timeout(clock, interval, timeout):
    with connection_and_socket(Role.SERVER, ping_interval=interval, ping_timeout=timeout) as (
        ws,
        peer,
    ):
        receiver = run(ws.recv)
        clock.advance(interval)
        ping_on(peer)
        clock.advance(timeout - 0.1)
        assert ws.open
        clock.advance(0.1)
        with pytest.raises(ConnectionClosedError, match="keepalive ping timeout") as caught:
            receiver.result()
        assert caught.value.sent.code == 1011
        assert str(caught.value.__cause__) == "no pong came in time"
        assert receive_exactly(peer, 26)[2:] == b"\x03\xf3keepalive ping timeout"
        assert peer.recv(1) == b""


def test_quick_answers_keep_the_interval_where_the_timeout_is_shorter(clock):
    with connection_and_socket(Role.SERVER, ping_interval=20, ping_timeout=5) as (ws, peer):
        clock.advance(20)
        pong(peer, ws, ping_on(peer))
        sent = ws.stats.bytes_sent
        clock.advance(19)
        assert ws.stats.bytes_sent == sent
        clock.advance(1)
        ping_on(peer)


def test_late_answers_keep_the_interval_where_the_timeout_is_longer(clock):
    with connection_and_socket(Role.SERVER, ping_interval=5, ping_timeout=100) as (ws, peer):
        clock.advance(5)
        payload = ping_on(peer)
        clock.advance(7)
        pong(peer, ws, payload)
        sent = ws.stats.bytes_sent
        clock.advance(2.9)
        assert ws.stats.bytes_sent == sent
        clock.advance(0.1)
        pong(peer, ws, ping_on(peer))


def test_without_a_timeout_pings_go_on_and_nothing_fails(clock):
    with connection_and_socket(Role.SERVER, ping_interval=20, ping_timeout=None) as (ws, peer):
        for _ in range(50):
            clock.advance(20)
            payload = ping_on(peer)
        assert ws.open
        assert list(ws._pings._pings) == [payload]  # older ones don't pile up
        pong(peer, ws, payload)
        clock.advance(20)
        ping_on(peer)


def test_without_a_timeout_pings_do_not_pile_up_behind_a_frame(clock):
    with connection_and_socket(Role.SERVER, ping_interval=20, ping_timeout=None) as (ws, peer):
        sending = run(ws.send, bytes(1 << 26))
        peer.recv(1)
        clock.advance(1000)
        assert ws.protocol.output_size == 6
        ws.abort()
        with pytest.raises(ConnectionClosedError):
            sending.result()


def test_no_interval_is_no_keepalive(clock):
    with connection_and_socket(Role.SERVER, ping_interval=None) as (ws, _peer):
        clock.advance(1000)
        assert not clock.armed()
        assert ws.stats.bytes_sent == 0


def test_time_does_not_run_while_we_do_not_read(clock):
    with connection_and_socket(Role.SERVER, ping_interval=20, ping_timeout=5, max_queue=1) as (
        ws,
        peer,
    ):
        clock.advance(20)
        payload = ping_on(peer)
        for _ in range(3):
            peer.sendall(b"\x81\x81\0\0\0\0x")
        wait_until(ws._is_paused)
        clock.advance(100)
        assert ws.open
        for _ in range(3):
            assert ws.recv(SOON) == "x"
        wait_until(lambda: not ws._is_paused())
        clock.advance(4)
        assert ws.open
        pong(peer, ws, payload)
        clock.advance(16)
        ping_on(peer)
        clock.advance(5)
        assert ws.wait_closed(SOON)


def test_pong_may_come_after_a_frame_that_takes_longer_than_the_timeout(clock):
    with connection_and_socket(Role.SERVER, ping_interval=20, ping_timeout=5) as (ws, peer):
        peer.sendall(b"\x82\x85\0\0\0\0")
        received = 6
        clock.advance(20)
        payload = ping_on(peer)
        for byte in b"abcde":
            clock.advance(4)
            peer.sendall(bytes((byte,)))
            received += 1
            assert byte
            wait_until(lambda: ws.stats.bytes_received == received)  # noqa: B023
        assert ws.open
        pong(peer, ws, payload)
        assert ws.recv(SOON) == b"abcde"


def test_pong_may_stand_behind_messages_that_a_slow_consumer_has_not_read(clock):
    with connection_and_socket(Role.SERVER, ping_interval=20, ping_timeout=5) as (ws, peer):
        ws._look = lambda: None  # the reader thread reads for the pong, until it serves a caller
        clock.advance(20)
        ping_on(peer)
        wait_until(lambda: not ws._role_is_free)
        # The caller reads now and then; what it reads is below the marks.
        for number in range(4):
            caller = run(ws.recv, SOON)
            wait_until(lambda: ws._queue.waiting if number == 0 else not ws._role_is_free)  # noqa: B023
            peer.sendall(b"\x82\x81\0\0\0\0x")
            assert caller.result() == b"x"
            wait_until(lambda: ws._role_is_free)
            clock.advance(4)
        assert ws.open
        clock.advance(15)
        assert ws.wait_closed(SOON)


def test_frame_that_makes_no_progress_is_no_excuse(clock):
    with connection_and_socket(Role.SERVER, ping_interval=20, ping_timeout=5) as (ws, peer):
        peer.sendall(b"\x82\x85\0\0\0\0")
        wait_until(lambda: ws.stats.bytes_received == 6)
        clock.advance(25)
        assert ws.wait_closed(SOON)
        assert ws.close_exc.sent.code == 1011


def test_timers_end_with_the_connection(clock):
    with connection_pair(ping_interval=20) as (client, server):
        client.close()
        assert server.wait_closed(SOON)
        assert not clock.armed()
        clock.advance(100)


def test_keepalive_that_was_stopped_does_nothing_more(clock):
    with connection_and_socket(Role.SERVER, ping_interval=None) as (ws, _peer):
        keepalive = Keepalive(ws, 20, 20)
        keepalive.stop()
        keepalive.start()
        assert not clock.armed()
        keepalive._tick()
        assert ws.stats.bytes_sent == 0


def test_real_keepalive_of_both_ends():
    with connection_pair(ping_interval=0.02, ping_timeout=SOON) as (client, server):
        wait_until(lambda: client.latency and server.latency)
        assert client.open
        assert server.open


def test_connection_that_is_closing_does_not_stop_the_time_of_others():
    with connection_and_socket(Role.CLIENT, ping_interval=None, close_timeout=None) as (ws, peer):
        closer = run(ws.close)
        wait_until(lambda: not ws.open)
        timekeeper.call_later(0, Keepalive(ws, 20, 20)._tick)  # finds it closing
        later = threading.Event()
        timekeeper.call_later(0.05, later.set)
        assert later.wait(SOON)
        assert not ws.closed
        peer.close()
        closer.result()
