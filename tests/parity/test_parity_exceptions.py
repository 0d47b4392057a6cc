"""The exceptions, each raised by what programs do, and caught as ``exceptions.NAME``."""

import pickle

import pytest
from support.ends import both_ends
from support.pairs import SOON, run
from support.scripted import (
    build_request,
    build_response,
    exchange,
    says,
    scripted_server,
)
from support.serving import serving
from support.wire import build_frame

from syncws import ClientProtocol, Headers, ServerProtocol, connect, exceptions

FIRST_LINE = b"HTTP/1.1 101 Switching Protocols\r\n"


def failed(*pieces, **kwargs):
    """What recv() raises when a server of bytes says this after the opening handshake."""
    with scripted_server(says(build_response, *pieces)) as server:
        ws = connect(server.uri, **kwargs)
        with pytest.raises(exceptions.ConnectionClosedError) as info:
            ws.recv(SOON)
        return info.value


def refused(*pieces):
    """What connect() raises when a server of bytes answers this."""
    with scripted_server(says(*pieces)) as server:
        return refusal(server)


def refusal(server):
    with pytest.raises(exceptions.InvalidHandshake) as info:
        connect(server.uri)
    return info.value


def with_headers(**headers):
    return lambda request: build_response(request, **headers)


def test_E1_ConnectionClosedOK_is_raised_after_a_normal_end():
    for code in (1000, 1001, None):
        with both_ends() as (client, server):
            server.close(code)
            with pytest.raises(exceptions.ConnectionClosedOK) as info:
                client.recv(SOON)
            assert info.value.rcvd.code == (1005 if code is None else code)
            assert list(client) == []  # iteration just ends


def test_E2_ConnectionClosed_tells_who_closed_and_how():
    with both_ends() as (client, server):
        closing = run(server.close, 4000, "because")
        with pytest.raises(exceptions.ConnectionClosed) as info:
            client.recv(SOON)
        closing.result()
    exc = info.value
    assert (exc.rcvd.code, exc.rcvd.reason) == (4000, "because")
    assert (exc.sent.code, exc.sent.reason) == (4000, "because")
    assert exc.rcvd_then_sent is True
    assert (exc.code, exc.reason) == (4000, "because")
    text = "4000 (private use) because"
    assert str(exc) == f"received {text}; then sent {text}"
    assert str(pickle.loads(pickle.dumps(exc))) == str(exc)


def test_E3_WebSocketException_is_the_base_of_all_but_one():
    for name in exceptions.__all__:
        is_one = issubclass(getattr(exceptions, name), exceptions.WebSocketException)
        assert is_one == (name != "MultipleValuesError")
    with both_ends() as (client, _):
        client.close()
        with pytest.raises(exceptions.WebSocketException):
            client.send("too late")


def test_E4_InvalidMessage_is_a_handshake_that_is_no_http():
    exc = refused(b"SSH-2.0-OpenSSH\r\n\r\n")
    assert type(exc) is exceptions.InvalidMessage
    assert isinstance(exc.__cause__, ValueError)
    exc = refused(b"HTTP/1.1 101 Switch")
    assert type(exc) is exceptions.InvalidMessage
    assert isinstance(exc.__cause__, EOFError)


def test_E5_ConnectionClosedError_is_raised_after_another_end():
    with both_ends() as (client, server):
        server.abort()
        with pytest.raises(exceptions.ConnectionClosedError) as info:
            client.recv(SOON)
        assert (info.value.rcvd, info.value.sent, info.value.code) == (None, None, 1006)
        assert str(info.value) == "no close frame received or sent"
        assert isinstance(info.value.__cause__, (OSError, EOFError))
        with pytest.raises(exceptions.ConnectionClosedError):
            list(client)


@pytest.mark.parametrize(
    ("response", "name"),
    [
        (b"HTTP/1.1 101 " + b"x" * 20_000, "StatusLineTooLong"),
        (FIRST_LINE + b"X: " + b"x" * 20_000, "HeaderLineTooLong"),
        (FIRST_LINE + b"X: x\r\n" * 200, "TooManyHeaders"),
    ],
    ids=["status line", "header line", "headers"],
)
def test_E6_SecurityError_is_a_rule_that_keeps_the_program_safe(response, name):
    exc = refused(response)
    assert isinstance(exc, exceptions.SecurityError)
    assert type(exc).__name__ == name


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * 20_000, "414"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, "431"),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200, "431"),
    ],
    ids=["request line", "header line", "headers"],
)
def test_E6_the_server_answers_with_a_status_of_its_own(request_, status):
    with serving() as server:
        first, _, _ = exchange(server, request_)
    assert first.split()[1] == status


@pytest.mark.parametrize(
    "frame",
    [build_frame(0x80 | 3), build_frame(0x82, b"x", b"mask"), build_frame(0xC1, b"x")],
    ids=["reserved opcode", "masked", "reserved bit"],
)
def test_E8_ProtocolError_is_the_cause_of_1002(frame):
    exc = failed(frame, compression=None)
    assert exc.sent.code == 1002
    assert isinstance(exc.__cause__, exceptions.ProtocolError)


def test_E8_ProtocolError_is_also_what_can_not_be_sent():
    with both_ends() as (client, _):
        with pytest.raises(exceptions.ProtocolError, match="close code 1006 can't be sent"):
            client.close(1006)
        assert client.open


def test_E9_NegotiationError_is_a_subprotocol_or_extension_that_was_not_offered():
    exc = refused(with_headers(Sec_WebSocket_Protocol="chat"))
    assert isinstance(exc, exceptions.NegotiationError)
    assert str(exc) == "subprotocol chat was not offered"
    exc = refused(with_headers(Sec_WebSocket_Extensions="x-mine"))
    assert isinstance(exc, exceptions.NegotiationError)
    assert str(exc) == "extension x-mine was not offered"


def test_E10_PayloadTooBig_is_the_cause_of_1009():
    exc = failed(build_frame(0x82, bytes(11)), max_size=10)
    cause = exc.__cause__
    assert isinstance(cause, exceptions.PayloadTooBig)
    assert exc.sent.code == 1009
    assert (cause.size, cause.max_size) == (11, 10)
    assert str(cause) == "frame with 11 bytes exceeds the limit of 10 bytes"


def deflate(parameters):
    return with_headers(Sec_WebSocket_Extensions=f"permessage-deflate; {parameters}")


def test_E11_InvalidParameterName_is_a_parameter_of_an_extension():
    exc = refused(deflate("speed=9"))
    assert isinstance(exc, exceptions.InvalidParameterName)
    assert (exc.name, str(exc)) == ("speed", "unknown extension parameter: speed")


def test_E12_InvalidParameterValue_is_its_value():
    exc = refused(deflate("server_max_window_bits=99"))
    assert isinstance(exc, exceptions.InvalidParameterValue)
    assert (exc.name, exc.value) == ("server_max_window_bits", "99")
    assert "invalid value for extension parameter server_max_window_bits" in str(exc)


def test_E13_InvalidStatusCode_catches_a_refusal_and_has_status_and_headers():
    def process_request(ws, request):
        return ws.respond(404, "nothing here\n")

    with serving(process_request=process_request) as server:
        try:
            connect(server.uri)
        except exceptions.InvalidStatusCode as caught:
            exc = caught
    assert type(exc) is exceptions.InvalidStatus
    assert (exc.status_code, exc.headers["Connection"]) == (404, "close")
    assert (exc.response.status_code, exc.response.body) == (404, b"nothing here\n")
    assert str(exc) == "server rejected the WebSocket connection: HTTP 404"


def test_E14_InvalidURI_has_the_uri_and_what_is_wrong():
    with pytest.raises(exceptions.InvalidURI) as info:
        connect("ftp://localhost/")
    assert info.value.uri == "ftp://localhost/"
    assert info.value.msg == "it doesn't start with ws:// or wss://"


def test_E15_InvalidHeaderValue_can_be_parsed_but_not_used():
    exc = refused(with_headers(Sec_WebSocket_Accept="wrong"))
    assert isinstance(exc, exceptions.InvalidHeaderValue)
    assert (exc.name, exc.value) == ("Sec-WebSocket-Accept", "wrong")
    assert str(exc) == "invalid Sec-WebSocket-Accept header: wrong"


def test_E16_InvalidHeaderFormat_can_not_be_parsed():
    exc = refused(with_headers(Sec_WebSocket_Extensions="a; =b"))
    assert isinstance(exc, exceptions.InvalidHeaderFormat)
    assert exc.name == "Sec-WebSocket-Extensions"
    assert "a; =b" in exc.value


def test_E17_InvalidUpgrade_is_answered_with_426():
    exc = refused(with_headers(Upgrade="h2c"))
    assert isinstance(exc, exceptions.InvalidUpgrade)
    assert (exc.name, exc.value) == ("Upgrade", "h2c")
    with serving() as server:
        first, headers, _ = exchange(server, build_request(Connection="keep-alive"))
    assert (first.split()[1], headers["upgrade"]) == ("426", "websocket")


def test_E18_InvalidState_is_an_assertion_too():
    protocol = ClientProtocol("ws://localhost/")
    with pytest.raises(exceptions.InvalidState, match="connection is connecting") as info:
        protocol.send_text(b"too early")
    assert isinstance(info.value, AssertionError)


def test_E19_InvalidOrigin_is_answered_with_403():
    protocol = ServerProtocol(origins=["https://example.com"])
    with pytest.raises(exceptions.InvalidOrigin) as info:
        protocol.process_origin(Headers(Origin="https://evil.example"))
    assert (info.value.name, info.value.value) == ("Origin", "https://evil.example")
    with serving() as server:
        first, _, body = exchange(server, build_request(Origin="https://evil.example"))
    assert first.split()[1] == "403"
    assert b"invalid Origin header: https://evil.example" in body


@pytest.mark.parametrize(
    "answer",
    [
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        FIRST_LINE + b"\r\n",
        with_headers(Sec_WebSocket_Accept=None),
        with_headers(Sec_WebSocket_Protocol="chat"),
        FIRST_LINE + b"X: " + b"x" * 20_000,
    ],
    ids=["no HTTP", "status", "upgrade", "no key", "subprotocol", "header line"],
)
def test_E20_InvalidHandshake_catches_all_that_goes_wrong_in_it(answer):
    assert isinstance(refused(answer), exceptions.InvalidHandshake)


def test_E21_DuplicateParameter_is_a_parameter_that_is_there_twice():
    exc = refused(deflate("server_no_context_takeover; server_no_context_takeover"))
    assert isinstance(exc, exceptions.DuplicateParameter)
    assert exc.name == "server_no_context_takeover"


def test_E22_AbortHandshake_answers_what_the_program_wants():
    def process_request(ws, request):
        raise exceptions.AbortHandshake(403, [("X-Why", "closed today")], b"come back later\n")

    with serving(process_request=process_request) as server:
        response = refusal(server).response
    assert (response.status_code, response.headers["X-Why"]) == (403, "closed today")
    assert response.body == b"come back later\n"


def test_E24_InvalidHeader_has_name_and_value():
    exc = refused(with_headers(Sec_WebSocket_Accept=None))
    assert type(exc) is exceptions.InvalidHeader
    assert (exc.name, exc.value) == ("Sec-WebSocket-Accept", None)
    assert str(exc) == "missing Sec-WebSocket-Accept header"


def test_E25_MultipleValuesError_is_a_lookup():
    headers = Headers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    with pytest.raises(exceptions.MultipleValuesError, match="use get_all") as info:
        headers["set-cookie"]
    assert isinstance(info.value, LookupError)
    assert not isinstance(info.value, exceptions.WebSocketException)
    assert headers.get_all("set-cookie") == ["a=1", "b=2"]
