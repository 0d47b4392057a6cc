import logging
import socket
import threading

import pytest
from support.pairs import SOON, wait_until
from support.scripted import build_response as respond
from support.scripted import mute_after, nothing_left, parse_head, read_head, scripted_server
from support.serving import serving
from support.wire import build_frame

from syncws import (
    ClientConnection,
    ConnectionClosedError,
    Deflate,
    InvalidURI,
    NegotiationError,
    SendTimeout,
    State,
    connect,
    parse_uri,
)
from syncws.sansio.extensions.interface import (
    ClientExtensionFactory,
    Extension,
    ServerExtensionFactory,
)
from syncws.sansio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)


@pytest.fixture
def server():
    with serving() as server:
        yield server


def offered(name, **kwargs):
    """What connect(**kwargs) sends as this header, or None."""
    seen = []

    def script(sock):
        seen.append(parse_head(read_head(sock))[1])

    with scripted_server(script) as server, pytest.raises(Exception, match=r"connection|reset"):
        connect(kwargs.pop("uri", server.uri.replace("localhost", "127.0.0.1")), **kwargs)
    return seen[0].get(name)


# --- what it returns ---


def test_an_open_connection_is_returned(server):
    ws = connect(server.uri)
    assert ws.state is State.OPEN
    assert isinstance(ws, ClientConnection)
    ws.close()
    assert ws.state is State.CLOSED


def test_the_connection_is_a_context_manager_that_closes(server):
    with connect(server.uri) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"
    assert ws.closed
    assert ws.close_code == 1000


def test_a_connection_made_earlier_can_be_entered(server):
    c = connect(server.uri)
    with c as ws:
        assert ws is c
        ws.send("hello")
        assert ws.recv() == "hello"
    assert c.closed


def test_request_and_response_are_kept(server):
    with connect(f"{server.uri}chat?room=1") as ws:
        assert ws.path == "/chat?room=1"
        assert ws.request.headers["Host"] == f"127.0.0.1:{server.port}"
        assert ws.response.status_code == 101
        assert ws.is_client
        assert ws.side == "client"
        assert not ws.secure
        assert ws.remote_address == ("127.0.0.1", server.port)


# --- uri ---


def test_a_parsed_uri_can_be_given(server):
    with connect(parse_uri(server.uri)) as ws:
        assert ws.open


@pytest.mark.parametrize(
    "uri",
    ["ftp://localhost/", "localhost:8765", "ws://", "ws://localhost/#top", "ws://a b/", ""],
)
def test_what_is_not_a_websocket_uri_is_refused(uri):
    with pytest.raises(InvalidURI):
        connect(uri)


def test_user_and_password_of_the_uri_are_sent_as_basic_credentials():
    def script(sock):
        seen.append(parse_head(read_head(sock))[1]["authorization"])

    seen = []
    with scripted_server(script) as server, pytest.raises(Exception, match=r"connection|reset"):
        connect(server.uri.replace("://", "://aladdin:open%20sesame@"))
    assert seen == ["Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ=="]


# --- origin, subprotocols, extensions, compression ---


def test_origin_is_sent():
    assert offered("origin", origin="https://example.com") == "https://example.com"
    assert offered("origin") is None


def test_subprotocols_are_offered_and_the_server_chooses():
    ours, theirs = ["one", "two"], ["two", "one"]
    with serving(subprotocols=theirs) as server, connect(server.uri, subprotocols=ours) as ws:
        assert ws.request.headers["Sec-WebSocket-Protocol"] == "one, two"
        assert ws.subprotocol == "two"


def test_subprotocols_in_a_str_are_refused():
    with pytest.raises(TypeError, match="subprotocols"):
        connect("ws://localhost/", subprotocols="chat")


class Shout(Extension):
    """Sends text in upper case; there is no such extension, so its frames look like others."""

    name = "x-shout"
    rsv = 0

    def decode(self, frame, *, max_size=None):
        return frame

    def encode(self, frame, *, compress=None):
        frame.data = frame.data.upper()
        return frame


class ShoutClientFactory(ClientExtensionFactory):
    name = "x-shout"

    def get_request_params(self):
        return [("level", "11")]

    def process_response_params(self, params, accepted_extensions):
        if params != [("level", "11")]:
            raise NegotiationError("wrong level")
        return Shout()


class ShoutServerFactory(ServerExtensionFactory):
    name = "x-shout"

    def process_request_params(self, params, accepted_extensions):
        return list(params), Shout()


def test_a_custom_extension_is_offered_and_used():
    def handler(ws):
        received.append(ws.recv())

    received = []
    with serving(handler, extensions=[ShoutServerFactory()], compression=None) as server:
        ws = connect(server.uri, extensions=[ShoutClientFactory()])
        offer = ws.request.headers["Sec-WebSocket-Extensions"]
        assert offer == "x-shout; level=11, permessage-deflate; client_max_window_bits"
        assert [extension.name for extension in ws.extensions] == ["x-shout"]
        ws.send("hello")
        ws.close()
        wait_until(lambda: received)
    assert received == ["HELLO"]


def test_an_extension_that_the_server_gets_wrong_fails_the_handshake():
    wrong = mute_after(lambda request: respond(request, Sec_WebSocket_Extensions="x-shout"))
    refused = pytest.raises(NegotiationError, match="wrong level")
    with scripted_server(wrong) as server, nothing_left(), refused:
        connect(server.uri, extensions=[ShoutClientFactory()])


@pytest.mark.parametrize("extensions", [["x-shout"], "x-shout", [object()]])
def test_extensions_are_factories(extensions):
    with pytest.raises(TypeError, match="ClientExtensionFactory"):
        connect("ws://localhost/", extensions=extensions)


def test_compression_is_on_by_default(server):
    with connect(server.uri) as ws:
        assert isinstance(ws.extensions[0], PerMessageDeflate)


def test_compression_can_be_turned_off(server):
    assert offered("sec-websocket-extensions", compression=None) is None
    with connect(server.uri, compression=None) as ws:
        assert ws.extensions == []


def test_compression_takes_settings():
    settings = Deflate(client_no_context_takeover=True, server_max_window_bits=10)
    offer = offered("sec-websocket-extensions", compression=settings)
    name, *params = offer.split("; ")
    assert name == "permessage-deflate"
    assert {"client_no_context_takeover", "server_max_window_bits=10"} <= set(params)


def test_compression_of_the_program_own_is_not_offered_twice():
    factory = ClientPerMessageDeflateFactory(Deflate(server_no_context_takeover=True))
    offer = offered("sec-websocket-extensions", extensions=[factory])
    assert offer.count("permessage-deflate") == 1


@pytest.mark.parametrize("compression", ["gzip", "", True, 1])
def test_another_compression_is_refused_with_the_choices(compression):
    with pytest.raises(ValueError, match=r"'deflate', Deflate\(\.\.\.\) or None"):
        connect("ws://localhost/", compression=compression)


# --- headers ---


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Token": "secret"},
        [("X-Token", "secret")],
        lambda: {"X-Token": "secret"},
        lambda: [("X-Token", "secret")],
    ],
)
@pytest.mark.parametrize("keyword", ["additional_headers", "extra_headers"])
def test_headers_are_added(keyword, headers):
    assert offered("x-token", **{keyword: headers}) == "secret"


def test_a_header_may_be_there_several_times():
    headers = [("Cookie", "a=1"), ("Cookie", "b=2")]
    assert offered("cookie", additional_headers=headers) == "a=1, b=2"


def test_a_function_for_headers_is_called_for_each_attempt(server):
    numbers = iter("12")
    for expected in "12":
        with connect(server.uri, additional_headers=lambda: {"X-Number": next(numbers)}) as ws:
            assert ws.request.headers["X-Number"] == expected


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("Host", {}),
        ("Origin", {"origin": "https://example.com"}),
        ("User-Agent", {}),
        ("Authorization", {}),
    ],
)
def test_headers_that_exist_once_are_replaced(name, kwargs):
    assert offered(name.lower(), additional_headers={name.upper(): "mine"}, **kwargs) == "mine"


def test_authorization_replaces_the_credentials_of_the_uri(server):
    uri = server.uri.replace("://", "://user:password@")
    with connect(uri, additional_headers={"Authorization": "Bearer token"}) as ws:
        assert ws.request.headers["Authorization"] == "Bearer token"


@pytest.mark.parametrize(
    "name",
    [
        "Upgrade",
        "connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
    ],
)
def test_headers_of_the_handshake_itself_are_refused(server, name):
    with nothing_left(), pytest.raises(ValueError, match=f"{name.lower()} belongs to"):
        connect(server.uri, additional_headers={name: "x"})


@pytest.mark.parametrize("value", ["a\r\nX-Evil: b", "a\0", "€"])
def test_values_that_can_not_be_sent_are_refused(server, value):
    with nothing_left(), pytest.raises(ValueError, match="X-Token"):
        connect(server.uri, additional_headers={"X-Token": value})


def test_headers_under_both_names_are_refused():
    with pytest.raises(TypeError, match="extra_headers= is an older name of additional_headers="):
        connect("ws://localhost/", additional_headers={"A": "1"}, extra_headers={"B": "2"})


def test_user_agent_is_ours_the_program_s_or_none():
    assert offered("user-agent").startswith("Python/3.")
    assert "syncws/" in offered("user-agent")
    assert offered("user-agent", user_agent_header="mine/1.0") == "mine/1.0"
    assert offered("user-agent", user_agent_header=None) is None


# --- limits and times ---


def test_a_message_over_max_size_fails_the_connection(server):
    with connect(server.uri, max_size=100) as ws:
        ws.send("a" * 100)
        assert ws.recv() == "a" * 100
        ws.send("a" * 101)
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
    assert info.value.sent.code == 1009


def test_max_size_may_limit_fragments_too():
    def handler(ws):
        ws.send(["a" * 60, "b" * 40])
        ws.send("c" * 61)
        ws.wait_closed(SOON)

    with serving(handler, compression=None) as server:
        ws = connect(server.uri, max_size=(100, 60))
        assert ws.recv() == "a" * 60 + "b" * 40
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
    assert info.value.sent.code == 1009


def test_max_size_may_be_unlimited():
    def handler(ws):
        ws.send(b"a" * (1 << 21))

    with serving(handler) as server, connect(server.uri, max_size=None) as ws:
        assert len(ws.recv()) == 1 << 21


@pytest.mark.parametrize("kwargs", [{"max_queue": 1}, {"max_queue": (4, 0)}, {"read_limit": 10}])
def test_reading_pauses_when_messages_pile_up_and_none_is_lost(kwargs):
    def handler(ws):
        for number in range(200):
            ws.send(str(number))

    with serving(handler) as server, connect(server.uri, **kwargs) as ws:
        assert list(ws) == [str(number) for number in range(200)]


def test_pings_keep_the_connection_alive_and_measure_latency(server):
    with connect(server.uri, ping_interval=0.01, ping_timeout=SOON) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(0.2)
        assert ws.open
        wait_until(lambda: ws.latency > 0)


def test_a_server_that_does_not_answer_pings_fails_the_connection():
    with scripted_server(mute_after(respond)) as server:
        ws = connect(server.uri, ping_interval=0.05, ping_timeout=0.05)
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
    assert info.value.sent.code == 1011
    assert info.value.sent.reason == "keepalive ping timeout"


def test_pings_can_be_turned_off():
    def script(sock):
        sock.sendall(respond(read_head(sock)))
        sock.settimeout(0.2)
        with pytest.raises(socket.timeout):
            sock.recv(1)

    with scripted_server(script) as server:
        ws = connect(server.uri, ping_interval=None)
        assert ws.wait_closed(SOON)


def test_close_timeout_bounds_closing():
    with scripted_server(mute_after(respond)) as server, nothing_left():
        ws = connect(server.uri, close_timeout=0.1)
        ws.close()
        assert ws.close_code == 1006
        assert isinstance(ws.close_exc.__cause__, TimeoutError)


def send_forever(ws):
    while True:
        ws.send(b"a" * (1 << 20))


def test_send_timeout_bounds_sending():
    def script(sock):
        sock.sendall(respond(read_head(sock)))
        released.wait(SOON)

    released = threading.Event()
    with scripted_server(script) as server:
        ws = connect(server.uri, send_timeout=0.1, close_timeout=0.1, compression=None)
        with pytest.raises((SendTimeout, ConnectionClosedError)):
            send_forever(ws)
        released.set()
        ws.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_size", -1),
        ("max_queue", 0),
        ("max_queue", (2, 3)),
        ("read_limit", -1),
        ("write_limit", -1),
        ("ping_interval", 0),
        ("ping_timeout", -1),
        ("close_timeout", -1),
        ("send_timeout", -1),
    ],
)
def test_limits_and_times_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        connect("ws://localhost/", **{name: value})


def test_write_limit_reaches_the_connection(server):
    with connect(server.uri, write_limit=123) as ws:
        assert ws.options.write_limit == 123


# --- logger, create_connection ---


def test_the_logger_is_used_and_its_records_carry_the_connection(server, caplog):
    with connect(server.uri, logger=logging.getLogger("mine")) as ws:
        ws.logger.error("hello")
    assert [(r.name, r.websocket) for r in caplog.records if r.msg == "hello"] == [("mine", ws)]


def test_the_default_logger_is_syncws_client(server, caplog):
    with connect(server.uri) as ws:
        ws.logger.error("hello")
    assert "syncws.client" in {record.name for record in caplog.records if record.msg == "hello"}


@pytest.mark.parametrize("keyword", ["create_connection", "create_protocol"])
def test_a_subclass_can_be_connected(server, keyword):
    class Mine(ClientConnection):
        def recv_number(self):
            return int(self.recv())

    with connect(server.uri, **{keyword: Mine}) as ws:
        ws.send("42")
        assert ws.recv_number() == 42


def test_a_factory_that_fails_leaves_nothing_behind(server):
    def create(*args, **kwargs):
        raise KeyError("mine")

    with nothing_left(), pytest.raises(KeyError, match="mine"):
        connect(server.uri, create_connection=create)


def test_a_factory_under_both_names_is_refused():
    with pytest.raises(TypeError, match="create_protocol= is an older name"):
        connect(
            "ws://localhost/", create_connection=ClientConnection, create_protocol=ClientConnection
        )


def test_frames_are_masked():
    def script(sock):
        sock.sendall(respond(read_head(sock)))
        received.append(sock.recv(2))
        sock.sendall(build_frame(0x88, b"\x03\xe8"))

    received = []
    with scripted_server(script) as server, connect(server.uri, compression=None) as ws:
        ws.send("hi")
    assert received == [b"\x81\x82"]
