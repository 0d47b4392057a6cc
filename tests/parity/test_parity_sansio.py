"""The protocols without I/O: ``ServerProtocol`` and ``ClientProtocol``."""

import logging
import re

import pytest
from support.scripted import KEY as HANDSHAKE_KEY
from support.scripted import build_request, build_response, parse_head
from support.wire import KEY, build_frame

from syncws import (
    ClientProtocol,
    Headers,
    InvalidHandshake,
    InvalidHeaderValue,
    InvalidMethod,
    InvalidOrigin,
    InvalidState,
    InvalidStatus,
    InvalidUpgrade,
    NegotiationError,
    PayloadTooBig,
    Request,
    Response,
    ServerProtocol,
    State,
    parse_uri,
)
from syncws.options import Deflate
from syncws.sansio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

URI = "ws://localhost/"
SERVER_FACTORY = ServerPerMessageDeflateFactory(Deflate())
CLIENT_FACTORY = ClientPerMessageDeflateFactory(Deflate())


def asked(protocol, data=None, **headers):
    """The request that a server's protocol makes of these bytes."""
    protocol.receive_data(data or build_request(**headers))
    (request,) = protocol.events_received()
    return request


def opened(**kwargs):
    """A server's protocol that has shaken hands."""
    protocol = ServerProtocol(**kwargs)
    protocol.send_response(protocol.accept(asked(protocol)))
    protocol.data_to_send()
    return protocol


def names(extensions):
    return [extension.name for extension in extensions]


# --- the server's: parameters ---


def test_Q1_origins_are_text_patterns_and_none():
    rules = ["https://example.com", re.compile(r"https://[a-z]+\.example\.com"), None]
    protocol = ServerProtocol(origins=rules)
    for origin in ("https://example.com", "https://a.example.com"):
        assert protocol.process_origin(Headers(Origin=origin)) == origin
    assert protocol.process_origin(Headers()) is None
    with pytest.raises(TypeError, match="must be a list"):
        ServerProtocol(origins="https://example.com")


def test_Q2_extensions_are_factories():
    protocol = ServerProtocol(extensions=[SERVER_FACTORY])
    assert protocol.available_extensions == [SERVER_FACTORY]
    assert protocol.extensions == []


def test_Q3_subprotocols_are_a_list():
    assert ServerProtocol(subprotocols=["chat"]).available_subprotocols == ["chat"]
    with pytest.raises(TypeError, match="subprotocols"):
        ServerProtocol(subprotocols="chat")


def test_Q4_a_function_selects_the_subprotocol():
    seen = []

    def select(protocol, offered):
        seen.append((protocol, offered))
        return offered[-1]

    protocol = ServerProtocol(select_subprotocol=select)
    response = protocol.accept(asked(protocol, Sec_WebSocket_Protocol="one, two"))
    assert response.headers["Sec-WebSocket-Protocol"] == protocol.subprotocol == "two"
    assert seen == [(protocol, ["one", "two"])]


def test_Q5_the_state_to_begin_with_skips_the_handshake():
    assert ServerProtocol().state is State.CONNECTING
    protocol = ServerProtocol(state=State.OPEN)
    protocol.receive_data(build_frame(0x81, b"hello", KEY))
    assert protocol.events_received() == ["hello"]


@pytest.mark.parametrize(("max_size", "size"), [(10, 11), ((100, 10), 11), (2**20, 2**20 + 1)])
def test_Q6_a_larger_message_fails_the_connection(max_size, size):
    protocol = ServerProtocol(state=State.OPEN, max_size=max_size)
    protocol.receive_data(build_frame(0x82, bytes(size - 1), KEY))
    assert protocol.events_received() == [bytes(size - 1)]
    protocol.receive_data(build_frame(0x82, bytes(size), KEY)[:14])
    assert isinstance(protocol.parser_exc, PayloadTooBig)
    assert protocol.close_sent.code == 1009
    assert ServerProtocol(max_size=None).max_size is None


def test_Q7_a_logger_can_be_given():
    logger = logging.getLogger("mine")
    assert ServerProtocol(logger=logger).logger is logger


# --- the server's: attributes ---


def test_Q8_origins_can_be_read():
    assert ServerProtocol(origins=["https://example.com"]).origins == ("https://example.com",)
    assert ServerProtocol(origins=None).origins is None


def test_Q9_extensions_are_those_agreed_on():
    protocol = ServerProtocol(extensions=[SERVER_FACTORY])
    protocol.accept(asked(protocol, Sec_WebSocket_Extensions="permessage-deflate, x-mine"))
    assert names(protocol.extensions) == ["permessage-deflate"]
    assert protocol.available_extensions == [SERVER_FACTORY]


def test_Q10_subprotocols_are_the_choice_and_subprotocol_the_result():
    protocol = ServerProtocol(subprotocols=["one", "two"])
    assert protocol.subprotocol is None
    protocol.accept(asked(protocol, Sec_WebSocket_Protocol="two"))
    assert protocol.subprotocols == protocol.available_subprotocols == ["one", "two"]
    assert protocol.subprotocol == "two"


def test_Q11_select_subprotocol_is_a_method_to_override():
    class Last(ServerProtocol):
        def select_subprotocol(self, subprotocols):
            return subprotocols[-1]

    protocol = Last()
    protocol.accept(asked(protocol, Sec_WebSocket_Protocol="one, two"))
    assert protocol.subprotocol == "two"


def test_Q12_the_state_goes_from_connecting_to_closed():
    protocol = ServerProtocol()
    states = [protocol.state]
    protocol.send_response(protocol.accept(asked(protocol)))
    states.append(protocol.state)
    protocol.send_close(1000)
    states.append(protocol.state)
    protocol.receive_data(build_frame(0x88, b"\x03\xe8", KEY))
    protocol.receive_eof()
    states.append(protocol.state)
    assert states == [State.CONNECTING, State.OPEN, State.CLOSING, State.CLOSED]
    assert states == list(State)


def test_Q13_the_limits_of_messages_and_fragments():
    protocol = ServerProtocol(max_size=(100, 10))
    limits = protocol.max_message_size, protocol.max_fragment_size, protocol.max_size
    assert limits == (100, 10, 100)
    protocol = ServerProtocol()
    assert (protocol.max_size, protocol.max_message_size) == (2**20, 2**20)


def test_Q14_nothing_is_logged_without_io(caplog):
    caplog.set_level("DEBUG")
    protocol = opened(logger=logging.getLogger("mine"))
    protocol.receive_data(b"nonsense")
    assert protocol.logger.name == "mine"
    assert caplog.records == []


# --- the server's: methods ---


def test_Q15_process_subprotocol_returns_the_one_selected():
    headers = Headers({"Sec-WebSocket-Protocol": "two, one"})
    assert ServerProtocol(subprotocols=["one", "two"]).process_subprotocol(headers) == "one"
    assert ServerProtocol().process_subprotocol(headers) is None
    with pytest.raises(NegotiationError):
        ServerProtocol(subprotocols=["three"]).process_subprotocol(headers)


def test_Q16_process_extensions_returns_the_answer_and_the_extensions():
    headers = Headers({"Sec-WebSocket-Extensions": "permessage-deflate"})
    answer, extensions = ServerProtocol(extensions=[SERVER_FACTORY]).process_extensions(headers)
    assert (answer, names(extensions)) == ("permessage-deflate", ["permessage-deflate"])
    assert ServerProtocol().process_extensions(headers) == (None, [])


@pytest.mark.parametrize("text", ["nothing here\n", b"nothing here\n"])
def test_Q17_reject_makes_a_response_to_be_sent(text):
    protocol = ServerProtocol()
    response = protocol.reject(404, text, headers={"X-Mine": "yes"})
    assert isinstance(response, Response)
    assert (response.status_code, response.reason_phrase) == (404, "Not Found")
    assert response.body == b"nothing here\n"
    assert response.headers["Connection"] == "close"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Mine"] == "yes"
    assert protocol.data_to_send() == []
    assert protocol.reject(404).body == b""


def test_Q18_accept_makes_a_response_to_be_sent():
    protocol = ServerProtocol()
    response = protocol.accept(asked(protocol))
    assert (response.status_code, protocol.data_to_send()) == (101, [])
    assert response.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("headers", "status", "extra"),
    [
        ({"Sec_WebSocket_Version": "8"}, 426, ("Sec-WebSocket-Version", "13")),
        ({"Upgrade": "h2c"}, 426, ("Upgrade", "websocket")),
        ({"Sec_WebSocket_Key": "short"}, 400, ("Connection", "close")),
        ({"Origin": "https://evil.example"}, 403, ("Connection", "close")),
        ({"method": "POST"}, 405, ("Allow", "GET")),
    ],
)
def test_Q18_accept_refuses_what_is_not_valid(headers, status, extra):
    protocol = ServerProtocol()
    response = protocol.accept(asked(protocol, **headers))
    assert response.status_code == status
    assert response.headers[extra[0]] == extra[1]
    assert isinstance(protocol.handshake_exc, InvalidHandshake)


def test_Q19_bytes_come_in_and_go_out_by_four_methods():
    protocol = ServerProtocol()
    for byte in build_request() + build_frame(0x89, b"?", KEY):
        protocol.receive_data(bytes([byte]))
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
    protocol.receive_eof()
    output = b"".join(protocol.data_to_send())
    assert output.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert output.endswith(build_frame(0x8A, b"?"))


def test_Q20_process_origin_returns_the_origin_or_raises():
    own = Headers({"Host": "localhost:80", "Origin": "http://localhost"})
    assert ServerProtocol().process_origin(own) == "http://localhost"
    other = Headers({"Host": "localhost:80", "Origin": "https://evil.example"})
    with pytest.raises(InvalidOrigin):
        ServerProtocol().process_origin(other)
    assert ServerProtocol(origins=None).process_origin(other) == "https://evil.example"


def test_Q21_process_request_returns_what_to_answer():
    options = {"extensions": [SERVER_FACTORY], "subprotocols": ["chat"]}
    protocol = ServerProtocol(**options)
    offers = {"Sec_WebSocket_Extensions": "permessage-deflate", "Sec_WebSocket_Protocol": "chat"}
    answer = protocol.process_request(asked(protocol, **offers))
    assert answer == ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "permessage-deflate", "chat")
    protocol = ServerProtocol()
    assert protocol.process_request(asked(protocol))[1:] == (None, None)
    for headers, error in (({"method": "POST"}, InvalidMethod), ({"Upgrade": "x"}, InvalidUpgrade)):
        protocol = ServerProtocol()
        with pytest.raises(error):
            protocol.process_request(asked(protocol, **headers))


def test_Q22_the_first_of_our_subprotocols_is_selected():
    protocol = ServerProtocol(subprotocols=["one", "two"])
    assert protocol.select_subprotocol(["two", "one"]) == "one"
    with pytest.raises(NegotiationError):
        protocol.select_subprotocol([])
    assert ServerProtocol().select_subprotocol(["one"]) is None


def test_Q23_sending_a_response_opens_or_ends_the_connection():
    protocol = ServerProtocol()
    protocol.send_response(protocol.accept(asked(protocol)))
    assert protocol.state is State.OPEN
    with pytest.raises(InvalidState, match="connection is open"):
        protocol.send_response(protocol.reject(500))
    protocol = ServerProtocol()
    asked(protocol)
    protocol.send_response(protocol.reject(404))
    response, end = protocol.data_to_send()
    assert parse_head(response)[0] == "HTTP/1.1 404 Not Found"
    assert end == b""  # closes the sending side


def test_Q24_what_can_be_done_depends_on_the_state():
    with pytest.raises(InvalidState, match="connection is connecting"):
        ServerProtocol().send_text(b"too early")
    protocol = opened()
    protocol.send_text(b"hello")
    assert protocol.data_to_send() == [build_frame(0x81, b"hello")]
    protocol.receive_eof()
    with pytest.raises(InvalidState, match="connection is closed"):
        protocol.send_text(b"too late")


def test_Q25_the_close_code_is_known_when_the_connection_is_closed():
    protocol = opened()
    protocol.receive_data(build_frame(0x88, b"\x0f\xa1", KEY))
    assert protocol.close_code is None
    protocol.receive_eof()
    assert protocol.close_code == 4001
    protocol = opened()
    protocol.receive_eof()
    assert protocol.close_code == 1006


def test_Q26_the_close_reason_is_known_when_the_connection_is_closed():
    protocol = opened()
    protocol.receive_data(build_frame(0x88, b"\x0f\xa1enough", KEY))
    assert protocol.close_reason is None
    protocol.receive_eof()
    assert protocol.close_reason == "enough"
    protocol = opened()
    protocol.receive_eof()
    assert protocol.close_reason == ""


# --- the client's ---


@pytest.mark.parametrize("uri", ["wss://localhost/chat?a=b", parse_uri("wss://localhost/chat?a=b")])
def test_R1_a_uri_is_text_or_parsed(uri):
    protocol = ClientProtocol(uri)
    assert protocol.uri == parse_uri("wss://localhost/chat?a=b")
    assert protocol.connect().path == "/chat?a=b"


@pytest.mark.parametrize("origin", ["https://example.com", None])
def test_R2_the_origin_is_sent_if_there_is_one(origin):
    protocol = ClientProtocol(URI, origin=origin)
    assert protocol.origin == origin
    assert protocol.connect().headers.get("Origin") == origin


def test_R3_extensions_are_factories_and_offered():
    assert "Sec-WebSocket-Extensions" not in ClientProtocol(URI).connect().headers
    protocol = ClientProtocol(URI, extensions=[CLIENT_FACTORY])
    offer = protocol.connect().headers["Sec-WebSocket-Extensions"]
    assert offer.startswith("permessage-deflate")
    assert protocol.available_extensions == [CLIENT_FACTORY]


def test_R4_subprotocols_are_offered():
    assert "Sec-WebSocket-Protocol" not in ClientProtocol(URI).connect().headers
    protocol = ClientProtocol(URI, subprotocols=["one", "two"])
    assert protocol.connect().headers["Sec-WebSocket-Protocol"] == "one, two"
    with pytest.raises(TypeError, match="subprotocols"):
        ClientProtocol(URI, subprotocols="one")


def test_R5_the_state_to_begin_with():
    assert ClientProtocol(URI).state is State.CONNECTING
    protocol = ClientProtocol(URI, state=State.OPEN)
    protocol.receive_data(build_frame(0x81, b"hello"))
    assert protocol.events_received() == ["hello"]


def test_R6_a_larger_message_fails_the_connection():
    assert ClientProtocol(URI).max_size == 2**20
    protocol = ClientProtocol(URI, state=State.OPEN, max_size=10)
    protocol.receive_data(build_frame(0x82, bytes(11)))
    assert isinstance(protocol.parser_exc, PayloadTooBig)


def test_R7_a_logger_can_be_given():
    logger = logging.getLogger("mine")
    assert ClientProtocol(URI, logger=logger).logger is logger


def test_R8_bytes_come_in_one_by_one():
    protocol = ClientProtocol(URI)
    protocol.send_request(protocol.connect())
    (request,) = protocol.data_to_send()
    events = []
    for byte in build_response(request) + build_frame(0x81, b"hello"):
        protocol.receive_data(bytes([byte]))
        events += protocol.events_received()
    response, message = events
    assert (response.status_code, message) == (101, "hello")


def test_R9_connect_makes_a_request_to_be_sent():
    protocol = ClientProtocol("ws://user:pass@localhost:8080/chat")
    request = protocol.connect()
    assert isinstance(request, Request)
    assert (request.method, request.path) == ("GET", "/chat")
    assert request.headers["Host"] == "localhost:8080"
    assert request.headers["Upgrade"] == "websocket"
    assert request.headers["Sec-WebSocket-Version"] == "13"
    assert request.headers["Authorization"] == "Basic dXNlcjpwYXNz"
    assert protocol.data_to_send() == []


def test_R10_process_subprotocol_returns_what_was_offered():
    protocol = ClientProtocol(URI, subprotocols=["one", "two"])
    assert protocol.process_subprotocol(Headers({"Sec-WebSocket-Protocol": "two"})) == "two"
    assert protocol.process_subprotocol(Headers()) is None
    for value, error in (("three", NegotiationError), ("one, two", InvalidHeaderValue)):
        with pytest.raises(error):
            protocol.process_subprotocol(Headers({"Sec-WebSocket-Protocol": value}))


def test_R11_process_extensions_returns_what_was_accepted():
    protocol = ClientProtocol(URI, extensions=[CLIENT_FACTORY])
    headers = Headers({"Sec-WebSocket-Extensions": "permessage-deflate"})
    assert names(protocol.process_extensions(headers)) == ["permessage-deflate"]
    assert protocol.process_extensions(Headers()) == []
    with pytest.raises(NegotiationError):
        ClientProtocol(URI).process_extensions(headers)


def test_R12_process_response_checks_status_upgrade_and_key():
    protocol = ClientProtocol(URI)
    protocol.key = HANDSHAKE_KEY
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }
    protocol.process_response(Response(101, "", Headers(fields)))
    for status, wrong, error in (
        (200, {}, InvalidStatus),
        (101, {"Upgrade": "h2c"}, InvalidUpgrade),
        (101, {"Sec-WebSocket-Accept": "wrong"}, InvalidHeaderValue),
    ):
        with pytest.raises(error) as info:
            protocol.process_response(Response(status, "", Headers({**fields, **wrong})))
        assert isinstance(info.value, InvalidHandshake)


def test_R13_a_request_that_is_sent_is_there_to_be_written():
    protocol = ClientProtocol(URI)
    request = protocol.connect()
    protocol.send_request(request)
    assert protocol.data_to_send() == [request.serialize()]
    assert protocol.data_to_send() == []
