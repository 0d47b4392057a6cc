"""The server's and the client's connection until they are open."""

import contextlib
import socket

import pytest
from support.ends import both_ends
from support.pairs import SOON, run
from support.scripted import (
    build_request,
    build_response,
    exchange,
    parse_head,
    says,
    scripted_server,
)
from support.serving import assert_works, serving
from support.wire import build_frame

from syncws import (
    ClientConnection,
    ClientProtocol,
    Headers,
    InvalidMessage,
    InvalidOrigin,
    InvalidStatus,
    NegotiationError,
    Request,
    ServerConnection,
    ServerProtocol,
    State,
    connect,
)
from syncws.options import Deflate
from syncws.sansio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

URI = "ws://localhost/"
EXTENSIONS = Headers({"Sec-WebSocket-Extensions": "permessage-deflate, x-mine"})


def make_pair(client=None, server=None):
    """A client's connection and a server's, each of its parts, before the opening handshake."""
    ours, theirs = socket.socketpair()
    return (
        ClientConnection(ours, client or ClientProtocol(URI)),
        ServerConnection(theirs, server or ServerProtocol()),
    )


@contextlib.contextmanager
def opened(client=None, server=None, **kwargs):
    """The same after it; ``kwargs`` are for the client's."""
    client, server = make_pair(client, server)
    shaking = run(server.handshake, SOON)
    client.handshake(**kwargs, timeout=SOON)
    shaking.result()
    try:
        yield client, server
    finally:
        client.close()
        assert server.wait_closed(SOON)


# --- the server's ---


def test_V1_a_connection_is_made_of_socket_and_protocol_and_the_server_has_the_handler():
    with opened() as (client, server):
        server.send("hello")
        assert client.recv(SOON) == "hello"
        assert server.server is None
    with both_ends() as (_, server):
        assert callable(server.server.handler)
        with pytest.raises(AttributeError, match=r"use server\.handler"):
            server.ws_handler  # noqa: B018


def test_V2_a_connection_knows_its_server():
    with both_ends() as (_, server):
        assert server.server.connections == {server}
        with pytest.raises(AttributeError, match="use server"):
            server.ws_server  # noqa: B018


def test_V3_the_logger_is_the_server_s():
    with both_ends() as (_, server):
        assert server.logger.logger.name == "syncws.server"


def test_V4_origins_are_the_protocol_s():
    with both_ends(origins=["https://example.com", None]) as (_, server):
        assert server.protocol.origins == ("https://example.com", None)


def test_V5_extensions_are_the_protocol_s():
    with both_ends() as (_, server):
        (factory,) = server.protocol.available_extensions
        assert factory.name == server.extensions[0].name == "permessage-deflate"


def test_V6_subprotocols_are_the_protocol_s():
    with both_ends({"subprotocols": ["chat"]}, subprotocols=["chat", "more"]) as (_, server):
        assert server.protocol.available_subprotocols == ["chat", "more"]
        assert server.protocol.subprotocols == ["chat", "more"]


def test_V8_the_server_header_can_be_chosen():
    with both_ends(server_header="mine") as (_, server):
        assert server.response.headers["Server"] == "mine"


def test_V10_a_function_gets_the_offer_or_in_its_older_form_both_lists():
    seen = []

    def select(ws, offered):
        seen.append((type(ws), offered))
        return None

    def older(client_subprotocols, server_subprotocols):
        seen.append((client_subprotocols, server_subprotocols))
        return "b"

    offer = {"subprotocols": ["a", "b"]}
    with both_ends(offer, select_subprotocol=select) as (client, _):
        assert client.subprotocol is None
    options = {"subprotocols": ["b", "c"], "select_subprotocol": older}
    with both_ends(offer, **options) as (client, _):
        assert client.subprotocol == "b"
    assert seen == [(ServerConnection, ["a", "b"]), (["a", "b"], ["b", "c"])]


def test_V11_a_client_that_does_not_ask_in_time_is_cut_off():
    client, server = make_pair()
    with pytest.raises(TimeoutError):
        server.handshake(timeout=0.05)
    assert server.closed
    client.abort()


def test_V13_a_handler_is_a_function():
    class Chat:
        def handle(self, ws):
            ws.send("hello")

    handle = Chat().handle
    with serving(handle) as server, connect(server.uri) as ws:
        assert ws.recv(SOON) == "hello"
        assert server.handler == handle
    with both_ends() as (_, server), pytest.raises(AttributeError, match=r"server\.handler"):
        server.handler()


def test_V14_a_request_comes_as_an_event():
    protocol = ServerProtocol()
    data = build_request("/chat")
    protocol.receive_data(data[:20])
    assert protocol.events_received() == []
    protocol.receive_data(data[20:])
    (request,) = protocol.events_received()
    assert (request.path, request.headers["Host"]) == ("/chat", "localhost")


def test_V14_what_is_no_request_is_refused():
    protocol = ServerProtocol()
    protocol.receive_data(b"hello\r\n\r\n")
    assert isinstance(protocol.handshake_exc, InvalidMessage)
    assert b"".join(protocol.data_to_send()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_V15_a_response_can_be_anything():
    protocol = ServerProtocol()
    protocol.receive_data(build_request())
    protocol.send_response(protocol.reject(404, "nothing here\n", {"X-Mine": "yes"}))
    first, headers, body = parse_head(b"".join(protocol.data_to_send()))
    assert (first, headers["x-mine"], body) == ("HTTP/1.1 404 Not Found", "yes", b"nothing here\n")

    def process_request(ws, request):
        return ws.respond(200, "fine\n")

    with serving(process_request=process_request) as server:
        first, _, body = exchange(server, build_request())
        assert (first, body) == ("HTTP/1.1 200 OK", b"fine\n")


def test_V17_the_origin_is_returned_or_refused():
    protocol = ServerProtocol(origins=["https://example.com", None])
    assert protocol.process_origin(Headers(Origin="https://example.com")) == "https://example.com"
    assert protocol.process_origin(Headers()) is None
    with pytest.raises(InvalidOrigin):
        protocol.process_origin(Headers(Origin="https://evil.example"))


def test_V18_extensions_are_the_answer_and_those_agreed_on():
    protocol = ServerProtocol(extensions=[ServerPerMessageDeflateFactory(Deflate())])
    answer, agreed = protocol.process_extensions(EXTENSIONS)
    assert answer == "permessage-deflate"
    assert [extension.name for extension in agreed] == ["permessage-deflate"]
    assert ServerProtocol().process_extensions(EXTENSIONS) == (None, [])


def test_V19_the_subprotocol_is_the_one_that_both_have():
    protocol = ServerProtocol(subprotocols=["one", "two"])
    headers = Headers({"Sec-WebSocket-Protocol": "three, two"})
    assert protocol.process_subprotocol(headers) == "two"
    assert ServerProtocol().process_subprotocol(headers) is None


def test_V20_the_first_of_the_server_s_subprotocols_is_selected():
    protocol = ServerProtocol(subprotocols=["one", "two"])
    assert protocol.select_subprotocol(["two", "one"]) == "one"
    with pytest.raises(NegotiationError, match="none of the subprotocols is offered: one, two"):
        protocol.select_subprotocol(["three"])


def test_V21_shaking_hands_opens_the_connection_or_says_why_not():
    with opened() as (_, server):
        assert server.state is State.OPEN
        assert server.path == "/"
    client, server = make_pair(server=ServerProtocol(origins=["https://example.com"]))
    shaking = run(server.handshake, SOON)
    with pytest.raises(InvalidStatus):
        client.handshake(timeout=SOON)
    with pytest.raises(InvalidOrigin):
        shaking.result()
    assert server.closed


# --- the client's ---


def test_L1_a_connection_is_made_of_socket_and_protocol():
    with serving() as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        ws = ClientConnection(sock, ClientProtocol(server.uri))
        ws.handshake(timeout=SOON)
        assert ws.logger.logger.name == "syncws.client"
        assert_works(ws)


def test_L2_the_origin_is_the_protocol_s():
    protocol = ClientProtocol(URI, origin="http://localhost")
    with opened(protocol) as (client, server):
        assert client.protocol.origin == "http://localhost"
        assert server.request.headers["Origin"] == "http://localhost"


def test_L3_extensions_are_the_protocol_s():
    factory = ClientPerMessageDeflateFactory(Deflate())
    server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory(Deflate())])
    with opened(ClientProtocol(URI, extensions=[factory]), server) as (client, _):
        assert client.protocol.available_extensions == [factory]
        assert [extension.name for extension in client.extensions] == ["permessage-deflate"]


def test_L4_subprotocols_are_the_protocol_s():
    server = ServerProtocol(subprotocols=["two"])
    with opened(ClientProtocol(URI, subprotocols=["one", "two"]), server) as (client, _):
        assert client.protocol.subprotocols == ["one", "two"]
        assert client.subprotocol == "two"


@pytest.mark.parametrize(
    "headers",
    [{"X-Token": "secret"}, Headers({"X-Token": "secret"}), [("X-Token", "secret")]],
    ids=["dict", "Headers", "list"],
)
def test_L5_headers_are_added_to_the_request(headers):
    with opened(additional_headers=headers) as (_, server):
        assert server.request.headers["X-Token"] == "secret"


@pytest.mark.parametrize("value", ["mine", None])
def test_L6_the_user_agent_can_be_chosen(value):
    with opened(user_agent_header=value) as (_, server):
        assert server.request.headers.get("User-Agent") == value


def test_L7_a_request_is_sent_with_path_and_headers():
    protocol = ClientProtocol(URI)
    protocol.send_request(Request("/chat", Headers({"Host": "localhost", "X-Mine": "yes"})))
    assert protocol.data_to_send() == [
        b"GET /chat HTTP/1.1\r\nHost: localhost\r\nX-Mine: yes\r\n\r\n"
    ]


def test_L8_a_refusal_has_the_body_too():
    page = b"<h1>Gone</h1>"
    refusal = b"HTTP/1.1 410 Gone\r\nX-Mine: yes\r\nContent-Length: 13\r\n\r\n" + page
    with scripted_server(says(refusal)) as server, pytest.raises(InvalidStatus) as info:
        connect(server.uri)
    response = info.value.response
    assert (response.status_code, response.headers["X-Mine"]) == (410, "yes")
    assert response.body == page


def test_L8_a_response_comes_as_an_event():
    protocol = ClientProtocol(URI)
    protocol.send_request(protocol.connect())
    (request,) = protocol.data_to_send()
    protocol.receive_data(build_response(request) + build_frame(0x81, b"hello"))
    response, message = protocol.events_received()
    assert (response.status_code, message) == (101, "hello")


def test_L9_extensions_are_those_that_were_offered_and_accepted():
    protocol = ClientProtocol(URI, extensions=[ClientPerMessageDeflateFactory(Deflate())])
    accepted = Headers({"Sec-WebSocket-Extensions": "permessage-deflate"})
    assert [e.name for e in protocol.process_extensions(accepted)] == ["permessage-deflate"]
    with pytest.raises(NegotiationError, match="extension x-mine was not offered"):
        protocol.process_extensions(EXTENSIONS)


def test_L10_the_subprotocol_is_one_that_was_offered():
    protocol = ClientProtocol(URI, subprotocols=["one", "two"])
    assert protocol.process_subprotocol(Headers({"Sec-WebSocket-Protocol": "two"})) == "two"
    assert protocol.process_subprotocol(Headers()) is None
    with pytest.raises(NegotiationError, match="subprotocol three was not offered"):
        protocol.process_subprotocol(Headers({"Sec-WebSocket-Protocol": "three"}))


def test_L11_shaking_hands_opens_the_connection_or_says_why_not():
    with opened(additional_headers={"X-Mine": "yes"}) as (client, _):
        assert client.state is State.OPEN
        assert client.request.headers["X-Mine"] == "yes"
    client, server = make_pair()
    with pytest.raises(TimeoutError, match="timed out during opening handshake"):
        client.handshake(timeout=0.05)
    assert client.closed
    server.abort()
