import pytest

from syncws.exceptions import ProtocolError
from syncws.sansio.close import OK_CODES, Close, CloseCode, is_sendable

SENDABLE = [
    *[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014],
    *[3000, 3999, 4000, 4999],
]
NOT_SENDABLE = [-1, 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535, 65536]


@pytest.mark.parametrize("code", SENDABLE)
def test_code_that_may_be_sent_travels(code):
    assert is_sendable(code)
    close = Close(code, "é")
    payload = close.serialize()
    assert payload == code.to_bytes(2, "big") + b"\xc3\xa9"
    assert Close.parse(payload) == close


@pytest.mark.parametrize("code", NOT_SENDABLE)
def test_code_that_may_not_be_sent_is_refused_both_ways(code):
    assert not is_sendable(code)
    with pytest.raises(ProtocolError, match=f"close code {code} can't be sent"):
        Close(code, "x").serialize()
    if 0 <= code < 65536:
        with pytest.raises(ProtocolError, match=f"close code {code} must not be sent"):
            Close.parse(code.to_bytes(2, "big"))


def test_close_frame_without_a_code_is_1005():
    assert Close.parse(b"") == Close(1005, "")
    assert Close(1005).serialize() == b""
    assert Close(CloseCode.NO_STATUS_RCVD, "").serialize() == b""


def test_close_frame_of_one_byte_is_refused():
    with pytest.raises(ProtocolError, match="a payload of one byte"):
        Close.parse(b"\x03")


def test_reason_must_be_utf8():
    with pytest.raises(UnicodeDecodeError, match="invalid start byte") as info:
        Close.parse(b"\x03\xe8ab\xff")
    assert info.value.start == 2
    with pytest.raises(UnicodeEncodeError):
        Close(1000, "\ud800").serialize()


def test_reason_has_at_most_123_bytes():
    assert len(Close(1000, "é" * 61 + "x").serialize()) == 125
    with pytest.raises(ProtocolError, match="at most 123 bytes, got 124"):
        Close(1000, "é" * 62).serialize()


@pytest.mark.parametrize(
    ("close", "text"),
    [
        (Close(1000), "1000 (normal closure)"),
        (Close(1001, "bye"), "1001 (going away) bye"),
        (Close(CloseCode.TLS_HANDSHAKE), "1015 (tls handshake)"),
        (Close(1005), "1005 (no close code)"),
        (Close(1004), "1004 (unknown)"),
        (Close(2999), "2999 (unknown)"),
        (Close(3000), "3000 (registered)"),
        (Close(3999, "x"), "3999 (registered) x"),
        (Close(4000), "4000 (private use)"),
        (Close(5000), "5000 (unknown)"),
    ],
)
def test_close_says_code_meaning_and_reason(close, text):
    assert str(close) == text


def test_normal_codes_are_these():
    assert {1000, 1001, 1005} == OK_CODES


def test_close_is_a_value():
    assert hash(Close(1000, "x")) == hash(Close(1000, "x"))
    assert Close(1000) != Close(1001)
    assert Close(1000) == Close(CloseCode.NORMAL_CLOSURE)
