"""RFC 6455 §5.7: examples of frames, unmasked unless said, and what they mean.

Each is (what the RFC calls it, whether it is masked, its bytes, the events).
"""

from syncws.sansio.frames import Frame, Opcode

BYTES_256 = bytes(range(256))
BYTES_64K = bytes(range(256)) * 256

VECTORS = [
    ("a single-frame unmasked text message", False, "81 05 48 65 6c 6c 6f", ["Hello"]),
    (
        "a single-frame masked text message",
        True,
        "81 85 37 fa 21 3d 7f 9f 4d 51 58",
        ["Hello"],
    ),
    (
        "a fragmented unmasked text message",
        False,
        "01 03 48 65 6c 80 02 6c 6f",
        [Frame(Opcode.TEXT, b"Hel", fin=False), Frame(Opcode.CONT, b"lo")],
    ),
    (
        "unmasked Ping request",
        False,
        "89 05 48 65 6c 6c 6f",
        [Frame(Opcode.PING, b"Hello")],
    ),
    (
        "masked Ping response",
        True,
        "8a 85 37 fa 21 3d 7f 9f 4d 51 58",
        [Frame(Opcode.PONG, b"Hello")],
    ),
    (
        "256 bytes binary message in a single unmasked frame",
        False,
        "82 7e 01 00" + BYTES_256.hex(),
        [BYTES_256],
    ),
    (
        "64KiB binary message in a single unmasked frame",
        False,
        "82 7f 00 00 00 00 00 01 00 00" + BYTES_64K.hex(),
        [BYTES_64K],
    ),
]

#: §1.3: the key of a request, and what accepts it.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
