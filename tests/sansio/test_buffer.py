from __future__ import annotations

import pytest

from syncws.exceptions import HeaderLineTooLong, RequestLineTooLong
from syncws.sansio.buffer import ReceiveBuffer


def take_line(buffer: ReceiveBuffer, max_length: int = 10) -> bytes | None:
    return buffer.take_line(max_length, HeaderLineTooLong)


def filled(data: bytes) -> ReceiveBuffer:
    buffer = ReceiveBuffer()
    buffer.append(data)
    return buffer


def test_lines_come_one_by_one_without_their_ends():
    buffer = filled(b"one\r\n\r\nthree\r\nfo")
    assert [take_line(buffer) for _ in range(4)] == [b"one", b"", b"three", None]
    buffer.append(b"ur\r\n")
    assert take_line(buffer) == b"four"
    assert len(buffer) == 0


def test_line_end_may_be_split():
    buffer = filled(b"one\r")
    assert take_line(buffer) is None
    buffer.append(b"\n")
    assert take_line(buffer) == b"one"


def test_cr_inside_a_line_is_part_of_it():
    assert take_line(filled(b"a\rb\r\r\n")) == b"a\rb\r"


def test_line_at_the_limit_is_taken():
    assert take_line(filled(b"0123456789\r\n")) == b"0123456789"


@pytest.mark.parametrize(
    "data", [b"0123456789a", b"0123456789a\r\n", b"0123456789\r\r", b"0123456789\r\r\n"]
)
def test_line_over_the_limit_is_refused_as_soon_as_it_is_certain(data):
    with pytest.raises(RequestLineTooLong, match="more than 10 bytes"):
        filled(data).take_line(10, RequestLineTooLong)


def test_line_at_the_limit_may_still_get_its_end():
    for data in b"0123456789", b"0123456789\r":
        assert take_line(filled(data)) is None


@pytest.mark.parametrize("data", [b"one\n", b"\n", b"a\r\r\rb\n"])
def test_bare_lf_is_refused(data):
    with pytest.raises(ValueError, match="LF instead of CRLF"):
        take_line(filled(data))


def test_cr_before_the_line_is_not_part_of_its_end():
    buffer = filled(b"x\r\n")
    assert buffer.take(2) == b"x\r"
    with pytest.raises(ValueError, match="LF instead of CRLF"):
        take_line(buffer)


def test_take_returns_what_there_is_up_to_a_limit():
    buffer = filled(b"abcdef")
    assert buffer.take(2) == b"ab"
    assert buffer.take(0) == b""
    assert len(buffer) == 4
    buffer.append(b"gh")
    assert buffer.take(100) == b"cdefgh"
    assert buffer.take(1) == b""


def test_take_all_empties_the_buffer():
    buffer = filled(b"one\r\ntwo")
    take_line(buffer)
    assert buffer.take_all() == b"two"
    assert len(buffer) == 0


def test_taken_bytes_are_independent_of_the_buffer():
    buffer = filled(b"one\r\ntwo")
    line, rest = take_line(buffer), buffer.take(3)
    buffer.append(b"more")
    assert (line, rest) == (b"one", b"two")
    assert type(rest) is bytes


class CountingArray(bytearray):
    """Counts the bytes that are searched."""

    searched = 0

    def find(self, sub, start=0):
        self.searched += len(self) - start
        return super().find(sub, start)


def test_search_looks_at_each_byte_once_if_bytes_come_one_by_one():
    buffer = ReceiveBuffer()
    counting = buffer._data = CountingArray()
    text = b"a" * 1000 + b"\r\n" + b"b" * 1000 + b"\r\n"
    lines = []
    for i in range(len(text)):
        buffer.append(text[i : i + 1])
        lines.append(take_line(buffer, 1000))
    assert [line for line in lines if line] == [b"a" * 1000, b"b" * 1000]
    assert counting.searched == len(text)
