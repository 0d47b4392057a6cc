import re

import pytest
from support.wire import KEY as MASK
from support.wire import build_frame, parse_frames

from syncws.exceptions import (
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidHeaderValue,
    InvalidHost,
    InvalidMessage,
    InvalidMethod,
    InvalidOrigin,
    InvalidProtocol,
    InvalidState,
    InvalidUpgrade,
    NegotiationError,
    RequestBodyTooLong,
    RequestLineTooLong,
    TooManyHeaders,
)
from syncws.options import Deflate
from syncws.sansio.client_protocol import ClientProtocol
from syncws.sansio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from syncws.sansio.headers import Headers
from syncws.sansio.http11 import Request, Response
from syncws.sansio.server_protocol import ServerProtocol, build_response
from syncws.sansio.state import Role, State

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HEADERS = [
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
]


def without(name):
    return [header for header in HEADERS if header[0] != name]


def changed(name, value):
    return [*without(name), (name, value)]


def with_header(name, *values):
    return [*HEADERS, *[(name, value) for value in values]]


def request(headers=HEADERS, method="GET"):
    return Request("/", Headers(headers), method)


def wire(headers=HEADERS, line="GET / HTTP/1.1"):
    return (line + "\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers) + "\r\n").encode()


def sent(server):
    """The response that was sent, and what came after it."""
    head, *rest = server.data_to_send()
    lines, _, body = head.partition(b"\r\n\r\n")
    line, *headers = lines.decode().split("\r\n")
    return line, dict(header.split(": ") for header in headers), body, rest


# --- accepting ---


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_request_that_is_accepted_opens_the_connection(size):
    server = ServerProtocol()
    data = wire()
    for start in range(0, len(data), size):
        assert server.events_received() == []
        server.receive_data(data[start : start + size])
    (event,) = server.events_received()
    assert event == request()
    assert server.data_to_send() == []
    response = server.accept(event)
    assert server.state is State.CONNECTING
    server.send_response(response)
    assert server.state is State.OPEN
    assert server.role is Role.SERVER
    assert server.handshake_exc is None
    assert sent(server) == (
        "HTTP/1.1 101 Switching Protocols",
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": ACCEPT},
        b"",
        [],
    )
    server.receive_data(build_frame(0x81, b"hi", MASK))
    assert server.events_received() == ["hi"]


@pytest.mark.parametrize("cut", range(0, 9))
def test_frames_before_the_response_are_received_after_it(cut):
    server = ServerProtocol()
    frames = build_frame(0x81, b"a", MASK) + build_frame(0x89, b"p", MASK)
    server.receive_data(wire() + frames[:cut])
    server.receive_data(frames[cut:])
    (event,) = server.events_received()
    server.send_response(server.accept(event))
    first, ping = server.events_received()
    assert first == "a"
    assert ping.data == b"p"
    _, pong = server.data_to_send()
    assert parse_frames(pong, masked=False) == [(0x8A, b"p")]


@pytest.mark.parametrize(
    "headers",
    [
        changed("Upgrade", "WebSocket"),
        changed("Connection", "keep-alive, UPGRADE"),
        [*changed("Connection", "keep-alive"), ("Connection", "Upgrade")],
        [(name.upper(), value) for name, value in HEADERS],
        with_header("Cookie", "a=b", "c=d"),
    ],
)
def test_request_may_say_it_in_other_ways(headers):
    assert ServerProtocol().accept(request(headers)).status_code == 101


def test_request_of_our_client_is_accepted_by_our_server():
    client = ClientProtocol(
        "ws://example.com/",
        extensions=[ClientPerMessageDeflateFactory()],
        subprotocols=["a", "b"],
        origin="http://example.com",
    )
    server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()], subprotocols=["b"])
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    (event,) = server.events_received()
    server.send_response(server.accept(event))
    client.receive_data(b"".join(server.data_to_send()))
    assert client.state is server.state is State.OPEN
    assert client.subprotocol == server.subprotocol == "b"
    agreement = Deflate(client_max_window_bits=12)
    assert client.extensions[0].agreement == server.extensions[0].agreement == agreement
    client.send_text(b"hello " * 100)
    server.receive_data(b"".join(client.data_to_send()))
    assert server.events_received() == ["hello " * 100]


# --- refusing ---

UPGRADE_HEADERS = {"Upgrade": "websocket", "Connection": "Upgrade, close"}
VERSION_HEADERS = {**UPGRADE_HEADERS, "Sec-WebSocket-Version": "13"}
REFUSED = [
    (request(method="POST"), InvalidMethod, 405, {"Allow": "GET"}, "POST"),
    (request(method="HEAD"), InvalidMethod, 405, {"Allow": "GET"}, "HEAD"),
    (request(without("Host")), InvalidHeader, 400, {}, "missing Host header"),
    (request(with_header("Host", "b")), InvalidHeader, 400, {}, "several values: example.com, b"),
    (request(without("Upgrade")), InvalidUpgrade, 426, UPGRADE_HEADERS, "missing Upgrade"),
    (request(changed("Upgrade", "h2c")), InvalidUpgrade, 426, UPGRADE_HEADERS, "h2c"),
    (request(changed("Upgrade", "a b")), InvalidHeaderFormat, 400, {}, "Upgrade"),
    (request(without("Connection")), InvalidUpgrade, 426, UPGRADE_HEADERS, "missing Connection"),
    (request(changed("Connection", "close")), InvalidUpgrade, 426, UPGRADE_HEADERS, "close"),
    (request(without("Sec-WebSocket-Key")), InvalidHeader, 400, {}, "missing Sec-WebSocket-Key"),
    (request(changed("Sec-WebSocket-Key", "x")), InvalidHeaderValue, 400, {}, "Key header: x"),
    (request(with_header("Sec-WebSocket-Key", KEY)), InvalidHeader, 400, {}, "several values"),
    (request(without("Sec-WebSocket-Version")), InvalidHeader, 426, VERSION_HEADERS, "missing"),
    (
        request(changed("Sec-WebSocket-Version", "8")),
        InvalidHeaderValue,
        426,
        VERSION_HEADERS,
        "Version header: 8",
    ),
    (
        request(with_header("Sec-WebSocket-Version", "8")),
        InvalidHeader,
        426,
        VERSION_HEADERS,
        "several values: 13, 8",
    ),
    (request(with_header("Origin", "http://evil")), InvalidOrigin, 403, {}, "http://evil"),
    (
        request(with_header("Origin", "http://example.com", "http://evil")),
        InvalidOrigin,
        403,
        {},
        "http://example.com, http://evil",
    ),
    (request(with_header("Sec-WebSocket-Protocol", "a b")), InvalidHeaderFormat, 400, {}, "comma"),
]


@pytest.mark.parametrize(("refused", "error", "status", "headers", "text"), REFUSED)
def test_request_that_is_wrong_is_refused(refused, error, status, headers, text):
    server = ServerProtocol()
    response = server.accept(refused)
    assert type(server.handshake_exc) is error
    assert server.state is State.CONNECTING
    assert response.status_code == status
    assert text in response.body.decode()
    for name, value in headers.items():
        assert response.headers[name] == value
    server.send_response(response)
    assert_refused(server, status)


def assert_refused(server, status):
    """The response was sent, then the end; nothing more is taken or sent."""
    line, headers, body, rest = sent(server)
    assert line.startswith(f"HTTP/1.1 {status} ")
    assert headers["Content-Length"] == str(len(body))
    assert "close" in headers["Connection"]
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert body.startswith(b"Failed to open a WebSocket connection: ")
    assert rest == [b""]
    assert server.state is State.CLOSING
    assert server.close_expected()
    assert server.extensions == []
    assert server.subprotocol is None
    server.receive_data(wire())
    server.receive_eof()
    assert server.events_received() == []
    assert server.state is State.CLOSED
    assert server.close_code == 1006
    assert server.data_to_send() == []


@pytest.mark.parametrize(
    ("data", "error", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\n", InvalidMessage, 400),
        (wire(line="GET /"), InvalidMessage, 400),
        (wire([("Bad Name", "x")]), InvalidMessage, 400),
        (wire(with_header("Host", "b")), InvalidMessage, 400),
        (wire(with_header("Content-Length", "5")), InvalidMessage, 400),
        (wire(with_header("Transfer-Encoding", "chunked")), InvalidMessage, 400),
        (wire([("Content-Length", "65537")], "POST / HTTP/1.1"), RequestBodyTooLong, 413),
        (wire([("Transfer-Encoding", "chunked")], "POST / HTTP/1.0"), InvalidMessage, 400),
        (wire(line="GET / HTTP/2.0"), InvalidProtocol, 505),
        (b"GET /" + b"x" * 20000, RequestLineTooLong, 414),
        (wire([("X", "x" * 20000)]), HeaderLineTooLong, 431),
        (wire([("X", "x")] * 129), TooManyHeaders, 431),
    ],
)
def test_what_is_not_a_request_is_refused_without_asking(data, error, status):
    server = ServerProtocol()
    server.receive_data(data)
    assert server.events_received() == []
    assert type(server.handshake_exc) is error
    if error is InvalidMessage:
        assert str(server.handshake_exc.__cause__) in str(server.handshake_exc)
    assert_refused(server, status)


def test_browser_that_just_looks_is_told_what_is_needed():
    response = ServerProtocol().accept(request([("Host", "example.com")]))
    assert response.status_code == 426
    assert b"A WebSocket client, such as a browser's, is needed" in response.body


def test_bug_of_the_program_is_answered_with_500_and_not_shown():
    def select_subprotocol(protocol, offered):
        raise RuntimeError("secret")

    server = ServerProtocol(select_subprotocol=select_subprotocol)
    response = server.accept(request())
    assert response.status_code == 500
    assert b"secret" not in response.body
    assert isinstance(server.handshake_exc, RuntimeError)
    server.send_response(response)
    assert_refused(server, 500)


def test_program_may_reject_a_request():
    server = ServerProtocol()
    response = server.reject(404, "nothing here é\n", {"X-A": "b"})
    assert response == Response(
        404,
        "Not Found",
        Headers(
            {
                "X-A": "b",
                "Connection": "close",
                "Content-Length": "16",
                "Content-Type": "text/plain; charset=utf-8",
            }
        ),
        "nothing here é\n".encode(),
    )
    assert server.data_to_send() == []
    server.send_response(response)
    assert server.state is State.CLOSING
    assert type(server.handshake_exc) is InvalidHandshake
    assert str(server.handshake_exc) == "refused with HTTP 404"


def test_response_that_a_program_makes_itself_ends_the_handshake():
    server = ServerProtocol()
    server.send_response(Response(302, "Found", Headers({"Location": "/b"})))
    assert server.data_to_send() == [b"HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n", b""]
    assert str(server.handshake_exc) == "refused with HTTP 302"
    server.receive_eof()
    assert server.state is State.CLOSED
    assert server.close_exc.__cause__ is None


def test_program_may_accept_after_all():
    server = ServerProtocol(origins=[])
    refused = server.accept(request())
    assert refused.status_code == 403
    assert isinstance(server.handshake_exc, InvalidOrigin)
    server.origins = None
    server.send_response(server.accept(request()))
    assert server.state is State.OPEN
    assert server.handshake_exc is None


def test_headers_of_a_plain_response_can_be_replaced():
    response = build_response(200, b"<p>", {"content-type": "text/html", "Connection": "x"})
    assert response.reason_phrase == "OK"
    assert response.body == b"<p>"
    assert list(response.headers.raw_items()) == [
        ("content-type", "text/html"),
        ("Connection", "x"),
        ("Content-Length", "3"),
    ]
    with pytest.raises(ValueError, match="299"):
        build_response(299)


def test_response_is_sent_once():
    server = ServerProtocol()
    response = server.accept(request())
    server.send_response(response)
    with pytest.raises(InvalidState, match="connection is open"):
        server.send_response(response)
    server = ServerProtocol()
    server.send_response(server.reject(400))
    with pytest.raises(InvalidState, match="connection is closing"):
        server.send_response(response)


@pytest.mark.parametrize("data", [b"", b"GET / HT", wire()[:-2]])
def test_end_before_a_whole_request_is_an_error(data):
    server = ServerProtocol()
    server.receive_data(data)
    server.receive_eof()
    assert server.state is State.CLOSED
    assert type(server.handshake_exc) is InvalidMessage
    assert isinstance(server.handshake_exc.__cause__, EOFError)
    assert server.data_to_send() == [b""]


def test_end_before_our_response_is_an_error():
    server = ServerProtocol()
    server.receive_data(wire())
    (event,) = server.events_received()
    server.receive_eof()
    assert server.state is State.CLOSED
    assert isinstance(server.handshake_exc, EOFError)
    with pytest.raises(InvalidState, match="connection is closed"):
        server.send_response(server.accept(event))


# --- origins ---


def origin_of(origins, *values, host="example.com"):
    server = ServerProtocol(origins=origins)
    return server.process_origin(Headers([("Host", host), *[("Origin", v) for v in values]]))


def test_same_origin_is_the_default():
    assert ServerProtocol().process_origin(Headers(HEADERS)) is None
    headers = Headers(with_header("Origin", "http://example.com"))
    assert ServerProtocol().process_origin(headers) == "http://example.com"
    with pytest.raises(InvalidOrigin, match="http://evil"):
        ServerProtocol().process_origin(Headers(with_header("Origin", "http://evil")))


def test_origins_may_be_values_patterns_and_none():
    rules = ["https://a.example", re.compile(r"https://.*\.b\.example")]
    assert origin_of(rules, "https://a.example") == "https://a.example"
    assert origin_of(rules, "https://x.b.example") == "https://x.b.example"
    assert origin_of([*rules, None]) is None
    assert origin_of(None, "https://evil") == "https://evil"
    with pytest.raises(InvalidOrigin, match="missing Origin header"):
        origin_of(rules)
    with pytest.raises(InvalidOrigin, match="https://evil"):
        origin_of(rules, "https://evil")


def test_several_origins_are_refused_even_where_all_are_allowed():
    with pytest.raises(InvalidOrigin, match="a, b"):
        origin_of(None, "a", "b")


def test_settings_of_a_wrong_type_are_refused():
    with pytest.raises(TypeError, match="origins must be a list"):
        ServerProtocol(origins="https://a.example")
    with pytest.raises(TypeError, match="subprotocols must be a list"):
        ServerProtocol(subprotocols="chat")
    with pytest.raises(ValueError, match="a b"):
        ServerProtocol(subprotocols=["a b"])


# --- extensions and subprotocols ---


def test_response_names_what_was_agreed_on():
    server = ServerProtocol(
        extensions=[ServerPerMessageDeflateFactory(Deflate())], subprotocols=["a", "b"]
    )
    headers = [
        *HEADERS,
        ("Sec-WebSocket-Extensions", "x-other, permessage-deflate; server_max_window_bits=9"),
        ("Sec-WebSocket-Protocol", "c, b, a"),
    ]
    response = server.accept(request(headers))
    answer = "permessage-deflate; server_max_window_bits=9"
    assert response.headers["Sec-WebSocket-Extensions"] == answer
    assert response.headers["Sec-WebSocket-Protocol"] == "a"
    assert server.subprotocol == "a"
    assert server.extensions[0].agreement == Deflate(server_max_window_bits=9)
    assert server.process_extensions(Headers(headers))[0] == answer
    assert server.subprotocols == server.available_subprotocols == ["a", "b"]


def test_refused_request_leaves_nothing_agreed_on():
    server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()], subprotocols=["a"])
    headers = with_header("Sec-WebSocket-Extensions", "permessage-deflate")
    with pytest.raises(NegotiationError):
        server.process_request(request(headers))
    assert (server.extensions, server.subprotocol) == ([], None)


def test_process_request_returns_the_values_of_the_answer():
    server = ServerProtocol(subprotocols=["a"])
    headers = with_header("Sec-WebSocket-Protocol", "a")
    assert server.process_request(request(headers)) == (ACCEPT, None, "a")


@pytest.mark.parametrize(
    ("available", "offered", "chosen"),
    [(None, [], None), (None, ["a"], None), (["a", "b"], ["b", "a"], "a"), (["b"], ["a, b"], "b")],
)
def test_first_subprotocol_of_the_server_is_chosen(available, offered, chosen):
    server = ServerProtocol(subprotocols=available)
    headers = Headers(with_header("Sec-WebSocket-Protocol", *offered))
    assert server.process_subprotocol(headers) == chosen


@pytest.mark.parametrize("value", ["", ",", " , "])
def test_client_may_offer_an_empty_list(value):
    server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()])
    headers = Headers({"Sec-WebSocket-Protocol": value, "Sec-WebSocket-Extensions": value})
    assert server.process_subprotocol(headers) is None
    assert server.process_extensions(headers) == (None, [])


@pytest.mark.parametrize("offered", [[], ["b"]])
def test_client_must_offer_one_of_the_subprotocols(offered):
    server = ServerProtocol(subprotocols=["a", "c"])
    with pytest.raises(NegotiationError, match="none of the subprotocols is offered: a, c"):
        server.select_subprotocol(offered)
    response = server.accept(request(with_header("Sec-WebSocket-Protocol", *offered)))
    assert response.status_code == 400


def test_program_may_choose_the_subprotocol():
    seen = []

    def select_subprotocol(protocol, offered):
        seen.append((protocol, offered))
        return choice

    server = ServerProtocol(subprotocols=["a"], select_subprotocol=select_subprotocol)
    headers = Headers(with_header("Sec-WebSocket-Protocol", "x, y"))
    for choice in (None, "y"):
        assert server.process_subprotocol(headers) == choice
    assert seen == [(server, ["x", "y"])] * 2
    choice = "a"
    with pytest.raises(NegotiationError, match="subprotocol a was not offered"):
        server.process_subprotocol(headers)


def test_server_may_skip_the_opening_handshake():
    server = ServerProtocol(state=State.OPEN, max_size=2)
    server.receive_data(build_frame(0x81, b"hi", MASK) + build_frame(0x81, b"long", MASK))
    assert server.events_received() == ["hi"]
    assert server.close_sent.code == 1009


def test_frames_before_the_response_may_be_left_to_the_caller():
    server = ServerProtocol()
    server.defer_frames = True
    frames = build_frame(0x81, b"hi", MASK)
    server.receive_data(wire() + frames[:3])
    server.receive_data(frames[3:])
    (event,) = server.events_received()
    server.send_response(server.accept(event))
    assert server.state is State.OPEN
    assert server.events_received() == []
    assert server.take_early() == frames
    assert server.take_early() == b""
    assert server.decoder.receive(frames) == ["hi"]


# --- hosts ---


@pytest.mark.parametrize(
    ("host", "error", "status"),
    [
        ("example.com", None, 101),
        ("evil.example", InvalidHost, 421),
        ("a b", InvalidHeaderValue, 400),
    ],
)
def test_only_hosts_of_ours_are_answered_for(host, error, status):
    server = ServerProtocol(hosts=["example.com"], origins=None)
    response = server.accept(request([*without("Host"), ("Host", host)]))
    assert response.status_code == status
    assert type(server.handshake_exc) is (error or type(None))


def test_the_forwarded_host_takes_the_place_of_host():
    server = ServerProtocol(hosts=["public.example"])
    server.forwarded_host = "public.example"
    headers = with_header("Origin", "https://public.example")
    assert server.process_host(Headers(headers)) == "public.example"
    assert server.accept(request(headers)).status_code == 101
    with pytest.raises(InvalidHeader, match="missing Host"):
        server.process_host(Headers())
    with pytest.raises(InvalidHeader, match="several values"):
        server.process_host(Headers([("Host", "a"), ("Host", "b")]))


def test_a_host_is_checked_once_and_that_of_another_request_by_itself(monkeypatch):
    def is_host_allowed(host, rules):
        asked.append(host)
        return host == "example.com"

    asked = []
    monkeypatch.setattr("syncws.sansio.server_protocol.is_host_allowed", is_host_allowed)
    server = ServerProtocol(hosts=["example.com"], origins=None)
    checked = request([*without("Host"), ("Host", "example.com")])
    server.process_host(checked.headers)
    assert server.accept(checked).status_code == 101
    assert asked == ["example.com"]
    assert server.accept(request([*without("Host"), ("Host", "evil.example")])).status_code == 421
    assert asked == ["example.com", "evil.example"]


def test_what_the_browser_says_counts_for_the_origin():
    headers = [*with_header("Origin", "https://public.example"), ("Sec-Fetch-Site", "same-origin")]
    assert ServerProtocol().accept(request(headers)).status_code == 101
    headers[-1] = ("Sec-Fetch-Site", "cross-site")
    assert ServerProtocol().accept(request(headers)).status_code == 403


@pytest.mark.parametrize("status", [100, 204])
def test_a_response_that_has_no_body_has_no_length(status):
    # RFC 9110 §8.6
    assert "Content-Length" not in build_response(status).headers


@pytest.mark.parametrize("code", [1011, 1006])
def test_a_connection_may_be_failed_before_it_is_open(code):
    protocol = ServerProtocol()
    protocol.fail(code)
    assert protocol.data_to_send() == [b""]
    protocol.receive_eof()
    assert protocol.state is State.CLOSED
    assert protocol.close_code == 1006
