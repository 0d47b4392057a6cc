"""What the accelerator allocates it gives back: a million messages, and every way to fail.

Each test does the same thing many times, and looks at the memory before and after: see
support.leaks.
"""

import threading

import pytest
from support.leaks import MESSAGES, check_growth, frames_of
from support.wire import KEY, build_frames

from syncws.accel import _speedups

pytestmark = pytest.mark.slow


def test_leaks_are_found():
    kept = []
    with pytest.raises(pytest.fail.Exception, match="grown by"):
        check_growth(lambda count: kept.extend(bytes(100) for _ in range(count // 1000)), 200_000)
    kept.clear()
    with pytest.raises(pytest.fail.Exception, match="grown by"):
        check_growth(lambda count: kept.extend([] for _ in range(count // 1000)), 200_000)


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


def test_taking_heads_apart():
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX-Own: 1\r\nX-Own: 1\r\nx-own: caf\xe9\r\n\r\n"
    others = [head[:-1], head.replace(b"Own", b"O n"), head.replace(b"caf", b"\n")]

    def split(count):
        for _ in range(count // 4):
            assert _speedups.split_head(head, 1000, 10)
            assert not any(_speedups.split_head(other, 1000, 10) for other in others)

    check_growth(split, 400_000)
