"""The programs of the documentation, run as readers would run them.

In docs/ and README.md each block of Python follows a line ``<!-- name -->``, and is run by the test
``test_<page>_<name>`` in tests/docs: see test_pages.py.
"""

import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

#: The port in all programs of the documentation; it is replaced by a free one.
PORT = "8765"

BLOCK = re.compile(
    r"(?:^<!-- (?P<name>[a-z0-9-]+) -->\n)?^```python\n(?P<code>.*?)^```$", re.M | re.S
)

#: Seconds after which a program counts as hanging.
PATIENCE = 30


def blocks(page):
    """The names and texts of a page's blocks; page is a path from docs, without suffix."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return [(found["name"], found["code"]) for found in BLOCK.finditer(text)]


def block(page, name):
    """The text of one block."""
    return dict(blocks(page))[name]


#: Not those that systems give to whoever connects: a program may stop and listen once more.
SERVER_PORTS = range(20000, 30000)


def free_port():
    while True:
        port = random.choice(SERVER_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Program:
    """A block running in a process of its own; its output is read line by line."""

    def __init__(self, code, port=PORT, warnings="error"):
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-W", warnings, "-c", code.replace(PORT, str(port))],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        self._timer = threading.Timer(PATIENCE, self.process.kill)  # which fails the test
        self._timer.start()
        return self

    def __exit__(self, *_):
        self._timer.cancel()
        self.process.kill()
        self.process.communicate()

    def readline(self):
        return self.process.stdout.readline().rstrip("\n")

    def finish(self):
        """Wait for its end; check that nothing went wrong, and return its output."""
        output, errors = self.process.communicate()
        assert (self.process.returncode, errors) == (0, "")
        return output

    def interrupt(self):
        """Press Ctrl-C; return the rest of its output, and its errors."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate()


def wait_for_port(port, program):
    """Wait until something listens there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert program.process.poll() is None, program.process.stderr.read()
        assert time.monotonic() < deadline, "it does not listen"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)  # it has no other way to tell


@contextlib.contextmanager
def running_server(code, **options):
    """A program that serves; yields its port and the program."""
    port = free_port()
    with Program(code, port, **options) as program:
        wait_for_port(port, program)
        yield port, program


def run(code, port=PORT, **options):
    """Run a program to its end; return its output."""
    with Program(code, port, **options) as program:
        return program.finish()
