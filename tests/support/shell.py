"""The command line, run in this process or as a program of its own."""

import codecs
import contextlib
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import threading

import syncws
from syncws.threaded.deadline import Deadline

DEADLINE = 20.0


@contextlib.contextmanager
def program(*args, env=None, patience=DEADLINE, **kwargs):
    """`python -m syncws` with these arguments; it says where it is if it takes too long."""
    path = str(pathlib.Path(syncws.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": path, **(env or {})}
    # A function as the handler becomes the default in the child; "ignored" would stay.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-X", "faulthandler", "-m", "syncws", *args],
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
    watchdog = threading.Timer(patience, process.send_signal, [signal.SIGABRT])
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
    """Wait for the program to end; return its exit status and standard error."""
    status = process.wait(DEADLINE)
    errors = process.stderr.read()
    assert status != -signal.SIGABRT, errors
    return status, errors


def interrupt(process):
    process.send_signal(signal.SIGINT)
    return end(process)


def terminate(process):
    process.send_signal(signal.SIGTERM)
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
    """A handler that calls another and remembers how the connection was closed."""

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


class Terminal:
    """A program in a terminal of its own: what it prints, and a keyboard."""

    def __init__(self, *args, env=()):
        self._master, slave = os.openpty()
        environment = {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", **dict(env)}
        with open(slave, "rb", buffering=0) as tty:
            self._program = program(
                *args, stdin=tty, stdout=tty, stderr=tty, env=environment, start_new_session=True
            )
            self.process = self._program.__enter__()
        self.output = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._read = 0

    def type(self, text):
        os.write(self._master, text if isinstance(text, bytes) else text.encode())

    def expect(self, pattern):
        """Wait for output, after what was expected before, that matches; return the match."""
        deadline = Deadline(DEADLINE)
        while True:
            found = re.compile(pattern).search(self.output, self._read)
            if found:
                self._read = found.end()
                return found
            assert self._receive(deadline), f"no {pattern!r} in {self.output[self._read :]!r}"

    def end_input(self):
        """Type Ctrl-D once the program reads single keys; before that it would be lost."""
        deadline = Deadline(DEADLINE)
        while not re.search(r"(> |\x1b\[\d+B)$", self.output):
            assert self._receive(deadline), f"no prompt at the end of {self.output!r}"
        self.type("\x04")

    def interrupt(self):
        """Press Ctrl-C until it is noticed: just before readline waits for a key, it isn't."""
        while self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)

    def end(self):
        """Wait for the program to end and for all its output; return the exit status."""
        deadline = Deadline(DEADLINE)
        while self._receive(deadline):
            pass
        status = self.process.wait(DEADLINE)
        assert status != -signal.SIGABRT, self.output
        return status

    def _receive(self, deadline):
        ready, _, _ = select.select([self._master], [], [], deadline.remaining())
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # the terminal isn't open anywhere any more
            data = b""
        self.output += self._decode(data)
        return bool(data)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._program.__exit__(None, None, None)
        os.close(self._master)
