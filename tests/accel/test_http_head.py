"""Heads of HTTP messages, taken apart in Python and in C."""

import random

import pytest
from support.codecs import NOT_BUILT, _speedups

from syncws.accel import pure

LIMIT = 1000
HEAD = (
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nX-Own:\t a b \t\r\n"
    b"x-own:2\r\nConnection: keep-alive, Upgrade\r\nX-OWN:\r\nuser-agent: caf\xe9\r\n\r\n"
)
PIECES = (b"", b"\r", b"\n", b"\r\n", b":", b" ", b"\t", b"a", b"Host: x\r\n")


def test_a_head(codec):
    start_line, fields, values, size = codec.split_head(HEAD + b"rest", LIMIT, 10)
    assert start_line == "GET /chat HTTP/1.1"
    assert fields == [
        ("Host", "example.com"),
        ("Upgrade", "websocket"),
        ("X-Own", "a b"),
        ("x-own", "2"),
        ("Connection", "keep-alive, Upgrade"),
        ("X-OWN", ""),
        ("user-agent", "café"),
    ]
    assert values == {
        "host": "example.com",
        "upgrade": "websocket",
        "x-own": ["a b", "2", ""],
        "connection": "keep-alive, Upgrade",
        "user-agent": "café",
    }
    assert list(values) == ["host", "upgrade", "x-own", "connection", "user-agent"]
    assert size == len(HEAD)


@pytest.mark.parametrize("value", [b"1", b"", b"\xe9"], ids=ascii)
def test_equal_values_of_one_name_are_two(codec, value):
    # The interpreter has one object of each such text.
    head = b"GET / HTTP/1.1\r\nX: %b\r\nX: %b\r\n\r\n" % (value, value)
    text = value.decode("latin-1")
    assert codec.split_head(head, LIMIT, 10)[2] == {"x": [text, text]}


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"what\never HTTP\r\n\r\n", b"\rGET\r\n\r\n"])
def test_without_header_lines(codec, data):
    expected = None if b"\n" in data[:-4] else (data[:-4].decode(), [], {}, len(data))
    assert codec.split_head(data, LIMIT, 10) == expected


@pytest.mark.parametrize("size", range(len(HEAD)))
def test_what_is_not_whole_is_left(codec, size):
    assert codec.split_head(HEAD[:size], LIMIT, 10) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no colon",
        b": no name",
        b" X: folded",
        b"\tX: folded",
        b"X : space before the colon",
        b"X\xe9: not ASCII",
        b"X(: not a token",
        b"X: a\x00b",
        b"X: a\x1fb",
        b"X: a\x7fb",
        b"X: a\rb",
        b"X: a\nb",
        b"X: a\r",
        b"\r",
    ],
)
def test_what_is_not_a_header_line_is_left(codec, line):
    for before in (b"", b"Host: x\r\n"):
        head = b"GET / HTTP/1.1\r\n" + before + line + b"\r\nA: b\r\n\r\n"
        if line:
            assert codec.split_head(head, LIMIT, 10) is None
        else:  # the head's end
            assert codec.split_head(head, LIMIT, 10)[3] == head.index(b"A")


@pytest.mark.parametrize("character", range(256))
def test_each_character_in_a_name_and_in_a_value(codec, character):
    byte = bytes((character,))
    named = codec.split_head(b"GET / HTTP/1.1\r\na%b: x\r\n\r\n" % byte, LIMIT, 10)
    valued = codec.split_head(b"GET / HTTP/1.1\r\nX: a%bc\r\n\r\n" % byte, LIMIT, 10)
    is_letter = byte.isalnum() and character < 128
    assert (named is not None) is (is_letter or byte in b"!#$%&'*+-.^_`|~" or byte == b":")
    assert (valued is not None) is ((character >= 32 and character != 127) or byte == b"\t")
    if named and byte != b":":
        assert named[1] == [(f"a{chr(character)}", "x")]
        assert named[2] == {f"a{chr(character).lower()}": "x"}


def test_limits(codec):
    assert codec.split_head(HEAD, len(HEAD) - 4, 7)
    assert codec.split_head(HEAD, len(HEAD) - 5, 7) is None
    assert codec.split_head(HEAD, len(HEAD) - 4, 6) is None


def test_names_are_shared_by_heads():
    if _speedups is None:
        pytest.skip(NOT_BUILT)
    (one,), (two,) = [_speedups.split_head(b"A\r\nHost: x\r\n\r\n", 99, 9)[1] for _ in range(2)]
    assert one[0] is two[0]


@pytest.mark.parametrize("arguments", [(), ("text", 1, 1), (b"", None, 1), (bytearray(), 1, 1)])
def test_wrong_arguments(arguments):
    if _speedups is None:
        pytest.skip(NOT_BUILT)
    with pytest.raises(TypeError):
        _speedups.split_head(*arguments)


@pytest.mark.parametrize("seed", range(20))
def test_both_say_the_same(seed):
    if _speedups is None:
        pytest.skip(NOT_BUILT)
    rng = random.Random(seed)
    taken = 0
    for _ in range(500):
        head = bytearray(HEAD)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
            place = rng.randrange(len(head))
            piece = rng.choice(PIECES)
            head[place : place + rng.choice((0, 0, 1, 5))] = piece
        limits = rng.choice((LIMIT, LIMIT, rng.randrange(200))), rng.choice((10, 10, 7, 3))
        found = _speedups.split_head(bytes(head), *limits)
        assert found == pure.split_head(bytes(head), *limits)
        taken += found is not None
    assert 20 < taken < 480
