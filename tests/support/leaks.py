"""Memory that is never given back, in blocks, objects, references and bytes.

Blocks are those of the interpreter's allocator, which count every object; objects are those that
the garbage collector knows; references are to the accelerator's types; bytes are the whole
process's, which include what is allocated past the interpreter."""

import gc
import os
import pathlib
import sys

import pytest
from support.wire import build_frames

try:
    from syncws.accel import _speedups
except ImportError:  # there was no compiler
    pytest.skip("syncws.accel._speedups isn't built", allow_module_level=True)

if sys.getallocatedblocks() == 0:
    pytest.skip("memory isn't the interpreter's own", allow_module_level=True)


# In each test, a leak of one object in 1000 calls is more than this.
MAX_BLOCKS = 150
MAX_OBJECTS = 20
MAX_REFERENCES = 20
MAX_RSS = 3 << 20
MOST = (MAX_BLOCKS, MAX_OBJECTS, MAX_REFERENCES, MAX_RSS)

STATM = pathlib.Path("/proc/self/statm")


def rss():
    """The memory of the process in bytes; 0 where the system doesn't tell."""
    if not STATM.exists():
        return 0
    return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


TYPES = [getattr(_speedups, name) for name in ("Channel", "FrameParser", "MessageQueue")]
TYPES += [_speedups.WriteLock, type(iter(_speedups.Channel()))]


def memory():
    gc.collect()
    references = sum(sys.getrefcount(kind) for kind in TYPES)
    return sys.getallocatedblocks(), len(gc.get_objects()), references, rss()


def growth(function, count):
    before = memory()
    function(count)
    after = memory()
    return [new - old for old, new in zip(before, after)]


def check_growth(function, count):
    """Check that a function that does something ``count`` times keeps no memory."""
    function(count // 10 + 1)  # caches fill
    grown = None
    for _ in range(3):  # other caches may grow once; a leak grows each time
        grown = growth(function, count)
        if all(number <= most for number, most in zip(grown, MOST)):
            return
    pytest.fail("grown by {} blocks, {} objects, {} references, {} bytes".format(*grown))


MESSAGES = [b"x" * 20, b"", "text", "", "é€😀", "a" * 300, b"\xff" * 300, "é" * 200, "z", b"z"]


def frames_of(messages, key=None):
    return build_frames(
        [
            (0x81, message.encode()) if isinstance(message, str) else (0x82, message)
            for message in messages
        ],
        key,
    )
