"""Taking connections over, without a server: what is asked, refused and left behind."""

import contextlib
import os
import pickle
import socket
import threading

import pytest
from support.pairs import SOON, run, socket_pair, wait_until
from support.serving import echo, messages
from support.wsgi_requests import (
    KEY,
    Started,
    make_environ,
    refusal_of,
    request_pair,
    say_goodbye,
    taken,
)

from syncws import ConnectionClosed, InvalidHandshake, InvalidOrigin, Router
from syncws.exceptions import HeaderLineTooLong, InvalidState, ServerBusy
from syncws.integrations import takeover, wsgi
from syncws.integrations.takeover import sinks
from syncws.integrations.wsgi_roster import roster


@pytest.fixture
def pair(monkeypatch):
    with request_pair(monkeypatch) as ends:
        yield ends


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


def test_thread_that_is_to_end_while_it_closes_leaves_nothing_open(pair):
    class Interrupted(wsgi.WsgiConnection):
        def close(self, code=1000, reason=""):
            raise SystemExit

    gateway = wsgi.Gateway(create_connection=Interrupted, close_timeout=0.1)
    with taken(pair, gateway) as (ws, client):
        with pytest.raises(SystemExit):
            gateway.handle(ws, lambda ws: None)
        assert ws.wait_closed(0)
        assert client.recv(4) == b"\x88\x02\x03\xe9"
        assert len(roster) == 0


def test_no_descriptors_leave_the_connection_to_the_server(pair, monkeypatch):
    def fail():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(takeover.socket, "socketpair", fail)
    with pytest.raises(OSError, match="Too many"):
        wsgi.accept(make_environ(pair[1]))
    pair[1].sendall(b"HTTP/1.1 500 ")
    assert pair[0].recv(100) == b"HTTP/1.1 500 "
    assert len(roster) == 0


def test_failing_to_duplicate_leaves_the_connection_to_the_server(pair, monkeypatch):
    def fail(descriptor):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(takeover.os, "dup", fail)
    before = len(os.listdir("/proc/self/fd"))
    environ, started = make_environ(pair[1]), Started()
    with pytest.raises(OSError, match="Too many"):
        wsgi.accept(environ, started)
    assert len(os.listdir("/proc/self/fd")) == before
    assert started.status is None  # the program can answer


def test_start_response_that_fails_leaves_the_connection_to_the_server(pair):
    def start_response(status, headers):
        raise AssertionError("called before")

    environ = make_environ(pair[1])
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(AssertionError):
        wsgi.accept(environ, start_response)
    assert len(os.listdir("/proc/self/fd")) == before
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
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_forked_children_leave_connections_alone(pair):
    with taken(pair) as (ws, client):
        pid = os.fork()
        if pid == 0:
            os._exit(not (ws.closed and len(roster) == len(sinks) == 0))
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
    assert len(roster) == 0


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
        assert len(roster) == 1  # the thread is not to be had
        go_on.set()
        running.result()
        assert len(roster) == 0


# --- options ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_connections": 0}, ValueError),
        ({"max_connections": "all"}, ValueError),
        ({"max_connections": [1]}, TypeError),
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


def test_headers_may_be_limited_besides_by_the_server(pair):
    environ = make_environ(pair[1], HTTP_COOKIE="a" * 20_000)
    with pytest.raises(HeaderLineTooLong) as info:
        wsgi.Gateway(max_header_size=2**14).accept(environ)
    assert info.value.response.status_code == 431
    wsgi.Gateway(max_header_size=2**15).accept(environ).abort()


def test_a_server_s_headers_have_no_limit_of_ours(pair):
    ws = wsgi.Gateway().accept(make_environ(pair[1], HTTP_COOKIE="a" * 10**6))
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
