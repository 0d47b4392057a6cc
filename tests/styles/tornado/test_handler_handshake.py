"""What a WebSocketHandler makes of the opening handshake: who may connect, and how."""

import logging
import re

import pytest
from support.handlers import Journal, Reporting, connected, listening
from support.pairs import SOON
from support.scripted import build_request, exchange, raw_client, read_head
from support.serving import messages

from syncws import ConnectionClosedError, InvalidStatus, basic_auth, connect
from syncws.styles import Application, Finish, HTTPError, WebSocketHandler


class Echo(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)


def status_of(server, request):
    return exchange(server, request)[0].split(" ", 1)[1]


def is_accepted(server, **headers):
    with raw_client(server) as sock:
        sock.sendall(build_request(**headers))
        return read_head(sock).startswith(b"HTTP/1.1 101 ")


# --- origins ---


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "https://localhost", "Host": "localhost:443"}, True),
        ({"Origin": "http://localhost:8000"}, False),
        ({"Origin": "https://elsewhere.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://elsewhere.example", "Sec_Fetch_Site": "same-origin"}, True),
        ({"Origin": "http://localhost", "Sec_Fetch_Site": "cross-site"}, False),
    ],
)
def test_pages_of_the_same_host_may_connect(headers, accepted):
    with listening([("/", Echo)]) as server:
        assert is_accepted(server, **headers) is accepted


def test_refused_origins_get_403_and_are_logged_and_counted(caplog):
    caplog.set_level(logging.INFO)
    with listening([("/", Echo)]) as server:
        status = status_of(server, build_request(Origin="https://elsewhere.example"))
        assert status == "403 Forbidden"
        assert server.stats().refusals == {"origin": 1}
    (message,) = messages(caplog)
    assert re.fullmatch(
        r"connection from \('127.0.0.1', \d+\) refused: "
        r"check_origin\(\) refuses https://elsewhere.example, which asks for localhost",
        message,
    )


def test_two_origins_are_refused():
    request = build_request(Origin="http://localhost").replace(
        b"Upgrade: ", b"Origin: http://localhost\r\nUpgrade: ", 1
    )
    with listening([("/", Echo)]) as server:
        assert status_of(server, request) == "403 Forbidden"


def test_check_origin_may_accept_all():
    class Handler(Echo):
        def check_origin(self, origin):
            return True

    with listening([("/", Handler)]) as server:
        assert is_accepted(server, Origin="https://elsewhere.example")


def test_check_origin_decides_about_the_same_host_too():
    class Handler(Echo):
        def check_origin(self, origin):
            return origin == "https://app.example"

    with listening([("/", Handler)]) as server:
        assert is_accepted(server, Origin="https://app.example")
        assert not is_accepted(server, Origin="http://localhost")


def test_check_trusted_origin_decides_about_other_hosts_only():
    class Handler(Echo):
        def check_trusted_origin(self, origin):
            asked.append(origin)
            return origin == "https://app.example"

    asked = []
    settings = {"trusted_origins": ["https://elsewhere.example"]}
    with listening(Application([("/", Handler)], **settings)) as server:
        assert is_accepted(server, Origin="https://app.example")
        assert is_accepted(server, Origin="http://localhost")
        assert not is_accepted(server, Origin="https://elsewhere.example")
    assert asked == ["https://app.example", "https://elsewhere.example"]


def test_all_headers_of_the_request_can_be_gone_through():
    class Handler(Echo):
        def prepare(self):
            found.extend(self.request.headers.get_all())

    found = []
    with listening([("/", Handler)]) as server:
        assert is_accepted(server, x_SOME_thing="1", X_Some_Thing="2")
    assert found[:2] == [("Host", "localhost"), ("Upgrade", "websocket")]
    assert found[-2:] == [("X-Some-Thing", "1"), ("X-Some-Thing", "2")]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("set_header", ("X-Color", "blue")),
        ("set_cookie", ("color", "blue")),
        ("clear_cookie", ("color",)),
        ("set_status", (201,)),
        ("redirect", ("/",)),
        ("write", ("text",)),
        ("finish", ()),
    ],
)
def test_what_is_for_the_answer_says_so_once_it_is_sent(name, args):
    class Handler(Echo):
        def open(self):
            try:
                getattr(self, name)(*args)
            except Exception as exc:
                self.write_message(type(exc).__name__)

    with connected(Handler) as ws:
        assert ws.recv(SOON) == "RuntimeError"


def test_trusted_origins_setting():
    settings = {"trusted_origins": ["https://app.example"]}
    with connected(Echo, settings=settings, origin="https://app.example") as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


@pytest.mark.parametrize(
    ("raised", "status", "logged"),
    [
        (HTTPError(401), "401 Unauthorized", False),
        (ZeroDivisionError(), "500 Internal Server Error", True),
    ],
)
def test_check_origin_that_raises(raised, status, logged, caplog):
    class Handler(Echo):
        def check_origin(self, origin):
            raise raised

    with listening([("/", Handler)]) as server:
        assert status_of(server, build_request(Origin="http://localhost")) == status
    assert ("ZeroDivisionError" in caplog.text) is logged


def test_check_origin_that_must_be_awaited_accepts_nobody(caplog):
    async def check():
        return True

    class Handler(Echo):
        def check_origin(self, origin):
            return check()

    with listening([("/", Handler)]) as server:
        status = status_of(server, build_request(Origin="https://elsewhere.example"))
        assert status == "500 Internal Server Error"
    assert "check_origin() returned something to await" in caplog.text


# --- refusing ---


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("POST", "405 Method Not Allowed"),
        ("HEAD", "405 Method Not Allowed"),
        ("DELETE", "405 Method Not Allowed"),
    ],
)
def test_other_methods(method, status):
    request = build_request(method=method)
    with listening([("/", Echo)]) as server:
        first, headers, _ = exchange(server, request)
    assert first.split(" ", 1)[1] == status
    assert headers["allow"] == "GET"


def test_plain_requests_are_told_to_upgrade():
    with listening([("/", Echo)]) as server:
        first, headers, body = exchange(server, build_request(Upgrade=None))
    assert first == "HTTP/1.1 426 Upgrade Required"
    assert headers["upgrade"] == "websocket"
    assert b"missing Upgrade header" in body


def refuse_by_error(handler):
    raise HTTPError(403, "no key for %s", "you")


def refuse_by_status(handler):
    handler.set_status(403)
    handler.finish("no key\n")


def refuse_by_finish(handler):
    handler.set_status(403)
    raise Finish


def refuse_by_send_error(handler):
    handler.send_error(403)


WAYS = [refuse_by_error, refuse_by_status, refuse_by_finish, refuse_by_send_error]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["prepare", "get"])
def test_refusing(way, method, caplog):
    class Handler(Reporting):
        pass

    setattr(Handler, method, lambda self, *args: way(self))
    journal = Journal()
    with listening([("/", Handler, {"journal": journal})]) as server:
        with pytest.raises(InvalidStatus) as info:
            connect(server.uri)
        assert info.value.response.status_code == 403
    assert journal.left() == []
    assert messages(caplog, "WARNING") == (
        ["GET /: HTTP 403: Forbidden (no key for you)"] if way is refuse_by_error else []
    )


def test_get_may_refuse_some_and_go_on_with_others():
    class Handler(WebSocketHandler):
        def get(self, name):
            if name == "eve":
                raise HTTPError(403)
            super().get(name, greeting="hello")

        def open(self, name, greeting):
            self.write_message(f"{greeting}, {name}")

    with listening([("/(.*)", Handler)]) as server:
        with connect(f"{server.uri}bob") as ws:
            assert ws.recv(SOON) == "hello, bob"
        with pytest.raises(InvalidStatus):
            connect(f"{server.uri}eve")


def test_get_that_fails_after_going_on(caplog):
    class Handler(Reporting):
        def get(self):
            super().get()
            raise ZeroDivisionError

    journal = Journal()
    with listening([("/", Handler, {"journal": journal})]) as server:
        with pytest.raises(InvalidStatus) as info:
            connect(server.uri)
        assert info.value.response.status_code == 500
    assert journal.left() == []
    assert "ZeroDivisionError" in caplog.text


def test_get_may_refuse_after_check_origin_did():
    class Handler(Echo):
        def get(self):
            super().get()
            raise HTTPError(401)

    with listening([("/", Handler)]) as server:
        request = build_request(Origin="https://elsewhere.example")
        assert status_of(server, request) == "403 Forbidden"


def test_redirecting():
    class Handler(Echo):
        def prepare(self):
            if self.request.path != "/new":
                self.redirect("/new", permanent=True)

    with listening([("/.*", Handler)]) as server, connect(f"{server.uri}old") as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


def test_initialize_that_fails(caplog):
    with listening([("/", Echo, {"database": 1})]) as server:
        with pytest.raises(InvalidStatus) as info:
            connect(server.uri)
        assert info.value.response.status_code == 500
    assert "Echo has no initialize() that takes database" in caplog.text


def test_process_request_of_the_server_comes_first():
    class Handler(WebSocketHandler):
        def open(self):
            self.write_message(self.request.connection.username)

    auth = basic_auth("", ("ann", "red"))
    with listening([("/", Handler)], process_request=auth) as server:
        assert status_of(server, build_request()) == "401 Unauthorized"
        with connect(server.uri.replace("://", "://ann:red@")) as ws:
            assert ws.recv(SOON) == "ann"


def test_current_user():
    asked = []

    class Handler(WebSocketHandler):
        def get_current_user(self):
            asked.append(self)
            return self.get_cookie("user")

        def prepare(self):
            if not self.current_user:
                raise HTTPError(401)

        def open(self):
            self.write_message(self.current_user)
            self.current_user = "somebody else"
            self.write_message(self.current_user)

    with listening([("/", Handler)]) as server:
        assert status_of(server, build_request()) == "401 Unauthorized"
        asked.clear()
        with connect(server.uri, additional_headers={"Cookie": "user=ann"}) as ws:
            assert [ws.recv(SOON), ws.recv(SOON)] == ["ann", "somebody else"]
    assert len(asked) == 1


# --- what is agreed on ---


class Choosing(Reporting):
    def select_subprotocol(self, subprotocols):
        self.journal.put(subprotocols)
        return subprotocols[-1] if subprotocols else None

    def open(self):
        self.journal.put(self.selected_subprotocol)


@pytest.mark.parametrize(("offered", "chosen"), [(["a", "b"], "b"), (["a"], "a"), (None, None)])
def test_select_subprotocol(offered, chosen):
    journal = Journal()
    with connected(Choosing, {"journal": journal}, subprotocols=offered) as ws:
        assert ws.subprotocol == chosen
        assert journal.next() == (offered or [])
        assert journal.next() == chosen


def test_no_subprotocol_by_default():
    with connected(Echo, subprotocols=["a"]) as ws:
        assert ws.subprotocol is None


def test_subprotocol_that_was_not_offered():
    class Handler(Echo):
        def select_subprotocol(self, subprotocols):
            return "other"

    with listening([("/", Handler)]) as server:
        assert status_of(server, build_request()) == "400 Bad Request"


def compressing(options):
    class Handler(Echo):
        def get_compression_options(self):
            return options

    return Handler


def test_no_compression_by_default():
    with connected(Echo) as ws:
        assert ws.extensions == []


@pytest.mark.parametrize("options", [{}, {"compression_level": 9, "mem_level": 3}])
def test_compression(options):
    with connected(compressing(options)) as ws:
        assert [extension.name for extension in ws.extensions] == ["permessage-deflate"]
        ws.send("hello " * 1000)
        assert ws.recv(SOON) == "hello " * 1000
        assert ws.stats.bytes_received < 1000


def test_compression_is_declined_by_clients_without():
    with connected(compressing({}), compression=None) as ws:
        assert ws.extensions == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"wbits": 9}, r"get_compression_options() has ['wbits']; it may have"),
        ({"compression_level": 10}, "level must be from -1 to 9"),
    ],
)
def test_wrong_compression_options(options, text, caplog):
    with listening([("/", compressing(options))]) as server:
        assert status_of(server, build_request()) == "500 Internal Server Error"
    assert text in caplog.text


def test_headers_that_a_handler_sets():
    class Handler(Echo):
        def set_default_headers(self):
            self.set_header("Server", "mine")

        def prepare(self):
            self.set_header("X-Number", 1)
            self.set_header("X-Number", 2)
            self.add_header("X-Several", "a")
            self.add_header("X-Several", b"b")
            self.set_header("Content-Type", "text/plain")
            self.set_header("Connection", "close")
            self.set_cookie("session", "a b", max_age=60, httponly=True)

    with connected(Handler) as ws:
        headers = ws.response_headers
        assert headers["X-Number"] == "2"
        assert headers.get_all("X-Several") == ["a", "b"]
        assert headers["Server"] == "mine"
        assert headers["Connection"] == "Upgrade"
        assert "Content-Type" not in headers
        assert headers["Set-Cookie"] == 'session="a b"; HttpOnly; Max-Age=60; Path=/'


# --- limits and times ---


def test_settings_of_times_and_sizes():
    class Handler(Reporting):
        def open(self):
            options = self.ws_connection.options
            size = self.ws_connection.protocol.max_size
            self.journal.put((options.ping_interval, options.ping_timeout, size))

    def options(**settings):
        journal = Journal()
        with connected(Handler, {"journal": journal}, settings=settings):
            return journal.next()

    assert options() == (20, 20, 10 * 2**20)
    assert options(websocket_ping_interval=5) == (5, 5, 10 * 2**20)
    assert options(websocket_ping_interval=5, websocket_ping_timeout=3)[:2] == (5, 3)
    assert options(websocket_ping_interval=5, websocket_ping_timeout=0)[:2] == (5, None)
    assert options(websocket_ping_interval=0)[:2] == (None, None)
    assert options(websocket_ping_interval=None)[:2] == (None, None)
    assert options(websocket_max_message_size=100)[2] == 100
    assert options(websocket_max_message_size=None)[2] is None


def test_messages_that_are_too_large():
    with connected(Echo, settings={"websocket_max_message_size": 10}) as ws:
        ws.send("x" * 10)
        assert ws.recv(SOON) == "x" * 10
        ws.send("x" * 11)
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert info.value.rcvd.code == 1009


def test_properties_may_be_overridden():
    class Handler(Reporting):
        ping_interval = 7
        max_message_size = 100

        def open(self):
            connection = self.ws_connection
            self.journal.put((connection.options.ping_interval, connection.protocol.max_size))

    journal = Journal()
    with connected(Handler, {"journal": journal}):
        assert journal.next() == (7, 100)


def test_full_servers_answer_plain_requests_and_refuse_sockets():
    with (
        listening([("/", Echo)], max_connections=1) as server,
        connect(server.uri) as ws,
    ):
        assert status_of(server, build_request()) == "503 Service Unavailable"
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
