"""Parsing, in Python and in C: both are held to the same tests."""

import os
import struct
import tracemalloc

import pytest
from support.codecs import NOT_BUILT, SIZES, _speedups, parse, whole_and_bytewise
from support.wire import KEY, build_frame, build_frames, mask

from syncws.accel import pure


@pytest.mark.parametrize("key", [None, KEY], ids=["unmasked", "masked"])
@pytest.mark.parametrize("size", SIZES)
def test_message_in_one_frame_comes_out_whole(codec, size, key):
    binary, text = os.urandom(size), "é€😀x"[: size % 5] * (size // 8)
    data = build_frame(0x82, binary, key) + build_frame(0x81, text.encode(), key)
    for piece in (None, 1, 4097) if size < 70000 else (None, 4097):
        events, error = parse(codec, data, piece, masked=key is not None)
        assert events == [binary, text]
        assert [type(event) for event in events] == [bytes, str]
        assert error is None


def test_other_frames_come_out_as_first_byte_and_payload(codec):
    frames = [
        (0x01, b"a"),
        (0x89, b"ping"),
        (0x00, b""),
        (0x8A, b""),
        (0x80, b"b"),
        (0x02, b""),
        (0x80, b"\xff"),
        (0x88, b"\x03\xe8"),
    ]
    for key in (None, KEY):
        data = build_frames(frames, key)
        assert whole_and_bytewise(codec, data, masked=key is not None) == (
            frames,
            (1000, "stopped"),
        )


def test_nothing_follows_a_close_frame(codec):
    data = build_frame(0x88) + build_frame(0x81, b"late") + b"\xff\xff"
    assert whole_and_bytewise(codec, data) == ([(0x88, b"")], (1000, "stopped"))


def test_stopped_parser_discards_what_comes_but_keeps_its_error(codec):
    parser = codec.FrameParser(masked=False)
    parser.stop()
    assert parser.receive(build_frame(0x81, b"late")) == []
    assert parser.error == (1000, "stopped")
    parser = codec.FrameParser(masked=False)
    assert parser.receive(b"\x83\x00") == []
    parser.stop()
    assert parser.error == (1002, "opcode 0x3 is reserved")


def test_raw_parser_shows_every_frame_and_leaves_text_unchecked(codec):
    frames = [(0x81, b"\xff"), (0xC2, b"x"), (0x41, b"\xff"), (0xC0, b"\xff"), (0x82, b"")]
    data = build_frames(frames)
    assert whole_and_bytewise(codec, data, rsv=0x70, raw=True) == (frames, None)


def test_parser_knows_whether_a_frame_has_begun(codec):
    parser = codec.FrameParser(masked=True)
    data = build_frame(0x81, b"hello", KEY)
    seen = []
    for byte in data:
        parser.receive(bytes([byte]))
        seen.append(parser.receiving)
    assert seen == [True] * (len(data) - 1) + [False]


def test_events_before_an_error_are_returned(codec):
    data = build_frames([(0x81, b"a"), (0x01, b"b"), (0x89, b"c"), (0x8B, b"")])
    assert whole_and_bytewise(codec, data) == (
        ["a", (0x01, b"b"), (0x89, b"c")],
        (1002, "opcode 0xb is reserved"),
    )


@pytest.mark.parametrize(
    ("data", "settings", "error"),
    [
        (b"\xc1\x00", {}, "reserved bits must be 0"),
        (b"\xa1\x00", {"rsv": 0x40}, "reserved bits must be 0"),
        (b"\x91\x00", {"rsv": 0x40}, "reserved bits must be 0"),
        (b"\xc9\x00", {"rsv": 0x40}, "reserved bits of a control frame must be 0"),
        (b"\xf8\x00", {"rsv": 0x70}, "reserved bits of a control frame must be 0"),
        (b"\x41\x00\xc0\x00", {"rsv": 0x40}, "reserved bits of a continuation frame must be 0"),
        (b"\x09\x00", {}, "a control frame is fragmented"),
        (b"\x08\x00", {}, "a control frame is fragmented"),
        (b"\x89\x7e", {}, "a control frame has more than 125 bytes"),
        (b"\x88\x7f", {}, "a control frame has more than 125 bytes"),
        (b"\x80\x00", {}, "a continuation frame without a message to continue"),
        (b"\x01\x00\x80\x00\x80\x00", {}, "a continuation frame without a message to continue"),
        (b"\x01\x00\x81\x00", {}, "a new message before the end of the fragmented one"),
        (b"\x01\x00\x02\x00", {}, "a new message before the end of the fragmented one"),
        (b"\x01\x00\xc1\x00", {"rsv": 0x40}, "a new message before the end of the fragmented one"),
        (b"\x81\x80", {}, "a frame is masked"),
        (b"\x89\x80", {}, "a frame is masked"),
        (b"\x81\x00", {"masked": True}, "a frame isn't masked"),
        (b"\x82\x7e\x00\x7d", {}, "length 125 isn't in its shortest form"),
        (b"\x82\x7e\x00\x00", {}, "length 0 isn't in its shortest form"),
        (b"\x82\x7f" + struct.pack("!Q", 65535), {}, "length 65535 isn't in its shortest form"),
        (b"\x82\x7f" + struct.pack("!Q", 5), {}, "length 5 isn't in its shortest form"),
        (b"\x82\x7f\x80" + bytes(7), {}, "the most significant bit of a length is set"),
        (b"\x82\x7f" + b"\xff" * 8, {}, "the most significant bit of a length is set"),
        *[
            (bytes((0x80 | opcode, 0)), {}, f"opcode {opcode:#x} is reserved")
            for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
        ],
    ],
)
def test_violation_is_found_on_the_header(codec, data, settings, error):
    _, found = whole_and_bytewise(codec, data, **settings)
    assert found == (1002, error)
    assert parse(codec, data[:-1], **settings)[1] is None


def test_reserved_bits_that_extensions_use_are_let_through(codec):
    frames = [(0xC1, b"a"), (0x42, b"b"), (0x80, b"c")]
    assert whole_and_bytewise(codec, build_frames(frames), rsv=0x40) == (frames, None)
    frames = [(0x71, b"a"), (0x20, b"b"), (0xF0, b"c")]
    assert whole_and_bytewise(codec, build_frames(frames), rsv=0x70) == (frames, None)


def test_parser_keeps_nothing_of_a_buffer_that_it_was_given(codec):
    data = build_frame(0x82, b"x" * 20) + build_frame(0x82, b"y" * 20)
    # In Python only bytes are promised to come out as bytes.
    for kind in (bytes,) if codec is pure else (bytes, bytearray, memoryview):
        for cut in range(len(data)):
            parser = codec.FrameParser(masked=False)
            events = parser.receive(kind(data[:cut])) + parser.receive(kind(data[cut:]))
            assert events == [b"x" * 20, b"y" * 20]
            assert [type(event) for event in events] == [bytes, bytes]
    buffer = bytearray(data[:30])
    parser = codec.FrameParser(masked=False)
    parser.receive(buffer)
    buffer[:] = bytes(30)
    assert parser.receive(data[30:]) == [b"y" * 20]


def test_parser_wants_its_settings_by_name(codec):
    with pytest.raises(TypeError):
        codec.FrameParser()
    with pytest.raises(TypeError):
        codec.FrameParser(True)
    with pytest.raises(TypeError):
        codec.FrameParser(masked=True, unknown=1)


@pytest.mark.skipif(_speedups is None, reason=NOT_BUILT)
@pytest.mark.parametrize("wrong", ["text", None, 5, memoryview(b"abcd")[::2]])
def test_parser_in_c_refuses_what_is_not_bytes_and_goes_on(wrong):
    parser = _speedups.FrameParser(masked=False)
    assert parser.receive(b"\x81\x02a") == []
    with pytest.raises((TypeError, BufferError)):
        parser.receive(wrong)
    assert parser.receive(b"b") == ["ab"]


def test_keys_turn_with_every_split(codec):
    for size in range(1, 40):
        for first, payload in ((0x82, os.urandom(size)), (0x81, b"a" * size), (0x01, b"b" * size)):
            data = build_frame(first, payload, KEY)
            expected = payload if first == 0x82 else payload.decode()
            for cut in range(len(data) + 1):
                parser = codec.FrameParser(masked=True)
                events = parser.receive(data[:cut])
                assert parser.receiving == (0 < cut < len(data))
                events += parser.receive(data[cut:])
                assert events == [(first, payload) if first == 0x01 else expected]
            for step in (3, 5, 9, 17):
                assert parse(codec, data, step, masked=True)[0] == events


@pytest.mark.parametrize("key", [None, KEY], ids=["unmasked", "masked"])
@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (1 << 21) + 3, 5_000_003])
def test_frames_above_a_megabyte_come_out_whole(codec, size, key):
    unit = "aé€😀\n..".encode()  # 13 bytes
    text = unit * (size // 13) + b"." * (size % 13)
    binary = os.urandom(52) * (size // 52 + 1)
    for first, payload in ((0x81, text), (0x82, binary[:size]), (0x02, binary[:size])):
        # The period of the mask and that of the payload meet after 52 bytes.
        masked = payload if key is None else mask(payload[:52]) * (size // 52 + 1)
        header = bytes((first, 127 | (0 if key is None else 0x80))) + struct.pack("!Q", size)
        if key is not None and first == 0x81:
            masked = masked[: size - size % 13] + mask(payload, key)[size - size % 13 :]
        data = header + (key or b"") + masked[:size]
        data += build_frame(0x81 if first != 0x02 else 0x80, b"then", key)
        expected = [payload.decode() if first == 0x81 else payload, "then"]
        if first == 0x02:
            expected = [(0x02, payload), (0x80, b"then")]
        for piece in (None, 65536, 300_007):
            events, error = parse(codec, data, piece, masked=key is not None)
            assert events == expected
            assert error is None


def test_events_and_errors_can_be_told_apart_by_type(codec):
    events, error = parse(codec, b"\x81\x01a\x82\x01b\x89\x01c\x02\x01d\x83\x00")
    assert [type(event) for event in events] == [str, bytes, tuple, tuple]
    assert [[type(part) for part in event] for event in events[2:]] == [[int, bytes]] * 2
    assert [type(part) for part in error] == [int, str]
    assert type(error) is tuple


def test_error_cannot_be_replaced_by_what_comes_later(codec):
    parser = codec.FrameParser(masked=False)
    parser.receive(b"\x81\x02a\xff\x83\x00")
    assert parser.error == (1007, "invalid start byte", 1)
    assert [type(part) for part in parser.error] == [int, str, int]
    for data in (b"", b"\x83\x00", b"\x81\x01a", b"\x88\x00"):
        assert parser.receive(data) == []
    parser.stop()
    assert parser.error == (1007, "invalid start byte", 1)


# --- memory and effort ---


def test_frame_that_drips_in_costs_little_more_than_its_bytes(codec):
    size = 100_000
    for first, payload in ((0x82, b"ab" * (size // 2)), (0x81, "é".encode() * (size // 2))):
        data = build_frame(first, payload)
        parser = codec.FrameParser(masked=False)
        tracemalloc.start()
        for start in range(0, len(data) - 2, 2):
            assert parser.receive(data[start : start + 2]) == []
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 2 * size
        events = parser.receive(data[-2:])
        assert events == [payload if first == 0x82 else payload.decode()]


def test_65536_fragments_of_one_byte_make_no_trouble(codec):
    frames = [(0x01, b"*"), *[(0x00, b"*")] * 65534, (0x80, b"*")]
    events, error = parse(codec, build_frames(frames, KEY), 65536, masked=True, max_message=65536)
    assert error is None
    assert events == frames


def test_many_empty_fragments_hold_no_memory(codec):
    data = build_frame(0x01) + build_frame(0x00) * 50_000
    parser = codec.FrameParser(masked=False, max_message=10)
    parser.receive(data)
    tracemalloc.start()
    counts = [len(parser.receive(build_frame(0x00) * 25_000)) for _ in range(2)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts == [25_000, 25_000]
    assert held < 200_000  # the interpreter keeps some tuples for later
    assert parser.receive(build_frame(0x80)) == [(0x80, b"")]


def test_parsers_share_the_table_of_first_bytes():
    assert pure.FrameParser(masked=True)._kinds is pure.FrameParser(masked=False)._kinds


@pytest.mark.parametrize("name", ["max_message", "max_fragment"])
@pytest.mark.parametrize("limit", [-1, -(1 << 70)])
def test_negative_limits_are_refused(codec, name, limit):
    with pytest.raises(ValueError, match=f"{name} is negative: {limit}"):
        codec.FrameParser(masked=True, **{name: limit})
