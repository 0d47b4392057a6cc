"""Both implementations of the hot loops, and ways to parse with them."""

import os
import subprocess
import sys

try:
    from syncws.accel import _speedups
except ImportError:  # there was no compiler
    _speedups = None

NOT_BUILT = "syncws.accel._speedups isn't built"
SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 125, 126, 127, 1000, 65535, 65536, 65537, 200_001]


def parse(codec, data, size=None, **settings):
    """Feed data in pieces of that size to a parser; return its events and its error."""
    settings.setdefault("masked", False)
    parser = codec.FrameParser(**settings)
    events = []
    for start in range(0, len(data), size or len(data) or 1):
        events += parser.receive(data[start : start + (size or len(data))])
    return events, parser.error


def whole_and_bytewise(codec, data, **settings):
    whole = parse(codec, data, **settings)
    assert parse(codec, data, 1, **settings) == whole
    return whole


def run_python(code, **environ):
    """Run a program in a process of its own; return what it printed."""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path, **environ},
        timeout=30,
    )
    return done.stdout.decode().strip()
