import itertools
import os
import zlib

import pytest

from syncws.accel.pure.inflating import MAX_STREAMS
from syncws.exceptions import (
    DuplicateParameter,
    InvalidParameterName,
    InvalidParameterValue,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
)
from syncws.options import Deflate
from syncws.sansio.extensions import permessage_deflate
from syncws.sansio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.state import Role

TEXT = b"the quick brown fox jumps over the lazy dog; " * 20
TAIL = b"\x00\x00\xff\xff"
FINAL = zlib.compressobj(6, zlib.DEFLATED, -15)
FINAL = FINAL.compress(b"x") + FINAL.flush()  # a block with BFINAL


def pair(agreement=None, settings=None):
    """A client's and a server's end of one agreement."""
    agreement = agreement or Deflate()
    return tuple(
        PerMessageDeflate(role, agreement, settings) for role in (Role.CLIENT, Role.SERVER)
    )


def compressed(data, *, bits=15, level=6):
    deflater = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.fixture
def zlib_objects(monkeypatch):
    """The window bits of the zlib objects that are made, by kind."""
    made = {"inflaters": [], "deflaters": []}

    def decompressobj(bits):
        made["inflaters"].append(-bits)
        return zlib.decompressobj(bits)

    def compressobj(level, method, bits, memory):
        made["deflaters"].append((level, -bits, memory))
        return zlib.compressobj(level, method, bits, memory)

    class Zlib:
        DEFLATED, Z_SYNC_FLUSH, error = zlib.DEFLATED, zlib.Z_SYNC_FLUSH, zlib.error

    Zlib.decompressobj, Zlib.compressobj = staticmethod(decompressobj), staticmethod(compressobj)
    monkeypatch.setattr(permessage_deflate, "zlib", Zlib)
    return made


# --- messages ---

AGREEMENTS = [
    Deflate(server_no_context_takeover=a, client_no_context_takeover=b)
    for a, b in itertools.product((False, True), repeat=2)
] + [
    Deflate(server_max_window_bits=a, client_max_window_bits=b)
    for a, b in [(8, 8), (9, 15), (15, 9), (12, None), (None, 8), (10, 11)]
]


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_both_ends_understand_each_other(agreement):
    client, server = pair(agreement, Deflate(compress_window_bits=15, min_size=0))
    random = os.urandom(3000)
    payloads = [TEXT, b"", b"x", random, TEXT, random + TEXT + random, bytes(70000), random]
    for sender, receiver in ((client, server), (server, client)) * 2:
        for payload in payloads:
            frame = Frame(Opcode.BINARY, payload)
            sent = sender.encode(frame, compress=True)
            assert sent.rsv1
            assert receiver.decode(sent, max_size=len(payload)) == frame


def test_fragments_are_compressed_as_one_message():
    client, server = pair(settings=Deflate(min_size=1000))
    random = os.urandom(900)
    frames = [
        Frame(Opcode.BINARY, random, fin=False),
        Frame(Opcode.CONT, b"", fin=False),
        Frame(Opcode.CONT, random, fin=False),
        Frame(Opcode.CONT, b""),
    ]
    for _ in range(2):
        sent = [client.encode(frame) for frame in frames]
        assert [frame.rsv1 for frame in sent] == [True, False, False, False]
        assert [frame.fin for frame in sent] == [False, False, False, True]
        assert len(sent[2].data) < 100
        assert sent[3].data == b"\x00"
        assert [server.decode(frame) for frame in sent] == frames


def test_fragment_that_is_empty_may_come_first():
    client, server = pair()
    frames = [Frame(Opcode.TEXT, b"", fin=False), Frame(Opcode.CONT, TEXT)]
    sent = [client.encode(frame) for frame in frames]
    assert (sent[0].data, sent[0].rsv1) == (b"", True)
    assert [server.decode(frame) for frame in sent] == frames


def test_message_split_anywhere_is_understood():
    data = compressed(TEXT)
    for cut in range(len(data) + 1):
        _, server = pair()
        first = server.decode(Frame(Opcode.TEXT, data[:cut], fin=False, rsv1=True))
        last = server.decode(Frame(Opcode.CONT, data[cut:]))
        assert first.data + last.data == TEXT


def test_small_messages_are_sent_as_they_are():
    client, server = pair(settings=Deflate(min_size=10))
    for payload in (b"", b"x" * 9):
        frame = Frame(Opcode.TEXT, payload)
        assert client.encode(frame) is frame
        assert server.decode(frame) is frame
    assert client.encode(Frame(Opcode.TEXT, b"x" * 10)).rsv1


def test_caller_may_say_whether_to_compress():
    client, _ = pair(settings=Deflate(min_size=10))
    assert not client.encode(Frame(Opcode.TEXT, TEXT), compress=False).rsv1
    assert client.encode(Frame(Opcode.TEXT, b"x"), compress=True).rsv1
    plain = Frame(Opcode.TEXT, TEXT, fin=False)
    assert client.encode(plain, compress=False) is plain
    plain = Frame(Opcode.CONT, TEXT)
    assert client.encode(plain) is plain
    assert client.encode(plain, compress=True) is plain


def test_plain_message_between_compressed_ones_is_left_alone():
    client, server = pair()
    first, second = (client.encode(Frame(Opcode.TEXT, TEXT)) for _ in range(2))
    server.decode(first)
    for frame in (Frame(Opcode.TEXT, b"a", fin=False), Frame(Opcode.CONT, b"\xff\xff")):
        assert server.decode(frame) is frame
    assert server.decode(second).data == TEXT


def test_continuation_with_the_bit_of_compression_is_refused():
    _, server = pair()
    server.decode(Frame(Opcode.TEXT, b"", fin=False, rsv1=True))
    with pytest.raises(ProtocolError, match="RSV1 is set on a continuation frame"):
        server.decode(Frame(Opcode.CONT, b"", rsv1=True))


@pytest.mark.parametrize("data", [b"\xff", b"\x07\xff", b"\x00\x01\x00\x00\x00"])
def test_broken_data_is_refused(data):
    _, server = pair()
    with pytest.raises(ProtocolError, match=r"compressed data is broken: Error -3") as info:
        server.decode(Frame(Opcode.BINARY, data, rsv1=True))
    assert isinstance(info.value.__cause__, permessage_deflate.zlib.error)


def test_reference_behind_a_smaller_window_is_refused():
    random = os.urandom(600)
    sender = PerMessageDeflate(Role.CLIENT, Deflate(), Deflate(compress_window_bits=15))
    sent = [sender.encode(Frame(Opcode.BINARY, random), compress=True) for _ in range(2)]
    for bits_received, understood in ((15, True), (10, True), (9, False), (8, False)):
        _, server = pair(Deflate(client_max_window_bits=bits_received))
        assert server.decode(sent[0]).data == random
        if understood:
            assert server.decode(sent[1]).data == random
        else:
            with pytest.raises(ProtocolError, match="too far back"):
                server.decode(sent[1])


def test_window_of_8_bits_is_never_exceeded_by_what_is_sent():
    # Payloads that repeat at every distance; a window of 256 bytes must be enough for each.
    client, _ = pair(Deflate(client_max_window_bits=8), Deflate(min_size=0, level=9))
    history = b""
    for distance in (200, 249, 250, 251, 255, 256, 257, 300, 500):
        block = os.urandom(distance)
        data = client.encode(Frame(Opcode.BINARY, block * 3), compress=True).data + TAIL
        # An inflater that knows no more than the last 256 bytes.
        inflater = (
            zlib.decompressobj(-9, zdict=history[-256:]) if history else (zlib.decompressobj(-9))
        )
        assert inflater.decompress(data) == block * 3
        history += block * 3


# --- limits ---


def test_inflating_stops_at_the_limit():
    bomb = compressed(bytes(2**22))
    for fragments in (False, True):
        _, server = pair()
        with pytest.raises(PayloadTooBig) as info:
            server.decode(Frame(Opcode.BINARY, bomb, not fragments, rsv1=True), max_size=1000)
        assert (info.value.size, info.value.max_size) == (None, 1000)


@pytest.mark.parametrize("limit", [2**62, 2**63 - 1, 2**63, 2**64, None])
def test_limit_may_be_as_large_as_one_likes(limit):
    _, server = pair()
    frame = Frame(Opcode.BINARY, compressed(TEXT), rsv1=True)
    assert server.decode(frame, max_size=limit).data == TEXT


def test_final_blocks_do_not_get_around_the_limit():
    _, server = pair()
    data = FINAL * 10 + b"\x00"
    assert server.decode(Frame(Opcode.BINARY, data, rsv1=True), max_size=10).data == b"x" * 10
    with pytest.raises(PayloadTooBig):
        server.decode(Frame(Opcode.BINARY, data, rsv1=True), max_size=9)


def test_flood_of_final_blocks_is_refused(zlib_objects):
    _, server = pair()
    limit = MAX_STREAMS
    assert server.decode(Frame(Opcode.TEXT, FINAL * limit, rsv1=True)).data == b"x" * limit
    zlib_objects["inflaters"].clear()
    with pytest.raises(ProtocolError, match="too many final blocks"):
        server.decode(Frame(Opcode.TEXT, FINAL * 100_000, rsv1=True))
    assert len(zlib_objects["inflaters"]) == limit


# --- final blocks (§7.2.3.4) ---


@pytest.mark.parametrize(
    "payloads",
    [
        [FINAL + b"\x00"],
        [FINAL],  # without the empty block that must follow: harmless
        [FINAL, b""],
        [FINAL, b"\x00"],
        [FINAL + b"\x00", b""],
        [FINAL[:2], FINAL[2:] + b"\x00"],
    ],
)
def test_final_block_ends_a_message_and_not_the_connection(payloads):
    _, server = pair()
    for _ in range(3):
        data = b"".join(
            server.decode(
                Frame(
                    Opcode.CONT if index else Opcode.TEXT,
                    payload,
                    fin=index == len(payloads) - 1,
                    rsv1=index == 0,
                )
            ).data
            for index, payload in enumerate(payloads)
        )
        assert data == b"x"
        assert server.decode(Frame(Opcode.TEXT, compressed(TEXT), rsv1=True)).data == TEXT


def test_data_after_a_final_block_belongs_to_the_message():
    _, server = pair()
    data = FINAL + compressed(b"yz")
    assert server.decode(Frame(Opcode.TEXT, data, rsv1=True)).data == b"xyz"
    data = FINAL + FINAL + b"\x00"
    assert server.decode(Frame(Opcode.TEXT, data, rsv1=True)).data == b"xx"


# --- zlib objects ---


def test_zlib_objects_are_made_on_first_use_and_kept(zlib_objects):
    client, server = pair(settings=Deflate(level=3, memory_level=4))
    plain = Frame(Opcode.TEXT, b"small")
    server.decode(client.encode(plain))
    server.decode(client.encode(Frame(Opcode.TEXT, b""), compress=True))
    assert zlib_objects == {"inflaters": [], "deflaters": []}
    for _ in range(3):
        server.decode(client.encode(Frame(Opcode.TEXT, TEXT)))
    assert zlib_objects == {"inflaters": [15], "deflaters": [(3, 15, 4)]}


def test_zlib_objects_are_made_anew_without_context_takeover(zlib_objects):
    client, server = pair(Deflate(client_no_context_takeover=True))
    sent = [client.encode(Frame(Opcode.TEXT, TEXT)) for _ in range(3)]
    assert sent[0] == sent[1] == sent[2]
    for frame in sent:
        server.decode(frame)
    assert [len(made) for made in zlib_objects.values()] == [3, 3]


@pytest.mark.parametrize(
    ("agreement", "settings", "deflated", "inflated"),
    [
        (Deflate(), Deflate(compress_window_bits=15), 15, 15),
        (Deflate(), Deflate(), 15, 15),
        (Deflate(), Deflate(compress_window_bits=12), 12, 15),
        (Deflate(client_max_window_bits=10), Deflate(), 10, 10),
        (Deflate(client_max_window_bits=8), Deflate(), 9, 9),
        (Deflate(server_max_window_bits=8), Deflate(), 15, 15),
        (Deflate(client_max_window_bits=14), Deflate(compress_window_bits=13), 13, 14),
    ],
)
def test_windows_are_as_agreed(agreement, settings, deflated, inflated, zlib_objects):
    client, server = pair(agreement, settings)
    server.decode(client.encode(Frame(Opcode.TEXT, TEXT)))
    assert zlib_objects["inflaters"] == [inflated]
    assert zlib_objects["deflaters"] == [(1, deflated, 8)]


def test_a_message_that_does_not_shrink_goes_out_as_it_is():
    client, server = pair()
    assert server.decode(client.encode(Frame(Opcode.BINARY, TEXT))).data == TEXT
    noise = Frame(Opcode.BINARY, os.urandom(500))
    assert server.decode(client.encode(noise)) is noise
    assert server.decode(client.encode(Frame(Opcode.BINARY, TEXT))).data == TEXT


def test_a_shared_message_that_does_not_shrink_goes_out_as_it_is():
    client, server = pair()
    for payload, shrinks in ((TEXT, True), (os.urandom(500), False)):
        sent = client.encode_apart(Frame(Opcode.BINARY, payload))
        assert sent.rsv1 == shrinks
        assert server.decode(sent).data == payload


def test_an_extension_derived_from_it_is_left_to_itself():
    class Mine(PerMessageDeflate):
        pass

    assert Mine(Role.CLIENT, Deflate()).compression is None
    assert PerMessageDeflate(Role.CLIENT, Deflate()).compression is not None


def test_extension_shows_what_was_agreed_on():
    agreement = Deflate(server_no_context_takeover=True, client_max_window_bits=10)
    assert repr(PerMessageDeflate(Role.CLIENT, agreement)) == (
        "PerMessageDeflate(server_no_context_takeover=True, client_no_context_takeover=False, "
        "server_max_window_bits=None, client_max_window_bits=10)"
    )


# --- negotiation (§7.1) ---

OFFERS = [
    (Deflate(), [("client_max_window_bits", None)]),
    (
        Deflate(True, True, 10, 11),
        [
            ("server_no_context_takeover", None),
            ("client_no_context_takeover", None),
            ("server_max_window_bits", "10"),
            ("client_max_window_bits", "11"),
        ],
    ),
]


@pytest.mark.parametrize(("settings", "params"), OFFERS)
def test_client_offers_its_settings(settings, params):
    assert ClientPerMessageDeflateFactory(settings).get_request_params() == params


def test_client_offers_by_default_that_its_window_can_be_limited():
    params = ClientPerMessageDeflateFactory().get_request_params()
    assert params == [("client_max_window_bits", None)]


SNCT, CNCT = ("server_no_context_takeover", None), ("client_no_context_takeover", None)


def bits(name, value):
    return f"{name}_max_window_bits", value


@pytest.mark.parametrize(
    ("settings", "answer", "agreement"),
    [
        (Deflate(), [], Deflate()),
        (Deflate(), [SNCT, CNCT], Deflate(True, True)),
        (
            Deflate(),
            [bits("server", "8"), bits("client", "9")],
            Deflate(server_max_window_bits=8, client_max_window_bits=9),
        ),
        (Deflate(server_no_context_takeover=True), [SNCT], Deflate(True)),
        # The client keeps to its own hints, whether the server takes them up or not.
        (Deflate(client_no_context_takeover=True), [], Deflate(False, True)),
        (Deflate(client_max_window_bits=10), [], Deflate(client_max_window_bits=10)),
        (
            Deflate(client_max_window_bits=10),
            [bits("client", "9")],
            Deflate(client_max_window_bits=9),
        ),
        (
            Deflate(server_max_window_bits=10),
            [bits("server", "10")],
            Deflate(server_max_window_bits=10),
        ),
    ],
)
def test_client_takes_an_answer_that_fits(settings, answer, agreement):
    factory = ClientPerMessageDeflateFactory(settings)
    extension = factory.process_response_params(answer, [])
    assert extension.agreement == agreement
    assert extension.name == "permessage-deflate"


@pytest.mark.parametrize(
    ("settings", "answer", "error", "match"),
    [
        (Deflate(server_no_context_takeover=True), [], NegotiationError, "server_no_context"),
        (Deflate(server_max_window_bits=10), [], NegotiationError, "server_max_window_bits=10"),
        (
            Deflate(server_max_window_bits=10),
            [bits("server", "11")],
            NegotiationError,
            "server_max_window_bits=10",
        ),
        (
            Deflate(client_max_window_bits=10),
            [bits("client", "11")],
            NegotiationError,
            "client_max_window_bits=10",
        ),
        (Deflate(), [bits("client", None)], InvalidParameterValue, "missing value"),
        (Deflate(), [bits("server", None)], InvalidParameterValue, "missing value"),
        (Deflate(), [bits("server", "7")], InvalidParameterValue, "'7'"),
        (Deflate(), [bits("server", "16")], InvalidParameterValue, "'16'"),
        (Deflate(), [bits("server", "08")], InvalidParameterValue, "'08'"),
        (Deflate(), [bits("client", "x")], InvalidParameterValue, "'x'"),
        (Deflate(), [("server_no_context_takeover", "1")], InvalidParameterValue, "'1'"),
        (Deflate(), [("client_no_context_takeover", "")], InvalidParameterValue, "''"),
        (Deflate(), [("unknown", None)], InvalidParameterName, "unknown"),
        (Deflate(), [SNCT, SNCT], DuplicateParameter, "server_no_context_takeover"),
        (
            Deflate(),
            [bits("client", "9"), bits("client", "9")],
            DuplicateParameter,
            "client_max_window_bits",
        ),
    ],
)
def test_client_refuses_an_answer_that_does_not_fit(settings, answer, error, match):
    with pytest.raises(error, match=match):
        ClientPerMessageDeflateFactory(settings).process_response_params(answer, [])


@pytest.mark.parametrize(
    ("settings", "offer", "answer"),
    [
        (Deflate(), [], []),
        (Deflate(), [bits("client", None)], []),
        (Deflate(), [SNCT, CNCT], [SNCT, CNCT]),
        (Deflate(), [bits("server", "10")], [bits("server", "10")]),
        (Deflate(), [bits("client", "10")], [bits("client", "10")]),
        (Deflate(True, True), [], [SNCT, CNCT]),
        (Deflate(server_max_window_bits=10), [], [bits("server", "10")]),
        (Deflate(server_max_window_bits=10), [bits("server", "9")], [bits("server", "9")]),
        (Deflate(server_max_window_bits=10), [bits("server", "11")], [bits("server", "10")]),
        # A window can be limited only where the client says that it can do so.
        (Deflate(client_max_window_bits=10), [], []),
        (Deflate(client_max_window_bits=10), [bits("client", None)], [bits("client", "10")]),
        (Deflate(client_max_window_bits=10), [bits("client", "9")], [bits("client", "9")]),
        (Deflate(client_max_window_bits=10), [bits("client", "15")], [bits("client", "10")]),
        (None, [], []),
        (None, [bits("client", None)], [bits("client", "12")]),
    ],
)
def test_server_answers_an_offer(settings, offer, answer):
    factory = ServerPerMessageDeflateFactory(settings)
    params, extension = factory.process_request_params(offer, [])
    assert params == answer
    # A client that made the offer takes the answer, and has agreed on the same.
    client = ClientPerMessageDeflateFactory().process_response_params(params, [])
    assert client.agreement == extension.agreement


@pytest.mark.parametrize(
    ("offer", "error"),
    [
        ([bits("server", None)], InvalidParameterValue),
        ([bits("client", "16")], InvalidParameterValue),
        ([bits("client", "")], InvalidParameterValue),
        ([("x", "y")], InvalidParameterName),
        ([CNCT, CNCT], DuplicateParameter),
        ([bits("client", None), bits("client", None)], DuplicateParameter),
        ([bits("client", None), bits("client", "9")], DuplicateParameter),
        ([bits("client", "9"), bits("client", None)], DuplicateParameter),
    ],
)
def test_server_declines_an_offer_that_is_wrong(offer, error):
    with pytest.raises(error):
        ServerPerMessageDeflateFactory(Deflate()).process_request_params(offer, [])


def test_server_may_require_that_the_client_limits_its_window():
    factory = ServerPerMessageDeflateFactory(Deflate(client_max_window_bits=10), required=True)
    with pytest.raises(NegotiationError, match="the client can't limit its window"):
        factory.process_request_params([], [])
    assert factory.process_request_params([bits("client", None)], [])[0] == [bits("client", "10")]
    factory = ServerPerMessageDeflateFactory(Deflate(), required=True)
    assert factory.process_request_params([], [])[0] == []


def test_extension_is_agreed_on_once():
    there = [PerMessageDeflate(Role.CLIENT, Deflate())]
    with pytest.raises(NegotiationError, match="permessage-deflate is there already"):
        ClientPerMessageDeflateFactory().process_response_params([], there)
    with pytest.raises(NegotiationError, match="permessage-deflate is there already"):
        ServerPerMessageDeflateFactory().process_request_params([], there)
