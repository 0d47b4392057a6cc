"""The examples, run as their READMEs say: each program in a process of its own."""

import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest
from support.snippets import PATIENCE, ROOT

EXAMPLES = ROOT / "examples"

#: Examples are ended by Ctrl-C.
needs_signals = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def start(name, *args, **kwargs):
    """Start the program with that folder and name."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", EXAMPLES / name, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


class Programs:
    """Programs that are stopped at the end of the block, whatever happens."""

    def __init__(self):
        self._running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._running:
            process.kill()
            process.communicate()

    def start(self, name, *args, **kwargs):
        self._running.append(start(name, *args, **kwargs))
        return self._running[-1]

    def serve(self, name, *args, **kwargs):
        """Start a server, on a free port; return the process and its URI."""
        process = self.start(name, "0", *args, **kwargs)
        line = process.stdout.readline()
        assert line.startswith("listening on "), process.stderr.read()
        return process, line.split()[2]


def outcome(process, text=None):
    """Wait for a program to end well by itself; return what it prints."""
    output, errors = process.communicate(text, timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    return output


def interrupt(process):
    """Press Ctrl-C; check that the program ends well, and return what it printed since."""
    process.send_signal(signal.SIGINT)
    return outcome(process)


def read_until(process, start):
    """Read lines up to one with that beginning; return it."""
    for line in process.stdout:
        if line.startswith(start):
            return line.rstrip("\n")
    raise AssertionError(f"no line starts with {start!r}: {process.stderr.read()}")


def commands(name):
    """The lines of a README that are commands to type."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    return "".join(re.findall(r"^```\n(.*?)^```", text, re.M | re.S)).splitlines()


@contextlib.contextmanager
def running_server(name, *args, **kwargs):
    """A running server's URI; Ctrl-C ends the server, which must print nothing more."""
    with Programs() as programs:
        process, uri = programs.serve(name, *args, **kwargs)
        yield uri
        assert interrupt(process) == ""
