"""What holds for every test: threads that switch as told, that do not fail and that end.

An exception in any thread fails the test during which it was raised: pytest turns it into a
warning, and warnings are errors here. The fixture below waits for threads before a test is
over, so that it is that test and not the next one.
"""

import contextlib
import os
import signal
import sys
import threading
import time

import pytest

from syncws.threaded import flusher

THREADS_TIMEOUT = 5.0

# The threads of the library that stay: they serve all connections of the process.
LASTING_THREADS = {"syncws-timekeeper", "syncws-flusher"}

# A job in the background of a shell ignores Ctrl-C, and what it starts inherits that; the
# programs that tests start and interrupt must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests connect to loopback; those of proxies set what they need.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

if os.environ.get("SYNCWS_SWITCH_INTERVAL"):
    sys.setswitchinterval(float(os.environ["SYNCWS_SWITCH_INTERVAL"]))


# The flusher has descriptors, and stays: tests that count them shall find it there.
flusher._flusher._start()


def library_threads():
    """The threads of the library that are alive and should end with what started them."""
    return {
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("syncws") and thread.name not in LASTING_THREADS
    }


@pytest.fixture(autouse=True, scope="session")
def own_options():
    """Keep this run's options from those that tests start; pytest-xdist's workers have had them."""
    os.environ.pop("PYTEST_ADDOPTS", None)


@pytest.fixture(autouse=True)
def no_threads_left():
    """Fail a test that leaves a thread of the library behind.

    Being the first fixture set up it is the last one torn down. Threads of fixtures with a
    wider scope were there before and may stay.
    """
    before = library_threads()
    yield
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
        pytest.fail(f"threads left alive after {THREADS_TIMEOUT:g} s: {names}", pytrace=False)
