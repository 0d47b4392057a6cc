"""The bytes of frames (RFC 6455 §5.2), independent of the library, which tests check by this."""

KEY = b"\x37\xfa\x21\x3d"


def mask(payload, key=KEY):
    """Mask or unmask the payload."""
    return bytes(byte ^ key[i & 3] for i, byte in enumerate(payload))


def build_frame(first, payload=b"", key=None):
    """The bytes of a frame, masked if a key is given."""
    size = len(payload)
    bit = 0 if key is None else 0x80
    if size < 126:
        header = bytes((first, bit | size))
    elif size < 1 << 16:
        header = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    return header + payload if key is None else header + key + mask(payload, key)


def build_frames(frames, key=None):
    """The bytes of several frames, given as (first byte, payload)."""
    return b"".join(build_frame(first, payload, key) for first, payload in frames)


def parse_frames(data, *, masked):
    """The frames in data, as (first byte, payload), which must be whole and strictly valid."""
    frames, pos = [], 0
    while pos < len(data):
        first, second = data[pos : pos + 2]
        pos += 2
        assert bool(second & 0x80) == masked, "masked by the wrong side"
        size = second & 0x7F
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[pos : pos + width], "big")
            assert size > (125 if width == 2 else 65535), "a length in a form that is too long"
            pos += width
        key = b"\0\0\0\0"
        if masked:
            key = data[pos : pos + 4]
            pos += 4
        assert pos + size <= len(data), "ends within a frame"
        frames.append((first, mask(data[pos : pos + size], key)))
        pos += size
    return frames
