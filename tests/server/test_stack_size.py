"""The stacks of handlers' threads."""

import ctypes
import sys
import threading

import pytest
from support.pairs import SOON
from support.scripted import build_request, exchange
from support.serving import assert_works, serving

from syncws import connect, serve
from syncws.threaded.reader import ReaderThread

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the C library")

KIB = 1024


def own_stack_size():
    """What the C library says of the calling thread's stack, in bytes."""
    library = ctypes.CDLL(None)
    library.pthread_self.restype = ctypes.c_ulong
    attributes = ctypes.create_string_buffer(256)
    here = ctypes.c_ulong(library.pthread_self())
    assert library.pthread_getattr_np(here, attributes) == 0
    size = ctypes.c_size_t()
    assert library.pthread_attr_getstacksize(attributes, ctypes.byref(size)) == 0
    library.pthread_attr_destroy(attributes)
    return size.value


def tell(ws):
    ws.send(str(own_stack_size()))


@linux
@pytest.mark.parametrize("size", [256 * KIB, 16 * KIB * KIB])
def test_handlers_have_the_stack_that_was_asked_for(size):
    before = threading.stack_size()
    with serving(tell, stack_size=size) as server:
        for _ in range(2):
            with connect(server.uri) as ws:
                # The C library gives old stacks again, if they are at most four times as large.
                assert size <= int(ws.recv(SOON)) <= 4 * size + 16 * KIB
    assert threading.stack_size() == before


def test_by_default_no_size_is_set(monkeypatch):
    sizes = []
    monkeypatch.setattr(threading, "stack_size", lambda *args: sizes.append(args))
    with serving() as server:
        assert_works(connect(server.uri))
    assert sizes == []


def test_thread_that_can_not_be_started_leaves_others_their_stacks(monkeypatch):
    start = threading.Thread.start

    def fail(thread):
        if thread.name == "syncws-handler":
            raise RuntimeError("can't start new thread")
        start(thread)

    before = threading.stack_size()
    with serving(stack_size=256 * KIB) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            assert exchange(server, build_request())[0].startswith("HTTP/1.1 503 ")
        assert threading.stack_size() == before
        assert_works(connect(server.uri))


@linux
def test_threads_that_read_have_it_as_well(monkeypatch):
    def note(reader, connection):
        if connection.side == "server":
            sizes.append(own_stack_size())
        read(reader, connection)

    read, sizes = ReaderThread._run, []
    monkeypatch.setattr(ReaderThread, "_run", note)
    leaving = threading.Event()
    size = 512 * KIB
    server = serving(lambda ws: leaving.wait(SOON), stack_size=size)
    with server as server, connect(server.uri) as ws:
        assert ws.ping().wait(SOON)  # the handler doesn't read
        leaving.set()
    assert size <= sizes[0] <= 4 * size + 16 * KIB


@pytest.mark.parametrize("size", [1, -1, 0, 1000, 2**31, 2**70])
def test_size_that_is_none_is_refused(size):
    before = threading.stack_size()
    with pytest.raises(ValueError, match=rf"from 32768 to 1073741824, got {size}; None means"):
        serve(print, "127.0.0.1", stack_size=size)
    assert threading.stack_size() == before


@pytest.mark.parametrize("size", ["1M", 65536.0, True])
def test_only_numbers_are_sizes(size):
    with pytest.raises(TypeError, match="stack_size is a number of bytes, not"):
        serve(print, "127.0.0.1", stack_size=size)
