"""Floods, bombs and garbage: memory is bounded, and others don't notice."""

import contextlib
import os
import random
import socket
import threading

import pytest
from support.attacks import (
    BINARY,
    CLOSE,
    CONT,
    DEFLATE,
    FIN,
    PING,
    PONG,
    REQUEST,
    RSV1,
    TEXT,
    bomb,
    dial,
    frame,
    invalid_frames,
    open_raw,
    read_close,
    read_frame,
    reset,
)
from support.certificates import contexts
from support.pairs import SOON, run, wait_until
from support.sieges import MIB, address, besieged, ends, measured_memory, others, pour, works

from syncws.sansio import http_parser
from syncws.threaded import floods


def sink(ws):
    for _ in ws:
        pass


def left_alone(ws):
    """A handler that does not receive."""
    ws.wait_closed(SOON)


def quiet(caplog):
    """Keep the log small while memory is measured."""
    caplog.set_level("WARNING")


# --- before the connection is open ---


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_hundreds_of_resets_before_they_are_accepted(caplog, tls):
    with besieged(caplog, ssl=contexts()[0] if tls else None) as server:
        for _ in range(400):
            reset(dial(address(server)))
        assert works(server)
        wait_until(lambda: not server._roster.opening)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_hundreds_of_resets_during_the_opening_handshake(caplog):
    with besieged(caplog) as server:
        request = REQUEST % b"/" + b"\r\n"
        for number in range(300):
            sock = dial(address(server))
            sock.sendall(request[: number * len(request) // 299])
            reset(sock)
        assert works(server)
        wait_until(lambda: not server._roster.running or len(server._roster.running) == 1)


HEADS = {
    "an endless request line": (b"GET /", b"x" * 8192, None),
    "an endless header": (REQUEST % b"/" + b"X: ", b"x" * 8192, None),
    "100,000 headers": (REQUEST % b"/", b"X-Header: x\r\n" * 1000, "MAX_NUM_HEADERS"),
}


@pytest.mark.parametrize("kind", HEADS)
def test_floods_of_headers_are_cut_off(caplog, kind):
    start, block, _ = HEADS[kind]
    quiet(caplog)
    with besieged(caplog) as server, measured_memory() as memory:
        with dial(address(server)) as sock:
            sock.sendall(start)
            # What is read after the refusal, so that the client gets to see it, has a limit.
            assert pour(sock, block, 100 * MIB) < 20 * MIB
            assert ends(sock)
        wait_until(lambda: not server._roster.opening)
    assert memory.peak < MIB


@pytest.mark.parametrize("kind", HEADS)
def test_floods_of_headers_fill_memory_without_the_limit(caplog, kind, monkeypatch):
    start, block, limit = HEADS[kind]
    quiet(caplog)
    if limit is not None:
        monkeypatch.setattr(http_parser, limit, 1 << 40)
    with (
        besieged(caplog, open_timeout=1, max_header_size=None) as server,
        measured_memory() as memory,
    ):
        with dial(address(server)) as sock:
            sock.sendall(start)
            pour(sock, block, MIB)
        wait_until(lambda: server._roster.accepted == 2 and len(server._roster.running) == 1)
    assert memory.peak > MIB


def test_large_bodies_of_requests_are_not_kept(caplog):
    quiet(caplog)
    with besieged(caplog) as server, measured_memory() as memory:
        with dial(address(server)) as sock:
            sock.sendall(REQUEST % b"/" + b"Content-Length: 1000000000\r\n\r\n")
            assert pour(sock, bytes(1 << 16), 100 * MIB) < 20 * MIB
            assert ends(sock)
        wait_until(lambda: not server._roster.opening)
    assert memory.peak < MIB


def test_400_connections_that_open_and_close_leave_nothing(caplog):
    def attack(number):
        for count in range(100):
            with open_raw(address(server)) as sock:
                if count % 3 == 0:
                    reset(sock)
                elif count % 3 == 1:
                    sock.sendall(frame(FIN | CLOSE, b"\x03\xe8"))

    with besieged(caplog) as server:
        descriptors = len(os.listdir("/proc/self/fd"))
        attacks = [run(attack, number) for number in range(4)]
        for each in attacks:
            each.result()
        wait_until(lambda: not others(server) and len(server._roster.running) == 1)
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


# --- frames ---


@pytest.mark.parametrize("limit", [100000, None])
def test_a_message_of_endless_fragments_ends_at_the_limit(caplog, limit):
    quiet(caplog)
    with besieged(caplog, sink, max_size=limit) as server, open_raw(address(server)) as sock:
        sock.sendall(frame(TEXT, b"xxx"))
        block = frame(CONT, b"xxx") * 10000
        with measured_memory() as memory:
            sent = pour(sock, block, 6 * len(block))
            if limit is None:  # a control: the same message without a limit
                assert sent == 6 * len(block)
                sock.sendall(frame(FIN | CLOSE, b"\x03\xe8"))
                assert read_close(sock) == 1000
            else:
                assert sent < 6 * len(block) or read_close(sock) == 1009
                assert ends(sock)
        # A few bytes for each are kept, and not an object. One read brings 10,000 of them.
        assert memory.peak < 4 * MIB


@pytest.fixture
def patient(monkeypatch):
    """Let servers take floods as they come: what they cost is to be seen, not that they end."""
    monkeypatch.setattr(floods, "MAX_CHEAP_FRAMES", 1 << 30)


@pytest.mark.usefixtures("patient")
@pytest.mark.timeout(150)
def test_a_message_of_endless_empty_fragments_takes_no_memory(caplog):
    quiet(caplog)
    with besieged(caplog, sink) as server, open_raw(address(server)) as sock:
        sock.sendall(frame(TEXT, b""))
        block = frame(CONT, b"") * 10000
        with measured_memory() as memory:
            pour(sock, block, 6 * len(block))
            sock.sendall(frame(FIN | CLOSE, b"\x03\xe8"))
            sock.settimeout(100)  # each is looked at in Python, of which all memory is traced
            assert read_close(sock) == 1000
        assert memory.peak < 4 * MIB


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "deaf"])
@pytest.mark.parametrize("handler", [sink, left_alone])
def test_floods_of_pings_take_no_memory(caplog, reads, handler):
    quiet(caplog)
    with besieged(caplog, handler, close_timeout=0.3) as server:
        sock = open_raw(address(server), receive_buffer=None if reads else 4096)
        with sock, measured_memory() as memory:
            wait_until(lambda: others(server))
            (ws,) = others(server)
            if not reads:  # little is left with the kernel
                ws._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            block = b"".join(frame(FIN | PING, b"%0125d" % n) for n in range(1000))
            reading = run(count_pongs, sock) if reads else None
            for _ in range(20):
                sock.sendall(block)
            wait_until(lambda: ws._frames_received == 20000, 4 * SOON)
            assert reads or ws._writer.is_behind
            assert ws.buffered_amount < 1000  # only the newest pong waits
            sock.sendall(frame(FIN | CLOSE, b"\x03\xe8"))
            if reading is not None:
                last, count = reading.result()
                assert last == b"%0125d" % 999
                assert count <= 20000
        wait_until(lambda: not others(server))
    assert memory.peak < 2 * MIB


def count_pongs(sock):
    """Read to the end; return the last pong's payload, and how many there were."""
    last, count = None, 0
    with sock.makefile("rb") as file:
        while (received := read_frame(file)) is not None:
            if received[0] == FIN | PONG:
                last, count = received[1], count + 1
    return last, count


@pytest.mark.usefixtures("patient")
def test_floods_of_pongs_take_no_memory(caplog):
    quiet(caplog)
    with besieged(caplog, left_alone, close_timeout=0.3) as server:
        sock = open_raw(address(server))
        with sock, measured_memory() as memory:
            pour(sock, frame(FIN | PONG, bytes(125)) * 1000, 3 * MIB)
            sock.sendall(frame(FIN | CLOSE, b"\x03\xe8"))
            assert read_close(sock) == 1000
    assert memory.peak < 2 * MIB


@pytest.mark.parametrize("limits", [{}, {"max_queue": None, "read_limit": 1 << 40}])
def test_messages_that_nobody_receives_fill_memory_up_to_a_limit_only(caplog, limits):
    quiet(caplog)
    leaving = threading.Event()
    with besieged(caplog, lambda ws: leaving.wait(SOON), close_timeout=0.3, **limits) as server:
        with open_raw(address(server)) as sock, measured_memory() as memory:
            sock.settimeout(0.5)
            sent = pour(sock, frame(FIN | BINARY, bytes(10000)), 30 * MIB)
        leaving.set()
    if limits:  # a control: the same flood without limits
        assert sent >= 30 * MIB
        assert memory.peak > 20 * MIB
    else:
        assert sent < 25 * MIB  # what the kernel keeps
        assert memory.peak < 2 * MIB


# --- zip bombs ---

BOMB = bomb(64 * MIB)
SMALL_BOMB = bomb(MIB - 1)


@pytest.mark.parametrize("limit", [MIB, None])
def test_a_bomb_is_not_inflated_beyond_the_limit(caplog, limit):
    quiet(caplog)
    with besieged(caplog, sink, max_size=limit) as server:
        sock = open_raw(address(server), headers=DEFLATE)
        with sock, measured_memory() as memory:
            sock.sendall(frame(FIN | RSV1 | BINARY, BOMB) + frame(FIN | CLOSE, b"\x03\xe8"))
            assert read_close(sock) == (1000 if limit is None else 1009)
    if limit is None:
        assert memory.peak > 60 * MIB
    else:
        assert memory.peak < 4 * MIB


@pytest.mark.parametrize("limit", [MIB, None])
def test_a_bomb_in_fragments_is_not_inflated_beyond_the_limit(caplog, limit):
    quiet(caplog)
    pieces = [BOMB[start : start + 500] for start in range(0, len(BOMB), 500)]
    data = frame(RSV1 | BINARY) + b"".join(frame(CONT, piece) for piece in pieces)
    with besieged(caplog, sink, max_size=limit) as server:
        sock = open_raw(address(server), headers=DEFLATE)
        with sock, measured_memory() as memory:
            sock.sendall(data + frame(FIN | CONT) + frame(FIN | CLOSE, b"\x03\xe8"))
            assert read_close(sock) == (1000 if limit is None else 1009)
    if limit is None:
        assert memory.peak > 60 * MIB
    else:
        assert memory.peak < 4 * MIB


@pytest.mark.parametrize("limits", [{}, {"max_queue": None, "read_limit": 1 << 40}])
def test_many_bombs_that_nobody_receives_fill_memory_up_to_a_limit_only(caplog, limits):
    """Each is within the limit of a message, and 1000 times as large as what is sent."""
    quiet(caplog)
    leaving = threading.Event()
    with besieged(caplog, lambda ws: leaving.wait(SOON), close_timeout=0.3, **limits) as server:
        with open_raw(address(server), headers=DEFLATE) as sock, measured_memory() as memory:
            sock.sendall(frame(FIN | RSV1 | BINARY, SMALL_BOMB) * 60)
            wait_until(lambda: others(server))
            (ws,) = others(server)
            if limits:
                wait_until(lambda: ws._queue.count == 60)
            else:
                wait_until(ws._is_paused)
        leaving.set()
    if limits:  # a control
        assert memory.peak > 50 * MIB
    else:
        assert memory.peak < 20 * MIB


# --- all at once ---


@pytest.mark.parametrize("seed", range(3))
def test_invalid_frames_and_garbage_of_many_peers_at_once(caplog, seed):
    def attack(number):
        rng = random.Random(f"{seed}/{number}")
        for _ in range(15):
            headers = rng.choice([b"", DEFLATE])
            with open_raw(address(server), headers=headers) as sock:
                with contextlib.suppress(ConnectionError):
                    for _ in range(rng.randint(1, 3)):
                        sock.sendall(invalid_frames(rng))
                    if rng.random() < 0.3:
                        reset(sock)
                        continue
                    # Whatever came before: this can't go on.
                    sock.sendall(frame(FIN | TEXT, masked=False) + bytes(200))
                assert ends(sock)

    with besieged(caplog, close_timeout=0.5) as server:
        attacks = [run(attack, number) for number in range(10)]
        for each in attacks:
            each.result(2 * SOON)
        wait_until(lambda: not others(server))
