"""RFC 7692 §7.2.3: examples of compressed messages.

Each is (section, what it shows, frames as (first byte, payload), the messages). Only the
sections that give no frames had theirs added: one with FIN and RSV1.
"""

VECTORS = [
    ("7.2.3.1", "one block", [(0xC1, "f2 48 cd c9 c9 07 00")], ["Hello"]),
    (
        "7.2.3.1",
        "one block in two fragments",
        [(0x41, "f2 48 cd"), (0x80, "c9 c9 07 00")],
        ["Hello"],
    ),
    (
        "7.2.3.2",
        "a window shared by two messages",
        [(0xC1, "f2 48 cd c9 c9 07 00"), (0xC1, "f2 00 11 00 00")],
        ["Hello", "Hello"],
    ),
    (
        "7.2.3.2",
        "a window not shared by two messages",
        [(0xC1, "f2 48 cd c9 c9 07 00"), (0xC1, "f2 48 cd c9 c9 07 00")],
        ["Hello", "Hello"],
    ),
    (
        "7.2.3.3",
        "a block without compression",
        [(0xC1, "00 05 00 fa ff 48 65 6c 6c 6f 00")],
        ["Hello"],
    ),
    ("7.2.3.4", "a block with BFINAL", [(0xC1, "f3 48 cd c9 c9 07 00 00")], ["Hello"]),
    (
        "7.2.3.5",
        "two blocks in one message",
        [(0xC1, "f2 48 05 00 00 00 ff ff ca c9 c9 07 00")],
        ["Hello"],
    ),
    ("7.2.3.6", "an empty message", [(0xC1, "00")], [""]),
    # A window that was lost by BFINAL must not stand in the way of the next message.
    (
        "7.2.3.4",
        "a block with BFINAL between others",
        [(0xC1, "f2 48 cd c9 c9 07 00"), (0xC1, "f3 48 cd c9 c9 07 00 00"), (0xC1, "00")],
        ["Hello", "Hello", ""],
    ),
]
