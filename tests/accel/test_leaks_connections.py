"""What connections in C allocate they give back, however they are used and end."""

import select
import signal
import socket
import sys
import threading
import time

import pytest
from support.leaks import MESSAGES, TYPES, check_growth, frames_of
from support.wire import build_frame

from syncws.accel import _speedups

pytestmark = pytest.mark.slow

direct_io = pytest.mark.skipif(sys.platform == "win32", reason="no reading by descriptor")


# --- connections -------------------------------------------------------------------------

OPEN = object()


class Protocol:
    state = OPEN
    fragmenting = False


class Ended(Exception):
    pass


class Connection(_speedups.Channel):
    """As little as there must be around the hot path."""

    _ended = Ended

    def __init__(self, sock, *, masked=False, max_message=None):
        self._queue = _speedups.MessageQueue()
        self.sock = sock
        self.parser = _speedups.FrameParser(masked=False, max_message=max_message)
        self.protocol = Protocol()
        self.backlog = bytearray()
        self.fell_back = 0
        self._go_direct(
            sock.fileno(),
            self.parser,
            threading.main_thread().ident,
            self.protocol,
            OPEN,
            _speedups.WriteLock(),
            [],
            self.backlog,
            masked,
        )

    def _await_message(self, remaining, timeout):
        if not self._deliver():
            raise Ended

    def _pass_on(self):
        raise AssertionError("nobody waits")

    def _send(self, message, text, timeout, compress):
        self.fell_back += 1

    def _complete_send(self):
        assert self.backlog

    def _send_failed(self, exc):
        raise Ended from exc

    def _leftover(self):
        self._deliver()

    def _deliver(self):
        pending = self._take_pending()
        self._queue.put([event for event in pending if type(event) is not tuple])
        return bool(pending)


TYPES.append(Connection)


@pytest.fixture
def sockets():
    local, remote = socket.socketpair()
    remote.settimeout(5)
    with local, remote:
        yield local, remote


def drain(sock):
    """Take what has arrived."""
    while select.select([sock], [], [], 0)[0]:
        sock.recv(100_000)


@direct_io
def test_receiving(sockets):
    local, remote = sockets
    connection = Connection(local)
    data = frames_of(["m" * 20, b"x" * 20, "é"] * 33 + ["last"])

    def receive(count):
        for _ in range(count // 100):
            remote.sendall(data)
            for _ in range(100):
                connection.recv()

    check_growth(receive, 1_000_000)


@direct_io
def test_receiving_in_every_other_way(sockets):
    local, remote = sockets
    connection = Connection(local)
    data = frames_of(MESSAGES * 10)
    large = frames_of([b"x" * 100_000, "y" * 100_000])

    def receive(count):
        for number in range(count // 100):
            remote.sendall(data)
            messages = iter(connection)
            for _ in range(40):
                next(messages)
            for decode in (False, True, None):
                for _ in range(20):
                    try:
                        connection.recv(timeout=1, decode=decode)
                    except UnicodeDecodeError:
                        connection.recv(0)
            connection._feed(data[:500])
            remote.sendall(data[500:] + build_frame(0x89, b"ping") + data)
            while True:
                try:
                    connection.recv(timeout=0)
                except TimeoutError:
                    break
                except Ended:
                    continue
            if number % 20 == 0:
                remote.sendall(large)
                assert len(connection.recv()) == len(connection.recv()) == 100_000

    check_growth(receive, 40_000)


@direct_io
def test_receiving_nothing(sockets):
    connection = Connection(sockets[0])

    def receive(count):
        for number in range(count):
            try:
                connection.recv(timeout=0 if number % 50 else 1e-6)
            except TimeoutError:
                continue
            raise AssertionError("received something")

    check_growth(receive, 30_000)


class Interrupted(Exception):
    pass


@direct_io
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals go elsewhere"
)
def test_receiving_interrupted_by_signal_handlers(sockets):
    local, remote = sockets
    connection = Connection(local)
    data = build_frame(0x82, bytes(5000)) + build_frame(0x81, b"a" * 5000)[:2000]

    def interrupt(signum, frame):
        raise Interrupted

    def receive_interrupted(connection, timeout):
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        connection.recv(timeout)

    def receive(count):
        for number in range(count):
            if number % 4 == 0:
                connection = Connection(local)
                remote.sendall(data)
                assert len(connection.recv()) == 5000
            with pytest.raises(Interrupted):
                receive_interrupted(connection, 5 if number % 2 else None)
            drain(local)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        check_growth(receive, 300)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert connection._role_is_free


@direct_io
@pytest.mark.parametrize("masked", [False, True])
def test_sending(sockets, masked):
    local, remote = sockets
    connection = Connection(local, masked=masked)
    messages = ["m" * 20, b"x" * 20, "é", b"large" * 500]

    def send(count):
        for _ in range(count // 20):
            for _ in range(5):
                for message in messages:
                    connection.send(message)
            left = 5 * (22 + 22 + 4 + 2504 + 16 * masked)
            while left:
                left -= len(remote.recv(left))
        assert connection.fell_back == 0

    check_growth(send, 100_000)


@direct_io
def test_sending_what_cannot_be_sent(sockets):
    local, remote = sockets
    local.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def send(count):
        for number in range(count // 100):
            connection = Connection(local)
            while connection.fell_back == 0:  # until nothing goes any more, or only a part
                connection.send(b"x" * (10_000 if number % 2 else 100))
            for message in ("é" * 1000, bytearray(b"x"), memoryview(b"x"), None, "é" * 20_000):
                connection.send(message)
            connection.send("x", timeout=1, text=True)
            assert connection.fell_back == 7
            with pytest.raises(UnicodeEncodeError):
                connection.send("\ud800")
            for args, kwargs in (((), {}), ((1, 2), {}), ((1,), {"no": 1}), ((1,), {"message": 1})):
                with pytest.raises(TypeError):
                    connection.send(*args, **kwargs)
            connection.backlog.clear()
            connection.protocol.state = None
            connection.send("x")
            del connection.protocol.state
            connection.protocol.fragmenting = True
            connection.send("x")
            assert connection.fell_back == 9
            drain(remote)

    check_growth(send, 20_000)
    remote.close()
    connection = Connection(local)

    def fail(count):
        for _ in range(count):
            with pytest.raises(Ended):
                connection.send(b"x" * 100)

    check_growth(fail, 10_000)


def test_write_locks_that_threads_wait_for():
    def use(count):
        lock = _speedups.WriteLock()
        done = []

        def take():
            for number in range(count):
                with lock:
                    if number % 4 == 0:
                        time.sleep(1e-5)  # others run, and find it taken
            done.append(True)

        threads = [threading.Thread(target=take) for _ in range(2)]
        for thread in threads:
            thread.start()
        while len(done) < 2:
            with lock, lock:
                assert lock.acquire(blocking=False)
                lock.release()
                time.sleep(1e-5)  # others run, and find it taken
        for thread in threads:
            thread.join()
        with pytest.raises(RuntimeError):
            lock.release()

    check_growth(use, 2000)


def test_write_locks_that_are_dropped():
    def use(count):
        locks = [_speedups.WriteLock() for _ in range(count)]

        def take():
            for lock in locks:
                lock.acquire()

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        for lock in locks:
            assert not lock.acquire(timeout=1e-9)

    check_growth(use, 2000)


@direct_io
def test_connections_that_are_dropped(sockets):
    local, _ = sockets
    data = frames_of(MESSAGES * 10) + build_frame(0x89, b"ping") + frames_of(MESSAGES)
    broken = [b"\x81\x7f" + (1 << 62).to_bytes(8, "big") + b"a" * 100, b"\x83\x00", b"\x82"]

    def use(count):
        for number in range(count):
            connection = Connection(local, max_message=1 << 63)
            connection._feed(data)
            connection._feed(broken[number % 3])
            assert connection._has_leftover
            connection.recv()
            if number % 3 == 0:
                continue
            iterator = iter(connection)
            next(iterator)
            if number % 2:
                connection.me = iterator  # a cycle
            with pytest.raises(TypeError):
                connection._queue = None
            with pytest.raises(TypeError):
                connection._go_direct(1, 2)
            with pytest.raises(TypeError):
                connection.recv(1, 2, 3)
            with pytest.raises(TypeError):
                connection.recv(wrong=1)
            connection._end_role()
            for message in range(108):
                del message
                try:
                    connection.recv()
                except Ended:
                    break

    check_growth(use, 3_000)


@direct_io
def test_connections_whose_peer_goes_away():
    data = frames_of(["m", b"x"])

    def use(count):
        for number in range(count):
            local, remote = socket.socketpair()
            with local, remote:
                connection = Connection(local)
                remote.sendall(data)
                remote.close()
                if number % 2:
                    assert list(connection) == ["m", b"x"]
                else:
                    assert connection.recv(1) == "m"
                    assert connection.recv(1) == b"x"
                    for _ in range(2):
                        with pytest.raises(Ended):
                            connection.recv(1)
                assert connection._ended_reading

    check_growth(use, 3_000)
