"""``ABNF``, websocket-client's frame."""

import pytest
from support.wire import mask, parse_frames

from syncws.styles import ABNF, WebSocketProtocolException


def test_frame_has_what_it_is_given():
    frame = ABNF(0, 1, 0, 0, 77)
    assert (frame.fin, frame.rsv1, frame.rsv2, frame.rsv3) == (0, 1, 0, 0)
    assert (frame.opcode, frame.mask_value, frame.data) == (77, 1, "")
    assert (ABNF(data=None).data, ABNF().opcode, ABNF().fin) == ("", ABNF.OPCODE_TEXT, 0)
    frame = ABNF.create_frame("ä", ABNF.OPCODE_TEXT)
    assert (frame.fin, frame.mask_value, frame.data) == (1, 1, b"\xc3\xa4")
    assert str(frame) == r"fin=1 opcode=1 data=b'\xc3\xa4'"
    assert str(ABNF(data="x")) == "fin=0 opcode=1 data=x"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frame_is_formatted_masked_or_not(size):
    data = b"x" * size
    frame = ABNF(1, 0, 0, 0, ABNF.OPCODE_BINARY, 1, data)
    assert parse_frames(frame.format(), masked=True) == [(0x82, data)]
    assert frame.format()[-size - 4 :] != frame.format()[-size - 4 :]
    frame.mask_value = 0
    assert parse_frames(frame.format(), masked=False) == [(0x82, data)]


def test_masking_key_of_a_formatted_frame_can_be_chosen():
    frame = ABNF.create_frame("Hello", ABNF.OPCODE_TEXT)
    frame.get_mask_key = lambda size: "abcd"[:size]
    assert frame.format() == b"\x81\x85abcd)\x07\x0f\x08\x0e"


def test_bits_and_opcodes_that_can_not_be_are_not_formatted():
    for frame in (ABNF(2), ABNF(1, 0, 2), ABNF(1, opcode=5)):
        with pytest.raises(ValueError, match=r"not 0 or 1|Invalid OPCODE"):
            frame.format()


def test_masking_takes_bytes_and_latin_1():
    assert ABNF.mask(b"\x01\x02\x03\x04", b"\x05\x06\x07\x08\t") == mask(
        b"\x05\x06\x07\x08\t", b"\x01\x02\x03\x04"
    )
    assert ABNF.mask("aaaa", "aÿ") == b"\x00\x9e"
    assert ABNF.mask(b"aaaa", None) == b""


GOOD = [
    ABNF(1, data=b"\xff"),
    ABNF(1, opcode=ABNF.OPCODE_CLOSE),
    ABNF(1, opcode=ABNF.OPCODE_CLOSE, data=b"\x03\xe8"),
    ABNF(1, opcode=ABNF.OPCODE_CLOSE, data=b"\x0b\xb8why"),
    ABNF(1, opcode=ABNF.OPCODE_PING, data=b"x"),
]

BAD = {
    "rsv is not implemented, yet": ABNF(1, 0, 0, 1),
    "Invalid opcode 5": ABNF(1, opcode=5),
    "Invalid ping frame.": ABNF(0, opcode=ABNF.OPCODE_PING),
    "Invalid close frame.": ABNF(1, opcode=ABNF.OPCODE_CLOSE, data=b"\x03"),
    "Invalid close frame. ": ABNF(1, opcode=ABNF.OPCODE_CLOSE, data=b"\x03\xe8" + b"x" * 124),
    "Invalid close frame.  ": ABNF(1, opcode=ABNF.OPCODE_CLOSE, data=b"\x03\xe8\xff"),
    "Invalid close opcode 999": ABNF(1, opcode=ABNF.OPCODE_CLOSE, data=b"\x03\xe7"),
    "Invalid close opcode 1005": ABNF(1, opcode=ABNF.OPCODE_CLOSE, data=b"\x03\xed"),
}


@pytest.mark.parametrize("text", BAD)
def test_frames_that_no_server_may_send_are_told(text):
    with pytest.raises(WebSocketProtocolException) as info:
        BAD[text].validate()
    assert str(info.value) == text.strip()


def test_frames_of_servers_are_valid():
    for frame in GOOD:
        frame.validate()
    BAD["Invalid close frame.  "].validate(skip_utf8_validation=True)
