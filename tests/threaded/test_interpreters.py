"""What tells interpreters apart, and how threads that serve all connections are ended."""

import importlib
import os
import subprocess
import sys
import threading
import types

import pytest
from support.pairs import wait_until

from syncws.threaded import flusher, interpreters, timekeeper


def test_this_is_the_main_interpreter():
    assert interpreters.IS_MAIN


@pytest.mark.parametrize("name", ["_interpreters", "_xxsubinterpreters"])
@pytest.mark.parametrize(("current", "main"), [((1, 2), False), ((0, 0), True)])
def test_another_interpreter_is_not_the_main_one(monkeypatch, name, current, main):
    known = types.SimpleNamespace(get_current=lambda: current, get_main=lambda: (0, 0))

    def import_module(wanted):
        if wanted != name:
            raise ImportError(wanted)
        return known

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert interpreters._is_main() == main


def test_where_nobody_can_make_interpreters_there_is_but_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "_interpreters", None)
    monkeypatch.setitem(sys.modules, "_xxsubinterpreters", None)
    assert interpreters._is_main()


def test_shutdown_comes_before_threads_are_waited_for():
    program = """if True:
        import threading
        from syncws.threaded.interpreters import call_at_shutdown
        told = threading.Event()
        call_at_shutdown(told.set)
        threading.Thread(target=lambda: print(told.wait(10))).start()
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=40, check=True
    )
    assert done.stdout == "True\n"


def named(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_timekeeper_ends_whatever_it_waits_for():
    others = named("syncws-timekeeper")
    keeper = timekeeper._Timekeeper()
    keeper.call_later(1000, print)
    (thread,) = (thread for thread in named("syncws-timekeeper") if thread not in others)
    wait_until(lambda: not keeper._new)
    keeper.end()
    thread.join(10)
    assert not thread.is_alive()
    keeper.call_later(0, print)
    assert not keeper._new
    assert not keeper._claim.locked()


@pytest.mark.skipif(flusher._poll is None, reason="needs poll()")
def test_flusher_ends_whatever_it_waits_for():
    others = named("syncws-flusher")
    own = flusher._Flusher()
    own._start()
    reader, writer = os.pipe()
    try:
        own.add(reader, print)  # which can't be written to
        (thread,) = (thread for thread in named("syncws-flusher") if thread not in others)
        wait_until(lambda: not own._new)
        own.end()
        thread.join(10)
        assert not thread.is_alive()
        own._start()
        assert not own._claim.locked()
    finally:
        for descriptor in (reader, writer, own._ear, own._bell):
            os.close(descriptor)
