"""Limits of messages and fragments, in Python and in C."""

import tracemalloc

import pytest
from support.codecs import parse, whole_and_bytewise
from support.wire import KEY, build_frame, build_frames, mask


@pytest.mark.parametrize("key", [None, KEY], ids=["unmasked", "masked"])
@pytest.mark.parametrize("first", [0x81, 0x82, 0x01])
@pytest.mark.parametrize(("size", "width"), [(101, 2), (1000, 4), (70000, 10)])
def test_limit_of_a_message_is_checked_on_the_header(codec, first, size, width, key):
    settings = {"max_message": size - 1, "masked": key is not None}
    header = build_frame(first, bytes(size), key)[:width]
    assert whole_and_bytewise(codec, header, **settings) == ([], (1009, size, size - 1, None))
    settings["max_message"] = size
    assert whole_and_bytewise(codec, header, **settings) == ([], None)


def test_promise_of_an_endless_frame_is_refused_on_the_header(codec):
    header = b"\x82\x7f" + (1 << 62).to_bytes(8, "big")
    _, error = whole_and_bytewise(codec, header, max_message=2**20)
    assert error == (1009, 1 << 62, 2**20, None)
    assert parse(codec, header)[1] is None


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("first", [0x81, 0x82, 0x01, 0x02])
@pytest.mark.parametrize("promised", [1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1])
def test_promise_of_an_endless_frame_costs_what_was_sent_of_it(codec, first, promised, masked):
    header = bytes((first, 255 if masked else 127)) + promised.to_bytes(8, "big")
    header += KEY if masked else b""
    piece = b"a" * (1 << 18) if not masked else mask(b"a" * 4) * (1 << 16)
    for count in (0, 1, 16):
        tracemalloc.start()
        parser = codec.FrameParser(masked=masked)
        assert parser.receive(header) == []
        for _ in range(count):
            assert parser.receive(piece) == []
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert parser.receiving
        assert parser.error is None
        sent = count << 18
        assert held <= 2 * sent + (1 << 20) + 20_000
        assert peak <= 3 * sent + (2 << 20)


@pytest.mark.parametrize("limit", [(1 << 62) - 1, (1 << 63) - 1, 1 << 63, 1 << 80])
def test_limits_may_be_huge(codec, limit):
    for promised in (1 << 20, (1 << 62) - 1, 1 << 62, (1 << 63) - 1):
        header = b"\x82\x7f" + promised.to_bytes(8, "big")
        for name in ("max_message", "max_fragment"):
            error = (1009, promised, limit, None) if promised > limit else None
            assert parse(codec, header, **{name: limit})[1] == error


def test_limits_meet_huge_fragments(codec):
    huge = b"\x00\x7f" + ((1 << 63) - 1).to_bytes(8, "big")
    data = build_frame(0x02, b"12345") + huge
    _, error = whole_and_bytewise(codec, data, max_message=(1 << 63) - 1)
    assert error == (1009, (1 << 63) - 1, (1 << 63) - 6, 5)
    _, error = whole_and_bytewise(codec, data, max_message=4)
    assert error == (1009, 5, 4, None)
    slack = ((1 << 63) - 1 >> 3) + 64
    for settings in ({"raw": True}, {"rsv": 0x40}):
        data = build_frame(0x42, b"1") + huge if "rsv" in settings else build_frame(2) + huge
        limit = (1 << 63) - 1 - slack
        assert parse(codec, data, max_message=limit, **settings)[1] is None
        error = parse(codec, data, max_message=limit - 1, **settings)[1]
        assert error == (1009, (1 << 63) - 1, limit - 1, None)


@pytest.mark.parametrize("settings", [{"max_message": 100}, {"max_fragment": 100}])
@pytest.mark.parametrize("mode", ["raw", "rsv", "plain"])
def test_slack_is_for_what_may_be_compressed(codec, settings, mode):
    first, extra = {
        "raw": (0x82, {"raw": True}),
        "rsv": (0xC2, {"rsv": 0x40}),
        "plain": (0x82, {}),
    }[mode]
    for size in range(90, 300):
        slack = 0 if mode == "plain" else size // 8 + 64
        error = parse(codec, build_frame(first, bytes(size)), **settings, **extra)[1]
        assert error == ((1009, size, 100, None) if size - slack > 100 else None)


def test_limit_of_a_message_counts_all_its_fragments(codec):
    data = build_frames([(0x01, b"12345"), (0x89, b"ping" * 9), (0x00, b"678"), (0x80, b"90")])
    events, error = whole_and_bytewise(codec, data, max_message=10)
    assert (len(events), error) == (4, None)
    events, error = whole_and_bytewise(codec, data, max_message=9)
    assert (len(events), error) == (3, (1009, 2, 1, 8))


def test_limit_counts_anew_for_each_message(codec):
    data = build_frames([(0x01, b"123"), (0x80, b"45"), (0x81, b"12345"), (0x01, b"12345")])
    assert whole_and_bytewise(codec, data, max_message=5)[1] is None


def test_limit_of_a_fragment_applies_to_every_data_frame(codec):
    data = build_frames([(0x82, b"12345"), (0x02, b"12345"), (0x89, b"longer"), (0x80, b"123456")])
    events, error = whole_and_bytewise(codec, data, max_fragment=5)
    assert (len(events), error) == (3, (1009, 6, 5, None))


def test_limit_of_zero_lets_empty_messages_through(codec):
    data = build_frames([(0x81, b""), (0x02, b""), (0x80, b""), (0x82, b"x")])
    events, error = whole_and_bytewise(codec, data, max_message=0)
    assert (events, error) == (["", (0x02, b""), (0x80, b"")], (1009, 1, 0, None))


def test_compressed_frames_may_be_a_little_over_the_limit_but_not_much(codec):
    for limits in ({"max_message": 1000}, {"max_fragment": 1000}):
        settings = {"rsv": 0x40, **limits}
        frames = [(0xC2, bytes(1100)), (0x42, bytes(1100)), (0x80, bytes(1100))]
        assert whole_and_bytewise(codec, build_frames(frames), **settings) == (frames, None)
        data = build_frames([(0x42, b"x"), (0x80, bytes(1300))])
        assert whole_and_bytewise(codec, data, **settings)[1] == (1009, 1300, 1000, None)
        # What isn't compressed is held to the limit, also after a compressed message.
        data = build_frames([(0x42, bytes(10)), (0x80, bytes(10)), (0x82, bytes(1001))])
        assert whole_and_bytewise(codec, data, **settings)[1] == (1009, 1001, 1000, None)
