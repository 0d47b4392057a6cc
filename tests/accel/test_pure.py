import os
import struct
import subprocess
import sys
import tracemalloc

import pytest
from support.wire import KEY, build_frame, build_frames, mask, parse_frames

from syncws import accel
from syncws.accel import FrameParser, Utf8Error, Utf8Validator, apply_mask, pure, serialize_frame

SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 125, 126, 127, 1000, 65535, 65536, 65537, 200_001]


def parse(data, size=None, **settings):
    """What a parser makes of the data, in pieces of that size; and its error."""
    settings.setdefault("masked", False)
    parser = FrameParser(**settings)
    events = []
    for start in range(0, len(data), size or len(data) or 1):
        events += parser.receive(data[start : start + (size or len(data))])
    return events, parser.error


def whole_and_bytewise(data, **settings):
    whole = parse(data, **settings)
    assert parse(data, 1, **settings) == whole
    return whole


def test_accel_says_which_implementation_it_chose():
    assert accel.IMPLEMENTATION == "pure"
    assert accel.FrameParser is pure.FrameParser


# --- masking ---


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [*SIZES, 16383, 16384, 16385])
def test_mask_is_applied_byte_by_byte(size, kind):
    data = os.urandom(size)
    masked = apply_mask(kind(data), KEY)
    assert type(masked) is bytes
    assert masked == mask(data)
    assert apply_mask(masked, KEY) == data


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_mask_of_another_size_is_refused(key):
    with pytest.raises(ValueError, match=f"a masking key has 4 bytes, got {len(key)}"):
        apply_mask(b"data", key)


def test_masking_keys_come_from_the_system_in_blocks(monkeypatch):
    blocks = []

    def urandom(size):
        blocks.append(bytes([len(blocks)]) * size)
        return blocks[-1]

    monkeypatch.setattr(pure.os, "urandom", urandom)
    keys = pure._MaskingKeys()
    drawn = [keys.draw() for _ in range(pure.KEYS_PER_BLOCK + 1)]
    assert drawn == [b"\0" * 4] * pure.KEYS_PER_BLOCK + [b"\1" * 4]
    assert [len(block) for block in blocks] == [4 * pure.KEYS_PER_BLOCK] * 2


def test_masking_keys_that_were_forgotten_are_not_drawn():
    keys = pure._MaskingKeys()
    keys.draw()
    left = {key for (key,) in keys._keys}
    assert len(left) > 1000
    keys.draw()
    keys.forget()
    assert len({keys.draw() for _ in range(pure.KEYS_PER_BLOCK)} - left) > 1000


def test_masking_keys_differ_from_frame_to_frame():
    keys = [serialize_frame(0x82, b"", True)[2:] for _ in range(3000)]
    assert len(set(keys)) > 2990


FORK = """
import os
from syncws.accel import pure
draw = lambda: b"".join(pure._masking_keys.draw() for _ in range(8))
draw()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, draw())
    os._exit(0)
os.wait()
print(os.read(reader, 32) == draw())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_masking_keys_are_not_shared_with_a_forked_process():
    # In a process of its own: this one has other threads.
    command = [sys.executable, "-c", FORK]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, check=True, env=environ, timeout=30)
    assert done.stdout.strip() == b"False"


# --- serializing ---


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", SIZES)
def test_frame_is_serialized_with_the_shortest_length(size, kind):
    data = os.urandom(size)
    assert serialize_frame(0x82, kind(data), False) == build_frame(0x82, data)
    masked = serialize_frame(0x82, kind(data), True)
    header = len(build_frame(0x82, data)) - size
    assert masked == build_frame(0x82, data, masked[header : header + 4])
    assert parse_frames(masked, masked=True) == [(0x82, data)]


# --- parsing ---


@pytest.mark.parametrize("key", [None, KEY], ids=["unmasked", "masked"])
@pytest.mark.parametrize("size", SIZES)
def test_message_in_one_frame_comes_out_whole(size, key):
    binary, text = os.urandom(size), "é€😀x"[: size % 5] * (size // 8)
    data = build_frame(0x82, binary, key) + build_frame(0x81, text.encode(), key)
    for piece in (None, 1, 4097) if size < 70000 else (None, 4097):
        events, error = parse(data, piece, masked=key is not None)
        assert events == [binary, text]
        assert [type(event) for event in events] == [bytes, str]
        assert error is None


def test_other_frames_come_out_as_first_byte_and_payload():
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
        assert whole_and_bytewise(data, masked=key is not None) == (frames, (1000, "stopped"))


def test_nothing_follows_a_close_frame():
    data = build_frame(0x88) + build_frame(0x81, b"late") + b"\xff\xff"
    assert whole_and_bytewise(data) == ([(0x88, b"")], (1000, "stopped"))


def test_stopped_parser_discards_what_comes_but_keeps_its_error():
    parser = FrameParser(masked=False)
    parser.stop()
    assert parser.receive(build_frame(0x81, b"late")) == []
    assert parser.error == (1000, "stopped")
    parser = FrameParser(masked=False)
    assert parser.receive(b"\x83\x00") == []
    parser.stop()
    assert parser.error == (1002, "opcode 0x3 is reserved")


def test_raw_parser_shows_every_frame_and_leaves_text_unchecked():
    frames = [(0x81, b"\xff"), (0xC2, b"x"), (0x41, b"\xff"), (0xC0, b"\xff"), (0x82, b"")]
    data = build_frames(frames)
    assert whole_and_bytewise(data, rsv=0x70, raw=True) == (frames, None)


def test_parser_knows_whether_a_frame_has_begun():
    parser = FrameParser(masked=True)
    data = build_frame(0x81, b"hello", KEY)
    seen = []
    for byte in data:
        parser.receive(bytes([byte]))
        seen.append(parser.receiving)
    assert seen == [True] * (len(data) - 1) + [False]


def test_events_before_an_error_are_returned():
    data = build_frames([(0x81, b"a"), (0x01, b"b"), (0x89, b"c"), (0x8B, b"")])
    assert whole_and_bytewise(data) == (
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
def test_violation_is_found_on_the_header(data, settings, error):
    _, found = whole_and_bytewise(data, **settings)
    assert found == (1002, error)
    assert parse(data[:-1], **settings)[1] is None


def test_reserved_bits_that_extensions_use_are_let_through():
    frames = [(0xC1, b"a"), (0x42, b"b"), (0x80, b"c")]
    assert whole_and_bytewise(build_frames(frames), rsv=0x40) == (frames, None)
    frames = [(0x71, b"a"), (0x20, b"b"), (0xF0, b"c")]
    assert whole_and_bytewise(build_frames(frames), rsv=0x70) == (frames, None)


# --- limits ---


@pytest.mark.parametrize("key", [None, KEY], ids=["unmasked", "masked"])
@pytest.mark.parametrize("first", [0x81, 0x82, 0x01])
@pytest.mark.parametrize(("size", "width"), [(101, 2), (1000, 4), (70000, 10)])
def test_limit_of_a_message_is_checked_on_the_header(first, size, width, key):
    settings = {"max_message": size - 1, "masked": key is not None}
    header = build_frame(first, bytes(size), key)[:width]
    assert whole_and_bytewise(header, **settings) == ([], (1009, size, size - 1, None))
    settings["max_message"] = size
    assert whole_and_bytewise(header, **settings) == ([], None)


def test_promise_of_an_endless_frame_is_refused_on_the_header():
    header = b"\x82\x7f" + (1 << 62).to_bytes(8, "big")
    _, error = whole_and_bytewise(header, max_message=2**20)
    assert error == (1009, 1 << 62, 2**20, None)
    assert parse(header)[1] is None


def test_limit_of_a_message_counts_all_its_fragments():
    data = build_frames([(0x01, b"12345"), (0x89, b"ping" * 9), (0x00, b"678"), (0x80, b"90")])
    events, error = whole_and_bytewise(data, max_message=10)
    assert (len(events), error) == (4, None)
    events, error = whole_and_bytewise(data, max_message=9)
    assert (len(events), error) == (3, (1009, 2, 1, 8))


def test_limit_counts_anew_for_each_message():
    data = build_frames([(0x01, b"123"), (0x80, b"45"), (0x81, b"12345"), (0x01, b"12345")])
    assert whole_and_bytewise(data, max_message=5)[1] is None


def test_limit_of_a_fragment_applies_to_every_data_frame():
    data = build_frames([(0x82, b"12345"), (0x02, b"12345"), (0x89, b"longer"), (0x80, b"123456")])
    events, error = whole_and_bytewise(data, max_fragment=5)
    assert (len(events), error) == (3, (1009, 6, 5, None))


def test_limit_of_zero_lets_empty_messages_through():
    data = build_frames([(0x81, b""), (0x02, b""), (0x80, b""), (0x82, b"x")])
    events, error = whole_and_bytewise(data, max_message=0)
    assert (events, error) == (["", (0x02, b""), (0x80, b"")], (1009, 1, 0, None))


def test_compressed_frames_may_be_a_little_over_the_limit_but_not_much():
    for limits in ({"max_message": 1000}, {"max_fragment": 1000}):
        settings = {"rsv": 0x40, **limits}
        frames = [(0xC2, bytes(1100)), (0x42, bytes(1100)), (0x80, bytes(1100))]
        assert whole_and_bytewise(build_frames(frames), **settings) == (frames, None)
        data = build_frames([(0x42, b"x"), (0x80, bytes(1300))])
        assert whole_and_bytewise(data, **settings)[1] == (1009, 1300, 1000, None)
        # What isn't compressed is held to the limit, also after a compressed message.
        data = build_frames([(0x42, bytes(10)), (0x80, bytes(10)), (0x82, bytes(1001))])
        assert whole_and_bytewise(data, **settings)[1] == (1009, 1001, 1000, None)


# --- text ---

BAD_TEXT = [
    (b"\xff", 0, "invalid start byte"),
    (b"ab\xc0", 2, "invalid start byte"),
    (b"ab\xe2\x28", 2, "invalid continuation byte"),
    (b"ab\xe0\x9f", 2, "invalid continuation byte"),
    (b"ab\xed\xa0", 2, "invalid continuation byte"),
    (b"ab\xed\xbf", 2, "invalid continuation byte"),
    (b"ab\xf0\x8f", 2, "invalid continuation byte"),
    (b"ab\xf4\x90", 2, "invalid continuation byte"),
    (b"ab\xf5", 2, "invalid start byte"),
    ("é€".encode() + b"\xf0\x90\x80\x28", 5, "invalid continuation byte"),
]


@pytest.mark.parametrize("first", [0x81, 0x01])
@pytest.mark.parametrize("key", [None, KEY], ids=["unmasked", "masked"])
@pytest.mark.parametrize(("bad", "position", "reason"), BAD_TEXT, ids=lambda x: str(x)[:20])
def test_invalid_text_fails_at_the_first_impossible_byte(bad, position, reason, key, first):
    data = build_frame(first, bad + b"and much more to come", key)
    header = 2 if key is None else 6
    for size in (1, 2, 3):
        parser = FrameParser(masked=key is not None)
        for end in range(0, header + len(bad), size):
            assert parser.error is None
            assert parser.receive(data[end : end + size]) == []
        assert parser.error == (1007, reason, position)
    assert parse(data, masked=key is not None)[1] == (1007, reason, position)


@pytest.mark.parametrize("cut", range(5))
def test_surrogates_fail_wherever_fragments_are_cut(cut):
    text = b"x\xed\xa0\x80"
    data = build_frames([(0x01, text[:cut]), (0x00, b""), (0x80, text[cut:])])
    assert whole_and_bytewise(data)[1] == (1007, "invalid continuation byte", 1)


@pytest.mark.parametrize("bad", [b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3"])
def test_text_that_ends_within_a_character_is_refused_at_the_end(bad):
    for frames in (
        [(0x81, b"x" + bad)],
        [(0x01, b"x"), (0x80, bad)],
        [(0x01, b"x" + bad), (0x00, b""), (0x80, b"")],
    ):
        _, error = whole_and_bytewise(build_frames(frames))
        assert error == (1007, "unexpected end of data", 1)
    assert whole_and_bytewise(build_frame(0x01, bad))[1] is None


def test_characters_may_be_cut_by_fragments():
    text = "aé€😀".encode()
    cuts = [text[i : i + 1] for i in range(len(text))]
    frames = [(0x01, b""), *[(0x00, cut) for cut in cuts], (0x80, b""), (0x82, b"\xff")]
    events, error = whole_and_bytewise(build_frames(frames))
    assert (events, error) == ([*frames[:-1], b"\xff"], None)


def test_state_of_text_does_not_leak_into_the_next_message():
    data = build_frames([(0x01, b"\xe2"), (0x89, b"\xff"), (0x80, b"\x82\xac"), (0x02, b"\xff")])
    data += build_frames([(0x80, b"\xff"), (0x81, b"ok"), (0x01, b"\xff")])
    events, error = whole_and_bytewise(data)
    assert (len(events), error) == (6, (1007, "invalid start byte", 0))


def test_validator_refuses_exactly_the_prefixes_of_no_text():
    for lead in range(0x80, 0x100):
        for tail in [b"", *[bytes((byte,)) for byte in range(0x100)]]:
            prefix = bytes((lead,)) + tail
            expected = None if is_valid_prefix(prefix) else 0
            assert positions_of_error(prefix) == [expected, expected], prefix
    for char in "\x00\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff":
        text = char.encode()
        for end in range(1, len(text) + 1):
            assert positions_of_error(text[:end]) == [None, None]


def is_valid_prefix(prefix):
    """The table of RFC 3629 §4, for one or two bytes."""
    lead = prefix[0]
    if not 0xC2 <= lead <= 0xF4:
        return False
    if len(prefix) == 1:
        return True
    low = {0xE0: 0xA0, 0xF0: 0x90}.get(lead, 0x80)
    high = {0xED: 0x9F, 0xF4: 0x8F}.get(lead, 0xBF)
    return low <= prefix[1] <= high


def positions_of_error(prefix):
    """Where the prefix fails, or None: as a whole, and byte by byte."""
    bytewise = [prefix[i : i + 1] for i in range(len(prefix))]
    return [position_of_error(pieces) for pieces in ([prefix], bytewise)]


def position_of_error(pieces):
    validator = Utf8Validator()
    try:
        for piece in pieces:
            validator.decode(piece)
    except Utf8Error as exc:
        return exc.args[1]
    return None


def test_validator_returns_text_as_it_is_complete():
    validator = Utf8Validator()
    texts = [validator.decode(piece) for piece in (b"a\xe2", b"\x82", b"\xacb", b"")]
    assert texts == ["a", "", "€b", ""]
    assert validator.size == 5
    assert validator.decode(b"c", final=True) == "c"


# --- memory and effort ---


def test_frame_that_drips_in_costs_little_more_than_its_bytes():
    size = 100_000
    for first, payload in ((0x82, b"ab" * (size // 2)), (0x81, "é".encode() * (size // 2))):
        data = build_frame(first, payload)
        parser = FrameParser(masked=False)
        tracemalloc.start()
        for start in range(0, len(data) - 2, 2):
            assert parser.receive(data[start : start + 2]) == []
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 2 * size
        events = parser.receive(data[-2:])
        assert events == [payload if first == 0x82 else payload.decode()]


def test_65536_fragments_of_one_byte_make_no_trouble():
    frames = [(0x01, b"*"), *[(0x00, b"*")] * 65534, (0x80, b"*")]
    events, error = parse(build_frames(frames, KEY), 65536, masked=True, max_message=65536)
    assert error is None
    assert events == frames


def test_many_empty_fragments_hold_no_memory():
    data = build_frame(0x01) + build_frame(0x00) * 50_000
    parser = FrameParser(masked=False, max_message=10)
    parser.receive(data)
    tracemalloc.start()
    counts = [len(parser.receive(build_frame(0x00) * 25_000)) for _ in range(2)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts == [25_000, 25_000]
    assert held < 200_000  # the interpreter keeps some tuples for later
    assert parser.receive(build_frame(0x80)) == [(0x80, b"")]


def test_parsers_share_the_table_of_first_bytes():
    assert FrameParser(masked=True)._kinds is FrameParser(masked=False)._kinds
