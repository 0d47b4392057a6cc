import contextlib
import os
import socket
import threading
import types
import warnings

import pytest
from support.pairs import SOON, connection_and_socket, receive_exactly, wait_until

from syncws.threaded import flusher
from syncws.threaded.flusher import call_when_writable


@pytest.fixture
def full():
    """A socket that takes no more, and its peer."""
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        yield ours, peer, fill(ours)


def fill(sock):
    """Write until nothing more is taken; return the bytes."""
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += sock.send(bytes(1 << 16))
    return size


def test_a_socket_that_can_be_written_to_calls_at_once():
    ours, peer = socket.socketpair()
    called = threading.Event()
    with ours, peer:
        call_when_writable(ours, called.set)
        assert called.wait(SOON)


def test_a_socket_calls_when_its_peer_reads(full):
    ours, peer, size = full
    called = threading.Event()
    call_when_writable(ours, called.set)
    assert not called.wait(0.02)
    receive_exactly(peer, size)
    assert called.wait(SOON)


def test_it_calls_once(full):
    ours, peer, size = full
    calls = []
    call_when_writable(ours, lambda: calls.append(threading.current_thread().name))
    receive_exactly(peer, size)
    wait_until(lambda: calls)
    again = threading.Event()
    call_when_writable(peer, again.set)
    assert again.wait(SOON)
    assert calls == ["syncws-flusher"]


def test_a_socket_that_breaks_calls(full):
    ours, peer, _ = full
    called = threading.Event()
    call_when_writable(ours, called.set)
    peer.close()
    assert called.wait(SOON)


def test_a_socket_that_is_closed_calls():
    ours, peer = socket.socketpair()
    called = threading.Event()
    with peer:
        ours.setblocking(False)
        fill(ours)
        call_when_writable(ours, called.set)
        ours.shutdown(socket.SHUT_RDWR)
        ours.close()
        assert called.wait(SOON)
        called.clear()
        call_when_writable(ours, called.set)
        assert called.wait(SOON)


def test_a_callback_that_fails_is_logged_and_the_others_go_on(caplog):
    ours, peer = socket.socketpair()
    called = threading.Event()
    with ours, peer:
        call_when_writable(ours, lambda: 1 / 0)
        call_when_writable(peer, called.set)
        assert called.wait(SOON)
        wait_until(lambda: "writing what was left failed" in caplog.text)
    assert "ZeroDivisionError" in caplog.text


def test_many_may_ask_at_once():
    called = threading.Semaphore(0)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            for sock in socket.socketpair():
                stack.enter_context(sock)
                call_when_writable(sock, called.release)
        for _ in range(400):
            assert called.acquire(timeout=SOON)


def test_a_bell_that_rings_already_is_enough():
    """Its pipe is full; who rings must not wait."""
    made = flusher._Flusher()
    made._claim.acquire()  # its thread runs
    ear, bell = os.pipe()
    os.set_blocking(bell, False)
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(bell, bytes(4096))
        made._bell = bell
        made.add(0, print)
        assert len(made._new) == 1
    finally:
        os.close(ear)
        os.close(bell)


def test_without_descriptors_it_starts_later(monkeypatch):
    made = flusher._Flusher()
    pipe, failures = os.pipe, []

    def scarce():
        if len(failures) < 2:
            failures.append(1)
            raise OSError(24, "Too many open files")
        descriptors.extend(pipe())
        return tuple(descriptors)

    descriptors = []
    monkeypatch.setattr(os, "pipe", scarce)
    ours, peer = socket.socketpair()
    called = threading.Event()
    with ours, peer:
        made.add(ours.fileno(), called.set)
        assert called.wait(SOON)  # for what came before it was started
    assert len(failures) == 2
    wait_until(lambda: not made._claim.locked())
    for descriptor in descriptors:
        os.close(descriptor)


def test_its_thread_ends_when_there_is_nothing_to_do_and_is_started_again():
    made = flusher._Flusher()
    ours, peer = socket.socketpair()
    threads = []
    with ours, peer:
        for count in (1, 2):
            made.add(ours.fileno(), lambda: threads.append(threading.current_thread()))
            wait_until(lambda: len(threads) == count)  # noqa: B023
            threads[-1].join(SOON)
            assert not threads[-1].is_alive()
    assert threads[0] is not threads[1]
    for descriptor in (made._ear, made._bell):
        os.close(descriptor)


def test_one_thread_serves_whoever_asks_meanwhile():
    made = flusher._Flusher()
    threads = []
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(sock) for _ in range(100) for sock in socket.socketpair()]
        for sock in sockets:
            made.add(sock.fileno(), lambda: threads.append(threading.current_thread()))
        wait_until(lambda: len(threads) == len(sockets))
    assert len(set(threads)) == 1
    wait_until(lambda: not made._claim.locked())
    for descriptor in (made._ear, made._bell):
        os.close(descriptor)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_for_a_defect_forgets_nobody(monkeypatch):
    made = flusher._Flusher()
    failures = []
    wait = made._wait

    def defective(waiting):
        if not failures:
            failures.append(1)
            raise ZeroDivisionError
        return wait(waiting)

    monkeypatch.setattr(made, "_wait", defective)
    ours, peer = socket.socketpair()
    with ours, peer:
        called = threading.Event()
        made.add(ours.fileno(), called.set)
        assert called.wait(SOON)
        called.clear()
        made.add(ours.fileno(), called.set)
        assert called.wait(SOON)
    wait_until(lambda: not made._claim.locked())
    for descriptor in (made._ear, made._bell):
        os.close(descriptor)


def test_without_a_thread_it_tries_again_with_the_descriptors_that_it_has(monkeypatch):
    made = flusher._Flusher()
    later = threading.Event()

    def no_thread(**kwargs):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(flusher, "threading", types.SimpleNamespace(Thread=no_thread))
    monkeypatch.setattr(flusher, "call_later", lambda delay, callback: later.set())
    made._start()
    assert later.is_set()
    before = len(os.listdir("/proc/self/fd"))
    made._start()  # its pipe is there already
    assert len(os.listdir("/proc/self/fd")) == before
    for descriptor in (made._ear, made._bell):
        os.close(descriptor)


def test_where_sockets_can_not_be_polled_the_timekeeper_calls(monkeypatch):
    monkeypatch.setattr(flusher, "_poll", None)
    ours, peer = socket.socketpair()
    called = []
    with ours, peer:
        call_when_writable(ours, lambda: called.append(threading.current_thread().name))
        wait_until(lambda: called)
    assert called == ["syncws-timekeeper"]


def test_a_forked_child_has_one_of_its_own():
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # threads that the child doesn't have are the point
        pid = os.fork()
    if pid == 0:
        ours, _peer = socket.socketpair()
        call_when_writable(ours, lambda: os.write(write, b"called"))
        threading.Event().wait(SOON)
        os._exit(0)
    try:
        os.close(write)
        with os.fdopen(read, "rb", buffering=0) as stream:
            assert stream.read(6) == b"called"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_what_the_kernel_does_not_take_goes_out_as_the_peer_reads():
    """Without the timekeeper's help, which looks a few times a second."""
    with connection_and_socket() as (connection, remote):
        payload = bytes(8_000_000)
        frame = connection.protocol.serialize_shared(2, payload)
        connection._post_later(frame, connection._post_now(frame, False), False)
        assert connection.buffered_amount > 0
        assert receive_exactly(remote, len(frame)) == frame
        wait_until(lambda: connection.buffered_amount == 0)
