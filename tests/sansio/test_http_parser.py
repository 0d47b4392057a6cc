"""Heads of requests and responses, and their limits."""

import pytest
from support.heads import (
    REQUEST,
    RESPONSE,
    SPLITS,
    feed,
    parse_request,
    parse_response,
    pieces,
    request_with,
    response_with,
    upgrade_with,
)

from syncws.exceptions import (
    HeaderLineTooLong,
    InvalidProtocol,
    RequestLineTooLong,
    StatusLineTooLong,
    TooManyHeaders,
)
from syncws.sansio.header_limits import MAX_HEADER_SIZE
from syncws.sansio.headers import Headers
from syncws.sansio.http11 import Request, Response
from syncws.sansio.http_parser import MAX_NUM_HEADERS, RequestParser, ResponseParser

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
