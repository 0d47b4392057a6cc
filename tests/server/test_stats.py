"""What a server has done so far."""

import contextlib
import dataclasses
import threading
import time

import pytest
from support.pairs import SOON, run, wait_until
from support.scripted import build_request, exchange, raw_client
from support.serving import assert_works, echo, serving

from syncws import ServerStats, connect, serve


def test_a_new_server_has_done_nothing():
    server = serve(echo, "127.0.0.1")
    assert server.stats() == ServerStats(0, 0, 0, 0, 0, 0, 0, {}, 0, 0.0, False, 0, 0)
    server.close()
    assert server.stats().uptime == 0.0


def test_statistics_can_not_be_changed():
    with serving() as server:
        stats = server.stats()
        with pytest.raises(dataclasses.FrozenInstanceError):
            stats.uptime = 1
        stats.refusals["full"] = 1
        assert server.stats().refusals == {}


def test_connections_are_counted_in_each_of_their_states():
    with serving() as server, raw_client(server):
        wait_until(lambda: server.stats().connections_opening == 1)
        with connect(server.uri), connect(server.uri):
            wait_until(lambda: server.stats().connections_open == 2)
            stats = server.stats()
            assert stats.connections_opening == 1
            assert stats.connections_accepted == 3
            assert stats.threads >= 4  # three connections, and who accepts
        wait_until(lambda: server.stats().connections_open == 0)
        assert server.stats().connections_accepted == 3


def test_messages_and_bytes_of_connections_that_ended_are_included():
    with serving() as server:
        for _ in range(3):
            with connect(server.uri, compression=None) as ws:
                for _ in range(5):
                    ws.send("hello")
                    assert ws.recv(SOON) == "hello"
                mine = ws.stats
        wait_until(lambda: not server._roster.running)
        stats = server.stats()
        assert (stats.messages_received, stats.messages_sent) == (15, 15)
        assert stats.bytes_sent == 3 * (mine.bytes_received + 4)  # and the close frame
        with connect(server.uri) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            wait_until(lambda: server.stats().messages_sent == 16)


def test_bytes_of_handshakes_that_fail_are_included():
    with serving() as server:
        request = build_request(Upgrade=None)
        exchange(server, request)
        wait_until(lambda: not server._roster.running)
        assert server.stats().bytes_received == len(request)
        assert server.stats().bytes_sent > 100


def test_the_uptime_counts_from_the_start_to_the_end():
    server = serve(echo, "127.0.0.1")
    start = time.monotonic()
    server.start()
    wait_until(lambda: 0 < server.stats().uptime <= time.monotonic() - start)
    server.close()
    assert server.stats().uptime == server.stats().uptime


def test_threads_end():
    with serving(max_connections=1) as server:
        with connect(server.uri):
            exchange(server, build_request())
            wait_until(lambda: server.connections)
            assert server.stats().threads >= 3
        wait_until(lambda: not server._roster.running)
    assert server.stats().threads == 0


def test_nothing_is_missing_or_counted_twice_with_many_clients_at_once():
    def client(number):
        for _ in range(10):
            with connect(server.uri, compression=None) as ws:
                for _ in range(5):
                    ws.send("hello")
                    assert ws.recv(SOON) == "hello"

    def look():
        before = server.stats()
        while not done.is_set():
            now = server.stats()
            for name in names:
                assert getattr(now, name) >= getattr(before, name), name
            assert now.connections_accepted >= now.connections_open + now.connections_opening
            before = now

    names = [
        "connections_accepted",
        "messages_received",
        "messages_sent",
        "bytes_received",
        "bytes_sent",
    ]
    done = threading.Event()
    with serving() as server:
        looking = [run(look) for _ in range(2)]
        try:
            for each in [run(client, number) for number in range(6)]:
                each.result(3 * SOON)
        finally:
            done.set()
        for each in looking:
            each.result()
        wait_until(lambda: not server._roster.running)
        stats = server.stats()
    assert stats.connections_accepted == 60
    assert stats.messages_received == stats.messages_sent == 300
    assert (stats.connections_open, stats.connections_opening) == (0, 0)


def test_accepted_are_refused_or_handled():
    def client():
        for _ in range(20):
            with contextlib.suppress(OSError, Exception):
                assert_works(connect(server.uri))

    handled = []

    def handler(ws):
        handled.append(ws)
        echo(ws)

    with serving(handler, max_connections=2) as server:
        for each in [run(client) for _ in range(5)]:
            each.result(3 * SOON)
        wait_until(lambda: not server._roster.running and not server._entrance.doorkeeper._clients)
        stats = server.stats()
    assert stats.connections_accepted == 100
    assert len(handled) + sum(stats.refusals.values()) == 100


def test_a_handler_may_ask():
    def handler(ws):
        ws.send(str(ws.server.stats().connections_open))

    with serving(handler) as server, connect(server.uri) as ws:
        assert ws.recv(SOON) == "1"
