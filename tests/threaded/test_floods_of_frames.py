"""Frames that cost their sender nothing, in large numbers."""

import socket

import pytest
from support.kinds import KINDS, pair_of
from support.pairs import SOON, connection_and_socket, run, wait_until
from support.wire import KEY, build_frame

from syncws import ConnectionClosedError
from syncws.sansio.state import Role
from syncws.threaded import floods

PING, PONG, TEXT, CONTINUATION = 0x89, 0x8A, 0x01, 0x00


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(floods, "MAX_CHEAP_FRAMES", 100)
    monkeypatch.setattr(floods, "CHEAP_FRAMES_TIME", 1000.0)


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
@pytest.mark.parametrize("first", [PING, PONG, CONTINUATION])
def test_a_flood_fails_the_connection_with_1008(role, first):
    with connection_and_socket(role) as (ws, peer):
        key = KEY if role is Role.SERVER else None
        if first == CONTINUATION:
            peer.sendall(build_frame(TEXT, b"x", key))
        peer.sendall(build_frame(first, b"", key) * 101)
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosedError, match="too many pings") as caught:
            ws.recv(SOON)
        assert caught.value.sent.code == 1008
        assert str(caught.value.__cause__) == floods.FLOOD


@pytest.mark.parametrize("first", [PING, PONG])
def test_as_many_as_are_allowed_do_no_harm(first):
    with connection_and_socket(Role.SERVER) as (ws, peer):
        peer.sendall(build_frame(first, b"", KEY) * 100 + build_frame(0x81, b"x", KEY))
        assert ws.recv(SOON) == "x"
        assert ws.open


def test_those_that_take_their_time_do_no_harm(monkeypatch):
    monkeypatch.setattr(floods, "CHEAP_FRAMES_TIME", 0.0)
    with connection_and_socket(Role.SERVER) as (ws, peer):
        peer.sendall(build_frame(PING, b"", KEY) * 1000 + build_frame(0x81, b"x", KEY))
        assert ws.recv(SOON) == "x"


@pytest.mark.parametrize("kind", KINDS)
def test_answers_to_our_pings_do_not_count(kind):
    with pair_of(kind) as (client, _server):
        limit = floods.MAX_CHEAP_FRAMES
        for _ in range(limit // 2):
            assert client.ping().wait(SOON)
        for _ in range(limit // 2):
            assert client.ping().wait(SOON)
        assert client.open
        assert client._cheap_frames._count == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_ends_only_its_own_connection(kind):
    with pair_of(kind) as (client, server), pair_of(kind) as (other, other_server):
        receiver = run(server.recv)
        for _ in range(101):
            client.pong()
        with pytest.raises(ConnectionClosedError):
            receiver.result()
        wait_until(lambda: client.closed)
        assert client.close_code == 1008
        other.send("fine")
        assert other_server.recv(SOON) == "fine"


@pytest.mark.parametrize("first", [0x81, 0x82])
def test_empty_messages_fill_the_inbox_however_many_it_may_have(first):
    with connection_and_socket(Role.SERVER, max_queue=None) as (ws, peer):
        sending = run(peer.sendall, build_frame(first, b"", KEY) * 2_000_000)
        wait_until(lambda: ws._queue.is_full)
        for _ in range(3):
            ws._look()
        assert ws._queue.count < 20_000
        assert not sending.done()
        for _ in range(10_000):
            assert not ws.recv(SOON)
        assert ws._queue.count < 20_000
        peer.shutdown(socket.SHUT_RDWR)  # it would go on waiting for our kernel to take more
        with pytest.raises(OSError, match="Broken pipe"):
            sending.result()


def test_what_piled_up_while_we_paused_is_no_flood():
    with connection_and_socket(Role.SERVER) as (ws, peer):
        for number in range(1, 5):
            peer.sendall(build_frame(PING, b"", KEY) * 60)
            wait_until(lambda: ws.stats.frames_received == 60 * number)  # noqa: B023
            ws._inbox.pauses += 1  # as where the reader waits for room
        assert ws.open
        peer.sendall(build_frame(PING, b"", KEY) * 101)
        assert ws.wait_closed(SOON)
