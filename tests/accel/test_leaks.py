"""What the accelerator allocates it gives back: a million messages, and every way to fail.

Each test does the same thing many times, and looks at the memory before and after: blocks of the
interpreter's allocator, which count every object, objects that the garbage collector knows,
references to the accelerator's types, and the process as a whole, for what is allocated past the
interpreter.
"""

import gc
import os
import pathlib
import select
import signal
import socket
import sys
import threading
import time

import pytest
from support.wire import KEY, build_frame, build_frames

try:
    from syncws.accel import _speedups
except ImportError:  # there was no compiler
    pytest.skip("syncws.accel._speedups isn't built", allow_module_level=True)

if sys.getallocatedblocks() == 0:
    pytest.skip("memory isn't the interpreter's own", allow_module_level=True)

# A leak of one object in 1000 calls is more than this, in each of the tests.
MAX_BLOCKS = 150
MAX_OBJECTS = 20
MAX_REFERENCES = 20
MAX_RSS = 3 << 20
MOST = (MAX_BLOCKS, MAX_OBJECTS, MAX_REFERENCES, MAX_RSS)

STATM = pathlib.Path("/proc/self/statm")
direct_io = pytest.mark.skipif(sys.platform == "win32", reason="no reading by descriptor")


def rss():
    """Bytes of memory that the process has; 0 where the system doesn't tell."""
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
    """Check that what the function does ``count`` times takes no memory for good."""
    function(count // 10 + 1)  # caches fill
    grown = None
    for _ in range(3):  # other caches may do so once; a leak would be there each time
        grown = growth(function, count)
        if all(number <= most for number, most in zip(grown, MOST)):
            return
    pytest.fail("grown by {} blocks, {} objects, {} references, {} bytes".format(*grown))


def test_leaks_are_found():
    kept = []
    with pytest.raises(pytest.fail.Exception, match="grown by"):
        check_growth(lambda count: kept.extend(bytes(100) for _ in range(count // 1000)), 200_000)
    kept.clear()
    with pytest.raises(pytest.fail.Exception, match="grown by"):
        check_growth(lambda count: kept.extend([] for _ in range(count // 1000)), 200_000)


# --- parsing -----------------------------------------------------------------------------

MESSAGES = [b"x" * 20, b"", "text", "", "é€😀", "a" * 300, b"\xff" * 300, "é" * 200, "z", b"z"]


def frames_of(messages, key=None):
    return build_frames(
        [
            (0x81, message.encode()) if isinstance(message, str) else (0x82, message)
            for message in messages
        ],
        key,
    )


@pytest.mark.parametrize("key", [None, KEY], ids=["unmasked", "masked"])
def test_parsing_whole_messages(key):
    data = frames_of(MESSAGES * 10, key)
    parser = _speedups.FrameParser(masked=key is not None)

    def receive(count):
        for _ in range(count // 100):
            assert len(parser.receive(data)) == 100

    check_growth(receive, 1_000_000)


def test_parsing_messages_in_pieces():
    data = frames_of(MESSAGES, KEY)
    frames = [(0x01, b"\xc3"), (0x89, b"ping"), (0x80, b"\xa9"), (0x02, b""), (0x80, b"b" * 300)]
    data += build_frames(frames, KEY)
    parser = _speedups.FrameParser(masked=True)
    pieces = [data[start : start + 7] for start in range(0, len(data), 7)]

    def receive(count):
        for _ in range(count // len(MESSAGES)):
            for piece in pieces:
                parser.receive(piece)
        assert not parser.receiving
        assert parser.error is None

    check_growth(receive, 10_000)


def test_parsing_large_messages():
    data = frames_of(["x" * 3_000_000, "é" * 1_000_000, bytes(2_500_000)])
    parser = _speedups.FrameParser(masked=False)
    view = memoryview(data)

    def receive(count):
        for _ in range(count):
            for start in range(0, len(data), 300_000):
                parser.receive(view[start : start + 300_000])
            assert not parser.receiving

    check_growth(receive, 10)


FAILURES = [
    (b"\x81\x01a\x83\x00", {}),
    (b"\x81\x03a\xffb", {}),
    (b"\x81\x7e\x01\x00" + b"a" * 20 + b"\xff", {}),
    (b"\x81\x7e\x01\x00" + "é".encode() * 10 + b"\xff", {}),
    (b"\x01\x03a\xff\x00", {}),
    (b"\x01\x03a\xc3\xa9\x80\x01\xff", {}),
    (b"\x82\x7e\x01\x00", {"max_message": 100}),
    (b"\x02\x05aaaaa\x80\x7e\x01\x00", {"max_message": 100}),
    (b"\x82\x7e\x00\x01", {}),
    (b"\x88\x00\x88\x00", {}),
    # Not an error: parsers that are dropped in the middle of something.
    (b"\x82\x7e\x40\x00" + b"a" * 1000, {}),
    (b"\x82\x7f" + (1 << 62).to_bytes(8, "big") + b"a" * 1000, {}),
    (b"\x81\x7e\x40\x00" + b"a" * 1000, {}),
    (b"\x01\x02aa\x00\x7e\x40\x00" + b"a" * 1000, {}),
    (b"\x82\x7e\x40", {}),
]


def test_parsers_that_fail_or_are_dropped():
    def fail(count):
        for _ in range(count // len(FAILURES)):
            for data, settings in FAILURES:
                parser = _speedups.FrameParser(masked=False, **settings)
                for piece in (data[:9], data[9:], b"more"):
                    parser.receive(piece)
                parser.stop()

    check_growth(fail, 150_000)


def attempts(count, calls):
    """Do what fails, again and again."""
    for _ in range(count // len(calls)):
        for call in calls:
            try:
                call()
            except (TypeError, ValueError, BufferError):
                continue
            raise AssertionError("it did not fail")


def test_calls_that_fail():
    parser = _speedups.FrameParser(masked=False)
    queue = _speedups.MessageQueue()
    # Made anew in each call: what holds on to one that stays could not be seen.
    calls = [
        lambda: _speedups.FrameParser(),
        lambda: _speedups.FrameParser(masked=True, max_message="x"),
        lambda: _speedups.FrameParser(masked=True, max_fragment=b"1"),
        lambda: parser.receive("text" * len(calls)),
        lambda: parser.receive(memoryview(bytearray(100))[::2]),
        lambda: _speedups.apply_mask(bytearray(100), b"abc"),
        lambda: _speedups.apply_mask(bytearray(100), "text"),
        lambda: _speedups.serialize_frame(0x81, "text", True),
        lambda: _speedups.serialize_messages([bytearray(100), bytes(1000), None], True),
        lambda: _speedups.serialize_messages([str(parser), "é", "\ud800" * len(calls)], True),
        lambda: _speedups.serialize_messages([object()], True),
        lambda: _speedups.serialize_messages(("a",), True),
        lambda: _speedups.MessageQueue("x"),
        lambda: queue.put([str(parser), None]),
        lambda: queue.put(("a",)),
        lambda: queue.take("a", ()),
        lambda: queue.restore("a", "b"),
        lambda: queue.complete("a"),
        lambda: _speedups.WriteLock().acquire(timeout="x"),
    ]

    def fail(count):
        attempts(count, calls)
        while queue.first() is not None:
            queue.take(queue.first(), [None])

    check_growth(fail, 100_000)


# --- serializing -------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_serializing(masked):
    frames = [(0x82, bytes(10)), (0x81, bytearray(200)), (0x82, memoryview(bytes(70_000))[:10])]
    messages = MESSAGES * 24

    def serialize(count):
        for number in range(count // 500):
            # Some are made anew: what holds on to one that stays could not be seen.
            fresh = [str(number), f"é{number}", bytes(20), bytearray(b"x" * 20)]
            fresh += [memoryview(bytearray(20)), memoryview(bytearray(20))[::2]]
            _speedups.serialize_messages(messages + fresh, masked)
            for _ in range(40):
                for first, payload in frames:
                    _speedups.serialize_frame(first, payload, masked)
                _speedups.serialize_frame(0x82, bytearray(20), masked)
            for size in range(100):
                _speedups.apply_mask(bytearray(size), KEY)

    check_growth(serialize, 250_000)


# --- the queue ---------------------------------------------------------------------------


def test_queue():
    def use(count):
        queue = _speedups.MessageQueue(5, 2, 1000)
        receipt = [None]
        for number in range(count // 200):
            messages = [f"message {number} {i}" for i in range(100)]
            queue.put(messages)
            part = object()
            queue.begin(part)
            if number % 2:
                queue.complete(part, 10)
            queue.cancel()
            for _ in range(100):
                first = queue.first()
                assert queue.take(first, receipt)
                queue.restore(first, 5)
                assert queue.take(first, receipt)
            queue.room = threading.Lock()
            queue.make_room()
            queue.bounded = False
            queue.put(messages)  # of which some are dropped
            while queue.first() is not None:
                queue.take(queue.first(), receipt)
            queue.bounded = True
        receipt[0] = queue  # dropped with the messages that it has
        queue.put(messages)
        queue.begin(receipt)  # a cycle

    check_growth(use, 100_000)


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
