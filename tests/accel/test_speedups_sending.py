"""What sending in C does while other threads, and signal handlers, may run."""

import importlib.util
import os
import socket
import sys
import threading

import pytest

try:
    from syncws.accel import _speedups
except ImportError:  # there was no compiler
    pytest.skip("syncws.accel._speedups isn't built", allow_module_level=True)
if sys.platform == "win32":
    pytest.skip("no writing by descriptor", allow_module_level=True)

OPEN = object()


class Protocol:
    state = OPEN
    fragmenting = False


def test_write_lock_is_free_while_randomness_is_drawn(monkeypatch):
    # Drawing it lets other threads run. One that found the lock taken would leave its output to
    # whoever has the lock, who does not look for it after a frame that was sent at once.
    looked = []

    def urandom(size):
        def look():
            looked.append(lock.acquire(blocking=False))
            if looked[-1]:
                lock.release()

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return b"\1" * size

    monkeypatch.setattr(os, "urandom", urandom)
    spec = importlib.util.spec_from_file_location(_speedups.__name__, _speedups.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    local, remote = socket.socketpair()
    lock = module.WriteLock()
    with local, remote:
        channel = module.Channel()
        parser = module.FrameParser(masked=False)
        settings = (Protocol(), OPEN, lock, [], bytearray(), True)
        channel._go_direct(local.fileno(), parser, threading.main_thread().ident, *settings)
        for _ in range(2 * 1024 + 1):
            channel.send("x")
            assert remote.recv(100) == b"\x81\x81\1\1\1\1" + bytes((ord("x") ^ 1,))
    assert looked == [True] * 3
