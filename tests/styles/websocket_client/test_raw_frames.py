"""Frames of clients, taken apart again."""

import pytest
from support.wire import KEY, build_frame

from syncws.styles.websocket_client.errors import WebSocketProtocolException
from syncws.styles.websocket_client.raw_frames import RawFrames

FRAMES = [(0x81, b"text"), (0x02, bytes(126)), (0x80, bytes(70_000)), (0x89, b""), (0xC1, b"x")]


def feed_all(data, size):
    raw = RawFrames()
    return [frame for at in range(0, len(data), size) for frame in raw.feed(data[at : at + size])]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_frames_are_found_in_whatever_pieces(size):
    data = b"".join(build_frame(first, payload, KEY) for first, payload in FRAMES)
    frames = feed_all(data, size)
    assert [frame[-1] for frame in frames] == [payload for _, payload in FRAMES]
    assert [frame[:-2] for frame in frames] == [
        (1, 0, 0, 0, 1),
        (0, 0, 0, 0, 2),
        (1, 0, 0, 0, 0),
        (1, 0, 0, 0, 9),
        (1, 1, 0, 0, 1),
    ]


def test_frames_without_a_mask_are_refused_and_forgotten():
    raw = RawFrames()
    with pytest.raises(WebSocketProtocolException, match="masked"):
        list(raw.feed(build_frame(0x81, b"x")))
    (frame,) = raw.feed(build_frame(0x81, b"y", KEY))
    assert frame[-1] == b"y"
