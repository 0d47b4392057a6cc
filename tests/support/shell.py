"""The command line for tests: in this process, or as a program of its own."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading

import syncws

DEADLINE = 20.0


@contextlib.contextmanager
def program(*args, **kwargs):
    """`python -m syncws` with these arguments, killed if it takes too long."""
    env = {**os.environ, "PYTHONPATH": str(pathlib.Path(syncws.__file__).parents[1])}
    # A function as the handler becomes the default in the child; "ignored" would stay.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "syncws", *args],
            **{
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **kwargs,
            },
            env=env,
            text=True,
            encoding="utf-8",
        )
    finally:
        signal.signal(signal.SIGINT, before)
    watchdog = threading.Timer(DEADLINE, process.kill)
    watchdog.start()
    try:
        with process:
            yield process
            process.kill()  # nothing happens if it has ended
    finally:
        process.kill()
        watchdog.cancel()
        watchdog.join()


def end(process):
    """The exit status and what is on standard error, once the program has ended."""
    status = process.wait(DEADLINE)
    return status, process.stderr.read()


def interrupt(process):
    process.send_signal(signal.SIGINT)
    return end(process)


def join_stdin_threads():
    for thread in threading.enumerate():
        if thread.name == "syncws-stdin":
            thread.join(DEADLINE)
            assert not thread.is_alive()


@contextlib.contextmanager
def serving(handler, **kwargs):
    with syncws.serve(handler, "localhost", 0, **kwargs) as server:
        yield server.uri


class Recorder:
    """A handler that runs another, and remembers how the connection was closed."""

    def __init__(self, handler):
        self.handler = handler
        self.opened = threading.Event()
        self.closed = threading.Event()
        self.code = None

    def __call__(self, ws):
        self.opened.set()
        try:
            self.handler(ws)
        finally:
            ws.wait_closed(DEADLINE)
            self.code = ws.close_code
            self.closed.set()
