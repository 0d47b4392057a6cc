import selectors
import socket
import time

import pytest
from support.pairs import SOON, run

from syncws.threaded.wakeable_selector import WakeableSelector


def elapsed(function, *args):
    start = time.monotonic()
    function(*args)
    return time.monotonic() - start


@pytest.fixture
def selector():
    selector = WakeableSelector()
    yield selector
    selector.close()


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_sockets_that_can_be_read_come_with_their_data(selector, pair):
    left, right = pair
    selector.register(left, "data")
    assert left in selector
    assert selector.select(0) == []
    right.send(b"x")
    assert [(key.fileobj, key.data) for key in selector.select(SOON)] == [(left, "data")]
    selector.unregister(left)
    assert left not in selector
    assert selector.select(0) == []


def test_another_thread_wakes_it(selector):
    waiting = run(selector.select)
    selector.wake()
    assert waiting.result() == []
    assert selector.select(0) == []  # once


def test_waking_before_it_waits_counts_too_and_several_times_once(selector):
    for _ in range(100_000):  # more than the kernel keeps
        selector.wake()
    assert elapsed(selector.select) < SOON
    while selector.select(0.01):
        pass


def test_what_can_be_read_is_not_missed_when_it_is_woken(selector, pair):
    left, right = pair
    selector.register(left)
    right.send(b"x")
    selector.wake()
    assert [key.fileobj for key in selector.select(SOON)] == [left]


def test_sleeping_ends_when_it_is_woken_which_select_sees_too(selector, pair):
    left, right = pair
    selector.register(left)
    right.send(b"x")
    assert elapsed(selector.sleep, 0.01) >= 0.01
    selector.wake()
    assert elapsed(selector.sleep, 10 * SOON) < SOON
    selector.unregister(left)
    assert elapsed(selector.select, 10 * SOON) < SOON


def test_after_closing_waking_does_nothing(selector):
    selector.close()
    selector.close()
    selector.wake()


def test_without_descriptors_none_is_left_open(monkeypatch):
    def fail():
        raise OSError("no descriptor")

    made = []
    original = selectors.DefaultSelector
    monkeypatch.setattr(selectors, "DefaultSelector", lambda: made.append(original()) or made[0])
    monkeypatch.setattr(socket, "socketpair", fail)
    with pytest.raises(OSError, match="no descriptor"):
        WakeableSelector()
    assert made[0].get_map() is None
