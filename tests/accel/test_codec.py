"""Masking, serializing and parsing, in Python and in C: both are held to the same tests."""

import array
import importlib.util
import os
import struct
import subprocess
import sys
import tracemalloc

import pytest
from support.wire import KEY, build_frame, build_frames, mask, parse_frames

from syncws.accel import pure
from syncws.accel.pure import Utf8Error, Utf8Validator

try:
    from syncws.accel import _speedups
except ImportError:  # there was no compiler
    _speedups = None

NOT_BUILT = "syncws.accel._speedups isn't built"
SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 125, 126, 127, 1000, 65535, 65536, 65537, 200_001]


@pytest.fixture(params=["pure", "c"])
def codec(request):
    """A module with the hot loops."""
    if request.param == "pure":
        return pure
    if _speedups is None:
        pytest.skip(NOT_BUILT)
    return _speedups


@pytest.fixture
def fresh_speedups(monkeypatch):
    """What makes a new module of the accelerator, with a state of its own."""
    if _speedups is None:
        pytest.skip(NOT_BUILT)

    def load():
        spec = importlib.util.spec_from_file_location(_speedups.__name__, _speedups.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def parse(codec, data, size=None, **settings):
    """What a parser makes of the data, in pieces of that size; and its error."""
    settings.setdefault("masked", False)
    parser = codec.FrameParser(**settings)
    events = []
    for start in range(0, len(data), size or len(data) or 1):
        events += parser.receive(data[start : start + (size or len(data))])
    return events, parser.error


def whole_and_bytewise(codec, data, **settings):
    whole = parse(codec, data, **settings)
    assert parse(codec, data, 1, **settings) == whole
    return whole


def run_python(code, **environ):
    """Run a program in a process of its own; return what it printed."""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path, **environ},
        timeout=30,
    )
    return done.stdout.decode().strip()


CHOICE = """
from syncws import accel
print(accel.IMPLEMENTATION, accel.FrameParser.__module__, accel.MessageQueue.__module__)
"""
PURE_CHOICE = "pure syncws.accel.pure syncws.accel.pure_channel"
C_CHOICE = "c syncws.accel._speedups syncws.accel._speedups"


@pytest.mark.parametrize("setting", ["", "0", "1", "yes"])
def test_accel_says_which_implementation_it_chose(setting):
    expected = PURE_CHOICE if _speedups is None or setting in ("1", "yes") else C_CHOICE
    assert run_python(CHOICE, SYNCWS_PURE=setting) == expected


def test_accel_works_without_what_a_compiler_makes():
    # None in sys.modules makes the import fail, as if there were no such file.
    code = "import sys; sys.modules['syncws.accel._speedups'] = None" + CHOICE
    assert run_python(code, SYNCWS_PURE="0") == PURE_CHOICE


@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize("setting", [None, "0", "1"])
@pytest.mark.parametrize("built", [True, False])
def test_choice_is_made_on_import(monkeypatch, built, setting, forks):
    monkeypatch.delenv("SYNCWS_PURE", raising=False)
    if setting is not None:
        monkeypatch.setenv("SYNCWS_PURE", setting)
    if not built:
        monkeypatch.setitem(sys.modules, "syncws.accel._speedups", None)
    called = []
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    if forks:
        register = lambda **callbacks: called.append(callbacks)  # noqa: E731
        monkeypatch.setattr(os, "register_at_fork", register, raising=False)
    spec = importlib.util.find_spec("syncws.accel")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    in_c = built and _speedups is not None and setting != "1"
    assert ("c" if in_c else "pure") == module.IMPLEMENTATION
    assert module.serialize_messages is (_speedups if in_c else pure).serialize_messages
    forget = [{"after_in_child": _speedups.forget_masking_keys}] if in_c and forks else []
    assert called == forget


# --- masking ---


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [*SIZES, 16383, 16384, 16385])
def test_mask_is_applied_byte_by_byte(codec, size, kind):
    data = os.urandom(size)
    masked = codec.apply_mask(kind(data), KEY)
    assert type(masked) is bytes
    assert masked == mask(data)
    assert codec.apply_mask(masked, KEY) == data


def test_mask_is_applied_wherever_the_data_lies(codec):
    data = bytearray(os.urandom(200))
    for start in range(9):
        for size in range(100):
            piece = memoryview(data)[start : start + size]
            assert codec.apply_mask(piece, KEY) == mask(piece)


NO_BYTES = ["text", None, 5, [], [1, 2], (1, 2)]


@pytest.mark.parametrize("data", NO_BYTES)
def test_only_bytes_are_masked(codec, data):
    with pytest.raises(TypeError):
        codec.apply_mask(data, KEY)


@pytest.mark.parametrize("size", [0, 3, 5000])
def test_size_is_counted_in_bytes(codec, size):
    items = array.array("I", range(size))
    data = items.tobytes()
    assert codec.apply_mask(items, KEY) == mask(data)
    assert codec.serialize_frame(0x82, memoryview(items), False) == build_frame(0x82, data)


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_mask_of_another_size_is_refused(codec, key):
    with pytest.raises(ValueError, match=f"a masking key has 4 bytes, got {len(key)}"):
        codec.apply_mask(b"data", key)


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


def draw_keys(codec, count):
    return [codec.serialize_frame(0x82, b"", True)[2:] for _ in range(count)]


def test_masking_keys_come_from_the_system_in_blocks_in_c_too(monkeypatch, fresh_speedups):
    blocks = []

    def urandom(size):
        blocks.append(b"".join(i.to_bytes(4, "big") for i in range(size // 4)))
        return blocks[-1]

    monkeypatch.setattr(os, "urandom", urandom)
    module = fresh_speedups()
    assert blocks == []
    drawn = draw_keys(module, pure.KEYS_PER_BLOCK + 1)
    assert [int.from_bytes(key, "big") for key in drawn] == [*range(pure.KEYS_PER_BLOCK), 0]
    assert [len(block) for block in blocks] == [4 * pure.KEYS_PER_BLOCK] * 2
    # What was drawn and forgotten is not used.
    assert draw_keys(module, 2) == [b"\0\0\0\1", b"\0\0\0\2"]
    module.forget_masking_keys()
    module.forget_masking_keys()
    assert draw_keys(module, 1) == [b"\0\0\0\0"]
    assert len(blocks) == 3
    # Another module has another state.
    assert draw_keys(fresh_speedups(), 1) == [b"\0\0\0\0"]
    assert len(blocks) == 4
    assert draw_keys(module, 1) == [b"\0\0\0\1"]


def test_nothing_is_sent_with_a_key_that_is_not_random(monkeypatch, fresh_speedups):
    given = [OSError("no randomness"), b"short", b"\1" * 4096, b"\2" * 4096]

    def urandom(size):
        result = given.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(os, "urandom", urandom)
    module = fresh_speedups()
    with pytest.raises(OSError, match="no randomness"):
        module.serialize_frame(0x82, b"x", True)
    with pytest.raises(OSError, match="the system gave too little randomness"):
        module.serialize_messages(["x", "y"], True)
    assert module.serialize_frame(0x82, b"x", False) == b"\x82\x01x"
    assert draw_keys(module, 1024) == [b"\1" * 4] * 1024
    assert draw_keys(module, 1) == [b"\2" * 4]


def test_masking_keys_that_were_forgotten_are_not_drawn():
    keys = pure._MaskingKeys()
    keys.draw()
    left = {key for (key,) in keys._keys}
    assert len(left) > 1000
    keys.draw()
    keys.forget()
    assert len({keys.draw() for _ in range(pure.KEYS_PER_BLOCK)} - left) > 1000


def test_masking_keys_differ_from_frame_to_frame(codec):
    assert len(set(draw_keys(codec, 3000))) > 2990
    frames = parse_frames(codec.serialize_messages([b""] * 3000, True), masked=True)
    assert frames == [(0x82, b"")] * 3000
    data = codec.serialize_messages([b""] * 3000, True)
    assert len({data[i + 2 : i + 6] for i in range(0, len(data), 6)}) > 2990


FORK = """
import os
from syncws.accel import IMPLEMENTATION, serialize_frame
draw = lambda: b"".join(serialize_frame(0x82, b"", True)[2:] for _ in range(8))
draw()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, draw())
    os._exit(0)
os.wait()
print(IMPLEMENTATION, os.read(reader, 32) == draw())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_masking_keys_are_not_shared_with_a_forked_process(codec):
    # In a process of its own: this one has other threads.
    in_python = codec is pure
    printed = run_python(FORK, SYNCWS_PURE="1" if in_python else "0")
    assert printed == ("pure False" if in_python else "c False")


# --- serializing ---


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", SIZES)
def test_frame_is_serialized_with_the_shortest_length(codec, size, kind):
    data = os.urandom(size)
    assert codec.serialize_frame(0x82, kind(data), False) == build_frame(0x82, data)
    masked = codec.serialize_frame(0x82, kind(data), True)
    header = len(build_frame(0x82, data)) - size
    assert masked == build_frame(0x82, data, masked[header : header + 4])
    assert parse_frames(masked, masked=True) == [(0x82, data)]


@pytest.mark.parametrize("first", [0x00, 0x01, 0x80, 0x89, 0xC1, 0xFF])
def test_first_byte_of_a_frame_is_what_was_given(codec, first):
    assert codec.serialize_frame(first, b"ab", False) == bytes((first, 2)) + b"ab"
    assert codec.serialize_frame(first, b"ab", True)[:2] == bytes((first, 0x82))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("payload", NO_BYTES)
def test_payload_of_a_frame_is_bytes(codec, payload, masked):
    with pytest.raises(TypeError):
        codec.serialize_frame(0x81, payload, masked)


TEXTS = ["", "a", "x" * 125, "x" * 126, "é", "é" * 63, "€", "😀", "\0", "\x7f", "\x80", "\uffff"]
MIXED = [
    *[(text, text.encode()) for text in TEXTS],
    *[(kind(data), data) for kind in (bytes, bytearray, memoryview) for data in (b"", b"\xff\0")],
    *[(os.urandom(size),) * 2 for size in (125, 126, 127, 65535, 65536, 200_001)],
    (memoryview(b"abcdef")[::2], b"ace"),
    (memoryview(b"abcdef")[::-1], b"fedcba"),
    (memoryview(b"abcdef")[1:4], b"bcd"),
    (memoryview(bytes(range(8))).cast("I"), bytes(range(8))),
    (memoryview(bytes(range(12))).cast("B", (3, 4)), bytes(range(12))),
    (memoryview(bytes(range(16))).cast("H")[::2], bytes((0, 1, 4, 5, 8, 9, 12, 13))),
    ("é" * 1000 + "x" * 70000, ("é" * 1000 + "x" * 70000).encode()),
]


def test_messages_are_serialized_one_frame_each(codec):
    frames = [(0x81 if isinstance(message, str) else 0x82, payload) for message, payload in MIXED]
    messages = [message for message, _ in MIXED]
    assert codec.serialize_messages(messages, False) == build_frames(frames)
    assert parse_frames(codec.serialize_messages(messages, True), masked=True) == frames
    for message, frame in zip(messages, frames):
        assert codec.serialize_messages([message], False) == build_frame(*frame)
        assert parse_frames(codec.serialize_messages([message], True), masked=True) == [frame]


@pytest.mark.parametrize("masked", [False, True])
def test_any_number_of_messages_is_serialized(codec, masked):
    assert codec.serialize_messages([], masked) == b""
    for count, size in ((1000, 0), (1000, 70), (5, 100_000), (3, 1 << 20)):
        data = codec.serialize_messages([b"x" * size] * count, masked)
        parser = codec.FrameParser(masked=masked)
        assert parser.receive(data) == [b"x" * size] * count


class Text(str):
    pass


class Binary(bytes):
    pass


def test_derived_classes_of_messages_are_serialized(codec):
    messages = [Text("é"), Text("e"), Binary(b"x")]
    frames = [(0x81, "é".encode()), (0x81, b"e"), (0x82, b"x")]
    assert codec.serialize_messages(messages, False) == build_frames(frames)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("wrong", "name"), [(None, "NoneType"), (5, "int"), ([b"x"], "list"), (object(), "object")]
)
def test_what_is_no_message_is_refused(codec, wrong, name, masked):
    for messages in ([wrong], ["a", b"b", wrong], [wrong, "a"]):
        with pytest.raises(TypeError) as info:
            codec.serialize_messages(messages, masked)
        assert str(info.value) == f"{name} can't be sent; str and bytes can"


def test_messages_that_have_no_bytes_are_refused(codec):
    for text in ("\ud800", "ok\udfff", "😀\ud83d"):
        with pytest.raises(UnicodeEncodeError, match="surrogates not allowed") as info:
            codec.serialize_messages(["before", text, "after"], True)
        assert info.value.object == text
    view = memoryview(b"x")
    view.release()
    with pytest.raises(ValueError, match="released"):
        codec.serialize_messages([view], False)


def test_serializing_leaves_no_hold_on_what_it_was_given(codec):
    data = bytearray(b"x" * 100)
    codec.serialize_frame(0x82, data, True)
    codec.apply_mask(data, KEY)
    codec.serialize_messages([data, memoryview(data)], True)
    with pytest.raises(TypeError):
        codec.serialize_messages([data, memoryview(data), None], True)
    with pytest.raises(ValueError, match="a masking key"):
        codec.apply_mask(data, b"")
    codec.FrameParser(masked=False).receive(data)
    data.append(0)  # BufferError, if something still looked at it


# --- parsing ---


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


# --- limits ---


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
