"""Data frames that are serialized for the caller to write: in batches, and large ones."""

import pytest
from support.wire import KEY, build_frame, parse_frames

from syncws.exceptions import InvalidState, ProtocolError
from syncws.options import Deflate
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.frames import Opcode, serialize_header
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role, State

ROLES = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)
CODECS = pytest.mark.parametrize("make", ["plain", "compressed"], indirect=True)
LONG = "long " * 100


def compressing(role):
    protocol = Protocol(role, state=State.CONNECTING)
    protocol.extensions = [PerMessageDeflate(role, Deflate())]
    protocol._open()
    return protocol


@pytest.fixture
def make(request):
    """What makes a protocol, with or without an extension."""
    return Protocol if request.param == "plain" else compressing


def other(role):
    return Role.SERVER if role is Role.CLIENT else Role.CLIENT


def received(make, role, data):
    """What the other role makes of what this one wrote."""
    protocol = make(other(role))
    protocol.receive_data(data)
    assert protocol.parser_exc is None
    return protocol.events_received()


# --- headers ---


@pytest.mark.parametrize("first", [0x00, 0x01, 0x81, 0x82])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 1 << 20])
def test_header_with_its_payload_is_a_frame(first, size):
    payload = bytes(size)
    assert serialize_header(first, size) + payload == build_frame(first, payload)


def test_header_has_room_for_all_sizes_there_are():
    assert serialize_header(0x82, 2**63 - 1) == b"\x82\x7f\x7f" + b"\xff" * 7


# --- large payloads ---


def test_header_of_a_large_message_is_returned_without_its_payload():
    protocol = Protocol(Role.SERVER)
    header = protocol.serialize_large(Opcode.BINARY, bytes(70000))
    assert header == serialize_header(0x82, 70000)
    assert not protocol.has_output
    assert not protocol.fragmenting


def test_large_fragments_are_kept_track_of():
    protocol = Protocol(Role.SERVER)
    assert protocol.serialize_large(Opcode.TEXT, b"a", False) == b"\x01\x01"
    assert protocol.fragmenting
    with pytest.raises(ProtocolError, match="a fragmented message is being sent"):
        protocol.serialize_large(Opcode.TEXT, b"b")
    assert protocol.serialize_large(Opcode.CONT, b"c", True) == b"\x80\x01"
    assert not protocol.fragmenting
    with pytest.raises(ProtocolError, match="no fragmented message to continue"):
        protocol.serialize_large(Opcode.CONT, b"d")


@pytest.mark.parametrize(
    "protocol",
    [Protocol(Role.CLIENT), compressing(Role.SERVER), compressing(Role.CLIENT)],
    ids=["masked", "extension", "both"],
)
def test_payload_that_goes_out_in_another_form_has_no_header_and_nothing_happens(protocol):
    assert protocol.serialize_large(Opcode.TEXT, b"x" * 70000, False) is None
    assert not protocol.fragmenting
    protocol.state = State.CLOSED
    assert protocol.serialize_large(Opcode.TEXT, b"x") is None  # for serialize_message() to refuse


@pytest.mark.parametrize("state", [State.CONNECTING, State.CLOSING, State.CLOSED])
def test_large_message_needs_an_open_connection(state):
    protocol = Protocol(Role.SERVER, state=state)
    with pytest.raises(InvalidState, match=f"connection is {state.name.lower()}"):
        protocol.serialize_large(Opcode.TEXT, bytes(70000))


# --- several messages ---


@ROLES
@CODECS
def test_messages_are_serialized_in_order_a_frame_each(make, role):
    protocol = make(role)
    messages = ["", b"", "é", b"\xff", LONG, LONG.encode(), bytearray(b"x"), memoryview(b"yz")]
    data = protocol.serialize_messages(messages)
    assert received(make, role, data) == [
        message if isinstance(message, str) else bytes(message) for message in messages
    ]
    assert len(parse_frames(data, masked=role is Role.CLIENT)) == len(messages)
    assert not protocol.has_output


@ROLES
@CODECS
def test_no_messages_are_no_bytes(make, role):
    assert make(role).serialize_messages([]) == b""


def test_messages_pass_through_extensions():
    frames = parse_frames(compressing(Role.SERVER).serialize_messages(["a", LONG]), masked=False)
    assert [first for first, _ in frames] == [0x81, 0xC1]


@CODECS
@pytest.mark.parametrize(("refused", "error"), [("\ud800", UnicodeEncodeError), (5, TypeError)])
def test_message_that_is_refused_leaves_the_codec_as_it_was(make, refused, error):
    protocol = make(Role.SERVER)
    first = protocol.serialize_messages([LONG])
    with pytest.raises(error):
        protocol.serialize_messages(["something else " * 50, refused])
    # A compressor that had seen the other text would refer to it.
    second = protocol.serialize_messages([LONG, "something else " * 50])
    assert received(make, Role.SERVER, first + second) == [LONG, LONG, "something else " * 50]


@CODECS
def test_messages_do_not_come_between_fragments(make):
    protocol = make(Role.CLIENT)
    data = protocol.serialize_message(Opcode.TEXT, b"a", fin=False)
    with pytest.raises(ProtocolError, match="a fragmented message is being sent"):
        protocol.serialize_messages(["x"])
    data += protocol.serialize_message(Opcode.CONT, b"b", fin=True)
    data += protocol.serialize_messages(["x"])
    assert received(make, Role.CLIENT, data)[-1] == "x"


@CODECS
@pytest.mark.parametrize("state", [State.CONNECTING, State.CLOSING, State.CLOSED])
def test_messages_need_an_open_connection(make, state):
    protocol = make(Role.SERVER)
    protocol.state = state
    with pytest.raises(InvalidState, match=f"connection is {state.name.lower()}"):
        protocol.serialize_messages(["x"])


# --- how much there is ---


@ROLES
def test_output_size_counts_what_waits_but_for_a_pong(role):
    protocol = Protocol(role)
    assert protocol.output_size == 0
    protocol.send_ping(b"1234")
    protocol.send_text(b"hello")
    size = protocol.output_size
    protocol.receive_data(build_frame(0x89, b"ping", KEY if role is Role.SERVER else None))
    assert protocol.output_size == size
    assert len(b"".join(protocol.data_to_send()[:2])) == size == (13 if role is Role.SERVER else 21)
    assert protocol.output_size == 0
