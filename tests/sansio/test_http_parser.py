from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncws.exceptions import (
    HeaderLineTooLong,
    InvalidProtocol,
    InvalidState,
    RequestLineTooLong,
    SecurityError,
    StatusLineTooLong,
    TooManyHeaders,
)
from syncws.sansio import http_parser
from syncws.sansio.header_limits import MAX_HEADER_SIZE
from syncws.sansio.headers import Headers
from syncws.sansio.http11 import Request, Response
from syncws.sansio.http_parser import (
    MAX_NUM_HEADERS,
    RequestParser,
    ResponseParser,
)

REQUEST = (  # RFC 6455 §1.2
    b"GET /chat HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Origin: http://example.com\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)
RESPONSE = (  # RFC 6455 §1.2
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n"
    b"\r\n"
)
SPLITS = ["whole", "bytewise"]


def pieces(data, split):
    return [data] if split == "whole" else [data[i : i + 1] for i in range(len(data))]


def feed(parser, parts):
    """Feed parts up to the message's end; return it and what comes after it."""
    parts = iter(parts)
    for part in parts:
        message = parser.receive_data(part)
        if message is not None:
            return message, parser.trailing + b"".join(parts)
    return None, None


def parse_request(data, split="whole"):
    return feed(RequestParser(), pieces(data, split))[0]


def parse_response(data, split="whole", *, tunnel=False):
    return feed(ResponseParser(tunnel=tunnel), pieces(data, split))[0]


def request_with(*lines):
    return b"".join(line + b"\r\n" for line in (b"GET / HTTP/1.1", *lines, b""))


def response_with(*lines, status=b"200 OK", body=b""):
    return b"".join(line + b"\r\n" for line in (b"HTTP/1.1 " + status, *lines, b"")) + body


def upgrade_with(*lines):
    return response_with(*lines, status=b"101 OK")


# --- requests --------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_request_is_parsed_and_what_follows_is_kept(split):
    parser = RequestParser()
    request, trailing = feed(parser, pieces(REQUEST + b"\x81\x00", split))
    assert (request.method, request.path) == ("GET", "/chat")
    assert next(request.headers.raw_items()) == ("Host", "server.example.com")
    assert request.headers["sec-websocket-key"] == "dGhlIHNhbXBsZSBub25jZQ=="
    assert len(request.headers) == 7
    assert trailing == b"\x81\x00"
    assert request.serialize() == REQUEST


def test_serialized_request_has_what_was_set():
    request = Request("/a?b", Headers(Host="x"), method="PUT")
    assert request.serialize() == b"PUT /a?b HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("path", ["", "/a b", "/\r\nX: y", "/\x00", "/\xe4", "/\x7f", "/a\n"])
def test_path_that_could_smuggle_is_not_serialized(path):
    with pytest.raises(ValueError, match="invalid path"):
        Request(path, Headers()).serialize()


@pytest.mark.parametrize("method", ["", "G T", "GET\r\n", "\xe4"])
def test_method_that_is_no_token_is_not_serialized(method):
    with pytest.raises(ValueError, match="invalid method"):
        Request("/", Headers(), method).serialize()


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", "/"),
        (b"/a%20b?c=d&e=[f]", "/a%20b?c=d&e=[f]"),
        (b"//a", "//a"),
        (b"http://example.com", "/"),
        (b"HTTPS://example.com/", "/"),
        (b"ws://example.com:80?a", "/?a"),
        (b"wss://[::1]/a?b=http://c", "/a?b=http://c"),
    ],
)
def test_target_is_reduced_to_origin_form(target, path):
    assert parse_request(b"GET " + target + b" HTTP/1.1\r\n\r\n").path == path


def test_authority_of_the_target_replaces_host():
    request = parse_request(
        b"GET ws://a.example:81/ HTTP/1.1\r\nX: 1\r\nhOST: b.example\r\nY: 2\r\n\r\n"
    )
    assert list(request.headers.raw_items()) == [("X", "1"), ("hOST", "a.example:81"), ("Y", "2")]
    assert "Host" not in parse_request(b"GET ws://a.example/ HTTP/1.1\r\n\r\n").headers


def test_any_token_of_up_to_20_characters_is_a_method():
    for method in "get", "M-SEARCH", "A" * 20:
        assert parse_request(f"{method} / HTTP/1.1\r\n\r\n".encode()).method == method


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET  / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /\tHTTP/1.1",
        b"GET / b HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\xe4 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"G@T / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1.10",
        b"GET / HTTP/11",
        b"GET / HTTP/1.\xb9",
        b"A" * 21 + b" / HTTP/1.1",
        b"\x16\x03\x01\x02",
        b"x" * 200,
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_malformed_request_line_is_refused(line, split):
    with pytest.raises(ValueError, match="malformed request line"):
        parse_request(line + b"\r\n\r\n", split)


def test_long_text_is_shortened_in_errors():
    with pytest.raises(ValueError, match=r"^malformed request line 'x{100}'\.\.\.$"):
        parse_request(b"x" * 200 + b"\r\n")


@pytest.mark.parametrize(
    "target",
    [b"*", b"example.com:443", b"a", b"ftp://a/", b"ws://", b"ws:///a", b"ws://a@b/", b"ws://a#b"],
)
def test_other_targets_are_refused(target):
    with pytest.raises(ValueError, match="invalid request target"):
        parse_request(b"GET " + target + b" HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.2"])
def test_other_versions_are_refused(protocol):
    for parse, line in (parse_request, "PRI * {}"), (parse_response, "{} 101 OK"):
        with pytest.raises(InvalidProtocol) as caught:
            parse(f"{line.format(protocol)}\r\n\r\n".encode())
        assert caught.value.protocol == protocol


def test_repeated_host_is_refused():
    with pytest.raises(ValueError, match="several Host headers"):
        parse_request(request_with(b"Host: a", b"HOST: a"))


def test_request_may_say_that_it_has_no_body():
    assert parse_request(request_with(b"Content-Length: 0")) is not None


@pytest.mark.parametrize(
    "line",
    [b"Content-Length: 1", b"Transfer-Encoding: chunked", b"transfer-encoding: identity"],
)
def test_request_with_a_body_is_refused(line):
    with pytest.raises(ValueError, match="the request has a body"):
        parse_request(request_with(line))


# --- headers, in either message --------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"A:", ("A", "")),
        (b"A: \t ", ("A", "")),
        (b"a-B:c", ("a-B", "c")),
        (b"A:\t b: c \t", ("A", "b: c")),
        (b"A: \x80\xe4\xff", ("A", "\x80\xe4\xff")),
        (b"!#$%&'*+-.^_`|~09: x", ("!#$%&'*+-.^_`|~09", "x")),
    ],
)
def test_header_is_parsed_without_surrounding_white_space(line, field, split):
    for message in (
        parse_request(request_with(line), split),
        parse_response(response_with(line, status=b"101 Switching Protocols"), split),
    ):
        assert list(message.headers.raw_items()) == [field]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b" A: b", "starts with white space"),
        (b"\tb", "starts with white space"),
        (b" ", "starts with white space"),
        (b"A", "no colon in header line 'A'"),
        (b": b", "no name in header line ': b'"),
        (b"A : b", "white space before the colon in header line 'A : b'"),
        (b"A\t: b", "white space before the colon"),
        (b"A B: c", "invalid header name 'A B'"),
        (b"\xe4: b", "invalid header name"),
        (b"A\x00: b", "invalid header name"),
        (b"A: b\x00c", "control characters in the value of header 'A'"),
        (b"A: b\rc", "control characters"),
        (b"A: b\r", "control characters"),
        (b"A: \x1f", "control characters"),
        (b"A: \x7f", "control characters"),
        (b"A: b\nC: d", "LF instead of CRLF"),
    ],
)
def test_malformed_header_is_refused(line, error, split):
    for parse, message in (
        (parse_request, request_with(b"X: y", line)),
        (parse_response, response_with(b"X: y", line)),
    ):
        with pytest.raises(ValueError, match=error):
            parse(message, split)


def test_error_does_not_quote_the_value_of_a_header():
    with pytest.raises(ValueError, match="Authorization") as caught:
        parse_request(request_with(b"Authorization: secret\x01"))
    assert "secret" not in str(caught.value)


# --- limits ----------------------------------------------------------------------


def test_request_line_is_limited():
    line = b"GET /" + b"a" * (MAX_HEADER_SIZE - 14) + b" HTTP/1.1"
    assert len(line) == MAX_HEADER_SIZE
    assert parse_request(line + b"\r\n\r\n").path.startswith("/aaa")
    for split in SPLITS:
        with pytest.raises(RequestLineTooLong, match="16384"):
            parse_request(b"P" + line + b"\r\n\r\n", split)


def test_status_line_is_limited():
    line = b"HTTP/1.1 101 " + b"a" * (MAX_HEADER_SIZE - 13)
    assert parse_response(line + b"\r\n\r\n").reason_phrase.startswith("aaa")
    for split in SPLITS:
        with pytest.raises(StatusLineTooLong, match="16384"):
            parse_response(line + b"a\r\n\r\n", split)


def test_header_line_is_limited():
    line = b"A: " + b"b" * (MAX_HEADER_SIZE - 3)
    assert len(parse_request(request_with(line)).headers["A"]) == MAX_HEADER_SIZE - 3
    for split in SPLITS:
        with pytest.raises(HeaderLineTooLong, match="16384"):
            parse_request(request_with(line + b"b"), split)


@pytest.mark.parametrize(
    ("parser", "error"),
    [(RequestParser, RequestLineTooLong), (ResponseParser, StatusLineTooLong)],
)
def test_line_over_the_limit_is_refused_before_it_ends(parser, error):
    parser = parser()
    assert parser.receive_data(b"a" * MAX_HEADER_SIZE) is None
    assert parser.receive_data(b"\r") is None
    with pytest.raises(error):
        parser.receive_data(b"a")


def test_number_of_headers_is_limited():
    lines = [b"A: b"] * MAX_NUM_HEADERS
    assert len(parse_request(request_with(*lines)).headers.get_all("A")) == MAX_NUM_HEADERS
    for split in SPLITS:
        with pytest.raises(TooManyHeaders, match="more than 128 headers"):
            parse_request(request_with(*lines, b"anything"), split)


@pytest.mark.parametrize("split", SPLITS)
def test_bytes_of_all_headers_together_are_limited(split):
    line = b"A: " + b"b" * 95  # 100 with its end
    for parser in RequestParser(250), ResponseParser(250):
        build = request_with if isinstance(parser, RequestParser) else upgrade_with
        message, _ = feed(parser, pieces(build(*[line] * 9), split))
        assert len(message.headers.get_all("A")) == 9
    for parser in RequestParser(200), ResponseParser(200):
        build = request_with if isinstance(parser, RequestParser) else upgrade_with
        with pytest.raises(TooManyHeaders, match="the headers have more than 800 bytes"):
            feed(parser, pieces(build(*[line] * 9), split))


def test_headers_may_have_no_limit_of_bytes():
    line = b"A: " + b"b" * 10**6
    for parser, build in (RequestParser(None), request_with), (ResponseParser(None), upgrade_with):
        message, _ = feed(parser, [build(line)])
        assert len(message.headers["A"]) == 10**6


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_of_headers_is_positive(limit):
    with pytest.raises(ValueError, match="max_header_size must be at least 1"):
        RequestParser(limit)


# --- responses without a body ----------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_response_is_parsed_and_what_follows_is_kept(split):
    response, trailing = feed(ResponseParser(), pieces(RESPONSE + b"\x81\x00", split))
    assert (response.status_code, response.reason_phrase) == (101, "Switching Protocols")
    assert response.headers["Upgrade"] == "websocket"
    assert response.body == b""
    assert trailing == b"\x81\x00"
    assert response.serialize() == RESPONSE


def test_serialized_response_has_what_was_set():
    response = Response(404, "", Headers(A="b"), b"gone\n")
    assert response.serialize() == b"HTTP/1.1 404 \r\nA: b\r\n\r\ngone\n"
    assert Response(200, "\xe4", Headers()).serialize() == b"HTTP/1.1 200 \xe4\r\n\r\n"


@pytest.mark.parametrize("reason", ["a\r\nb", "\x00", "\x7f", "\u20ac"])
def test_reason_that_could_smuggle_is_not_serialized(reason):
    with pytest.raises(ValueError, match="invalid reason"):
        Response(200, reason, Headers()).serialize()


@pytest.mark.parametrize("status", [0, 99, 1000, -200])
def test_status_without_three_digits_is_not_serialized(status):
    with pytest.raises(ValueError, match="invalid status"):
        Response(status, "", Headers()).serialize()


@pytest.mark.parametrize("line", [b"101", b"101 ", b"101 a \t\xe4"])
def test_reason_may_be_anything_or_missing(line):
    response = parse_response(response_with(status=line))
    assert response.status_code == 101
    assert response.reason_phrase == line[4:].decode("latin-1")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 200 \x00",
        b"HTTP/1.1 \xb2\xb9\xb9 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b"SSH-2.0-OpenSSH_9.0",
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_malformed_status_line_is_refused(line, split):
    with pytest.raises(ValueError, match="malformed status line"):
        parse_response(line + b"\r\n\r\n", split)


@pytest.mark.parametrize("status", [b"101 a", b"204 a", b"304 a"])
def test_some_responses_have_no_body_whatever_headers_say(status):
    lines = [b"Content-Length: 5", b"Transfer-Encoding: x"]
    message = response_with(*lines, status=status, body=b"after")
    response, trailing = feed(ResponseParser(), [message])
    assert response.body == b""
    assert trailing == b"after"


@pytest.mark.parametrize("split", SPLITS)
def test_interim_responses_are_skipped(split):
    interim = response_with(b"A: b", status=b"100 Continue")
    response, trailing = feed(ResponseParser(), pieces(interim * 16 + RESPONSE + b"x", split))
    assert response.status_code == 101
    assert "A" not in response.headers
    assert trailing == b"x"


def test_number_of_interim_responses_is_limited():
    with pytest.raises(ValueError, match="more than 16 interim responses"):
        parse_response(response_with(status=b"103 Early Hints") * 17)


def test_each_interim_response_has_limits_of_its_own():
    interim = response_with(*[b"A: b"] * MAX_NUM_HEADERS, status=b"103 Early Hints")
    assert parse_response(interim * 3 + RESPONSE).status_code == 101


@pytest.mark.parametrize("tunnel", [False, True])
def test_refusal_may_be_http_1_0_but_nothing_older_or_newer(tunnel):
    message = b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    assert parse_response(message, tunnel=tunnel).status_code == 404
    for version in b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0":
        with pytest.raises(InvalidProtocol):
            parse_response(version + b" 404 Not Found\r\n\r\n", tunnel=tunnel)


def test_tunnel_has_no_body_and_may_be_http_1_0():
    for version in b"HTTP/1.0", b"HTTP/1.1":
        parser = ResponseParser(tunnel=True)
        head = version + b" 200 Connection established\r\nContent-Length: 3\r\n\r\n"
        assert feed(parser, [head + b"tls"]) == (parser.partial, b"tls")
    with pytest.raises(InvalidProtocol):
        parse_response(b"HTTP/2.0 200 OK\r\n\r\n", tunnel=True)


def test_refused_tunnel_has_a_body():
    message = response_with(b"Content-Length: 3", status=b"407 No", body=b"why")
    assert parse_response(message, tunnel=True).body == b"why"


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
    found = http_parser._HEADER_LINE.match(line)
    assert found.end() == len(line) - 1


def test_header_lines_are_not_searched_on_after_one_that_cannot_be_read():
    lines = "A: b\r\n" + "a" * 8000
    assert http_parser._HEADER_LINES.findall(lines) == [("A", " b"), ("", "")]
