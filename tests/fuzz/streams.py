"""Streams of frames that a peer may send, and how they are damaged."""

import zlib

from support.wire import build_frame

from syncws.exceptions import PayloadTooBig, ProtocolError

WIRE_CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
CODE_OF_ERROR = {ProtocolError: 1002, UnicodeDecodeError: 1007, PayloadTooBig: 1009}
ALPHABETS = ("ab ", "aé€😀", "0123456789" * 3 + "\n", "\x00\x7f\u07ff\uffff")


class Failure(Exception):
    """The codec broke its word."""


def check(condition, what):
    if not condition:
        raise Failure(what)


# --- what a peer may send ----------------------------------------------------------------


class Compressor:
    """Compresses as a peer might: any level, any kind of block, final ones too."""

    def __init__(self, rng, bits, forget):
        self.rng, self.bits, self.forget = rng, max(bits, 9), forget
        self.deflater = None

    def compress(self, data):
        rng = self.rng
        if self.deflater is None or self.forget:
            level = rng.choice((0, 1, 6, 9))
            strategy = rng.choice((zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY))
            self.deflater = zlib.compressobj(level, zlib.DEFLATED, -self.bits, 9, strategy)
        compressed = self.deflater.compress(data)
        if rng.random() < 0.1:
            compressed += self.deflater.flush(zlib.Z_FINISH) + b"\x00"
            self.deflater = None
            return compressed
        mode = rng.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH))
        compressed += self.deflater.flush(mode)
        return compressed[:-4] if compressed.endswith(b"\x00\x00\xff\xff") else b"\x00"


def random_size(rng):
    pick = rng.random()
    if pick < 0.7:
        return rng.randrange(20)
    if pick < 0.985:
        return rng.choice((124, 125, 126, 127, 200, 1000))
    return rng.choice((65535, 65536, 70000))


def random_payload(rng, opcode):
    size = random_size(rng)
    if opcode == 1:
        chars = rng.choice(ALPHABETS)
        return "".join(rng.choices(chars, k=min(size, 500)))
    return rng.getrandbits(8 * size).to_bytes(size, "big") if size else b""


def split(rng, data, count):
    """``data`` in up to ``count`` + 1 pieces, empty ones included."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(count))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]


def random_control(rng):
    first = rng.choice((0x89, 0x8A))
    payload = bytes(rng.choices(range(256), k=rng.choice((0, 1, 4, 125))))
    return first, payload


def random_close(rng):
    if rng.random() < 0.2:
        return 0x88, b""
    code = rng.choice((*sorted(WIRE_CODES), 3000, 4999))
    return 0x88, code.to_bytes(2, "big") + rng.choice(("", "bye", "é" * 61)).encode()


def random_stream(rng, compressor):
    """Valid frames, as (first byte, payload), and the messages and control frames they are."""
    frames, meaning = [], []
    for _ in range(rng.randrange(1, 5)):
        opcode = rng.choice((1, 1, 2))
        message = random_payload(rng, opcode)
        data = message.encode() if opcode == 1 else message
        rsv1 = 0
        if compressor is not None and rng.random() < 0.7:
            rsv1, data = 0x40, compressor.compress(data)
        pieces = split(rng, data, rng.choice((0, 0, 0, 1, 2, 5)))
        for index, piece in enumerate(pieces):
            while rng.random() < 0.15:
                frames.append(random_control(rng))
                meaning.append(frames[-1])
            first = 0 if index else opcode | rsv1
            frames.append((first | (0x80 if index == len(pieces) - 1 else 0), piece))
        meaning.append(message)
    if rng.random() < 0.3:
        frames.append(random_close(rng))
        meaning.append(frames[-1])
    return frames, meaning


# --- how it is damaged -------------------------------------------------------------------


def damage_frame(rng, first, payload, key):
    """The bytes of a frame with one thing wrong, or unusual, about it."""
    data = build_frame(first, payload, key)
    what = rng.randrange(8)
    if what == 0:
        return bytes((first ^ (1 << rng.randrange(8)),)) + data[1:]
    if what == 1:
        return bytes((rng.randrange(256),)) + data[1:]
    if what == 2:
        return build_frame(first, payload, b"\1\2\3\4" if key is None else None)
    if what == 3:  # a length in a longer form, or that lies
        bit = 0 if key is None else 0x80
        width = rng.choice((2, 8))
        top = 1 << (8 * width)
        size = rng.choice((len(payload), 125, 126, 65535, 65536, 1 << 62, 1 << 63, top - 1)) % top
        return bytes((first, bit | (126 if width == 2 else 127))) + size.to_bytes(width, "big")
    if what == 4:
        broken = rng.choice((b"\xff", b"\xed\xa0", b"\xc0\x80", b"\xf4\x90", b"\xe2\x82"))
        at = rng.randrange(len(payload) + 1)
        return build_frame(first, payload[:at] + broken + payload[at:], key)
    if what == 5:
        code = rng.choice((0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535))
        reason = rng.choice((b"", b"x", b"\xff"))
        return build_frame(0x88, (code.to_bytes(2, "big") + reason)[rng.randrange(2) :], key)
    if what == 6:
        return build_frame(first, payload + b"x" * rng.choice((1, 126, 2000)), key)
    return build_frame(rng.choice((0x00, 0x80, 0x01, 0x81, 0xC1, 0x41, 0x09, 0x89)), payload, key)


def damage_bytes(rng, data):
    """Bytes with a few of them changed, lost, moved, or there twice."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 8, 40)))
        what = rng.randrange(6)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif what == 1 and data:
            data[at % len(data)] = rng.choice((0, 0x7F, 0x80, 0xFF, 0x0A, 0x0D, 0x20))
        elif what == 2:
            del data[at:end]
        elif what == 3:
            data[at:at] = data[at:end]
        elif what == 4:
            data[at:at] = bytes(rng.choices(range(256), k=rng.choice((1, 2, 8))))
        else:
            del data[at:]
    return bytes(data)


def random_pieces(rng, data):
    style = rng.random()
    if style < 0.15 and len(data) <= 2000:
        return [data[i : i + 1] for i in range(len(data))]
    if style < 0.3:
        size = rng.choice((2, 3, 7, 64, 1000))
        if len(data) <= 200 * size:
            return [data[i : i + size] for i in range(0, len(data), size)]
    return split(rng, data, rng.choice((1, 1, 2, 4, 10)))
