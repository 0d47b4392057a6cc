"""Masking and serializing, in Python and in C: both are held to the same tests."""

import array
import os

import pytest
from support.codecs import SIZES, run_python
from support.wire import KEY, build_frame, build_frames, mask, parse_frames

from syncws.accel import pure
from syncws.accel.pure import masking

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

    monkeypatch.setattr(masking.os, "urandom", urandom)
    keys = masking.MaskingKeys()
    drawn = [keys.draw() for _ in range(masking.KEYS_PER_BLOCK + 1)]
    assert drawn == [b"\0" * 4] * masking.KEYS_PER_BLOCK + [b"\1" * 4]
    assert [len(block) for block in blocks] == [4 * masking.KEYS_PER_BLOCK] * 2


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
    drawn = draw_keys(module, masking.KEYS_PER_BLOCK + 1)
    assert [int.from_bytes(key, "big") for key in drawn] == [*range(masking.KEYS_PER_BLOCK), 0]
    assert [len(block) for block in blocks] == [4 * masking.KEYS_PER_BLOCK] * 2
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
    keys = masking.MaskingKeys()
    keys.draw()
    left = {key for (key,) in keys._keys}
    assert len(left) > 1000
    keys.draw()
    keys.forget()
    assert len({keys.draw() for _ in range(masking.KEYS_PER_BLOCK)} - left) > 1000


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
