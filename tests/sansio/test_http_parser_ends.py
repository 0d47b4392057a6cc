"""Heads that end early or come in pieces, and the time that it takes to read them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.heads import (
    REQUEST,
    RESPONSE,
    feed,
    parse_request,
    pieces,
    request_with,
    response_with,
)

from syncws.accel.pure import http_head
from syncws.exceptions import InvalidProtocol, InvalidState, SecurityError
from syncws.sansio import http_parser
from syncws.sansio.headers import Headers
from syncws.sansio.http11 import Request, Response
from syncws.sansio.http_parser import RequestParser, ResponseParser

# --- the end of the stream -------------------------------------------------------


@pytest.mark.parametrize(
    ("parser", "data", "error"),
    [
        (RequestParser, b"", "closed before the request line"),
        (RequestParser, b"GET /", "closed after 5 bytes of the request line"),
        (RequestParser, b"GET / HTTP/1.1\r\n", "closed after 0 headers"),
        (RequestParser, b"GET / HTTP/1.1\r\nA: b\r\nC: ", "closed after 1 headers"),
        (ResponseParser, b"", "closed before the status line"),
        (ResponseParser, b"HTTP", "closed after 4 bytes of the status line"),
        (ResponseParser, b"HTTP/1.1 200 OK\r\nA: b\r\n", "closed after 1 headers"),
        (ResponseParser, b"HTTP/1.1 100 a\r\nA: b\r\n\r\n", "closed before the status line"),
    ],
)
def test_end_of_stream_in_the_head_says_how_far_it_got(parser, data, error):
    parser = parser()
    assert parser.receive_data(data) is None
    with pytest.raises(EOFError, match=error):
        parser.receive_eof()


def test_there_is_no_partial_response_before_the_end_of_its_head():
    parser = ResponseParser()
    parser.receive_data(response_with(status=b"100 Continue"))
    parser.receive_data(b"HTTP/1.1 200 OK\r\nA: b\r\n")
    assert parser.partial is None
    parser.receive_data(b"\r\nbody")
    assert parser.partial == Response(200, "OK", Headers(A="b"), b"body")


@pytest.mark.parametrize(
    ("parser", "message"), [(RequestParser, REQUEST), (ResponseParser, RESPONSE)]
)
def test_complete_message_takes_nothing_more(parser, message):
    parser = parser()
    parser.receive_data(message)
    with pytest.raises(InvalidState, match="complete before"):
        parser.receive_data(b"x")
    with pytest.raises(InvalidState, match="complete before"):
        parser.receive_eof()
    assert parser.trailing == b""


# --- any split gives the same ----------------------------------------------------

LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"Host: a\r\n",
        b"A:\t b \r\n",
        b" A: b\r\n",
        b"Content-Length: 4\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"4\r\nwiki\r\n",
        b"0\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b"a" * 40,
    ]
)
STARTS = st.sampled_from([REQUEST, RESPONSE, b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b""])
SMALL_BODY = 10
MESSAGES = st.builds(lambda start, lines: start + b"".join(lines), STARTS, st.lists(LINES))


def outcome(parser, parts):
    """Return what comes of parts: message, bytes after it, or the error and the rest known."""
    try:
        message, trailing = feed(parser, parts)
        if message is None:
            message = parser.receive_eof()
    except (ValueError, EOFError, SecurityError, InvalidProtocol) as exc:
        return type(exc), str(exc), getattr(parser, "partial", None)
    if len(getattr(message, "body", b"")) == SMALL_BODY:
        trailing = None  # it may have been cut off, and then nobody wants the rest
    return message, trailing


@pytest.mark.parametrize("parser", [RequestParser, ResponseParser])
@given(data=st.data())
def test_any_split_gives_the_same_message_or_error(parser, data):
    message = data.draw(MESSAGES)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=9)))
    parts = [message[i:j] for i, j in zip([0, *cuts], [*cuts, len(message)])]
    with pytest.MonkeyPatch.context() as patch:
        # Small ones, so that messages run into them; but a head that comes whole, and has no
        # more bytes than a line may have, is parsed in another way.
        limit = data.draw(st.sampled_from([20, 50, 2**14]))
        patch.setattr(http_parser, "MAX_NUM_HEADERS", 8)
        patch.setattr(http_parser, "MAX_BODY_SIZE", SMALL_BODY)
        expected = outcome(parser(limit), [message])
        assert outcome(parser(limit), parts) == expected
        assert outcome(parser(limit), pieces(message, "bytewise")) == expected


NAMES = st.from_regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,9}", fullmatch=True).filter(
    lambda name: name.lower() not in ("content-length", "transfer-encoding", "host")
)
VALUES = st.from_regex(r"[\t -~\x80-\xff]{0,9}", fullmatch=True).map(lambda v: v.strip(" \t"))
PATHS = st.from_regex(r"/[!-~]{0,9}", fullmatch=True)


@given(PATHS, st.lists(st.tuples(NAMES, VALUES), max_size=9))
@example("/", [("A", "\xa0b\xa0")])
def test_serialized_messages_are_parsed_to_the_same(path, fields):
    headers = Headers(fields)
    request = Request(path, headers)
    assert parse_request(request.serialize()) == request
    response = Response(200, "OK", headers, b"body")
    parser = ResponseParser()
    parser.receive_data(response.serialize())
    assert parser.receive_eof() == response


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data):
    for parser in RequestParser(), ResponseParser():
        outcome(parser, [data])


# --- linear time -----------------------------------------------------------------


def test_each_byte_of_a_head_is_taken_once_if_bytes_come_one_by_one(monkeypatch):
    searched = []

    class CountingArray(bytearray):
        def find(self, sub, start=0):
            searched.append(len(self) - start)
            return super().find(sub, start)

    parser = RequestParser()
    monkeypatch.setattr(parser._buffer, "_data", CountingArray())
    message = request_with(*[b"A: " + b"b" * 200] * 100)
    assert feed(parser, pieces(message, "bytewise"))[0] is not None
    # One byte per call, and an empty search after each of the 102 lines.
    assert sum(searched) == len(message)


def test_header_of_white_space_is_matched_in_one_way():
    # The pattern for a line has no two parts that could share the white space.
    line = "A:" + " " * 8000 + "\x00"
    found = http_parser.HEADER_LINE.match(line)
    assert found.end() == len(line) - 1


def test_header_lines_are_not_searched_on_after_one_that_cannot_be_read():
    lines = "A: b\r\n" + "a" * 8000
    assert http_head._HEADER_LINES.findall(lines) == [("A", " b"), ("", "")]
