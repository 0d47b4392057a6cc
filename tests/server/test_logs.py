"""What is logged about connections, for people and for programs."""

import logging
import re
import threading

import pytest
from support.certificates import contexts
from support.pairs import SOON, wait_until
from support.scripted import build_request, raw_client, read_all, read_head
from support.serving import assert_works, echo, serving

from syncws import (
    ConnectionClosed,
    ServerConnection,
    ServerProtocol,
    SlowPeer,
    basic_auth,
    broadcast,
    connect,
)
from syncws.server import records
from syncws.threaded.connection import Connection


@pytest.fixture(autouse=True)
def debug(caplog):
    caplog.set_level("DEBUG")


def logged(caplog, event):
    return [record for record in caplog.records if getattr(record, "ws_event", None) == event]


def closing_record(caplog):
    wait_until(lambda: logged(caplog, "close"))
    (record,) = logged(caplog, "close")
    return record


def assert_no_traceback(caplog):
    assert not [record for record in caplog.records if record.exc_info]


def test_opening_is_logged_once_with_fields(caplog):
    auth = basic_auth("x", ("me", "secret"))
    with serving(subprotocols=["chat"], process_request=auth) as server:
        uri = server.uri.replace("//", "//me:secret@") + "room?token=secret"
        with connect(uri, subprotocols=["chat"]) as ws:
            wait_until(lambda: server.connections)
            (connection,) = server.connections
            (record,) = logged(caplog, "open")
    assert record.ws_number == connection.number
    assert record.ws_remote_address == ws.local_address
    assert record.ws_path == "/room"
    assert record.ws_subprotocol == "chat"
    assert record.ws_username == "me"
    assert record.websocket is connection
    assert record.levelname == "INFO"
    assert record.getMessage() == (
        f"connection {connection.number} open: /room from {ws.local_address}"
    )
    assert "secret" not in caplog.text


def test_closing_is_logged_once_with_fields(caplog):
    with serving() as server:
        with connect(server.uri, compression=None) as ws:
            for _ in range(3):
                ws.send("hello")
                assert ws.recv(SOON) == "hello"
            ws.close(4000, "do\nne")
        record = closing_record(caplog)
    (opened,) = logged(caplog, "open")
    assert record.ws_number == opened.ws_number
    assert record.websocket is opened.websocket
    assert (record.ws_code, record.ws_reason, record.ws_closed_by) == (4000, r"do\nne", "remote")
    assert 0 < record.ws_duration < SOON
    assert (record.ws_messages_received, record.ws_messages_sent) == (3, 3)
    assert record.ws_bytes_sent > 3 * 7
    assert record.ws_bytes_received > 3 * 11
    text = record.getMessage()
    assert f"connection {record.ws_number} closed by the client with 4000 'do\\nne' after " in text
    assert "; received 3 messages, " in text
    assert "\n" not in text


def test_closing_by_the_server_is_told_from_that(caplog):
    with serving(lambda ws: ws.close(1000, "enough")) as server, connect(server.uri) as ws:
        assert ws.wait_closed(SOON)
        record = closing_record(caplog)
    assert (record.ws_code, record.ws_reason, record.ws_closed_by) == (1000, "enough", "local")
    assert "closed by us with 1000 'enough' after" in record.getMessage()


def test_a_connection_that_is_lost_is_told_with_its_cause(caplog):
    with serving() as server:
        with raw_client(server) as sock:
            sock.sendall(build_request())
            read_head(sock)
        record = closing_record(caplog)
    assert (record.ws_code, record.ws_reason, record.ws_closed_by) == (1006, "", None)
    assert " lost (the connection ended without a close frame) after " in record.getMessage()
    assert_no_traceback(caplog)


def test_a_connection_that_the_program_cuts_is_told(caplog):
    def handler(ws):
        ws.abort()
        ws.wait_closed(SOON)

    with serving(handler) as server, connect(server.uri) as ws:
        assert ws.wait_closed(SOON)
        record = closing_record(caplog)
    assert (record.ws_code, record.ws_closed_by) == (1006, None)


def test_who_answers_a_close_frame_did_not_close_first(caplog):
    with serving() as server:
        with raw_client(server) as sock:
            sock.sendall(build_request())
            read_head(sock)
            wait_until(lambda: server.connections)
            server.close(code=1012, timeout=0.1)
            read_all(sock)
        record = closing_record(caplog)
    assert (record.ws_code, record.ws_closed_by) == (1012, "local")


def test_fields_have_names_of_their_own():
    standard = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
    fields = {word.strip("`,") for word in records.__doc__.split() if word.startswith("``ws_")}
    assert len(fields) > 15
    assert not fields & standard


def test_every_field_is_documented(caplog):
    with serving(max_connections=1) as server:
        with connect(server.uri), raw_client(server) as sock:
            sock.sendall(build_request())
            read_all(sock)
        wait_until(lambda: not server._roster.running)
        for _ in range(2):
            with raw_client(server) as sock:
                sock.sendall(b"\0\r\n\r\n")
                read_all(sock)
    events = {"open", "close", "refusal", "refusals"}
    assert {getattr(record, "ws_event", None) for record in caplog.records} == events
    for record in caplog.records:
        for name in vars(record):
            assert not name.startswith("ws_") or f"``{name}``" in records.__doc__, name


def test_a_program_s_own_fields_stay(caplog):
    def handler(ws):
        ws.logger.warning("mine", extra={"user": 7})
        ws.logger.warning("plain")

    with serving(handler) as server, connect(server.uri) as ws:
        assert ws.wait_closed(SOON)
    mine, plain = [record for record in caplog.records if record.levelname == "WARNING"]
    assert mine.user == 7
    assert isinstance(mine.websocket, ServerConnection)
    assert plain.websocket is mine.websocket


def test_the_logger_may_be_an_adapter(caplog):
    adapter = logging.LoggerAdapter(logging.getLogger("mine"), {"shop": 1})
    with serving(logger=adapter) as server:
        assert_works(connect(server.uri))
    assert {record.shop for record in caplog.records} == {1}


def test_without_a_server_a_refusal_is_logged_too(caplog):
    import socket

    from syncws import InvalidHandshake

    left, right = socket.socketpair()
    with right:
        right.sendall(build_request(Upgrade=None))
        right.shutdown(socket.SHUT_WR)
        with pytest.raises(InvalidHandshake):
            ServerConnection(left, ServerProtocol()).handshake(SOON)
        left.close()
    (record,) = logged(caplog, "refusal")
    assert record.ws_refusal == "request"


# --- tracebacks: of the program's code, all; of what clients do, none ---


FRAMES = {
    "reserved bits": b"\xf1\x80\0\0\0\0",
    "unmasked": b"\x81\x01a",
    "not UTF-8": b"\x81\x81\0\0\0\0\xff",
    "too long": b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    "invalid close code": b"\x88\x82\0\0\0\0\x03\xed",
    "bad deflate": b"\xc1\x84\0\0\0\0\xff\xff\xff\xff",
    "continuation of nothing": b"\x80\x80\0\0\0\0",
    "half a frame": b"\x81\x85\0\0",
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("handler", ["iterates", "receives", "sleeps"])
def test_no_client_causes_a_traceback(caplog, name, handler):
    def receives(ws):
        while True:
            ws.recv()

    def sleeps(ws):
        ws.wait_closed(SOON)
        ws.send("too late")

    offer = {"Sec_WebSocket_Extensions": "permessage-deflate"}
    handlers = {"iterates": echo, "receives": receives, "sleeps": sleeps}
    with serving(handlers[handler], close_timeout=1) as server:
        with raw_client(server) as sock:
            sock.sendall(build_request(**offer))
            read_head(sock)
            sock.sendall(FRAMES[name])
        wait_until(lambda: not server._roster.running)
    assert len(logged(caplog, "close")) == 1
    assert_no_traceback(caplog)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000,
        b"GET /" + b"x" * 100_000,
        build_request(Sec_WebSocket_Key="short"),
        build_request(Sec_WebSocket_Extensions="permessage-deflate; server_max_window_bits=99"),
        build_request(Sec_WebSocket_Protocol="a, b"),
        build_request(Host="[::1"),
        build_request(Forwarded="for=;;;"),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_no_request_causes_a_traceback(caplog, data, tls):
    context = contexts()[0] if tls else None
    options = {"ssl": context, "hosts": ["localhost"], "trusted_proxies": ["127.0.0.1"]}
    with serving(subprotocols=["chat"], **options) as server:
        with raw_client(server) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(2 if data == b"" else 1)
            except OSError:
                pass
            read_all(sock)
        wait_until(lambda: sum(server.stats().refusals.values()) == 1)
    assert_no_traceback(caplog)


def test_what_a_handler_s_own_code_raises_is_never_hidden(caplog):
    def proxy(ws):
        with connect(upstream.uri) as other:
            ws.wait_closed(SOON)
            other.wait_closed(SOON)
            other.send("too late")  # its own is closed, too

    with serving(lambda ws: ws.close(4001)) as upstream, serving(proxy) as server:
        connect(server.uri).close()
        wait_until(lambda: not server._roster.running)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert isinstance(record.exc_info[1], ConnectionClosed)
    assert record.getMessage() == "connection handler failed"


def test_a_misuse_in_select_subprotocol_is_never_hidden(caplog):
    def select(ws, offered):
        ws.ensure_open()  # InvalidState

    with serving(select_subprotocol=select, subprotocols=["a"]) as server:
        with raw_client(server) as sock:
            sock.sendall(build_request(Sec_WebSocket_Protocol="a"))
            assert read_head(sock).startswith(b"HTTP/1.1 500 ")
        wait_until(lambda: not server._roster.running)
        assert server.stats().refusals == {"failure": 1}
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == "opening handshake failed"


@pytest.mark.parametrize(
    ("exc", "slow_peers", "level"),
    [
        (ZeroDivisionError("mine"), "close", "WARNING"),
        (ZeroDivisionError("mine"), "skip", "WARNING"),
        (SlowPeer(10, 5), "close", "WARNING"),
        (SlowPeer(10, 5), "skip", "DEBUG"),
    ],
)
def test_broadcasting_tells_defects_from_slow_peers(caplog, exc, slow_peers, level):
    def fail(*args):
        raise exc

    caplog.set_level("DEBUG")
    with serving() as server, connect(server.uri):
        wait_until(lambda: server.connections)
        (connection,) = server.connections
        connection._post_now = fail
        broadcast(server, "hello", slow_peers=slow_peers)
    (record,) = [each for each in caplog.records if "broadcasting" in each.getMessage()]
    assert record.levelname == level
    assert bool(record.exc_info) is isinstance(exc, ZeroDivisionError)


def test_a_slow_log_does_not_stop_the_others():
    class Slow(logging.Handler):
        def emit(self, record):
            if getattr(record, "ws_event", None) == "close" and not entered.is_set():
                entered.set()
                released.wait(SOON)

    entered, released = threading.Event(), threading.Event()
    logger = logging.getLogger("slow")
    logger.addHandler(Slow())
    assert issubclass(ServerConnection, Connection)
    with serving(logger=logger) as server:
        connect(server.uri).close()
        assert entered.wait(SOON)
        released.set()
        assert_works(connect(server.uri))


# --- what a client wrote ---

EVIL = "a\x80\x85\x9b31m\xe9"
FIELDS = (
    "Host",
    "Origin",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-Fetch-Site",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "Content-Length",
    "Transfer-Encoding",
    "Authorization",
    "User-Agent",
)


def is_safe(text):
    return not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", text
    )


@pytest.mark.parametrize("proxies", [None, ["127.0.0.1"]])
@pytest.mark.parametrize("name", FIELDS)
def test_control_characters_of_headers_are_logged_escaped(caplog, name, proxies):
    auth = basic_auth("x", ("me", "secret")) if name == "Authorization" else None
    headers = {"Origin": "http://other.example"} if name == "Sec-Fetch-Site" else {}
    headers[name] = EVIL
    data = build_request(**{key.replace("-", "_"): value for key, value in headers.items()})
    subprotocols, hosts = ["chat"], ["localhost", "127.0.0.1"]
    with (
        serving(
            process_request=auth, trusted_proxies=proxies, subprotocols=subprotocols, hosts=hosts
        ) as server,
        raw_client(server) as sock,
    ):
        sock.sendall(data)
        wait_until(lambda: logged(caplog, "refusal") or logged(caplog, "open"))
    assert is_safe(caplog.text)
    for record in caplog.records:
        assert is_safe(record.getMessage())


def test_control_characters_of_close_reasons_are_logged_escaped(caplog):
    reason = "a\n\x1b\x9b\u202e\u2028z"
    with serving() as server:
        with connect(server.uri) as ws:
            ws.close(4000, reason)
        record = closing_record(caplog)
    assert is_safe(record.getMessage())
    assert record.ws_reason == r"a\n\x1b\x9b\u202e\u2028z"


def test_control_characters_of_user_names_are_logged_escaped(caplog):
    auth = basic_auth("x", check_credentials=lambda name, password: True)
    with serving(process_request=auth) as server:
        connect(server.uri.replace("//", "//a%C2%9Bb:c@")).close()
        wait_until(lambda: logged(caplog, "open"))
    (record,) = logged(caplog, "open")
    assert record.ws_username == r"a\x9bb"
