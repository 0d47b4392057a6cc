"""What sending in C does while other threads, and signal handlers, may run."""

import importlib.util
import os
import socket
import sys
import threading

import pytest
from support.pairs import SOON, socket_pair

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


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="others run at any time there"
)
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
        channel._queue = module.MessageQueue()
        parser = module.FrameParser(masked=False)
        settings = (Protocol(), OPEN, lock, [], bytearray(), True)
        channel._go_direct(local.fileno(), parser, threading.main_thread().ident, *settings)
        for _ in range(2 * 1024 + 1):
            channel.send("x")
            assert remote.recv(100) == b"\x81\x81\1\1\1\1" + bytes((ord("x") ^ 1,))
    assert looked == [True] * 3


@pytest.fixture
def channel_and_peer():
    local, remote = socket_pair()
    with local, remote:
        remote.settimeout(SOON)
        channel = _speedups.Channel()
        channel._queue = _speedups.MessageQueue()
        parser = _speedups.FrameParser(masked=True)
        settings = (Protocol(), OPEN, _speedups.WriteLock(), [], bytearray(), False)
        assert channel._go_direct(local.fileno(), parser, 0, *settings)
        yield channel, remote


def arrives(sock):
    """Whether something has arrived, without waiting; it is thrown away."""
    sock.setblocking(False)
    try:
        return bool(sock.recv(100))
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(SOON)


def test_the_kernel_holds_back_what_it_is_told_to_until_it_is_pushed(channel_and_peer):
    channel, remote = channel_and_peer
    seen = set()
    for _ in range(50):  # not each one: on a busy machine the kernel's 0.2 seconds may be over
        if channel._post_now(b"\x81\x01a", True) != -1:
            pytest.skip("this system can't")
        before = arrives(remote)
        channel._push()
        seen.add((before, arrives(remote)))
    assert (False, True) in seen


def test_what_is_sent_pushes_what_was_held_back(channel_and_peer):
    channel, remote = channel_and_peer
    channel._post_now(b"\x81\x01a", True)
    channel.send("b")
    assert remote.recv(100) == b"\x81\x01a\x81\x01b"


def test_nothing_is_posted_or_pushed_once_the_connection_has_ended(channel_and_peer):
    channel, remote = channel_and_peer
    channel._end_role()
    assert channel._post_now(b"\x81\x01b", True) == 0
    channel._push()  # the descriptor may be another one's by now
    assert not arrives(remote)


@pytest.mark.parametrize("arguments", [(), (b"",), ("x", True), (b"", True, 1)])
def test_what_is_posted_is_a_frame(channel_and_peer, arguments):
    with pytest.raises(TypeError, match=r"_post_now\(\) takes a frame, bytes, and a bool"):
        channel_and_peer[0]._post_now(*arguments)
