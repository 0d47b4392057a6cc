import os
import tracemalloc
import zlib

import pytest
from support.wire import KEY, build_frame, build_frames

from syncws.exceptions import PayloadTooBig, ProtocolError
from syncws.options import Deflate
from syncws.sansio.extensions.interface import Extension
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.messages import Decoder
from syncws.sansio.state import Role

MIB = 2**20


def deflate(data, level=6):
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflating(max_message=None, max_fragment=None, *, role=Role.CLIENT, **agreement):
    extension = PerMessageDeflate(role, Deflate(**agreement))
    return Decoder(role, max_message, max_fragment, [extension])


def error_of(decoder):
    return type(decoder.error), str(decoder.error)


def receive(make_decoder, data):
    """What comes of the data as a whole, the same being true of it byte by byte."""
    decoder, bytewise = make_decoder(), make_decoder()
    events = decoder.receive(data)
    assert [event for byte in data for event in bytewise.receive(bytes([byte]))] == events
    assert error_of(decoder) == error_of(bytewise)
    return events, decoder.error


# --- without extensions ---


@pytest.mark.parametrize(("role", "key"), [(Role.CLIENT, None), (Role.SERVER, KEY)])
def test_messages_fragments_and_control_frames_come_in_order(role, key):
    data = build_frames(
        [(0x81, b"a"), (0x01, b"b"), (0x89, b"c"), (0x80, b"d"), (0x82, b"e"), (0x88, b"")], key
    )
    events, error = receive(lambda: Decoder(role), data)
    assert error is None
    assert events == [
        "a",
        Frame(Opcode.TEXT, b"b", fin=False),
        Frame(Opcode.PING, b"c"),
        Frame(Opcode.CONT, b"d"),
        b"e",
        Frame(Opcode.CLOSE, b""),
    ]


@pytest.mark.parametrize("late", [b"\xff\xff", build_frame(0x81, b"\xff"), build_frame(0x88)])
def test_what_follows_a_close_frame_is_discarded_wherever_the_split(late):
    data = build_frame(0x88, b"\x03\xe8") + late
    assert receive(lambda: Decoder(Role.CLIENT), data) == (
        [Frame(Opcode.CLOSE, b"\x03\xe8")],
        None,
    )


def test_error_of_the_parser_becomes_an_exception_after_the_events():
    data = build_frame(0x81, b"a") + b"\x83\x00"
    events, error = receive(lambda: Decoder(Role.CLIENT), data)
    assert events == ["a"]
    assert isinstance(error, ProtocolError)
    assert str(error) == "opcode 0x3 is reserved"


def test_invalid_text_becomes_a_decode_error_with_its_position():
    data = build_frames([(0x01, b"abc"), (0x80, b"d\xffe")])
    events, error = receive(lambda: Decoder(Role.CLIENT), data)
    assert events == [Frame(Opcode.TEXT, b"abc", fin=False)]
    assert isinstance(error, UnicodeDecodeError)
    assert (error.encoding, error.start, error.reason) == ("utf-8", 4, "invalid start byte")
    assert "position 4" in str(error)


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [((5, None), (6, 5, None)), ((None, 5), (6, 5, None)), ((5, 5), (6, 5, None))],
)
def test_frame_over_a_limit_is_too_big(limits, sizes):
    _, error = receive(lambda: Decoder(Role.CLIENT, *limits), build_frame(0x82, b"123456"))
    assert isinstance(error, PayloadTooBig)
    assert (error.size, error.max_size, error.current_size) == sizes


def test_message_over_the_limit_is_too_big_with_all_its_fragments():
    data = build_frames([(0x02, b"1234"), (0x80, b"56")])
    _, error = receive(lambda: Decoder(Role.CLIENT, 5), data)
    assert isinstance(error, PayloadTooBig)
    assert (error.size, error.max_size, error.current_size) == (6, 5, 4)


def test_stopped_decoder_returns_nothing_and_has_no_error():
    decoder = Decoder(Role.CLIENT)
    decoder.receive(b"\x81\x05He")
    assert decoder.receiving
    decoder.stop()
    assert decoder.receive(b"llo\x83") == []
    assert decoder.error is None


def test_receiving_tells_whether_a_frame_has_begun():
    decoder = Decoder(Role.CLIENT)
    assert not decoder.receiving
    decoder.receive(b"\x81")
    assert decoder.receiving
    decoder.receive(b"\x01x")
    assert not decoder.receiving


# --- with permessage-deflate ---


def test_compressed_messages_come_out_whole():
    frames = [(0xC1, deflate("é".encode())), (0xC2, deflate(b"\xff")), (0x81, b"plain")]
    data = build_frames(frames)
    assert receive(lambda: inflating(server_no_context_takeover=True), data) == (
        ["é", b"\xff", "plain"],
        None,
    )


def test_compressed_fragments_come_out_as_frames_without_their_bits():
    compressed = deflate(b"hello hello hello")
    data = build_frames([(0x41, compressed[:3]), (0x89, b"!"), (0x00, b""), (0x80, compressed[3:])])
    events, error = receive(inflating, data)
    assert error is None
    assert events.pop(1) == Frame(Opcode.PING, b"!")
    assert [(event.opcode, event.fin, event.rsv1) for event in events] == [
        (Opcode.TEXT, False, False),
        (Opcode.CONT, False, False),
        (Opcode.CONT, True, False),
    ]
    assert b"".join(event.data for event in events) == b"hello hello hello"


def test_uncompressed_message_is_checked_while_compression_is_on():
    data = build_frames([(0x01, b"a"), (0x80, b"\xff")])
    events, error = receive(inflating, data)
    assert events == [Frame(Opcode.TEXT, b"a", fin=False)]
    assert isinstance(error, UnicodeDecodeError)
    _, error = receive(lambda: inflating(3), build_frames([(0x02, b"12"), (0x80, b"34")]))
    assert (error.size, error.max_size, error.current_size) == (4, 3, 2)


def test_compressed_text_that_is_not_utf8_fails():
    for frames in (
        [(0xC1, deflate(b"abc\xff"))],
        [(0x41, deflate(b"abc") + b"\x00\x00\xff\xff"), (0x80, deflate(b"\xff"))],
    ):
        events, error = receive(inflating, build_frames(frames))
        assert [event.data for event in events] == [b"abc"][: len(frames) - 1]
        assert isinstance(error, UnicodeDecodeError)
        assert error.start == 3


def test_compressed_text_that_ends_within_a_character_fails():
    _, error = receive(inflating, build_frame(0xC1, deflate(b"abc\xe2\x82")))
    assert isinstance(error, UnicodeDecodeError)
    assert (error.start, error.reason) == (3, "unexpected end of data")


def test_broken_compressed_data_comes_before_what_follows_it():
    data = build_frames([(0x81, b"a"), (0xC1, b"\xff\xff"), (0x81, b"late"), (0x83, b"")])
    events, error = receive(inflating, data)
    assert events == ["a"]
    assert isinstance(error, ProtocolError)
    assert "compressed data is broken" in str(error)


@pytest.mark.parametrize(
    ("limits", "frames", "sizes"),
    [
        ((9, None), [(0xC2, bytes(10))], (None, 9, None)),
        ((None, 9), [(0xC2, bytes(10))], (None, 9, None)),
        ((9, None), [(0x42, bytes(4)), (0x80, bytes(6))], (None, 9, 4)),
        ((100, 5), [(0x42, bytes(4)), (0x80, bytes(6))], (None, 5, None)),
        ((9, 6), [(0x42, bytes(4)), (0x80, bytes(6))], (None, 9, 4)),
        ((4, None), [(0x42, bytes(4)), (0x80, b"x")], (None, 4, 4)),
    ],
)
def test_limits_hold_for_what_is_inflated(limits, frames, sizes):
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    wire = []
    for first, payload in frames:
        data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        wire.append((first, data[:-4] if first & 0x80 else data))
    events, error = receive(lambda: inflating(*limits), build_frames(wire))
    assert len(events) == len(frames) - 1
    assert isinstance(error, PayloadTooBig)
    assert (error.size, error.max_size, error.current_size) == sizes
    # One byte more would do.
    message, fragment = limits
    wider = (message and message + 1, fragment and fragment + 1)
    assert receive(lambda: inflating(*wider), build_frames(wire))[1] is None


def test_limit_counts_anew_for_each_compressed_message():
    frames = [(0x42, deflate(b"abc") + b"\x00\x00\xff\xff"), (0x80, deflate(b"de"))] * 2
    frames.append((0xC2, deflate(b"abcde")))
    data = build_frames(frames)
    events, error = receive(lambda: inflating(5), data)
    assert error is None
    assert len(events) == 5
    assert events[-1] == b"abcde"


def test_limit_lets_a_message_of_just_that_size_through():
    data = build_frame(0xC2, deflate(bytes(1000)))
    assert receive(lambda: inflating(1000), data) == ([bytes(1000)], None)
    assert isinstance(receive(lambda: inflating(999), data)[1], PayloadTooBig)


@pytest.mark.parametrize("fragments", [1, 100])
def test_compression_bomb_inflates_to_the_limit_at_most(fragments):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(MIB)
    bomb = b"".join(compressor.compress(zeros) for _ in range(64)) + compressor.flush()
    size = -(-len(bomb) // fragments)
    pieces = [bomb[i : i + size] for i in range(0, len(bomb), size)]
    frames = [
        ((0 if index else 0x42) | (0x80 if index == len(pieces) - 1 else 0), piece)
        for index, piece in enumerate(pieces)
    ]
    decoder = inflating(MIB)
    data = build_frames(frames)
    tracemalloc.start()
    events = decoder.receive(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(decoder.error, PayloadTooBig)
    assert decoder.error.max_size == MIB
    assert sum(len(event.data) for event in events) <= MIB
    assert peak < 4 * MIB


def test_incompressible_message_of_just_the_limit_is_accepted():
    payload = os.urandom(MIB)
    data = build_frame(0xC2, deflate(payload, level=0))
    assert len(data) > MIB
    assert inflating(MIB).receive(data) == [payload]


# --- with other extensions ---


class Reversal(Extension):
    """Reverses every payload, and sees every frame."""

    name = "x-reversal"

    def decode(self, frame, *, max_size=None):
        return Frame(frame.opcode, frame.data[::-1], frame.fin, frame.rsv1, False, frame.rsv3)


def test_extension_that_sees_plain_frames_gets_them_all():
    data = build_frames([(0x81, b"abc"), (0x02, b"de"), (0x89, b"fg"), (0xA0, b"hi")])
    assert receive(lambda: Decoder(Role.CLIENT, extensions=[Reversal()]), data) == (
        [
            "cba",
            Frame(Opcode.BINARY, b"ed", fin=False),
            Frame(Opcode.PING, b"fg"),
            Frame(Opcode.CONT, b"ih"),
        ],
        None,
    )


@pytest.mark.parametrize("first", [0xC1, 0x91])
def test_reserved_bits_that_extensions_leave_are_refused(first):
    data = build_frame(first, b"x")
    events, error = receive(lambda: Decoder(Role.CLIENT, extensions=[Reversal()]), data)
    assert events == []
    assert isinstance(error, ProtocolError)
    assert "reserved bits must be 0" in str(error)


def test_limits_hold_for_what_an_extension_returns():
    data = build_frames([(0x02, b"123"), (0x80, b"456")])
    events, error = receive(lambda: Decoder(Role.CLIENT, 5, extensions=[Reversal()]), data)
    assert [event.data for event in events] == [b"321"]
    assert isinstance(error, PayloadTooBig)
    assert (error.size, error.max_size, error.current_size) == (6, 5, 3)


def test_text_is_checked_behind_extensions():
    good = build_frame(0x81, "é".encode()[::-1])
    assert receive(lambda: Decoder(Role.CLIENT, extensions=[Reversal()]), good) == (["é"], None)
    bad = build_frame(0x81, "é".encode())
    _, error = receive(lambda: Decoder(Role.CLIENT, extensions=[Reversal()]), bad)
    assert isinstance(error, UnicodeDecodeError)


def test_extensions_undo_in_reverse_order():
    compressed = deflate(b"abc")
    order = [Reversal(), PerMessageDeflate(Role.CLIENT, Deflate())]
    data = build_frame(0xC2, compressed)
    assert receive(lambda: Decoder(Role.CLIENT, extensions=order), data) == ([b"cba"], None)
    order = [PerMessageDeflate(Role.CLIENT, Deflate()), Reversal()]
    data = build_frame(0xC2, compressed[::-1])
    assert Decoder(Role.CLIENT, extensions=order).receive(data) == [b"abc"]


def test_whatever_an_extension_raises_is_the_error():
    class Broken(Reversal):
        def decode(self, frame, *, max_size=None):
            raise RuntimeError("bug")

    data = build_frames([(0x89, b""), (0x81, b"x"), (0x81, b"y")])
    events, error = receive(lambda: Decoder(Role.CLIENT, extensions=[Broken()]), data)
    assert events == [Frame(Opcode.PING, b"")]
    assert isinstance(error, RuntimeError)


# --- decoding as far as there is room ---


def compressed_frames(payloads):
    extension = PerMessageDeflate(Role.CLIENT, Deflate(), Deflate(min_size=0))
    frames = [extension.encode(Frame(Opcode.BINARY, payload)) for payload in payloads]
    return b"".join(frame.serialize(masked=True) for frame in frames)


def deflating_decoder(**limits):
    return Decoder(Role.SERVER, extensions=[PerMessageDeflate(Role.SERVER, Deflate())], **limits)


def test_what_inflates_to_more_than_the_limit_waits_for_the_next_call():
    decoder = deflating_decoder()
    decoder.feed(compressed_frames([bytes(1000)] * 5))
    assert decoder.has_more
    assert decoder.decode(1500) == [bytes(1000)] * 2
    assert decoder.decode(0) == [bytes(1000)]
    assert decoder.decode(-5000) == [bytes(1000)]  # one at least
    assert decoder.has_more
    assert decoder.decode(10_000) == [bytes(1000)]
    assert not decoder.has_more
    assert decoder.decode(10_000) == []


def test_what_broke_the_rules_is_told_after_all_before_it_was_decoded():
    decoder = deflating_decoder()
    decoder.feed(compressed_frames([bytes(1000)] * 2) + b"\x83\x80\0\0\0\0")
    assert decoder.decode(1) == [bytes(1000)]
    assert decoder.error is None
    assert decoder.decode(1) == [bytes(1000)]
    assert isinstance(decoder.error, ProtocolError)


def test_nothing_follows_what_can_not_be_inflated():
    decoder = deflating_decoder(max_message=1000)
    decoder.feed(compressed_frames([bytes(10), bytes(1001), bytes(10)]))
    assert decoder.decode(1_000_000) == [bytes(10)]
    assert isinstance(decoder.error, PayloadTooBig)
    assert not decoder.has_more
    assert decoder.decode(1_000_000) == []


def test_control_frames_count_by_their_bytes():
    decoder = deflating_decoder()
    ping = Frame(Opcode.PING, b"x" * 100)
    decoder.feed(ping.serialize(masked=True) * 3)
    assert decoder.decode(150) == [ping] * 2
    assert decoder.decode() == [ping]


@pytest.mark.parametrize("limits", [(-1, None), (None, -1), (5, -1)])
def test_limits_that_are_negative_are_refused(limits):
    with pytest.raises(ValueError, match="max_size can't be negative"):
        Decoder(Role.SERVER, *limits)


def test_messages_that_came_uncompressed_count_too():
    decoder = deflating_decoder()
    plain = build_frame(0x82, b"x" * 100, KEY)
    decoder.feed(plain * 2 + compressed_frames([bytes(100)]))
    assert decoder.decode(150) == [b"x" * 100] * 2
    assert decoder.decode(150) == [bytes(100)]
