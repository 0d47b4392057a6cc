"""Bodies of responses; what comes before them is in ``test_http_parser.py``."""

from __future__ import annotations

import re

import pytest
from support.heads import SPLITS, feed, pieces, response_with

from syncws.exceptions import HeaderLineTooLong, InvalidState, RequestBodyTooLong, TooManyHeaders
from syncws.sansio.header_limits import MAX_HEADER_SIZE
from syncws.sansio.http_parser import MAX_BODY_SIZE, MAX_NUM_HEADERS, RequestParser, ResponseParser

# --- responses with a body -------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("lines", "sent", "body"),
    [
        ([b"Content-Length: 5"], b"hello", b"hello"),
        ([b"Content-Length: 0"], b"", b""),
        ([b"Content-Length: 005"], b"hello", b"hello"),
        ([b"Content-Length: 5, 5", b"Content-Length:5"], b"hello", b"hello"),
        ([b"Transfer-Encoding: chunked"], b"0\r\n\r\n", b""),
        (
            [b"Transfer-Encoding: Chunked"],
            b"5\r\nhello\r\n00A ; a=b\r\n0123\r\n6789\r\n0;x\r\nTrailer: a\r\n\r\n",
            b"hello0123\r\n6789",
        ),
    ],
)
def test_body_with_an_end_completes_the_response(lines, sent, body, split):
    message = response_with(*lines, b"Set-Cookie: a", b"Set-Cookie: b", body=sent)
    response, trailing = feed(ResponseParser(), pieces(message + b"after", split))
    assert response.body == body
    assert response.headers.get_all("set-cookie") == ["a", "b"]
    assert "Trailer" not in response.headers
    assert trailing == b"after"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("body", [b"", b"hello\r\n\n"])
def test_body_without_a_length_goes_on_to_the_end_of_the_stream(body, split):
    parser = ResponseParser()
    assert feed(parser, pieces(response_with(status=b"500 No", body=body), split))[0] is None
    response = parser.receive_eof()
    assert (response.status_code, response.body) == (500, body)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([b"Content-Length: a"], "invalid Content-Length 'a'"),
        ([b"Content-Length:"], "invalid Content-Length ''"),
        ([b"Content-Length: -1"], "invalid Content-Length"),
        ([b"Content-Length: +1"], "invalid Content-Length"),
        ([b"Content-Length: 1_0"], "invalid Content-Length"),
        ([b"Content-Length: 1,"], "invalid Content-Length"),
        ([b"Content-Length: \xb2"], "invalid Content-Length"),
        ([b"Content-Length: " + b"1" * 20], "invalid Content-Length"),
        ([b"Content-Length: 5", b"Content-Length: 6"], "different values of Content-Length"),
        ([b"Content-Length: 5, 6"], "different values of Content-Length"),
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], "both Transfer-Encoding and"),
        ([b"Transfer-Encoding: gzip, chunked"], "unsupported Transfer-Encoding 'gzip, chunked'"),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"], "unsupported"),
        ([b"Transfer-Encoding: "], "unsupported"),
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_body_of_unclear_length_is_refused_and_the_status_known(lines, error, split):
    parser = ResponseParser()
    with pytest.raises(ValueError, match=re.escape(error)):
        feed(parser, pieces(response_with(*lines, status=b"503 No", body=b"hello"), split))
    assert (parser.partial.status_code, parser.partial.body) == (503, b"")


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"\r\n", "malformed size of a chunk ''"),
        (b"x\r\n", "malformed size"),
        (b"-1\r\n", "malformed size"),
        (b"0x1\r\n", "malformed size"),
        (b" 1\r\n", "malformed size"),
        (b"1" * 17 + b"\r\n", "malformed size"),
        (b"1;\x00\r\n", "malformed size"),
        (b"1 a\r\n", "malformed size"),
        (b"1\n", "LF instead of CRLF"),
        (b"2\r\nhix\r\n", "a chunk is longer than its size"),
        (b"2\r\nhi\n0\r\n", "a chunk is longer than its size"),
        (b"2\r\nhi\r\n0\r\nA\r\n", "no colon in header line"),
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_malformed_chunk_is_refused_and_what_came_before_known(sent, error, split):
    parser = ResponseParser()
    body = b"5\r\nhello\r\n" + sent
    with pytest.raises(ValueError, match=error):
        feed(parser, pieces(response_with(b"Transfer-Encoding: chunked", body=body), split))
    assert parser.partial.status_code == 200
    assert parser.partial.body == (b"hellohi" if b"hi" in sent else b"hello")


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"1;" + b"a" * MAX_HEADER_SIZE, HeaderLineTooLong),
        (b"0\r\nA: " + b"b" * MAX_HEADER_SIZE, HeaderLineTooLong),
        (b"0\r\n" + b"A: b\r\n" * (MAX_NUM_HEADERS + 1), TooManyHeaders),
    ],
    ids=["size", "trailer", "trailers"],
)
def test_lines_of_a_chunked_body_are_limited(sent, error):
    with pytest.raises(error):
        ResponseParser().receive_data(response_with(b"Transfer-Encoding: chunked", body=sent))


def chunked(size, count):
    return (b"%x\r\n" % size + b"a" * size + b"\r\n") * count


KIB64 = 2**16


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        ([b"Content-Length: %d" % (MAX_BODY_SIZE + 1)], b"a" * MAX_BODY_SIZE),
        ([b"Content-Length: " + b"9" * 19], b"a" * (MAX_BODY_SIZE + 100)),
        ([], b"a" * (MAX_BODY_SIZE + 1)),
        ([b"Transfer-Encoding: chunked"], b"fffffffff\r\n" + b"a" * (MAX_BODY_SIZE + 1)),
        ([b"Transfer-Encoding: chunked"], chunked(KIB64, 16) + b"1\r\n"),
        ([b"Transfer-Encoding: chunked"], chunked(65000, 17)),
    ],
    ids=["one more", "huge length", "no length", "huge chunk", "next chunk", "in a chunk"],
)
@pytest.mark.parametrize("size", [2**24, 10007])
def test_body_over_the_limit_is_cut_off_and_completes_the_response(lines, sent, size):
    message = response_with(*lines, body=sent)
    parser = ResponseParser()
    response, _ = feed(parser, [message[i : i + size] for i in range(0, len(message), size)])
    assert response.body == b"a" * MAX_BODY_SIZE
    assert parser.trailing == b""


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        ([b"Content-Length: %d" % MAX_BODY_SIZE], b"a" * MAX_BODY_SIZE),
        ([b"Transfer-Encoding: chunked"], chunked(KIB64, 16) + b"0\r\n\r\n"),
    ],
    ids=["length", "chunks"],
)
def test_body_at_the_limit_is_whole(lines, sent):
    parser = ResponseParser()
    response, trailing = feed(parser, [response_with(*lines, body=sent + b"after")])
    assert response.body == b"a" * MAX_BODY_SIZE
    assert trailing == b"after"


# --- the end of the stream -------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sent", "body"),
    [
        (b"Content-Length: 10", b"", b""),
        (b"Content-Length: 10", b"hello", b"hello"),
        (b"Transfer-Encoding: chunked", b"", b""),
        (b"Transfer-Encoding: chunked", b"5", b""),
        (b"Transfer-Encoding: chunked", b"5\r\nhel", b"hel"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello", b"hello"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r", b"hello"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n", b"hello"),
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_end_of_stream_in_the_body_gives_what_there_was(line, sent, body, split):
    parser = ResponseParser()
    assert feed(parser, pieces(response_with(line, body=sent), split))[0] is None
    assert parser.partial.body == body
    assert parser.receive_eof() == parser.partial


def test_response_ended_by_the_stream_takes_nothing_more():
    parser = ResponseParser()
    parser.receive_data(response_with())
    parser.receive_eof()
    with pytest.raises(InvalidState):
        parser.receive_data(b"x")


# --- requests --------------------------------------------------------------------


def post_with(*lines, body=b"", protocol=b"HTTP/1.1"):
    head = b"POST /form " + protocol
    return b"".join(line + b"\r\n" for line in (head, *lines, b"")) + body


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("protocol", [b"HTTP/1.0", b"HTTP/1.1"])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_request_has_a_body_of_its_length(split, protocol, length):
    message = post_with(b"Content-Length: %d" % length, body=b"x" * length, protocol=protocol)
    request, trailing = feed(RequestParser(plain=True), pieces(message + b"after", split))
    assert (request.method, request.path, request.body) == ("POST", "/form", b"x" * length)
    assert request.protocol == protocol.decode()
    assert trailing == b"after"


@pytest.mark.parametrize("split", SPLITS)
def test_request_may_be_chunked(split):
    body = b"5;a=b\r\nhello\r\n00A\r\n0123\r\n6789\r\n0\r\nTrailer: a\r\n\r\n"
    message = post_with(b"Transfer-Encoding: chunked", body=body)
    request, trailing = feed(RequestParser(plain=True), pieces(message + b"after", split))
    assert request.body == b"hello0123\r\n6789"
    assert trailing == b"after"


@pytest.mark.parametrize("limit", [0, 4, 5, None])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("line", "body"),
    [
        (b"Content-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
    ],
)
def test_request_has_a_limit_for_its_body(limit, split, line, body):
    parser = RequestParser(plain=True, max_body_size=limit)
    parts = pieces(post_with(line, body=body), split)
    if limit in (0, 4):
        with pytest.raises(RequestBodyTooLong, match=f"more than {limit} bytes"):
            feed(parser, parts)
    else:
        assert feed(parser, parts)[0].body == b"hello"


def test_request_that_is_too_long_is_refused_before_its_body_comes():
    with pytest.raises(RequestBodyTooLong):
        RequestParser(plain=True, max_body_size=4).receive_data(post_with(b"Content-Length: 5"))


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], "both"),
        ([b"Content-Length: 5", b"Content-Length: 6"], "different values"),
        ([b"Content-Length: -5"], "invalid Content-Length"),
        ([b"Transfer-Encoding: gzip, chunked"], "unsupported Transfer-Encoding"),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], "unsupported"),
        ([b"Content-Length: 5", b"Upgrade: WebSocket"], "the request has a body"),
    ],
)
def test_request_whose_body_is_ambiguous_is_refused(lines, error):
    with pytest.raises(ValueError, match=error):
        RequestParser(plain=True).receive_data(post_with(*lines, body=b"hello"))


def test_older_requests_have_no_chunks():
    data = post_with(b"Transfer-Encoding: chunked", protocol=b"HTTP/1.0")
    with pytest.raises(ValueError, match=r"Transfer-Encoding in HTTP/1\.0"):
        RequestParser(plain=True).receive_data(data)
