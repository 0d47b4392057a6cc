"""However a stream is split, the same comes of it: events, error, state and close frame."""

import zlib

from fuzz.streams import WIRE_CODES, Compressor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.wire import build_frame, build_frames

from syncws.options import Deflate
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role, State

bounded = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

KEYS = st.binary(min_size=4, max_size=4)
SIZES = st.one_of(st.integers(0, 30), st.sampled_from([125, 126, 127, 300, 65535, 65536]))
LIMITS = st.sampled_from([None, 2**20, 0, 1, 10, 126, (300, 20), (None, 5)])
TEXTS = st.text(max_size=30)
#: Not UTF-8, or only the beginning of it; surrogates among them.
BROKEN = st.sampled_from(
    [b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90", b"\xf0"]
)


@st.composite
def messages(draw):
    """First byte without FIN and RSV1, payload: text, broken text or binary."""
    kind = draw(st.sampled_from(["text", "text", "broken", "binary"]))
    if kind == "binary":
        return 2, bytes(draw(SIZES))
    text = draw(TEXTS).encode()
    if kind == "broken":
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(BROKEN) + text[cut:]
    return 1, text


CONTROLS = st.one_of(
    st.tuples(st.sampled_from([0x89, 0x8A]), st.binary(max_size=125)),
    st.tuples(
        st.just(0x88),
        st.one_of(
            st.just(b""),
            st.binary(max_size=4),
            st.sampled_from(sorted(WIRE_CODES)).map(lambda code: code.to_bytes(2, "big") + b"x"),
        ),
    ),
)


@st.composite
def streams(draw, compressed):
    """Frames of messages, fragmented and interleaved with control frames."""
    random = draw(st.randoms(use_true_random=False))
    compressor = Compressor(random, 15, False)
    frames = []
    for opcode, payload in draw(st.lists(messages(), min_size=1, max_size=4)):
        rsv1 = 0
        if compressed and draw(st.booleans()):
            rsv1, payload = 0x40, compressor.compress(payload)
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        pieces = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)])]
        for index, piece in enumerate(pieces):
            frames += draw(st.lists(CONTROLS, max_size=1)) if draw(st.booleans()) else []
            fin = 0x80 if index == len(pieces) - 1 else 0
            frames.append((fin | (0 if index else opcode | rsv1), piece))
    return frames


@st.composite
def mutated(draw, data):
    """Data with a few bytes changed, taken away or added; often left as it is."""
    data = bytearray(data)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 3]))):
        at = draw(st.integers(0, len(data)))
        what = draw(st.integers(0, 3))
        if what == 0 and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == 1:
            del data[at : at + draw(st.integers(1, 4))]
        elif what == 2:
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        else:
            del data[at:]
    return bytes(data)


@st.composite
def split(draw, data):
    """Data in pieces: anywhere, or everywhere."""
    if len(data) < 1000 and draw(st.booleans()):
        size = draw(st.integers(1, 3))
        return [data[i : i + size] for i in range(0, len(data), size)]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]


def outcome(role, max_size, extensions, pieces):
    protocol = Protocol(role, state=State.CONNECTING, max_size=max_size)
    protocol.extensions = extensions
    protocol._open()
    events = []
    for piece in pieces:
        protocol.receive_data(piece)
        events += protocol.events_received()
    error = protocol.parser_exc
    return (
        events,
        (type(error), str(error)),
        protocol.state,
        (protocol.close_sent, protocol.close_rcvd, protocol.close_rcvd_then_sent),
        protocol.close_expected(),
        [len(data) for data in protocol.data_to_send()],
    )


@bounded
@given(st.data(), st.sampled_from(list(Role)), LIMITS, KEYS)
def test_splits_do_not_matter(data, role, max_size, key):
    stream = build_frames(data.draw(streams(False)), key if role is Role.SERVER else None)
    stream = data.draw(mutated(stream))
    pieces = data.draw(split(stream))
    assert outcome(role, max_size, [], pieces) == outcome(role, max_size, [], [stream])


@bounded
@given(st.data(), st.sampled_from(list(Role)), LIMITS, KEYS, st.booleans())
def test_splits_do_not_matter_with_compression(data, role, max_size, key, forget):
    def run(pieces):
        agreement = Deflate(server_no_context_takeover=forget, client_no_context_takeover=forget)
        return outcome(role, max_size, [PerMessageDeflate(role, agreement)], pieces)

    stream = build_frames(data.draw(streams(True)), key if role is Role.SERVER else None)
    stream = data.draw(mutated(stream))
    assert run(data.draw(split(stream))) == run([stream])


@bounded
@given(st.data(), st.sampled_from(list(Role)), KEYS, TEXTS, BROKEN, st.sampled_from([0x01, 0x81]))
def test_broken_text_in_an_incomplete_frame_fails_alike(data, role, key, text, broken, first):
    masked = key if role is Role.SERVER else None
    good = text.encode()
    stream = build_frame(first, good + broken + b"A" * 200, masked)
    stream = stream[: -data.draw(st.integers(1, 190))]
    whole = outcome(role, None, [], [stream])
    assert whole[1][0] is UnicodeDecodeError
    assert f"position {len(good)}" in whole[3][0].reason
    assert outcome(role, None, [], data.draw(split(stream))) == whole


@bounded
@given(st.data(), st.sampled_from(list(Role)), KEYS, st.lists(st.one_of(TEXTS, st.binary())))
def test_valid_messages_arrive_however_they_are_split(data, role, key, sent):
    frames = [
        (0x81, message.encode()) if isinstance(message, str) else (0x82, message)
        for message in sent
    ]
    stream = build_frames(frames, key if role is Role.SERVER else None)
    events, error, state, *_ = outcome(role, None, [], data.draw(split(stream)))
    assert events == sent
    assert error == (type(None), "None")
    assert state is State.OPEN


@bounded
@given(st.data(), st.lists(st.binary(max_size=300), min_size=1), st.integers(8, 15))
def test_compressed_messages_arrive_however_they_are_split(data, sent, bits):
    agreement = Deflate(server_max_window_bits=bits, client_max_window_bits=bits)
    settings = Deflate(min_size=0, level=data.draw(st.integers(-1, 9)))
    server = PerMessageDeflate(Role.SERVER, agreement, settings)
    frames = [server.encode(Frame(Opcode.BINARY, message), compress=True) for message in sent]
    assert all(frame.rsv1 for frame in frames)
    stream = b"".join(build_frame(frame.first_byte, frame.data) for frame in frames)
    client = PerMessageDeflate(Role.CLIENT, agreement)
    events, *_ = outcome(Role.CLIENT, 300, [client], data.draw(split(stream)))
    assert events == sent


@bounded
@given(st.binary(max_size=200), st.data())
def test_arbitrary_bytes_as_compressed_data_fail_alike_or_not_at_all(payload, data):
    stream = build_frame(0xC2, payload) + build_frame(0x81, b"after")
    for limit in (None, 50):
        results = [
            outcome(Role.CLIENT, limit, [PerMessageDeflate(Role.CLIENT, Deflate())], pieces)
            for pieces in ([stream], data.draw(split(stream)))
        ]
        assert results[0] == results[1]
        inflater = zlib.decompressobj(-15)
        try:
            expected = inflater.decompress(payload + b"\x00\x00\xff\xff")
        except zlib.error:
            assert results[0][0] == []
        else:
            # After a final block another stream begins, which may be broken.
            if not inflater.eof:
                fits = limit is None or len(expected) <= limit
                assert results[0][0] == ([expected, "after"] if fits else [])
