import pytest
from support.wire import build_frame, parse_frames

from syncws.exceptions import ProtocolError
from syncws.sansio.frames import CONTROL_OPCODES, DATA_OPCODES, Frame, Opcode


def test_opcodes_have_their_registered_values():
    values = {opcode.name: int(opcode) for opcode in Opcode}
    assert values == {"CONT": 0, "TEXT": 1, "BINARY": 2, "CLOSE": 8, "PING": 9, "PONG": 10}
    assert {Opcode.CONT, Opcode.TEXT, Opcode.BINARY} == DATA_OPCODES
    assert {Opcode.CLOSE, Opcode.PING, Opcode.PONG} == CONTROL_OPCODES


@pytest.mark.parametrize(
    ("first", "frame"),
    [
        (0x81, Frame(Opcode.TEXT, b"x")),
        (0x00, Frame(Opcode.CONT, b"x", fin=False)),
        (0xC2, Frame(Opcode.BINARY, b"x", rsv1=True)),
        (0xA2, Frame(Opcode.BINARY, b"x", rsv2=True)),
        (0x92, Frame(Opcode.BINARY, b"x", rsv3=True)),
        (0x71, Frame(Opcode.TEXT, b"x", fin=False, rsv1=True, rsv2=True, rsv3=True)),
        (0x8A, Frame(Opcode.PONG, b"x")),
    ],
)
def test_frame_and_first_byte_say_the_same(first, frame):
    assert Frame.from_wire(first, b"x") == frame
    assert frame.first_byte == first
    assert frame.serialize(masked=False) == build_frame(first, b"x")
    assert parse_frames(frame.serialize(masked=True), masked=True) == [(first, b"x")]


@pytest.mark.parametrize("opcode", sorted(CONTROL_OPCODES))
def test_control_frame_has_at_most_125_bytes_and_is_not_fragmented(opcode):
    assert len(Frame(opcode, bytes(125)).serialize(masked=False)) == 127
    with pytest.raises(ProtocolError, match="at most 125 bytes, got 126"):
        Frame(opcode, bytes(126)).serialize(masked=False)
    with pytest.raises(ProtocolError, match="can't be fragmented"):
        Frame(opcode, b"", fin=False).serialize(masked=False)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame(Opcode.TEXT, "é".encode()), "TEXT 'é' [2 bytes]"),
        (Frame(Opcode.TEXT, b"\xc3", fin=False), "TEXT '\ufffd' [1 bytes, continued]"),
        (Frame(Opcode.CONT, b"ab"), "CONT 61 62 [2 bytes]"),
        (Frame(Opcode.PING, b""), "PING  [0 bytes]"),
    ],
)
def test_frame_shows_what_it_is_and_its_payload(frame, text):
    assert str(frame) == text


def test_frame_shows_the_ends_of_a_long_payload():
    text = str(Frame(Opcode.BINARY, bytes(range(100))))
    assert text.startswith("BINARY 00 01 02 03")
    assert text.endswith("61 62 63 [100 bytes]")
    assert "..." in text
    assert len(text) < 100
