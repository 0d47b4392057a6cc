"""What a thread's stack takes while it waits for messages."""

import ctypes
import json
import os
import re
import sys

import pytest
from support.pairs import SOON, wait_until
from support.serving import serving

from syncws import connect
from syncws.accel import IMPLEMENTATION

pytestmark = [
    pytest.mark.skipif(
        IMPLEMENTATION == "pure" or not sys.platform.startswith("linux"),
        reason="is done in C, and asks Linux",
    ),
    pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="AddressSanitizer watches stacks"),
]

KIB = 1024
MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) .*")


def own_stack():
    """The lowest address of the calling thread's stack."""
    library = ctypes.CDLL(None)
    library.pthread_self.restype = ctypes.c_ulong
    attributes = ctypes.create_string_buffer(256)
    assert library.pthread_getattr_np(ctypes.c_ulong(library.pthread_self()), attributes) == 0
    lowest, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.pthread_attr_getstack(attributes, ctypes.byref(lowest), ctypes.byref(size))
    library.pthread_attr_destroy(attributes)
    return lowest.value


def resident(address):
    """Bytes of memory that the mapping with this address has."""
    found = False
    with open("/proc/self/smaps", encoding="utf-8") as file:
        for line in file:
            mapping = MAPPING.fullmatch(line.rstrip())
            if mapping:
                found = int(mapping[1], 16) <= address < int(mapping[2], 16)
            elif found and line.startswith("Rss:"):
                return int(line.split()[1]) * KIB
    raise LookupError(address)


def go_deep():
    """Use much of the stack, in C code."""
    json.loads("[" * 900 + "]" * 900)


def test_what_was_used_before_the_thread_waits_is_given_back():
    stacks, used = [], []

    def handler(ws):
        ws._look = lambda: None  # or another thread would read, if this takes long
        stacks.append(own_stack())
        go_deep()
        used.append(resident(stacks[0]))
        for message in ws:
            if message == "deep":
                go_deep()
            ws.send(str(resident(stacks[0])))

    with serving(handler) as server, connect(server.uri) as ws:
        wait_until(lambda: used)
        assert used[0] > 48 * KIB
        wait_until(lambda: resident(stacks[0]) < used[0] / 2)
        ws.send("deep")
        assert int(ws.recv(SOON)) > used[0] / 2
        assert resident(stacks[0]) > used[0] / 2  # as no control frame has come
        assert ws.ping().wait(SOON)
        wait_until(lambda: resident(stacks[0]) < used[0] / 2)
        ws.send("and it works")
        assert ws.recv(SOON)
