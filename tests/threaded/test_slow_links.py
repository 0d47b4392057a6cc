"""Keepalive where what was sent takes its time: slow links, proxies, peers that throttle."""

import socket
import sys
import time

import pytest
from support.certificates import contexts
from support.pairs import SOON, connection_and_socket, receive_exactly, run, wait_until
from support.slow_link import slow_link

from syncws import ConnectionClosedError, connect, serve
from syncws.sansio.state import Role
from syncws.threaded.keepalive import Vitals, _Wait

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells on Linux only")

#: Bytes and a rate that take far longer than the timeouts below.
SIZE, RATE = 400_000, 100_000

FAST = {"ping_interval": 0.5, "ping_timeout": 1.0}
NEVER = {"ping_interval": None}


def payload(size):
    """What can't be compressed."""
    import random

    return random.Random(5).randbytes(size)


@pytest.mark.slow
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_client_that_uploads_over_a_slow_link_gets_its_answer(tls, compression):
    server_context, client_context = contexts()
    options = {"compression": compression, "max_size": None}

    def handle(ws):
        for message in ws:
            ws.send(str(len(message)))

    with (
        serve(
            handle, "127.0.0.1", 0, ssl=server_context if tls else None, **options, **NEVER
        ) as server,
        slow_link(server.port, RATE) as port,
    ):
        scheme = "wss" if tls else "ws"
        with connect(
            f"{scheme}://localhost:{port}/",
            ssl=client_context if tls else None,
            proxy=None,
            **options,
            **FAST,
        ) as ws:
            began = time.monotonic()
            ws.send(payload(SIZE))
            assert ws.recv() == str(SIZE)
            assert time.monotonic() - began > 2 * FAST["ping_timeout"]
            assert ws.ping().wait(SOON)


@pytest.mark.slow
def test_server_that_sends_over_a_slow_link_is_not_closed():
    def handle(ws):
        ws.send(payload(SIZE))
        assert ws.recv() == "got it"
        ws.send("fine")

    with serve(handle, "127.0.0.1", 0, compression=None, **FAST) as server:
        # Slow is what the client reads.
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        sock.connect(("127.0.0.1", server.port))
        with sock:
            key = "dGhlIHNhbXBsZSBub25jZQ=="
            sock.sendall(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: " + key.encode() + b"\r\n\r\n"
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            left = 10 + SIZE
            pings = b""
            while left > 0:
                data = sock.recv(min(8192, left))
                assert data, "closed"
                left -= len(data)
                time.sleep(len(data) / RATE)  # that's the link
            while b"fine" not in pings:
                data = sock.recv(4096)
                assert data, "closed"
                pings += data
                if pings[:1] == b"\x89" and len(pings) == 6:
                    sock.sendall(b"\x8a\x84\0\0\0\0" + pings[2:])
                    sock.sendall(b"\x81\x86\0\0\0\0got it")


def test_peer_that_still_takes_what_was_sent_is_not_idle():
    closed = []

    def handle(ws):
        ws.send(payload(SIZE))
        ws.wait_closed(SOON)
        closed.append(ws.close_code)

    with (
        serve(handle, "127.0.0.1", 0, compression=None, idle_timeout=0.5, **NEVER) as server,
        slow_link(server.port, None, rate_back=RATE) as port,
    ):
        with connect(f"ws://localhost:{port}/", compression=None, proxy=None, **NEVER) as ws:
            began = time.monotonic()
            assert len(ws.recv(SOON)) == SIZE
            assert time.monotonic() - began > 2
        wait_until(lambda: closed)
    assert closed == [1000]


def test_peer_that_reads_in_steps_survives_as_long_as_its_window_moves():
    with connection_and_socket(Role.SERVER, ping_interval=0.6, ping_timeout=0.6) as (ws, peer):
        ws._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        sending = run(ws.send, payload(600_000))
        left = 600_010
        began = time.monotonic()
        while left > 0:
            time.sleep(0.4)
            size = min(100_000, left)
            receive_exactly(peer, size)
            left -= size
        assert time.monotonic() - began > 1
        sending.result()
        ping = receive_exactly(peer, 6)
        peer.sendall(b"\x8a\x84\0\0\0\0" + ping[2:])
        assert ws.open


@pytest.mark.parametrize("size", [0, 50_000, 5_000_000])
def test_peer_that_takes_nothing_is_noticed_in_time_whatever_waits_for_it(size):
    with connection_and_socket(Role.SERVER, ping_interval=0.3, ping_timeout=0.3) as (ws, peer):
        began = time.monotonic()
        if size:
            sending = run(ws.send, bytes(size))
        with pytest.raises(ConnectionClosedError, match="keepalive ping timeout"):
            ws.recv(SOON)
        assert time.monotonic() - began < 5
        if size > 1_000_000:
            with pytest.raises(ConnectionClosedError):
                sending.result()
        elif size:
            sending.result()
        assert peer


# --- one wait for a pong, by numbers ---


def vitals(sent, unacknowledged, *, received=0, behind=False, paused=False, pauses=0):
    return Vitals(received, sent, unacknowledged, behind, pauses, paused)


def test_who_goes_on_taking_much_is_alive_and_who_takes_little_is_not():
    wait = _Wait(vitals(1_000_000, 0), 50.0, 0, 50.0)
    wait.look(vitals(2_000_000, 500_000), 100.0)
    assert wait.deadline(20) > 120
    wait = _Wait(vitals(1000, 0), 50.0, 0, 50.0)
    wait.look(vitals(60_000, 0), 60.0)
    assert wait.deadline(20) == 70


def test_signs_that_come_late_do_not_extend_the_time_without_end():
    wait = _Wait(vitals(10_000_000, 9_000_000), 0.0, 0, 0.0)
    now = 0.0
    for number in range(1, 20):
        now = wait.deadline(20) - 1
        wait.look(vitals(10_000_000, 9_000_000 - number), now)
        assert wait.deadline(20) <= now + 60


def test_two_looks_at_one_moment_do_no_harm():
    wait = _Wait(vitals(10_000_000, 9_000_000), 0.0, 0, 0.0)
    wait.look(vitals(10_000_000, 8_000_000), 0.0)
    wait.look(vitals(10_000_000, 0), 0.0)
    assert wait.deadline(20) >= 20


def test_without_anything_on_the_way_time_runs_from_the_ping_on():
    wait = _Wait(vitals(1000, 6), 50.0, 990, 50.0)
    assert wait.deadline(20) == 70
    wait.look(vitals(1000, 0), 55.0)  # the ping itself was taken
    assert wait.deadline(20) == 70


def test_what_gets_away_in_front_of_the_ping_extends_the_time():
    wait = _Wait(vitals(30_000_000, 20_000_000), 50.0, 0, 50.0)
    wait.look(vitals(30_000_000, 17_000_000), 55.0)
    assert wait.deadline(20) == 75
    wait.look(vitals(30_000_000, 17_000_000), 60.0)
    assert wait.deadline(20) == 75  # nothing moved
    wait.look(vitals(40_000_000, 26_000_000), 65.0)
    assert wait.deadline(20) == 85  # what was sent after the ping is not in front of it


def test_a_peer_that_takes_steps_has_the_time_of_two_of_them():
    wait = _Wait(vitals(30_000_000, 20_000_000), 50.0, 0, 50.0)
    wait.look(vitals(30_000_000, 15_000_000), 65.0)
    assert wait.deadline(20) == 65 + 30  # by the longest that was seen
    wait = _Wait(vitals(300_000, 200_000), 50.0, 0, 40.0)  # 10 kB a second
    assert wait.deadline(20) == pytest.approx(50 + 2 * 131072 / 10_000)
    assert wait.deadline(5) == 50 + 15
    wait = _Wait(vitals(300_000, 300_000), 50.0, 0, 40.0)  # it never took anything
    assert wait.deadline(20) == 70


def test_what_was_taken_is_given_the_time_that_it_takes_at_the_rate_of_what_was_in_front():
    wait = _Wait(vitals(300_000, 100_256), 50.0, 0, 50.0)
    wait.look(vitals(300_000, 50_256), 55.0)  # 10 kB a second
    wait.look(vitals(300_000, 0), 60.0)
    assert wait.deadline(20) == 60 + 20 + 30
    wait.look(vitals(300_000, 0), 65.0)
    assert wait.deadline(20) == 60 + 20 + 30


def test_what_was_taken_at_once_is_given_a_time_by_its_number_of_bytes_and_not_without_end():
    wait = _Wait(vitals(3_000_000, 0), 50.0, 0, 50.0)
    assert wait.deadline(20) == pytest.approx(50 + 20 + (3_000_000 - 65536) / 16384)
    assert wait.deadline(1) == 50 + 1 + 10
    wait = _Wait(vitals(3_000_000, None), 50.0, 0, 50.0)  # where the kernel doesn't tell: the same
    assert wait.deadline(20) == pytest.approx(50 + 20 + (3_000_000 - 65536) / 16384)
    wait = _Wait(vitals(3_000_000, 0), 50.0, 2_950_000, 50.0)  # confirmed by the last pong
    assert wait.deadline(20) == 70


def test_a_ping_that_waits_for_the_kernel_has_time_while_anything_moves():
    wait = _Wait(vitals(10_000_000, 1000, behind=True), 50.0, 0, 50.0)
    assert wait.deadline(20) == 70
    wait.look(vitals(20_000_000, 1000, behind=True), 60.0)
    assert wait.deadline(20) == 80
    wait.look(vitals(30_000_000, 25_000), 65.0)  # gone, with a position now
    assert wait.position == 30_000_000  # it may include what was sent after the ping,
    assert wait.confirms == 10_000_000  # of which the pong says nothing


@pytest.mark.parametrize("sign", [{"received": 1}, {"paused": True}, {"pauses": 1}])
def test_who_sends_or_can_not_be_heard_is_alive(sign):
    wait = _Wait(vitals(1000, 0), 50.0, 0, 50.0)
    wait.look(vitals(1000, 0, **sign), 60.0)
    assert wait.deadline(20) == 80
