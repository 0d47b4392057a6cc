"""What holds for every test: its threads don't fail, and end with it.

An exception in any thread fails the test: pytest turns it into a warning, and warnings are errors
here. The fixture below waits for threads before a test is over, so that the right test fails.
"""

import contextlib
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, settings

from syncws.threaded import flusher
from syncws.threaded.connection import Connection

# More than a server waits for the request of a connection: browsers make some that they don't need.
THREADS_TIMEOUT = 15.0

# Threads of the library that stay, because they serve all connections of the process.
LASTING_THREADS = {"syncws-timekeeper", "syncws-flusher"}

# A background job of a shell ignores Ctrl-C, and so do the programs that it starts. Those that
# tests start and interrupt must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests connect to loopback; tests of proxies set the variables that they need.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

# How long an example takes says what else the machine does.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Each of the hundreds of programs that tests start would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

if os.environ.get("SYNCWS_SWITCH_INTERVAL"):
    sys.setswitchinterval(float(os.environ["SYNCWS_SWITCH_INTERVAL"]))


# The flusher has descriptors and stays: it must be there before tests count descriptors.
flusher._flusher._start()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Have twice as many workers as cores: tests wait about as long as they compute."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_finish():
    """Hide what pytest collected from the garbage collector.

    It is a lot: hundreds of tests collect garbage, to see what is left, and each would take a
    tenth of a second longer.
    """
    gc.collect()
    gc.freeze()


def library_threads():
    """The library's live threads, except those that stay."""
    return {
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("syncws") and thread.name not in LASTING_THREADS
    }


@pytest.fixture(autouse=True, scope="session")
def own_options():
    """Hide the options of this run from runs that tests start; workers have them by now."""
    os.environ.pop("PYTEST_ADDOPTS", None)


@pytest.fixture(autouse=True)
def no_threads_left():
    """Fail a test that leaves a thread of the library behind.

    It is set up first, and so torn down last. Threads of fixtures with a wider scope exist
    before it, and may stay.
    """
    before = library_threads()
    yield
    # A handler that raised in the middle of Python's own logging has left its lock held.
    while logging._lock._is_owned():
        logging._lock.release()
    deadline = time.monotonic() + THREADS_TIMEOUT
    while left := library_threads() - before:
        for thread in left:
            with contextlib.suppress(RuntimeError):  # it is just being started
                thread.join(max(0.0, deadline - time.monotonic()))
        if time.monotonic() >= deadline:
            break
    left = library_threads() - before
    if left:
        names = ", ".join(sorted(thread.name for thread in left))
        faulthandler.dump_traceback()  # says where they are
        pytest.fail(f"threads left alive after {THREADS_TIMEOUT:g} s: {names}", pytrace=False)


@pytest.fixture
def nobody_looks(monkeypatch):
    """The timekeeper starts no reader thread: before the connection, or it may have started one."""
    monkeypatch.setattr(Connection, "_look", lambda self: None)
