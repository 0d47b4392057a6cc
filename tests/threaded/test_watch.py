"""The look at open connections, which a timer takes as long as there are any."""

import logging
import os
import threading
import time
import warnings

import pytest
from support.pairs import (
    SOON,
    connect_protocol,
    connection_pair,
    run,
    transport_pair,
    wait_until,
)

from syncws.sansio.state import Role
from syncws.threaded import connection as connection_module
from syncws.threaded import watch


class Looked:
    """A connection that counts the looks at it."""

    logger = logging.getLogger(__name__)

    def __init__(self, act=None):
        self.looks = threading.Semaphore(0)
        self.act = act

    def _look(self):
        self.looks.release()
        if self.act is not None:
            self.act()

    def was_looked_at(self):
        return self.looks.acquire(blocking=False)


@pytest.fixture
def own_watch(monkeypatch):
    """A watch without the connections of other tests, in a hurry."""
    monkeypatch.setattr(watch, "_watch", watch._Watch())
    monkeypatch.setattr(watch, "LOOK_INTERVAL", 0.001)
    own = watch._watch
    yield own
    own._connections.clear()
    wait_until(lambda: not own._armed)


@pytest.fixture
def timers(monkeypatch, own_watch):
    """The timers that were set, which the test runs itself."""
    timers = []

    def call_later(delay, callback):
        if delay:
            timers.append(callback)
        else:
            callback()

    monkeypatch.setattr(own_watch, "_call_later", call_later)
    yield timers
    while timers:
        own_watch._connections.clear()
        timers.pop()()


def test_connection_is_looked_at_again_and_again(own_watch):
    looked = Looked()
    watch.watch(looked)
    for _ in range(3):
        assert looked.looks.acquire(timeout=SOON)
    watch.unwatch(looked)


def test_timer_ends_with_the_last_connection_and_begins_with_the_next(own_watch):
    first, second = Looked(), Looked()
    watch.watch(first)
    watch.watch(second)
    watch.unwatch(first)
    wait_until(lambda: own_watch._armed)
    watch.unwatch(second)
    wait_until(lambda: not own_watch._armed)
    third = Looked()
    watch.watch(third)
    assert third.looks.acquire(timeout=SOON)
    watch.unwatch(third)


def test_one_timer_serves_all_connections(timers):
    several = [Looked() for _ in range(10)]
    for looked in several:
        watch.watch(looked)
    assert len(timers) == 1
    timers.pop()()
    assert all(looked.was_looked_at() for looked in several)
    assert len(timers) == 1


@pytest.mark.parametrize(("count", "times"), [(1, 1), (1000, 1), (2500, 2.5)])
def test_looks_at_many_are_as_much_rarer(monkeypatch, own_watch, count, times):
    delays = []
    monkeypatch.setattr(watch, "LOOKS_FOR", 1000)
    monkeypatch.setattr(own_watch, "_call_later", lambda delay, callback: delays.append(delay))
    for _ in range(count):
        watch.watch(Looked())
    own_watch._arm()
    assert delays[-1] == pytest.approx(times * watch.LOOK_INTERVAL)
    own_watch._armed = False


def test_connection_that_is_unwatched_is_not_looked_at(timers):
    stays, leaves = Looked(), Looked()
    watch.watch(stays)
    watch.watch(leaves)
    watch.unwatch(leaves)
    watch.unwatch(leaves)
    timers.pop()()
    assert stays.was_looked_at()
    assert not leaves.was_looked_at()


def test_unwatching_what_was_never_watched_does_nothing(timers):
    watch.unwatch(Looked())
    assert timers == []


def test_asking_for_a_timer_that_is_set_or_not_needed_any_more_sets_none(own_watch, monkeypatch):
    asked = []
    monkeypatch.setattr(own_watch, "_call_later", lambda delay, callback: asked.append(callback))
    first, second = Looked(), Looked()
    watch.watch(first)
    watch.watch(second)  # before the timekeeper has seen to it
    assert len(asked) == 2
    asked[0]()
    asked[1]()
    assert len(asked) == 3
    watch.unwatch(first)
    watch.unwatch(second)
    asked[2]()
    asked[1]()
    assert len(asked) == 3


def test_connections_may_come_and_go_while_they_are_looked_at(timers):
    late = Looked()

    def change():
        watch.unwatch(early)
        watch.watch(late)

    early = Looked(change)
    watch.watch(early)
    timers.pop()()
    assert len(timers) == 1
    timers.pop()()
    assert early.was_looked_at()
    assert not early.was_looked_at()
    assert late.was_looked_at()


def test_look_that_fails_is_logged_and_does_not_keep_others_from_being_looked_at(timers, caplog):
    def fail():
        raise ZeroDivisionError

    several = [Looked(), Looked(fail), Looked()]
    for looked in several:
        watch.watch(looked)
    for _ in range(2):
        timers.pop()()
        assert all(looked.was_looked_at() for looked in several)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 2


@pytest.mark.parametrize("exc", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
def test_timer_that_can_not_be_set_is_set_for_the_next_connection(monkeypatch, own_watch, exc):
    def fail(*_):
        raise exc

    first, second = Looked(), Looked()
    with monkeypatch.context() as patch:
        patch.setattr(own_watch, "_call_later", fail)
        with pytest.raises(type(exc)):
            watch.watch(first)
        watch.unwatch(first)
    assert not own_watch._armed
    watch.watch(second)
    assert second.looks.acquire(timeout=SOON)
    assert not first.was_looked_at()
    watch.unwatch(second)


def test_threads_that_come_and_go_leave_no_timer_behind(own_watch):
    def come_and_go():
        for _ in range(100):
            looked = Looked()
            watch.watch(looked)
            watch.unwatch(looked)
        last = Looked()
        watch.watch(last)
        assert last.looks.acquire(timeout=SOON)
        watch.unwatch(last)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: not own_watch._armed)


def test_open_connections_are_watched_until_they_are_closed():
    with connection_pair() as pair:
        assert watch._watch._connections.issuperset(pair)
        pair[0].close()
        for connection in pair:
            assert connection.wait_closed(SOON)
        assert not watch._watch._connections.intersection(pair)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_watches_none_of_its_parents_connections(own_watch):
    looked = Looked()
    watch.watch(looked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = os.fork()
    if not child:
        try:
            anew = watch._watch
            forgotten = anew is not own_watch and not anew._connections
            os._exit(0 if forgotten and not anew._armed else 1)
        finally:
            os._exit(2)
    end = time.monotonic() + SOON
    pid, status = 0, 0
    while not pid and time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
    assert (pid, status) == (child, 0)
    assert watch._watch is own_watch
    while looked.was_looked_at():
        pass
    assert looked.looks.acquire(timeout=SOON)  # the parent goes on
    watch.unwatch(looked)


def test_a_connection_that_ends_before_it_is_watched_is_not_watched(monkeypatch):
    def end_first(connection):
        assert run(connection._take_role).result()
        run(connection._finish, None).result()
        watch.watch(connection)

    monkeypatch.setattr(connection_module, "watch", end_first)
    client, server = transport_pair()
    connection = connect_protocol(client, Role.CLIENT)
    assert connection.closed
    assert connection not in watch._watch._connections
    server.close()
