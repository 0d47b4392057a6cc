"""The older names: what they are, and when the hooks of the older classes are called."""

import functools
import http
import socket
import subprocess
import sys
import threading

import pytest
from support.pairs import SOON, wait_until
from support.serving import assert_works, echo, messages, serving, the_connection

import syncws
from syncws import ConnectionClosed, InvalidStatus, ThreadingServer, connect, legacy, serve
from syncws.legacy import (
    BasicAuthWebSocketServerProtocol,
    WebSocketClientProtocol,
    WebSocketCommonProtocol,
    WebSocketServer,
    WebSocketServerProtocol,
    basic_auth_protocol_factory,
)


class Hooks:
    """Notes when hooks are called, on whichever class it is mixed in."""

    def __init__(self, *args, **kwargs):
        self.calls = []
        self.lost = threading.Event()
        super().__init__(*args, **kwargs)

    def connection_made(self):
        self.calls.append(("made", self.state.name))

    def connection_lost(self, exc):
        self.calls.append(("lost", type(exc)))
        self.lost.set()


class HookedClient(Hooks, WebSocketClientProtocol):
    pass


class HookedServer(Hooks, WebSocketServerProtocol):
    pass


NOBODY = type(None)


# --- names ---


@pytest.mark.parametrize("name", [name for name in legacy.__all__ if name not in syncws.__all__])
def test_older_names_are_attributes_of_the_package(name):
    if name in ("connect", "serve", "unix_connect", "unix_serve"):
        assert getattr(legacy, name) is not getattr(syncws, name)
    else:
        assert getattr(syncws, name) is getattr(legacy, name)
        assert name in dir(syncws)


def test_importing_the_package_loads_none_of_them():
    program = (
        "import sys, syncws; "
        "print([name for name in sys.modules if 'legacy' in name or 'styles' in name]); "
        "syncws.WebSocketServerProtocol; print('syncws.legacy' in sys.modules); "
        "print(syncws.styles.WebSocketApp is syncws.WebSocketApp)"
    )
    output = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, check=True, text=True
    ).stdout
    assert output.splitlines() == ["[]", "True", "True"]


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="module 'syncws' has no attribute 'nothing'"):
        syncws.nothing  # noqa: B018
    assert not hasattr(syncws, "get_event_loop")


def test_functions_are_where_older_programs_import_them_from():
    from syncws.client import connect as of_client
    from syncws.server import serve as of_server

    assert of_client is connect
    assert of_server is serve


def test_classes_are_the_real_ones_with_more_names():
    assert issubclass(WebSocketCommonProtocol, syncws.Connection)
    assert issubclass(WebSocketServerProtocol, syncws.ServerConnection)
    assert issubclass(WebSocketClientProtocol, syncws.ClientConnection)
    assert issubclass(WebSocketServer, ThreadingServer)


def test_every_server_is_one_by_its_older_name():
    class Own(WebSocketServer):
        pass

    with serving() as server:
        assert isinstance(server, WebSocketServer)
        assert not isinstance(server, Own)
    assert not isinstance(object(), WebSocketServer)


def test_a_listening_socket_is_wrapped():
    sock = socket.create_server(("127.0.0.1", 0))
    with WebSocketServer.wrap(sock, echo, ping_interval=None) as server:
        assert server.sockets == (sock,)
        assert_works(connect(server.uri))


# --- parameters ---


@pytest.mark.parametrize(("name", "hint"), [("loop", "threads"), ("legacy_recv", "recv")])
def test_what_means_nothing_is_refused_with_a_reason(name, hint):
    with pytest.raises(TypeError, match=f"{name}= has no meaning here: .*{hint}"):
        legacy.connect("ws://localhost/", **{name: object()})
    with pytest.raises(TypeError, match=f"{name}= has no meaning here: .*{hint}"):
        legacy.serve(echo, **{name: object()})


def test_older_parameters_are_taken(tmp_path):
    with legacy.serve(
        echo, "127.0.0.1", 0, timeout=3, klass=HookedServer, loop=None, legacy_recv=False
    ) as server:
        assert server.options.close_timeout == 3
        with legacy.connect(server.uri, timeout=4, klass=HookedClient) as ws:
            assert isinstance(ws, HookedClient)
            assert ws.options.close_timeout == 4
            theirs = the_connection(server)
            assert isinstance(theirs, HookedServer)
        with legacy.connect(server.uri, timeout=None) as ws:
            assert ws.options.close_timeout == 10


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_older_parameters_are_taken_for_unix_sockets(tmp_path):
    path = tmp_path / "socket"
    with legacy.unix_serve(echo, path, timeout=3) as server:
        assert server.options.close_timeout == 3
        with legacy.unix_connect(path, timeout=4) as ws:
            assert ws.options.close_timeout == 4
            ws.send("hello")
            assert ws.recv(SOON) == "hello"


def test_the_handler_may_go_by_its_older_name():
    with legacy.serve(ws_handler=echo, host="127.0.0.1", port=0) as server:
        assert_works(connect(server.uri))
    with pytest.raises(TypeError, match="a handler is a function, not None"):
        legacy.serve(host="127.0.0.1")


def test_a_parameter_by_both_names_is_refused():
    with pytest.raises(TypeError, match="timeout= is an older name of close_timeout="):
        legacy.connect("ws://localhost/", timeout=1, close_timeout=1)


def test_a_class_may_have_limits_of_its_own():
    create = functools.partial(
        WebSocketClientProtocol, timeout=2, ping_interval=None, host="a", port=1, secure=False
    )
    with serving() as server, connect(server.uri, create_protocol=create, ping_timeout=3) as ws:
        assert ws.options.close_timeout == 2
        assert ws.options.ping_interval is None
        assert ws.options.ping_timeout == 3
        assert (ws.host, ws.port) == ("a", 1)
        assert_works(ws)


# --- older attributes ---


def test_host_and_port_are_those_of_the_uri_or_the_server():
    with serving(create_protocol=WebSocketServerProtocol) as server:
        port = server.port
        with connect(f"ws://localhost:{port}/", create_protocol=WebSocketClientProtocol) as ws:
            assert (ws.host, ws.port) == ("localhost", port)
            theirs = the_connection(server)
            assert (theirs.host, theirs.port) == ("127.0.0.1", port)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_a_unix_socket_has_neither(tmp_path):
    path = tmp_path / "socket"
    server = legacy.unix_serve(echo, path, create_protocol=WebSocketServerProtocol)
    with server, syncws.unix_connect(path):
        theirs = the_connection(server)
        assert (theirs.host, theirs.port) == (None, None)


def test_failing_sends_no_close_frame_unless_there_is_a_code():
    with serving(create_protocol=WebSocketServerProtocol) as server:
        for arguments, code in (((), 1006), ((1011, "broken"), 1011)):
            with connect(server.uri) as ws:
                theirs = the_connection(server)
                theirs.fail_connection(*arguments)
                with pytest.raises(ConnectionClosed):
                    ws.recv(SOON)
                assert ws.close_code == code
                assert theirs.wait_closed(SOON)
                assert isinstance(theirs.connection_closed_exc(), ConnectionClosed)
            wait_until(lambda: not server.connections)


# --- hooks ---


def test_hooks_are_called_once_before_opening_and_after_closing():
    with serving(create_protocol=HookedServer) as server:
        with connect(server.uri, create_protocol=HookedClient) as ws:
            theirs = the_connection(server)
            assert_works(ws)
        for connection in (ws, theirs):
            assert connection.lost.wait(SOON)
            assert connection.calls == [("made", "CONNECTING"), ("lost", NOBODY)]


def test_the_hook_says_why_the_connection_broke():
    with serving(create_protocol=HookedServer) as server:
        ws = connect(server.uri, create_protocol=HookedClient)
        theirs = the_connection(server)
        theirs._transport.sock.shutdown(socket.SHUT_RDWR)
        assert ws.lost.wait(SOON)
        assert ws.calls[1] == ("lost", EOFError) or issubclass(ws.calls[1][1], OSError)


def test_the_hooks_are_called_for_connections_that_were_refused():
    made = []

    def create(*args, **kwargs):
        made.append(HookedClient(*args, **kwargs))
        return made[0]

    def refuse(ws, request):
        return ws.respond(403)

    with serving(create_protocol=HookedServer, process_request=refuse) as server:
        with pytest.raises(InvalidStatus):
            connect(server.uri, create_protocol=create)
        assert [call[0] for call in made[0].calls] == ["made", "lost"]


def test_what_connection_made_raises_fails_the_opening_handshake(caplog):
    class Refusing(HookedServer):
        def connection_made(self):
            super().connection_made()
            raise ZeroDivisionError("mine")

    class RefusingClient(HookedClient):
        def connection_made(self):
            raise ZeroDivisionError("mine")

    with serving(create_protocol=Refusing) as server:
        with pytest.raises((syncws.InvalidHandshake, OSError)):
            connect(server.uri)
        wait_until(lambda: not server._roster.running)
    assert any(record.exc_info for record in caplog.records)  # the program's own: not hidden
    with serving() as server, pytest.raises(ZeroDivisionError):
        connect(server.uri, create_protocol=RefusingClient)


def test_what_connection_lost_raises_is_logged(caplog):
    class Failing(WebSocketClientProtocol):
        def connection_lost(self, exc):
            raise ZeroDivisionError("mine")

    with serving() as server:
        assert_works(connect(server.uri, create_protocol=Failing))
    wait_until(lambda: "connection_lost() failed" in messages(caplog, "ERROR"))


def test_select_subprotocol_may_be_overridden():
    asked = []

    class Choosy(WebSocketServerProtocol):
        def select_subprotocol(self, client_subprotocols, server_subprotocols):
            asked.append((client_subprotocols, server_subprotocols))
            first = super().select_subprotocol(client_subprotocols, server_subprotocols)
            return None if first is None else server_subprotocols[-1]

    with serving(create_protocol=Choosy, subprotocols=["a", "b"]) as server:
        for offered, chosen in [(["c", "b", "a"], "b"), (["c"], None), (None, None)]:
            with connect(server.uri, subprotocols=offered) as ws:
                assert ws.subprotocol == chosen
    assert asked == [(["c", "b", "a"], ["a", "b"]), (["c"], ["a", "b"])]


# --- process_request in its older form ---


class Answering(WebSocketServerProtocol):
    def process_request(self, path, request_headers):
        if path == "/health":
            return http.HTTPStatus.OK, [("X-Agent", request_headers["User-Agent"])], b"fine\n"
        if path == "/short":
            return 418, {}
        return super().process_request(path, request_headers)


@pytest.mark.parametrize(
    ("path", "status", "body"), [("health", 200, b"fine\n"), ("short", 418, b"")]
)
def test_a_subclass_answers_with_status_headers_and_body(path, status, body):
    with serving(create_protocol=Answering) as server:
        with pytest.raises(InvalidStatus) as caught:
            connect(server.uri + path, user_agent_header="tester")
        response = caught.value.response
        assert (response.status_code, response.body) == (status, body)
        assert response.headers.get("X-Agent") == ("tester" if path == "health" else None)
        assert_works(connect(server.uri))


def test_a_subclass_may_leave_it_to_the_server():
    asked = []

    def process_request(path, request_headers):
        asked.append((path, request_headers["Host"]))
        return (404, {}, b"nothing here\n") if path == "/missing" else None

    with serving(create_protocol=Answering, process_request=process_request) as server:
        assert_works(connect(server.uri + "room"))
        with pytest.raises(InvalidStatus) as caught:
            connect(server.uri + "missing")
        assert caught.value.response.body == b"nothing here\n"
    assert asked == [(path, f"127.0.0.1:{server.port}") for path in ("/room", "/missing")]


def test_an_older_function_may_be_one_of_several():
    def older(path, headers):
        return (404, {}) if path == "/missing" else None

    def newer(ws, request):
        return ws.respond(403) if request.path == "/forbidden" else None

    with serving(process_request=[older, newer]) as server:
        for path, status in (("missing", 404), ("forbidden", 403)):
            with pytest.raises(InvalidStatus) as caught:
                connect(server.uri + path)
            assert caught.value.status_code == status
        assert_works(connect(server.uri))


def test_a_wrong_answer_is_an_error_of_the_program(caplog):
    with serving(process_request=lambda path, headers: (200,)) as server:
        with pytest.raises(InvalidStatus) as caught:
            connect(server.uri)
        assert caught.value.status_code == 500
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "process_request returns a Response or None" in str(record.exc_info[1])


# --- Basic authentication ---


def credentials_work(server, right="ada:secret", wrong="ada:wrong"):
    """Whether a server lets in who has the right ones only; the greeting it gives."""
    for who in ("", f"{wrong}@"):
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://{who}127.0.0.1:{server.port}/")
        assert caught.value.status_code == 401
        assert 'realm="chat"' in caught.value.headers["WWW-Authenticate"]
    with connect(f"ws://{right}@127.0.0.1:{server.port}/") as ws:
        return ws.recv(SOON)


def greet(ws):
    ws.send(f"hello {ws.username}")


FACTORIES = [
    basic_auth_protocol_factory("chat", ("ada", "secret")),
    basic_auth_protocol_factory(realm="chat", credentials=[("ada", "secret"), ("bob", "x")]),
    basic_auth_protocol_factory("chat", check_credentials=lambda *pair: pair == ("ada", "secret")),
]


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_factory_is_good_for_create_protocol(factory):
    with serving(greet, create_protocol=factory) as server:
        assert credentials_work(server) == "hello ada"


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_factory_is_good_for_process_request(factory):
    with serving(greet, process_request=factory) as server:
        assert credentials_work(server) == "hello ada"


def test_the_factory_is_good_for_both():
    factory = FACTORIES[0]
    with serving(greet, create_protocol=factory, process_request=factory) as server:
        assert credentials_work(server) == "hello ada"


def test_a_factory_makes_the_subclass_that_it_is_given():
    class Own(BasicAuthWebSocketServerProtocol):
        def process_request(self, path, request_headers):
            refusal = super().process_request(path, request_headers)
            return refusal or ((404, {}) if path == "/missing" else None)

    factory = basic_auth_protocol_factory("chat", ("ada", "secret"), create_protocol=Own)
    with serving(greet, create_protocol=factory) as server:
        assert credentials_work(server) == "hello ada"
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://ada:secret@127.0.0.1:{server.port}/missing")
        assert caught.value.status_code == 404


def test_a_subclass_may_check_by_itself():
    class Own(BasicAuthWebSocketServerProtocol):
        realm = "chat"

        def check_credentials(self, username, password):
            return (username, password) == ("ada", "secret")

    with serving(greet, create_protocol=Own) as server:
        assert credentials_work(server) == "hello ada"


def test_nobody_gets_in_where_nobody_says_who_may():
    with serving(create_protocol=BasicAuthWebSocketServerProtocol) as server:
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://ada:secret@127.0.0.1:{server.port}/")
        assert caught.value.status_code == 401


def test_other_classes_are_refused():
    with pytest.raises(TypeError, match=r"is a subclass of BasicAuth.*, not WebSocketServerProtoc"):
        basic_auth_protocol_factory("", ("a", "b"), create_protocol=WebSocketServerProtocol)
    with pytest.raises(ValueError, match="either credentials= or check_credentials="):
        basic_auth_protocol_factory("chat")
