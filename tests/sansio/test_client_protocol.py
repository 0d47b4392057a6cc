import re

import pytest
from support.wire import build_frame, parse_frames

from syncws.exceptions import (
    ConnectionClosedError,
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidProtocol,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    StatusLineTooLong,
)
from syncws.sansio.client_protocol import ClientProtocol
from syncws.sansio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.handshake import is_key
from syncws.sansio.headers import Headers
from syncws.sansio.http11 import Response
from syncws.sansio.state import Role, State
from syncws.sansio.uri import parse_uri

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Accept", ACCEPT),
]


def connecting(uri="ws://example.com/", **settings):
    """A client that has sent its request."""
    client = ClientProtocol(uri, **settings)
    client.key = KEY
    client.send_request(client.connect())
    client.data_to_send()
    return client


def response(headers=UPGRADE, line="HTTP/1.1 101 Switching Protocols", body=b""):
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{line}\r\n{lines}\r\n".encode() + body


def without(name):
    return [header for header in UPGRADE if header[0] != name]


def changed(name, value):
    return [*without(name), (name, value)]


# --- the request ---


def test_request_asks_for_an_upgrade():
    client = ClientProtocol("ws://example.com/chat?room=1")
    assert client.state is State.CONNECTING
    assert client.role is Role.CLIENT
    assert is_key(client.key)
    request = client.connect()
    assert request.method == "GET"
    assert request.path == "/chat?room=1"
    assert list(request.headers.raw_items()) == [
        ("Host", "example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", client.key),
        ("Sec-WebSocket-Version", "13"),
    ]


def test_request_is_built_without_being_sent():
    client = ClientProtocol("ws://example.com/")
    request = client.connect()
    assert client.data_to_send() == []
    client.send_request(request)
    (data,) = client.data_to_send()
    assert data == request.serialize()
    assert data.startswith(b"GET / HTTP/1.1\r\nHost: example.com\r\n")


def test_every_client_has_its_own_key():
    assert len({ClientProtocol("ws://example.com/").key for _ in range(20)}) == 20


def test_request_has_what_was_asked_for():
    client = ClientProtocol(
        "wss://user:p%40ss@[::1]:8765/",
        origin="https://example.com",
        extensions=[ClientPerMessageDeflateFactory()],
        subprotocols=["chat", "superchat"],
    )
    headers = client.connect().headers
    assert headers["Host"] == "[::1]:8765"
    assert headers["Origin"] == "https://example.com"
    assert headers["Authorization"] == "Basic dXNlcjpwQHNz"
    assert headers["Sec-WebSocket-Extensions"] == "permessage-deflate; client_max_window_bits"
    assert headers["Sec-WebSocket-Protocol"] == "chat, superchat"
    assert client.subprotocols == client.available_subprotocols == ["chat", "superchat"]
    assert len(client.available_extensions) == 1
    assert client.extensions == []
    assert client.subprotocol is None


def test_uri_may_be_given_in_its_parts():
    uri = parse_uri("ws://example.com/x")
    assert ClientProtocol(uri).uri is uri
    assert ClientProtocol("ws://example.com/x").uri == uri


def test_what_cannot_be_asked_for_is_refused_at_once():
    with pytest.raises(InvalidURI):
        ClientProtocol("http://example.com/")
    with pytest.raises(TypeError, match="subprotocols"):
        ClientProtocol("ws://example.com/", subprotocols="chat")
    with pytest.raises(ValueError, match="chat"):
        ClientProtocol("ws://example.com/", subprotocols=["chat", "chat"])
    with pytest.raises(ValueError, match="Origin"):
        ClientProtocol("ws://example.com/", origin="x\r\nCookie: y").connect()


# --- the response ---


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_response_that_accepts_opens_the_connection(size):
    client = connecting()
    data = response()
    for start in range(0, len(data), size):
        assert client.state is State.CONNECTING
        client.receive_data(data[start : start + size])
    (event,) = client.events_received()
    assert isinstance(event, Response)
    assert event.status_code == 101
    assert client.state is State.OPEN
    assert client.handshake_exc is None
    assert not client.close_expected()
    assert client.data_to_send() == []


def test_frames_behind_the_response_are_received():
    client = connecting()
    client.receive_data(response() + build_frame(0x89, b"p") + build_frame(0x81, b"hi")[:3])
    _, ping = client.events_received()
    assert ping == Frame(Opcode.PING, b"p")
    assert parse_frames(b"".join(client.data_to_send()), masked=True) == [(0x8A, b"p")]
    client.receive_data(b"i")
    assert client.events_received() == ["hi"]


@pytest.mark.parametrize(
    "headers",
    [
        [("upgrade", "WebSocket"), ("connection", "upgrade"), UPGRADE[2]],
        [("Upgrade", "websocket"), ("Connection", "keep-alive, Upgrade"), UPGRADE[2]],
        [*UPGRADE, ("Connection", "keep-alive")],
        [*UPGRADE, ("Server", "x"), ("Set-Cookie", "a"), ("Set-Cookie", "b")],
    ],
)
def test_response_may_say_it_in_other_ways(headers):
    client = connecting()
    client.receive_data(response(headers))
    assert client.handshake_exc is None
    assert client.state is State.OPEN


def test_extensions_and_subprotocol_are_agreed_on():
    client = connecting(
        extensions=[ClientPerMessageDeflateFactory()], subprotocols=["chat", "superchat"]
    )
    client.receive_data(
        response(
            [
                *UPGRADE,
                ("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover"),
                ("Sec-WebSocket-Protocol", "superchat"),
            ]
        )
    )
    assert client.state is State.OPEN
    assert client.subprotocol == "superchat"
    (extension,) = client.extensions
    assert isinstance(extension, PerMessageDeflate)
    client.receive_data(build_frame(0xC1, bytes.fromhex("f248cdc9c90700")))
    assert client.events_received()[1:] == ["Hello"]


REFUSED = [
    (without("Upgrade"), InvalidUpgrade, "missing Upgrade header"),
    (changed("Upgrade", "h2c"), InvalidUpgrade, "invalid Upgrade header: h2c"),
    (
        changed("Upgrade", "websocket, h2c"),
        InvalidUpgrade,
        "invalid Upgrade header: websocket, h2c",
    ),
    (changed("Upgrade", "a b"), InvalidHeaderFormat, "Upgrade"),
    (without("Connection"), InvalidUpgrade, "missing Connection header"),
    (changed("Connection", "close"), InvalidUpgrade, "invalid Connection header: close"),
    (changed("Connection", "a b"), InvalidHeaderFormat, "Connection"),
    (
        without("Sec-WebSocket-Accept"),
        InvalidHeader,
        "missing Sec-WebSocket-Accept header",
    ),
    (
        [*UPGRADE, UPGRADE[2]],
        InvalidHeader,
        "invalid Sec-WebSocket-Accept header: several values",
    ),
    (
        changed("Sec-WebSocket-Accept", ACCEPT.lower()),
        InvalidHeaderValue,
        f"invalid Sec-WebSocket-Accept header: {re.escape(ACCEPT.lower())}",
    ),
    (
        [*UPGRADE, ("Sec-WebSocket-Extensions", "permessage-deflate")],
        NegotiationError,
        "extension permessage-deflate was not offered",
    ),
    (
        [*UPGRADE, ("Sec-WebSocket-Protocol", "chat")],
        NegotiationError,
        "subprotocol chat was not offered",
    ),
    (
        [*UPGRADE, ("Sec-WebSocket-Protocol", "a, b")],
        InvalidHeaderValue,
        "several values: a, b",
    ),
]


@pytest.mark.parametrize(("headers", "error", "match"), REFUSED)
def test_response_that_does_not_accept_our_request_is_refused(headers, error, match):
    client = connecting()
    client.receive_data(response(headers) + build_frame(0x81, b"hi"))
    (event,) = client.events_received()
    assert event.status_code == 101
    assert type(client.handshake_exc) is error
    with pytest.raises(error, match=match):
        raise client.handshake_exc
    assert_refused(client)


def assert_refused(client):
    """It waits for nothing, takes nothing, sends nothing, and ends."""
    assert client.state is State.CLOSING
    assert client.close_expected()
    assert client.data_to_send() == []
    error = client.handshake_exc
    client.receive_data(build_frame(0x81, b"hi"))
    client.receive_eof()
    assert client.events_received() == []
    assert client.state is State.CLOSED
    assert client.handshake_exc is error
    assert isinstance(error, InvalidHandshake)
    assert type(client.close_exc) is ConnectionClosedError
    assert client.data_to_send() == [b""]


@pytest.mark.parametrize("status", [200, 301, 401, 404, 503])
def test_other_status_is_refused_with_the_response(status):
    client = connecting()
    headers = [("Content-Length", "5"), *UPGRADE]
    client.receive_data(response(headers, f"HTTP/1.1 {status} X", b"hello"))
    (event,) = client.events_received()
    assert type(client.handshake_exc) is InvalidStatus
    assert client.handshake_exc.response is event
    assert (event.status_code, event.body) == (status, b"hello")
    assert_refused(client)


def test_body_that_ends_with_the_connection_is_read_to_its_end():
    client = connecting()
    client.receive_data(response([], "HTTP/1.1 500 Oops", b"hel"))
    assert client.state is State.CONNECTING
    assert client.partial_response.body == b"hel"
    client.receive_data(b"lo")
    client.receive_eof()
    (event,) = client.events_received()
    assert event.body == b"hello"
    assert type(client.handshake_exc) is InvalidStatus
    assert client.state is State.CLOSED


@pytest.mark.parametrize("end", [b"xyz\r\n", b"1\r\nabc", b"1;" + b"a" * 20000])
def test_refusal_with_a_malformed_body_is_one_with_what_came_of_it(end):
    client = connecting()
    head = response([("Transfer-Encoding", "chunked")], "HTTP/1.1 500 Oops", b"3\r\nhel\r\n")
    client.receive_data(head + end)
    assert type(client.handshake_exc) is InvalidStatus
    assert client.handshake_exc.response.body.startswith(b"hel")
    assert isinstance(client.handshake_exc.__cause__, (ValueError, HeaderLineTooLong))
    assert_refused(client)


def test_partial_response_is_none_before_its_head_came():
    client = connecting()
    client.receive_data(b"HTTP/1.1 500 Oops\r\n")
    assert client.partial_response is None


@pytest.mark.parametrize(
    ("data", "cause"),
    [(b"SSH-2.0-OpenSSH\r\n", ValueError), (b"HTTP/1.1 101 X\r\nBad Header: x\r\n", ValueError)],
)
def test_response_that_is_not_http_is_refused(data, cause):
    client = connecting()
    client.receive_data(data)
    assert type(client.handshake_exc) is InvalidMessage
    assert isinstance(client.handshake_exc.__cause__, cause)
    assert str(client.handshake_exc.__cause__) in str(client.handshake_exc)
    assert client.events_received() == []
    assert_refused(client)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"HTTP/1.0 101 Old\r\n", InvalidProtocol),
        (b"HTTP/1.1 101 " + b"x" * 20000, StatusLineTooLong),
    ],
)
def test_response_over_a_limit_or_of_another_version_is_refused(data, error):
    client = connecting()
    client.receive_data(data)
    assert type(client.handshake_exc) is error
    assert_refused(client)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 1", response()[:-2]])
def test_end_before_a_whole_response_is_an_error(data):
    client = connecting()
    client.receive_data(data)
    client.receive_eof()
    client.receive_eof()
    assert client.state is State.CLOSED
    assert type(client.handshake_exc) is InvalidMessage
    assert isinstance(client.handshake_exc.__cause__, EOFError)
    assert client.data_to_send() == [b""]


def test_process_response_raises_without_changing_the_state():
    client = connecting()
    with pytest.raises(InvalidStatus, match="HTTP 404"):
        client.process_response(Response(404, "Not Found", Headers()))
    client.process_response(Response(101, "", Headers(UPGRADE)))
    assert client.state is State.CONNECTING


def test_client_may_skip_the_opening_handshake():
    client = ClientProtocol("ws://example.com/", state=State.OPEN, max_size=2)
    client.receive_data(build_frame(0x81, b"hi") + build_frame(0x81, b"long"))
    assert client.events_received() == ["hi"]
    assert client.close_sent.code == 1009


def test_frames_behind_the_response_may_be_left_to_the_caller():
    client = connecting()
    client.defer_frames = True
    frames = build_frame(0x81, b"hi") + build_frame(0x89, b"p")[:1]
    client.receive_data(response() + frames)
    assert [type(event) for event in client.events_received()] == [Response]
    assert client.state is State.OPEN
    assert not client.has_output
    assert client.take_early() == frames
    assert client.take_early() == b""
    assert client.decoder.receive(frames) == ["hi"]


def test_extension_whose_factory_fails_refuses_the_handshake():
    class Broken(ClientPerMessageDeflateFactory):
        def process_response_params(self, params, accepted_extensions):
            raise KeyError("a defect")

    client = connecting(extensions=[Broken()])
    headers = [*UPGRADE, ("Sec-WebSocket-Extensions", "permessage-deflate")]
    client.receive_data(response(headers))
    assert isinstance(client.handshake_exc, KeyError)
    assert client.close_expected()
    client.receive_eof()
    assert client.state is State.CLOSED


def test_what_was_agreed_on_otherwise_opens_the_connection():
    client = ClientProtocol(
        "ws://localhost/", extensions=[ClientPerMessageDeflateFactory()], subprotocols=["chat"]
    )
    client.accept(
        Headers(
            [
                ("Sec-WebSocket-Extensions", "permessage-deflate"),
                ("Sec-WebSocket-Protocol", "chat"),
            ]
        )
    )
    assert client.state is State.OPEN
    assert client.subprotocol == "chat"
    assert [extension.name for extension in client.extensions] == ["permessage-deflate"]
    client.receive_data(build_frame(0x81, b"hi"))
    assert client.events_received() == ["hi"]


def test_what_was_not_offered_opens_nothing():
    client = ClientProtocol("ws://localhost/", subprotocols=["chat"])
    with pytest.raises(NegotiationError):
        client.accept(Headers({"Sec-WebSocket-Protocol": "other"}))
    assert client.state is State.CONNECTING
