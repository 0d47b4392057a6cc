"""The thread that serves many sockets."""

import functools
import logging
import queue
import threading

import pytest
from support.pairs import SOON, run, socket_pair

from syncws.fallback.reactor import Reactor
from syncws.threaded import lifecycle
from syncws.threaded.deadline import Deadline, clock

logger = logging.getLogger("syncws.server")


@pytest.fixture
def reactor():
    reactor = Reactor(logger, lambda: None)
    yield reactor
    reactor.stop(0, lambda: True)
    reactor.join(Deadline(SOON))


def call(reactor, function, *args, **kwargs):
    """Call a function on the thread, and return what it returns."""
    results = queue.Queue()
    reactor.call(lambda: results.put(function(*args, **kwargs)))
    return results.get(timeout=SOON)


def test_calls_are_made_in_order_by_one_thread(reactor):
    assert reactor.thread is None
    called = []
    for number in range(100):
        reactor.call(lambda number=number: called.append((number, threading.current_thread())))
    thread = call(reactor, threading.current_thread)
    assert called == [(number, thread) for number in range(100)]
    assert reactor.thread is thread
    assert thread.name == "syncws-fallback"


def test_calls_may_be_made_by_calls(reactor):
    called = queue.Queue()
    reactor.call(lambda: reactor.call(lambda: called.put("called")))
    assert called.get(timeout=SOON) == "called"


def test_time_comes_in_its_order(reactor):
    called = queue.Queue()

    def begin():
        now = clock()
        for delay in (0.02, 0.0, 0.01):
            reactor.call_at(now + delay, functools.partial(called.put, delay))

    call(reactor, begin)
    assert [called.get(timeout=SOON) for _ in range(3)] == [0.0, 0.01, 0.02]


def test_sockets_are_watched_for_what_is_wanted(reactor):
    left, right = socket_pair()
    with left, right:
        ready = queue.Queue()

        def is_ready():
            reactor.watch(left, is_ready)  # enough
            ready.put("ready")

        call(reactor, reactor.watch, left, is_ready, read=True)
        right.send(b"x")
        assert ready.get(timeout=SOON) == "ready"
        call(reactor, reactor.watch, left, is_ready, write=True)
        assert ready.get(timeout=SOON) == "ready"
        call(reactor, reactor.watch, left, is_ready)
        call(reactor, lambda: None)
        assert ready.empty()


def test_what_a_call_raises_is_logged_and_ends_nothing(reactor, caplog):
    reactor.call(lambda: 1 / 0)
    assert call(reactor, lambda: "goes on") == "goes on"
    (record,) = caplog.records
    assert record.getMessage() == "the fallback failed"
    assert record.exc_info[0] is ZeroDivisionError


def test_logging_that_fails_ends_nothing(capsys):
    class Logger:
        def exception(self, *args):
            raise RuntimeError("the program's")

    reactor = Reactor(Logger(), lambda: None)
    reactor.call(lambda: 1 / 0)
    assert call(reactor, lambda: "goes on") == "goes on"
    reactor.stop(0, lambda: True)
    reactor.join(Deadline(SOON))
    assert "the program's" in capsys.readouterr().err


def test_the_end_waits_until_all_is_done_but_not_for_ever():
    ended, is_done = threading.Event(), threading.Event()
    reactor = Reactor(logger, ended.set)
    reactor.call(lambda: None)
    reactor.stop(SOON, is_done.is_set)
    with pytest.raises(AssertionError):
        run(reactor.join, Deadline(None)).result(0.05)
    is_done.set()
    reactor.call(lambda: None)  # something happens
    reactor.join(Deadline(SOON))
    assert ended.is_set()
    with pytest.raises(RuntimeError, match="the server is closed"):
        reactor.call(lambda: None)
    late = Reactor(logger, lambda: None)
    late.call(lambda: None)
    late.stop(0.01, lambda: False)
    late.join(Deadline(SOON))
    assert not late.thread.is_alive()


def test_the_end_may_be_made_earlier_and_by_the_thread_itself(reactor):
    reactor.call(lambda: None)
    reactor.stop(SOON, lambda: False)
    call(reactor, reactor.join, Deadline(None))  # it does not wait for itself
    reactor.stop(0, lambda: False)
    reactor.join(Deadline(SOON))
    assert not reactor.thread.is_alive()


def test_who_was_never_used_ends_at_once(reactor):
    reactor.stop(SOON, lambda: False)
    reactor.join(Deadline(SOON))
    with pytest.raises(RuntimeError, match="the server is closed"):
        reactor.call(lambda: None)


def test_without_a_thread_nothing_is_left(reactor, monkeypatch):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "start_thread", fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            reactor.call(lambda: None)
    assert call(reactor, lambda: "later") == "later"
