"""Taking connections over, without a server: what is asked, refused and left behind."""

import contextlib
import io
import logging
import os
import pickle
import socket
import threading

import pytest
from support.certificates import contexts
from support.pairs import SOON, run, socket_pair, wait_until
from support.serving import echo, messages
from support.wsgi_servers import running

from syncws import ClientConnection, ConnectionClosed, InvalidHandshake, InvalidOrigin, Router
from syncws.exceptions import InvalidState, ServerBusy
from syncws.integrations import takeover, wsgi, wsgi_connections, wsgi_servers
from syncws.integrations.takeover import sinks
from syncws.integrations.wsgi_connections import taken_over
from syncws.sansio.client_protocol import ClientProtocol
from syncws.sansio.uri import parse_uri
from syncws.threaded.transport import Transport

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Raw(io.RawIOBase):
    """A socket's bytes, for a reader that doesn't keep the socket open."""

    def __init__(self, sock):
        self._sock = sock

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._sock.recv_into(buffer)


def make_environ(sock, path="/", **changes):
    environ = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "localhost:80",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "wsgi.input": io.BytesIO(),
    }
    if sock is not None:
        environ["werkzeug.socket"] = sock
        environ["wsgi.input"] = io.BufferedReader(Raw(sock))
    environ.update(changes)
    return {key: value for key, value in environ.items() if value is not None}


class Started:
    """What start_response() was called with."""

    def __init__(self):
        self.status = self.headers = None

    def __call__(self, status, headers, exc_info=None):
        self.status, self.headers = status, headers
        return lambda data: None


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(wsgi_connections, "INTERVAL", 0.01)
    client, server = socket_pair()
    client.settimeout(SOON)
    with client, server:
        yield client, server
    wait_until(lambda: not (len(taken_over) or len(sinks)))  # nothing is left behind


@contextlib.contextmanager
def taken(pair, gateway=None, **changes):
    """A connection that was taken over, and the client's socket after the response."""
    client, server = pair
    ws = (gateway or wsgi.Gateway(compression=None)).accept(make_environ(server, **changes))
    response = b""
    while not response.endswith(b"\r\n\r\n"):
        response += client.recv(1)
    assert response.startswith(b"HTTP/1.1 101 ")
    try:
        yield ws, client
    finally:
        ws.abort()
        assert ws.wait_closed(SOON)


def say_goodbye(client, code=b""):
    """Answer a close frame, or send the first one; nothing comes after it."""
    client.sendall(b"\x88%c\0\0\0\0" % (0x80 + len(code)) + code)
    client.shutdown(socket.SHUT_WR)


def refusal_of(environ, **options):
    with pytest.raises(InvalidHandshake) as raised:
        wsgi.accept(environ, **options)
    return raised.value


# --- taking over -----------------------------------------------------------------


def test_server_has_a_connection_that_ended_and_its_own_descriptor(pair):
    client, server = pair
    number = server.fileno()
    with taken(pair) as (ws, _):
        assert server.fileno() == number
        assert server.recv(10) == b""
        server.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        ws.send("hello")
        assert client.recv(100) == b"\x81\x05hello"
        client.sendall(b"\x81\x82\0\0\0\0hi")
        assert ws.recv(SOON) == "hi"
    assert client.recv(1) == b""


def test_environ_and_addresses_are_the_request_s(pair):
    peer = pair[1].getpeername()
    with taken(pair, path="/a path", QUERY_STRING="x=ü", SCRIPT_NAME="/app") as (ws, _):
        assert ws.environ["PATH_INFO"] == "/a path"
        assert ws.path == "/app/a%20path?x=%FC"
        assert ws.remote_address == peer
        assert ws.server is None
        assert not ws.secure


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"RAW_URI": "/a%2Fb?c=d%20e"}, "/a%2Fb?c=d%20e"),
        ({"REQUEST_URI": "/a/b"}, "/a/b"),
        ({"RAW_URI": "http://localhost/x"}, "/"),
        ({"RAW_URI": "/\xe9"}, "/%E9"),
        ({"PATH_INFO": "", "RAW_URI": ""}, "/"),
    ],
)
def test_path_is_that_of_the_request_line_where_it_is_known(pair, given, path):
    with taken(pair, **given) as (ws, _):
        assert ws.path == path


def test_large_pages_after_a_connection_do_not_hang_the_server(pair):
    with taken(pair) as (ws, client):
        ws.abort()
        run(pair[1].sendall, bytes(5_000_000)).result()
        assert client.recv(1) == b""
        pair[1].close()


def test_programs_may_leave_a_connection_to_another_thread(pair):
    with taken(pair) as (ws, client):
        pair[1].close()  # the server has gone on
        thread = threading.Thread(target=echo, args=(ws,))
        thread.start()
        client.sendall(b"\x81\x82\0\0\0\0hi")
        assert client.recv(100) == b"\x81\x02hi"
        say_goodbye(client)
        assert client.recv(100) == b"\x88\0"
        thread.join(SOON)


def test_a_request_s_connection_is_taken_over_once(pair):
    with taken(pair) as (ws, _), pytest.raises(InvalidState, match="before"):
        wsgi.accept(ws.environ)


def test_client_that_is_gone_is_met_by_the_handler(pair):
    _, server = pair
    server.shutdown(socket.SHUT_RDWR)  # as after a reset: nothing can be written
    gateway = wsgi.Gateway()
    ws = gateway.accept(make_environ(server))
    gateway.handle(ws, echo)
    assert ws.close_code == 1006
    with pytest.raises(ConnectionClosed):
        ws.send("x")


def test_no_descriptors_leave_the_connection_to_the_server(pair, monkeypatch):
    def fail():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(takeover.socket, "socketpair", fail)
    with pytest.raises(OSError, match="Too many"):
        wsgi.accept(make_environ(pair[1]))
    pair[1].sendall(b"HTTP/1.1 500 ")
    assert pair[0].recv(100) == b"HTTP/1.1 500 "
    assert len(taken_over) == 0


def test_failing_to_duplicate_leaves_the_connection_to_the_server(pair, monkeypatch):
    def fail(descriptor):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(takeover.os, "dup", fail)
    before = len(os.listdir("/proc/self/fd"))
    environ = make_environ(pair[1])
    with pytest.raises(OSError, match="Too many"):
        wsgi.accept(environ)
    assert len(os.listdir("/proc/self/fd")) == before


def test_start_response_that_fails_leaves_the_connection_to_the_server(pair):
    def start_response(status, headers):
        raise AssertionError("called before")

    with pytest.raises(AssertionError):
        wsgi.accept(make_environ(pair[1]), start_response)
    pair[1].sendall(b"500")
    assert pair[0].recv(100) == b"500"


def test_where_descriptors_cannot_be_replaced_the_server_s_socket_is_shut_down(pair, monkeypatch):
    monkeypatch.setattr(takeover, "_CAN_REPLACE", False)  # as on Windows
    client, server = pair
    with taken(pair) as (ws, _):
        client.sendall(b"\x81\x82\0\0\0\0hi")
        assert ws.recv(SOON) == "hi"
        say_goodbye(client)
        assert ws.wait_closed(SOON)
    assert server.recv(1) == b""
    with pytest.raises(OSError, match="Broken pipe"):
        server.sendall(b"HTTP/1.1 101 ")


def test_sockets_put_there_by_tests_are_used_as_they_are():
    client, server = socket.socketpair()
    with client:
        client.settimeout(SOON)
        ws = wsgi.accept(make_environ(None, **{"syncws.socket": server}))
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        ws.abort()
        assert ws.wait_closed(SOON)
        assert server.fileno() == -1
        assert len(sinks) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_children_leave_connections_alone(pair):
    with taken(pair) as (ws, client):
        pid = os.fork()
        if pid == 0:
            os._exit(not (ws.closed and len(taken_over) == len(sinks) == 0))
        assert os.waitpid(pid, 0)[1] == 0
        ws.send("hello")
        assert client.recv(100) == b"\x81\x05hello"


# --- refusing --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"HTTP_ORIGIN": "https://elsewhere.example"}, 403),
        ({"HTTP_UPGRADE": None, "HTTP_CONNECTION": None}, 426),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, 426),
        ({"HTTP_SEC_WEBSOCKET_KEY": KEY + "," + KEY}, 400),
        ({"HTTP_HOST": None}, 400),
        ({"REQUEST_METHOD": "POST"}, 405),
        ({"CONTENT_LENGTH": "3"}, 400),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 400),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 505),
        ({"SERVER_PROTOCOL": "HTTP/2"}, 505),
        ({"HTTP_X_BAD": "a\x00b"}, 400),
    ],
)
def test_refusals_have_a_response_and_take_nothing(pair, caplog, changes, status):
    client, server = pair
    environ = make_environ(server, **changes)
    with caplog.at_level("INFO", "syncws.server"):
        exc = refusal_of(environ)
    assert exc.response.status_code == status
    assert b"Failed to open a WebSocket connection" in exc.response.body
    forbidden = {"connection", "upgrade", "date", "server"}
    assert not forbidden & {name.lower() for name in exc.response.headers}
    (record,) = [record for record in caplog.records if record.name == "syncws.server"]
    assert record.ws_event == "refusal"
    assert record.ws_status == status
    started = Started()
    assert wsgi.answer(exc, started) == [exc.response.body]
    assert started.status.startswith(str(status))
    server.sendall(b"as before")
    assert client.recv(100) == b"as before"
    assert len(taken_over) == 0


def test_exceptions_with_a_response_can_be_pickled(pair):
    exc = refusal_of(make_environ(pair[1], HTTP_ORIGIN="https://elsewhere.example"))
    assert isinstance(exc, InvalidOrigin)
    assert pickle.loads(pickle.dumps(exc)).response == exc.response


def test_an_exception_without_a_response_is_raised_by_answer():
    with pytest.raises(InvalidHandshake, match="not ours"):
        wsgi.answer(InvalidHandshake("not ours"), Started())


def test_failures_of_the_program_are_500_and_logged(pair, caplog):
    def select(ws, offered):
        raise ZeroDivisionError

    exc = refusal_of(make_environ(pair[1]), select_subprotocol=select)
    assert exc.response.status_code == 500
    assert messages(caplog, "ERROR") == ["opening handshake failed"]


def test_full_process_says_when_to_come_back(pair, caplog):
    caplog.set_level("INFO", "syncws.server")
    gateway = wsgi.Gateway(max_connections=1, compression=None)
    with taken(pair, gateway) as (ws, client):
        others = socket_pair()
        with others[0], others[1]:
            with pytest.raises(ServerBusy) as raised:
                gateway.accept(make_environ(others[1]))
            assert raised.value.response.status_code == 503
            assert raised.value.response.headers["Retry-After"] == "5"
            say_goodbye(client)
            assert ws.wait_closed(SOON)
            with taken(others, gateway):
                pass
    (record,) = [record for record in caplog.records if hasattr(record, "ws_refusal")]
    assert record.ws_refusal == "full"


def test_handler_that_runs_on_keeps_its_place(pair):
    gateway = wsgi.Gateway(max_connections=1, compression=None)
    go_on = threading.Event()

    def handler(ws):
        with contextlib.suppress(ConnectionClosed):
            ws.recv(SOON)
        assert go_on.wait(SOON)

    with taken(pair, gateway) as (ws, client):
        running = run(gateway.handle, ws, handler)
        wait_until(lambda: ws._handled)
        say_goodbye(client)
        assert ws.wait_closed(SOON)
        assert len(taken_over) == 1  # the thread is not to be had
        go_on.set()
        running.result()
        assert len(taken_over) == 0


# --- options ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_connections": 0}, ValueError),
        ({"max_connections": "all"}, ValueError),
        ({"idle_timeout": 0}, ValueError),
        ({"ping_interval": 0}, ValueError),
        ({"subprotocols": "chat"}, TypeError),
        ({"no_such_option": 1}, TypeError),
    ],
)
def test_wrong_options_are_errors_at_once(options, error):
    with pytest.raises(error):
        wsgi.Gateway(**options)
    with pytest.raises(error):
        wsgi.application(echo, **options)


def test_headers_that_cannot_be_sent_are_errors_before_anything_is_taken(pair):
    with pytest.raises(ValueError, match="header"):
        wsgi.Gateway().accept(make_environ(pair[1]), extra_headers=[("a", "b\r\nc: d")])
    pair[1].sendall(b"as before")
    assert pair[0].recv(100) == b"as before"


def test_response_has_the_headers_that_the_server_logs(pair):
    started = Started()
    gateway = wsgi.Gateway(extra_headers={"X-One": "1"}, server_header=None, subprotocols=["a"])
    environ = make_environ(pair[1], HTTP_SEC_WEBSOCKET_PROTOCOL="a")
    ws = gateway.accept(environ, started, extra_headers=[("X-Two", "2")])
    assert started.status == "101 Switching Protocols"
    assert dict(started.headers)["X-One"] == "1"
    assert dict(started.headers)["X-Two"] == "2"
    assert dict(started.headers)["Sec-WebSocket-Protocol"] == ws.subprotocol == "a"
    assert not {"Connection", "Upgrade", "Date", "Server"} & set(dict(started.headers))
    ws.abort()
    assert ws.wait_closed(SOON)


def test_idle_connections_are_closed(pair):
    with taken(pair, wsgi.Gateway(idle_timeout=0.2)) as (ws, client):
        assert client.recv(100) == b"\x88\x0e\x03\xe9idle timeout"
        say_goodbye(client)
        assert ws.wait_closed(SOON)


def test_connections_are_of_the_class_that_programs_ask_for(pair):
    class Mine(wsgi.WsgiConnection):
        pass

    with taken(pair, wsgi.Gateway(create_connection=Mine)) as (ws, _):
        assert type(ws) is Mine


def test_trusted_proxies_say_who_asks_what(pair):
    gateway = wsgi.Gateway(trusted_proxies=["127.0.0.1"])
    forwarded = {
        "HTTP_X_FORWARDED_FOR": "192.0.2.1",
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_FORWARDED_HOST": "example.com",
        "HTTP_ORIGIN": "https://example.com",
    }
    with taken(pair, gateway, **forwarded) as (ws, _):
        assert ws.remote_address == ("192.0.2.1", 0)
        assert ws.secure
        assert ws.requested_host == "example.com"


def test_https_by_the_environ_is_secure(pair):
    with taken(pair, **{"wsgi.url_scheme": "https"}) as (ws, _):
        assert ws.secure


# --- handlers --------------------------------------------------------------------


def client_of(sock, path="/"):
    protocol = ClientProtocol(parse_uri(f"ws://localhost{path}"))
    return ClientConnection(Transport(sock), protocol)


def serve_one(app, sock, path="/"):
    """Run an application for one request, whose client it returns first."""
    started = Started()
    body = app(make_environ(sock, path), started)
    return started.status, b"".join(body)


def test_application_calls_a_handler_and_logs_as_a_server_does(pair, caplog):
    client, server = pair
    app = wsgi.application(lambda ws, path: ws.send(path), compression=None)
    with caplog.at_level("INFO", "syncws.server"):
        running = run(serve_one, app, server, "/here")
        data = b""
        while not data.endswith(b"\x88\x02\x03\xe8"):
            data += client.recv(1000)
        say_goodbye(client, b"\x03\xe8")
        assert running.result() == ("101 Switching Protocols", b"")
    assert b"\x81\x05/here" in data
    events = [record.ws_event for record in caplog.records if hasattr(record, "ws_event")]
    assert events == ["open", "close"]


def test_application_looks_paths_up(pair):
    router = Router()
    router.route("/known/<name>")(lambda ws, name: ws.send(name))
    app = wsgi.application(router, compression=None)
    assert serve_one(app, pair[1], "/unknown")[0] == "404 Not Found"
    running = run(serve_one, app, pair[1], "/known/one")
    data = b""
    while not data.endswith(b"\x88\x02\x03\xe8"):
        data += pair[0].recv(1000)
    say_goodbye(pair[0], b"\x03\xe8")
    assert running.result()[0].startswith("101")
    assert b"\x81\x03one" in data


@pytest.mark.parametrize(
    ("exc", "code", "goes_on"),
    [
        (ZeroDivisionError(), 1011, False),
        (SystemExit(), 1001, True),
        (KeyboardInterrupt(), 1001, True),
        (GeneratorExit(), 1001, True),
        (ConnectionClosed(None, None), 1011, False),  # another connection's
    ],
)
def test_handlers_that_raise_say_so_to_the_client(pair, caplog, exc, code, goes_on):
    def handler(ws):
        raise exc

    gateway = wsgi.Gateway(compression=None, close_timeout=0.1)
    with taken(pair, gateway) as (ws, client):
        if goes_on:
            with pytest.raises(type(exc)):
                gateway.handle(ws, handler)
        else:
            gateway.handle(ws, handler)
        assert client.recv(100)[2:4] == code.to_bytes(2, "big")
        assert bool(messages(caplog, "ERROR")) is not goes_on


# --- servers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"uwsgi.version": b"2.0"}, "uWSGI can't hand over a connection"),
        ({"mod_wsgi.version": (5, 0)}, "mod_wsgi can't hand over a connection"),
        ({"waitress.client_disconnected": None}, "waitress can't hand over a connection"),
        ({"SERVER_SOFTWARE": "waitress"}, "waitress can't hand over a connection"),
        ({"SERVER_SOFTWARE": "other/1.0"}, r"this WSGI server \(other/1.0\) isn't known"),
        ({}, "this WSGI server isn't known"),
    ],
)
def test_servers_that_cannot_work_are_explained(environ, why):
    with pytest.raises(wsgi.UnsupportedServer, match=why) as raised:
        wsgi.accept({"wsgi.input": io.BytesIO(), **environ})
    assert "gthread" in str(raised.value)
    assert "syncws.serve()" in str(raised.value)


def test_waitress_is_told_from_the_others(tmp_path):
    pytest.importorskip("waitress")
    with running("waitress", tmp_path) as server:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        status, body = server.get("/unsupported", upgrade)
    assert status == 501
    assert b"waitress can't hand over a connection: its main thread" in body


@pytest.mark.parametrize("module", ["OpenSSL.SSL", "eventlet.greenio"])
def test_sockets_of_other_libraries_are_explained(module):
    attributes = {"__module__": module, "do_handshake": None} if "SSL" in module else {}
    sock = type("Socket", (), {"__module__": module, **attributes})()
    with pytest.raises(wsgi.UnsupportedServer, match="can't be taken over"):
        wsgi.accept({"gunicorn.socket": sock, "wsgi.input": io.BytesIO()})


def test_gevent_without_patched_threads_is_explained():
    sock = type("socket", (), {"__module__": "gevent._socket3"})()
    with pytest.raises(wsgi.UnsupportedServer, match=r"patch_all\(\) was not called"):
        wsgi.accept({"gunicorn.socket": sock, "wsgi.input": io.BytesIO()})


def test_gevent_that_patched_too_late_is_explained(monkeypatch):
    sock = type("socket", (), {"__module__": "gevent._socket3"})()
    lock = type("Lock", (), {"__module__": "gevent.thread"})
    monkeypatch.setattr(takeover.threading, "Lock", lock)
    with pytest.raises(wsgi.UnsupportedServer, match="imported before"):
        wsgi.accept({"gunicorn.socket": sock, "wsgi.input": io.BytesIO()})


def test_server_that_stops_refuses_with_503(pair, monkeypatch):
    found = wsgi_servers.Found(pair[1], lambda: b"", is_stopping=lambda: True)
    monkeypatch.setattr(wsgi, "find_server", lambda environ: found)
    exc = refusal_of(make_environ(pair[1]))
    assert exc.response.status_code == 503
    assert "shutting down" in str(exc)


def test_server_that_stops_closes_what_is_open(pair, monkeypatch):
    stopping = threading.Event()
    found = wsgi_servers.Found(pair[1], lambda: b"", is_stopping=stopping.is_set, grace=1)
    monkeypatch.setattr(wsgi, "find_server", lambda environ: found)
    with taken(pair) as (ws, client):
        stopping.set()
        assert client.recv(100) == b"\x88\x02\x03\xe9"
        assert ws.wait_closed(SOON)  # in half of the grace, as the client says nothing


@pytest.mark.parametrize(("threads", "limit"), [(None, None), (1, None), (2, 1), (8, 7)])
def test_pool_leaves_one_thread(threads, limit):
    found = wsgi_servers.Found(None, lambda: b"", threads=threads)
    assert wsgi.Gateway()._limit(found) == limit
    assert wsgi.Gateway(max_connections=None)._limit(found) is None
    assert wsgi.Gateway(max_connections=3)._limit(found) == 3


def test_what_users_should_know_is_said_once(pair, caplog, monkeypatch):
    found = wsgi_servers.Found(pair[1], lambda: b"", warning="beware")
    monkeypatch.setattr(wsgi, "find_server", lambda environ: found)
    monkeypatch.setattr(wsgi, "_warned", set())
    for _ in range(2):
        refusal_of(make_environ(pair[1], REQUEST_METHOD="POST"))
    assert messages(caplog, "WARNING") == ["beware"]
    assert logging.getLogger("syncws.server").name == "syncws.server"


# --- TLS -------------------------------------------------------------------------


def test_tls_is_taken_off_the_server_s_socket_at_the_end(pair):
    server_context, client_context = contexts()
    shaking = run(server_context.wrap_socket, pair[1], server_side=True)
    client = client_context.wrap_socket(pair[0], server_hostname="localhost")
    server = shaking.result()
    server.settimeout(5)
    number = server.fileno()
    with client, server:
        client.sendall(b"\x81\x82\0\0\0\0hi")
        environ = make_environ(server, **{"wsgi.url_scheme": "https"})
        ws = wsgi.Gateway(compression=None).accept(environ)
        assert ws.secure
        assert ws.recv(SOON) == "hi"
        client.sendall(b"\x88\x80\0\0\0\0")
        assert ws.wait_closed(SOON)
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        assert (server.fileno(), server.gettimeout()) == (number, 5)
        server.sendall(b"HTTP/1.1 101 ")
        assert server.recv(1) == b""


def test_server_that_closed_its_socket_before_the_end_keeps_its_descriptor(pair):
    server_context, client_context = contexts()
    shaking = run(server_context.wrap_socket, pair[1], server_side=True)
    with client_context.wrap_socket(pair[0], server_hostname="localhost"):
        server = shaking.result()
        ws = wsgi.accept(make_environ(server))
        number = server.fileno()
        server.shutdown(socket.SHUT_RDWR)
        server.close()  # though the connection is open, which is the program's mistake
        with socket.socket() as other:
            assert other.fileno() == number
            ws.abort()
            assert ws.wait_closed(SOON)
            assert other.getsockname()[0] == "0.0.0.0"
