"""Leaving the loop of reconnect(): the connection is closed, and nothing is left behind."""

import contextlib
import gc
import os
import queue
import sys
import threading
import time
import tracemalloc

import pytest
from support.pairs import SOON, wait_until
from support.reconnecting import NO_DELAYS, assert_works, break_out, drain
from support.scripted import build_response, nothing_left, read_all, read_head, scripted_server
from support.serving import serving

from syncws import ConnectionClosed, reconnect


def leave_by_break(uri):
    for ws in reconnect(uri):
        assert_works(ws)
        break


def leave_by_return(uri):
    for ws in reconnect(uri):
        assert_works(ws)
        return


def leave_by_exception(uri):
    def loop():
        for ws in reconnect(uri):
            assert_works(ws)
            raise ZeroDivisionError("of the body")

    with pytest.raises(ZeroDivisionError, match="of the body") as info:
        loop()
    assert info.value.__context__ is None


def leave_by_exit(uri):
    def loop():
        for ws in reconnect(uri):
            assert_works(ws)
            raise SystemExit

    with pytest.raises(SystemExit):
        loop()


def leave_by_close(uri):
    connections = reconnect(uri)
    assert_works(next(connections))
    connections.close()


def leave_by_forgetting(uri):
    connections = reconnect(uri)
    assert_works(next(connections))


LEAVES = [
    leave_by_break,
    leave_by_return,
    leave_by_exception,
    leave_by_exit,
    leave_by_close,
    leave_by_forgetting,
]


@pytest.mark.parametrize("leave", LEAVES)
def test_leaving_the_loop_closes_the_connection(leave, listening):
    with serving(listening) as server, nothing_left():
        leave(server.uri)
        assert listening.code() == 1000
        wait_until(lambda: not server.connections)


def test_an_exception_of_the_connection_leaves_the_loop():
    def handler(ws):
        ws.close(4001, "go away")

    def loop(uri):
        for ws in reconnect(uri):
            ws.recv(SOON)

    with serving(handler) as server, nothing_left(), pytest.raises(ConnectionClosed) as info:
        loop(server.uri)
    assert info.value.code == 4001


def test_a_loop_that_was_left_is_over(listening):
    with serving(listening) as server:
        connections = reconnect(server.uri)
        next(connections)
        connections.close()
        assert list(connections) == []


class Mute:
    """A script: accept the connection, and never say anything more; keeps what came."""

    def __init__(self):
        self.received = queue.Queue()

    def __call__(self, sock):
        sock.sendall(build_response(read_head(sock)))
        self.received.put(read_all(sock))

    def close_code(self):
        """The code of the close frame that came, and that was all."""
        data = self.received.get(timeout=SOON)
        assert data[:2] == b"\x88\x82"
        assert len(data) == 8
        return int.from_bytes(bytes(byte ^ key for byte, key in zip(data[6:], data[2:])), "big")


def fail_out(uri, **kwargs):
    def loop():
        for _ in reconnect(uri, **kwargs):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()


@pytest.mark.parametrize(
    ("kwargs", "seconds"), [({"close_timeout": 0.05}, 0.9), ({"close_timeout": None}, 2)]
)
@pytest.mark.parametrize("leave", [break_out, fail_out])
def test_leaving_takes_a_second_at_most_where_the_server_does_not_answer(leave, kwargs, seconds):
    mute = Mute()
    with scripted_server(mute) as server, nothing_left():
        start = time.monotonic()
        leave(server.uri, **kwargs)
        assert time.monotonic() - start < seconds
        assert mute.close_code() == 1000


def test_going_on_takes_close_timeout_at_most():
    mute = Mute()
    with scripted_server(mute) as server, nothing_left():
        start = time.monotonic()
        for turn, _ in enumerate(reconnect(server.uri, close_timeout=0.05)):
            if turn == 2:
                break
        assert [mute.close_code() for _ in range(3)] == [1000] * 3
        assert time.monotonic() - start < 5


# --- a thousand times ---

#: Bytes that a turn may take for good: no connection or socket is as small. Not 0, as caches of
#: the interpreter fill in the first thousands of turns.
MOST = 40

WARM_UP = 100


def memory():
    """Bytes that are allocated, but for timers: up to 1000 that were cancelled are kept."""
    gc.collect()
    filters = [tracemalloc.Filter(False, f"*/{name}.py") for name in ("timekeeper", "tracemalloc")]
    snapshot = tracemalloc.take_snapshot().filter_traces(filters)
    return sum(trace.size for trace in snapshot.traces)


uncovered = pytest.mark.skipif(
    "coverage" in sys.modules, reason="the coverage tool grows with each thread"
)


def assert_no_growth(turn, count=1000):
    """Do something so many times, and find what it leaves behind."""
    tracemalloc.start()
    try:
        for _ in range(WARM_UP):
            turn()
        threads = threading.active_count()
        files = len(os.listdir("/proc/self/fd"))
        sizes = []
        for _ in range(5):  # the last of them: what is made once for all is made by then
            for _ in range(count // 5):
                turn()
            wait_until(lambda: threading.active_count() <= threads)
            wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files)
            sizes.append(memory())
        # A leak is there in each part.
        least = min(after - before for before, after in zip(sizes, sizes[1:]))
        assert least < MOST * count // 5, sizes
    finally:
        tracemalloc.stop()


@uncovered
@pytest.mark.slow
@pytest.mark.parametrize("end", ["abort", "close"])
def test_1000_connections_that_the_server_ends_leave_nothing_behind(end):
    with serving(lambda ws: getattr(ws, end)()) as server:
        connections = reconnect(server.uri, backoff=NO_DELAYS, compression=None)
        with contextlib.closing(connections):
            assert_no_growth(lambda: drain(next(connections)))


@uncovered
@pytest.mark.slow
def test_connections_that_we_close_leave_nothing_behind():
    with serving() as server:
        connections = reconnect(server.uri, backoff=NO_DELAYS, compression=None)
        with contextlib.closing(connections):
            assert_no_growth(lambda: assert_works(next(connections)), 400)


@uncovered
@pytest.mark.slow
def test_loops_that_are_left_leave_nothing_behind():
    with serving() as server:
        assert_no_growth(lambda: break_out(server.uri, compression=None), 200)


@pytest.mark.slow
def test_2000_failed_attempts_leave_nothing_behind(closed_port):
    uri = f"ws://127.0.0.1:{closed_port}/"

    def turn():
        with contextlib.suppress(ConnectionRefusedError):
            next(reconnect(uri, backoff=NO_DELAYS, max_attempts=2))
            raise AssertionError("somebody listens")

    assert_no_growth(turn)


@pytest.mark.slow
def test_growth_is_found():
    kept = []
    with pytest.raises(AssertionError):
        assert_no_growth(lambda: kept.append(bytes(50)))
