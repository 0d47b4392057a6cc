"""Lines that show what goes over the wire."""

import io
from datetime import datetime

import pytest
from support.wire import KEY, build_frame
from vectors import rfc6455, rfc7692

from syncws.cli.showing import escape
from syncws.cli.trace_lines import Tracer, trace_lines, uses_colour
from syncws.wiretap.dissector import Dissector, Exchange, Record, Unreadable

WHEN = datetime(2024, 5, 17, 12, 3, 22, 123456)
TIME = "12:03:22.123456"

#: The examples of RFC 6455 §5.7, each frame in two lines, without the time.
EXAMPLES = [
    [
        '→  TEXT   fin=1 rsv=000 opcode=1 mask=none     length=5    "Hello"',
        "81 05 | 48 65 6c 6c 6f                            header | payload",
    ],
    [
        '→  TEXT   fin=1 rsv=000 opcode=1 mask=37fa213d length=5    "Hello"',
        "81 85 37 fa 21 3d | 7f 9f 4d 51 58                header | masked payload",
    ],
    [
        '→  TEXT   fin=0 rsv=000 opcode=1 mask=none     length=3    "Hel", begins a text message',
        "01 03 | 48 65 6c                                  header | payload",
        '→  CONT   fin=1 rsv=000 opcode=0 mask=none     length=2    "lo", ends the text message',
        "80 02 | 6c 6f                                     header | payload",
    ],
    [
        "→  PING   fin=1 rsv=000 opcode=9 mask=none     length=5    asks for a pong with the"
        ' payload "Hello"',
        "89 05 | 48 65 6c 6c 6f                            header | payload",
    ],
    [
        "→  PONG   fin=1 rsv=000 opcode=A mask=37fa213d length=5    answers a ping with the"
        ' payload "Hello"',
        "8a 85 37 fa 21 3d | 7f 9f 4d 51 58                header | masked payload",
    ],
    [
        "→  BINARY fin=1 rsv=000 opcode=2 mask=none     length=256  256 bytes",
        "82 7e 01 00 | 00 01 02 03 04 05 06 07 08 09 0a 0b ...  header | payload",
    ],
    [
        "→  BINARY fin=1 rsv=000 opcode=2 mask=none     length=65536 65536 bytes",
        "82 7f 00 00 00 00 00 01 00 00 | 00 01 02 03 04 05 06 07 08 09 0a 0b ...  header | payload",
    ],
]


def trace(*frames, sent=True, **kwargs):
    """The lines of frames, given as their bytes, without what all lines begin with."""
    records = Dissector(http=False).receive_data(b"".join(frames))
    lines = []
    for record in records:
        first, second = trace_lines(Record(sent, record), WHEN, **kwargs)
        assert first.startswith(f"{TIME}  ")
        assert second.startswith(" " * 20)
        lines += [first[len(TIME) + 2 :], second[20:]]
    return lines


def meanings(*frames):
    """What the lines say that frames mean."""
    return [line.split("length=")[1][5:].strip() for line in trace(*frames)[::2]]


@pytest.mark.parametrize(
    ("example", "lines"),
    list(zip(rfc6455.VECTORS, EXAMPLES)),
    ids=[each[0] for each in rfc6455.VECTORS],
)
def test_examples_of_rfc_6455(example, lines):
    assert trace(bytes.fromhex(example[2])) == lines


@pytest.mark.parametrize(
    ("frame", "meaning"),
    [
        (build_frame(0x88, b"\x03\xe8"), "close code 1000 (normal closure)"),
        (build_frame(0x88, b"\x03\xe9bye"), 'close code 1001 (going away), reason "bye"'),
        (build_frame(0x88, b"\x0f\xa0"), "close code 4000 (private use)"),
        (build_frame(0x88, b""), "no close code"),
        (build_frame(0x88, b"\x03"), "half a close code"),
        (build_frame(0x89, b""), "asks for a pong with no payload"),
        (build_frame(0x8A, b"\x00\xff"), "answers a ping with the payload 00 ff"),
        (build_frame(0x82, b"x"), "1 byte"),
        (build_frame(0x02, b"ab"), "2 bytes, begins a binary message"),
        (build_frame(0x00, b"ab"), "2 bytes, continues no message: none has begun"),
        (build_frame(0x83, b"ab"), "not defined by RFC 6455"),
        (build_frame(0x8B, b"ab"), "not defined by RFC 6455"),
        (build_frame(0x81, b"x" * 60), f'"{"x" * 60}"'),
        (build_frame(0x81, b"x" * 61), f'"{"x" * 60}"...'),
        (build_frame(0x81, b"\x1b[2J\n"), r'"\x1b[2J\n"'),
        (build_frame(0x81, "\u202egnp".encode()), r'"\u202egnp"'),
    ],
)
def test_it_says_what_a_frame_means(frame, meaning):
    assert meanings(frame) == [meaning]


def test_it_says_what_a_continuation_is_of():
    assert meanings(build_frame(0x02, b"a"), build_frame(0x00, b"b"), build_frame(0x80, b"c")) == [
        "1 byte, begins a binary message",
        "1 byte, continues the binary message",
        "1 byte, ends the binary message",
    ]


def compressed(*frames):
    head = b"HTTP/1.1 101 OK\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    records = Dissector().receive_data(head + b"".join(frames))[1:]
    return [trace_lines(Record(False, each), WHEN)[0].split("length=")[1][5:] for each in records]


def test_it_says_what_is_compressed():
    payload = bytes.fromhex(rfc7692.VECTORS[0][2][0][1])
    *lines, broken = compressed(
        build_frame(0xC1, payload),
        build_frame(0xC2, payload),
        build_frame(0xC2, bytes.fromhex("62 60 64 62 66 61 65 63 e7 e0 e4 e2 e6 e1 e5 e3 13 00")),
        build_frame(0xC1, b"\xff\xff"),
    )
    assert lines == [
        'compressed, 5 bytes of text: "Hello"',
        "compressed, 5 bytes: 48 65 6c 6c 6f",
        "compressed, 17 bytes: 00 01 02 03 04 05 06 07 08 09 0a 0b ...",
    ]
    assert broken.startswith("compressed, not inflated: compressed data is broken: ")


def make_tracer(stream=None):
    stream = io.StringIO() if stream is None else stream
    return Tracer(stream, clock=lambda: WHEN), stream


def test_heads_are_shown_line_by_line_without_credentials():
    tracer, stream = make_tracer()
    observe = tracer.observer("#7 ")
    observe(True, b"GET / HTTP/1.1\r\nAuthorization: Basic c2VjcmV0\r\nX: \x1b\r\n\r\n")
    observe(False, b"HTTP/1.1 101 Switching\r\nset-cookie: secret\r\n\r\n")
    observe(False, b"")
    assert stream.getvalue().splitlines() == [
        f"#7 {TIME}  →  GET / HTTP/1.1",
        "#7                  →  Authorization: (not shown)",
        r"#7                  →  X: \x1b",
        f"#7 {TIME}  ←  HTTP/1.1 101 Switching",
        "#7                  ←  set-cookie: (not shown)",
        f"#7 {TIME}  ←  (end of the stream)",
    ]


def test_it_says_why_it_shows_no_more():
    tracer, stream = make_tracer()
    observe = tracer.observer()
    observe(False, b"HTTP/1.1 404 Not Found\r\n\r\nNo")
    observe(False, b"more")
    assert stream.getvalue().splitlines()[1:] == [
        f"{TIME}  ←  (no WebSocket: the server answered with status 404; what follows isn't shown)"
    ]


def test_a_reader_who_is_gone_costs_only_the_trace():
    class Broken(io.StringIO):
        writes = 0

        def write(self, text):
            self.writes += 1
            raise BrokenPipeError

    tracer, stream = make_tracer(Broken())
    observe = tracer.observer()
    for _ in range(3):
        observe(True, b"GET / HTTP/1.1\r\n\r\n" + build_frame(0x81, b"hi", KEY))
        tracer.tell("more")
    assert stream.writes == 1


@pytest.mark.parametrize(
    "character", "\x00\x1b\x7f\x85\x9b\u061c\u200e\u200f\u2028\u202e\u2066\u2069"
)
def test_characters_that_do_something_are_escaped(character):
    assert escape(f"a{character}b") == f"a{ascii(character)[1:-1]}b"


def test_what_is_told_about_a_connection_is_safe():
    tracer, stream = make_tracer()
    tracer.tell("from \x1b[2J", "#1 ")
    assert stream.getvalue() == f"#1 {TIME}  from \\x1b[2J\n"


def test_where_arrows_can_not_be_printed_there_are_others(tmp_path):
    for encoding, arrow in (("ascii", ">"), ("utf-8", "→"), ("no-such-encoding", ">")):
        stream = io.StringIO()
        tracer = Tracer(type("Stream", (), {"encoding": encoding, "isatty": stream.isatty})())
        assert tracer.arrows[0] == arrow


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colours_are_for_terminals_unless_they_are_not_wanted(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert uses_colour(Terminal())
    assert not uses_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not uses_colour(Terminal())
    monkeypatch.setenv("NO_COLOR", "")
    assert uses_colour(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not uses_colour(Terminal())


def test_directions_have_colours(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    tracer, stream = make_tracer(Terminal())
    observe = tracer.observer()
    for sent in (True, False):
        observe(sent, b"HTTP/1.1 101 OK\r\n\r\n")
    observe(True, build_frame(0x81, b"hi", KEY))
    sent, received, frame, raw = stream.getvalue().splitlines()
    assert sent == f"{TIME}  \x1b[36m→  HTTP/1.1 101 OK\x1b[0m"
    assert received == f"{TIME}  \x1b[33m←  HTTP/1.1 101 OK\x1b[0m"
    assert frame.startswith(f"{TIME}  \x1b[36m→  TEXT ")
    assert raw.strip().startswith("\x1b[2m81 82 37 fa 21 3d | ")


def test_records_that_end_it_have_a_line():
    assert trace_lines(Record(True, Unreadable("why")), WHEN) == [
        f"{TIME}  →  (why; what follows isn't shown)"
    ]
    assert Exchange().sent(b"") == []
