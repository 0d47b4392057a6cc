"""``frame_buffer`` and ``continuous_frame``: frames of bytes that a program has by itself."""

import pytest
from support.wire import KEY, build_frame

from syncws import styles as websocket
from syncws.styles import ABNF


def reading(*pieces):
    """A function that returns these, cut to what it is asked for; it raises what raises."""
    left = list(pieces)

    def recv(size):
        piece = left.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if isinstance(piece, bytes) and len(piece) > size:
            left.insert(0, piece[size:])
            return piece[:size]
        return piece

    return recv


@pytest.mark.parametrize("size", [0, 5, 126, 70_000])
@pytest.mark.parametrize("key", [None, KEY])
def test_frames_are_read_one_by_one(size, key):
    data = build_frame(0x82, b"x" * size, key) + build_frame(0x01, b"y", key)
    frames = websocket.frame_buffer(reading(data), False)
    first, second = frames.recv_frame(), frames.recv_frame()
    assert (first.fin, first.opcode, first.data) == (1, ABNF.OPCODE_BINARY, b"x" * size)
    assert (second.fin, second.opcode, second.data) == (0, ABNF.OPCODE_TEXT, b"y")
    assert first.mask_value == (key is not None)


def test_what_was_read_of_a_frame_is_kept_when_reading_fails():
    data = build_frame(0x81, b"Hello", KEY)
    pieces = [data[:1], TimeoutError(), data[1:4], TimeoutError(), data[4:8], TimeoutError()]
    frames = websocket.frame_buffer(reading(*pieces, data[8:]), False)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            frames.recv_frame()
    assert frames.recv_frame().data == b"Hello"
    assert frames.header is frames.length is frames.mask_value is None
    assert not frames.has_mask()


def test_bytes_above_are_kept_and_the_end_is_told_by_fewer():
    frames = websocket.frame_buffer(lambda size: b"abcdef", True)
    assert (frames.recv_strict(4), frames.recv_buffer) == (b"abcd", [b"ef"])
    assert (frames.recv_strict(2), frames.recv_buffer) == (b"ef", [])
    for end in (None, "text", b""):
        frames = websocket.frame_buffer(reading(b"ab", end, b"cd"), True)
        assert (frames.recv_strict(4), frames.recv_strict(2)) == (b"ab", b"cd")
    with pytest.raises(ValueError, match="number"):
        frames.recv_strict("4")


def test_frame_that_no_server_may_send_is_refused():
    frames = websocket.frame_buffer(reading(build_frame(0x88, b"\x03\xe7")), False)
    with pytest.raises(websocket.WebSocketProtocolException):
        frames.recv_frame()


def fragments(*pieces):
    last = len(pieces) - 1
    return [
        ABNF(int(i == last), opcode=ABNF.OPCODE_CONT if i else ABNF.OPCODE_TEXT, data=piece)
        for i, piece in enumerate(pieces)
    ]


def test_fragments_become_one_message():
    message = websocket.continuous_frame(False, False)
    first, second, third = fragments(b"\xc3", b"\xa4", b"!")
    for frame in (first, second, third):
        message.validate(frame)
        message.add(frame)
        assert bool(message.is_fire(frame)) is (frame is third)
    opcode, frame = message.extract(third)
    assert (opcode, frame.data) == (ABNF.OPCODE_TEXT, "ä!".encode())
    with pytest.raises(websocket.WebSocketProtocolException):
        message.extract(third)


def test_fragments_are_handed_out_if_wanted():
    message = websocket.continuous_frame(True, False)
    for frame, opcode in zip(fragments(b"\xc3", b"\xa4"), (ABNF.OPCODE_TEXT, ABNF.OPCODE_CONT)):
        message.validate(frame)
        message.add(frame)
        assert message.is_fire(frame)
        assert message.extract(frame) == (opcode, frame)


def test_fragments_out_of_order_and_bad_text_are_refused():
    message = websocket.continuous_frame(False, False)
    first, second = fragments(b"\xff", b"")
    with pytest.raises(websocket.WebSocketProtocolException, match="Illegal frame"):
        message.validate(second)
    message.add(first)
    with pytest.raises(websocket.WebSocketProtocolException, match="Illegal frame"):
        message.validate(first)
    message.add(second)
    with pytest.raises(websocket.WebSocketPayloadException, match="cannot decode"):
        message.extract(second)
