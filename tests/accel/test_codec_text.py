"""Text, checked as it arrives, in Python and in C."""

import pytest
from support.codecs import parse, whole_and_bytewise
from support.wire import KEY, build_frame, build_frames

from syncws.accel import Utf8Error, Utf8Validator

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
def test_invalid_text_fails_at_the_first_impossible_byte(codec, bad, position, reason, key, first):
    data = build_frame(first, bad + b"and much more to come", key)
    header = 2 if key is None else 6
    for size in (1, 2, 3):
        parser = codec.FrameParser(masked=key is not None)
        for end in range(0, header + len(bad), size):
            assert parser.error is None
            assert parser.receive(data[end : end + size]) == []
        assert parser.error == (1007, reason, position)
    assert parse(codec, data, masked=key is not None)[1] == (1007, reason, position)


@pytest.mark.parametrize("cut", range(5))
def test_surrogates_fail_wherever_fragments_are_cut(codec, cut):
    text = b"x\xed\xa0\x80"
    data = build_frames([(0x01, text[:cut]), (0x00, b""), (0x80, text[cut:])])
    assert whole_and_bytewise(codec, data)[1] == (1007, "invalid continuation byte", 1)


@pytest.mark.parametrize("bad", [b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3"])
def test_text_that_ends_within_a_character_is_refused_at_the_end(codec, bad):
    for frames in (
        [(0x81, b"x" + bad)],
        [(0x01, b"x"), (0x80, bad)],
        [(0x01, b"x" + bad), (0x00, b""), (0x80, b"")],
    ):
        _, error = whole_and_bytewise(codec, build_frames(frames))
        assert error == (1007, "unexpected end of data", 1)
    assert whole_and_bytewise(codec, build_frame(0x01, bad))[1] is None


def test_characters_may_be_cut_by_fragments(codec):
    text = "aé€😀".encode()
    cuts = [text[i : i + 1] for i in range(len(text))]
    frames = [(0x01, b""), *[(0x00, cut) for cut in cuts], (0x80, b""), (0x82, b"\xff")]
    events, error = whole_and_bytewise(codec, build_frames(frames))
    assert (events, error) == ([*frames[:-1], b"\xff"], None)


def test_state_of_text_does_not_leak_into_the_next_message(codec):
    data = build_frames([(0x01, b"\xe2"), (0x89, b"\xff"), (0x80, b"\x82\xac"), (0x02, b"\xff")])
    data += build_frames([(0x80, b"\xff"), (0x81, b"ok"), (0x01, b"\xff")])
    events, error = whole_and_bytewise(codec, data)
    assert (len(events), error) == (6, (1007, "invalid start byte", 0))


BROKEN = [
    *[bytes((lead,)) for lead in (0x80, 0xBF, 0xC0, 0xC1, 0xF5, 0xFE, 0xFF)],
    *[bytes((lead, 0x28)) for lead in (0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xF0, 0xF1, 0xF4)],
    b"\xe0\x9f\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82\x28",
    b"\xed\x9f\xc0",
    b"\xf0\x9f\x28",
    b"\xf0\x9f\x98\x28",
    b"\xf4\x8f\xbf\xff",
    b"\xe2\x82",
    b"\xc3",
    b"\xf0\x9f",
    b"\xf0\x9f\x98",
    b"\xed",
]


def error_of_text(data):
    """What the interpreter says is wrong with a text."""
    try:
        data.decode()
    except UnicodeDecodeError as exc:
        return (1007, exc.reason, exc.start)
    return None


@pytest.mark.parametrize("key", [None, KEY], ids=["unmasked", "masked"])
@pytest.mark.parametrize("broken", BROKEN, ids=bytes.hex)
def test_reason_and_position_are_the_interpreters_wherever_it_is_split(codec, broken, key):
    for before in (b"", b"ab", "é€😀".encode(), b"0123456789abcdef" * 2):
        for after in (b"", b"c", "😀".encode(), b"\xff", b"and much more"):
            text = before + broken + after
            expected = error_of_text(text)
            assert expected is not None
            data = build_frame(0x81, text, key)
            for cut in range(len(data)):
                parser = codec.FrameParser(masked=key is not None)
                assert parser.receive(data[:cut]) + parser.receive(data[cut:]) == []
                assert parser.error == expected
            assert parse(codec, data, 1, masked=key is not None) == ([], expected)
            for cut in range(len(text) + 1):
                data = build_frames([(0x01, text[:cut]), (0x80, text[cut:])], key)
                for piece in (None, 1, 5):
                    found = parse(codec, data, piece, masked=key is not None)[1]
                    assert found == expected
    assert parse(codec, build_frame(0x82, broken, key), masked=key is not None)[0] == [broken]


def test_text_is_what_the_interpreter_says_for_all_beginnings(codec):
    for lead in range(0x80, 0x100):
        for second in range(0x100):
            for tail in (b"", b"\x80", b"\xbf\xbf", b"\x80\x80\x80", b"\xc0", b"a"):
                text = bytes((lead, second)) + tail
                parser = codec.FrameParser(masked=False)
                events = parser.receive(bytes((0x81, len(text))) + text)
                if parser.error is None:
                    assert events == [text.decode()]
                else:
                    assert parser.error == error_of_text(text)


def test_every_character_comes_out_whole_and_in_pieces(codec):
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    text = "".join(map(chr, points))
    data = build_frame(0x81, text.encode())
    for piece in (None, 4099, 65536):
        assert parse(codec, data, piece) == ([text], None)
    middle = len(text.encode()) // 2 + 1
    frames = [(0x01, text.encode()[:middle]), (0x80, text.encode()[middle:])]
    for piece in (None, 4099):
        assert parse(codec, build_frames(frames), piece) == (frames, None)


def test_text_that_is_ascii_but_for_one_byte(codec):
    for size in range(70):
        for at in range(size):
            for char in "\x7f\x80é€😀":
                text = "x" * at + char + "y" * (size - at - 1)
                assert parse(codec, build_frame(0x81, text.encode())) == ([text], None)


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
