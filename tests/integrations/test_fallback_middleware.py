"""FallbackMiddleware: which requests are its own, what it makes of them, and when it ends."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading

import pytest
from support.fallback_serving import call, code, make_environ, opening, serving
from support.fallback_user import Refused, ask, new_nonce, open_by_hand, session
from support.pairs import SOON, wait_until
from support.wsgi_requests import Started

from syncws import ConnectionClosed, Fallback, broadcast
from syncws.integrations import wsgi, wsgi_fallback
from syncws.integrations.wsgi_roster import roster
from syncws.pubsub import Hub
from syncws.server import fallback_desk


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Sessions are cut at a test's end."""
    monkeypatch.setattr(wsgi_fallback, "LAST_WORDS", 0.1)


def echo(ws):
    for message in ws:
        ws.send(message)


def page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]


# --- which requests are whose -----------------------------------------------------


def test_other_requests_are_the_application_s():
    app = wsgi.FallbackMiddleware(page)
    for method in ("GET", "POST", "OPTIONS", "PUT"):
        assert call(app, make_environ(method))[2] == f"{method} /x".encode()
    asked = {"HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "content-type"}
    assert call(app, make_environ("OPTIONS", **asked))[2] == b"OPTIONS /x"
    assert app._reactor is None  # it has started nothing


def test_without_fallback_all_are():
    app = wsgi.FallbackMiddleware(page, False)
    assert call(app, opening())[2] == b"POST /x"
    assert call(app, make_environ(path="/syncws.js"))[2] == b"GET /syncws.js"


def test_the_script_has_its_path(monkeypatch):
    monkeypatch.setattr(fallback_desk, "_read_script", lambda: (b"script", '"tag"'))
    app = wsgi.FallbackMiddleware(page)
    status, headers, body = call(app, make_environ(path="/syncws.js"))
    assert (status, body) == ("200 OK", b"script")
    assert headers["Content-Type"].startswith("text/javascript")
    status, headers, body = call(app, make_environ("HEAD", path="/syncws.js"))
    assert (status, body, headers["Content-Length"]) == ("200 OK", b"", "6")
    known = {"HTTP_IF_NONE_MATCH": '"tag"'}
    assert call(app, make_environ(path="/syncws.js", **known))[0] == "304 Not Modified"
    assert call(app, make_environ("POST", path="/syncws.js"))[2] == b"POST /syncws.js"
    elsewhere = wsgi.FallbackMiddleware(page, Fallback(script="/static/ws.js"))
    assert call(elsewhere, make_environ(path="/static/ws.js"))[2] == b"script"
    nowhere = wsgi.FallbackMiddleware(page, Fallback(script=None))
    assert call(nowhere, make_environ(path="/syncws.js"))[2] == b"GET /syncws.js"


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_the_arguments_are_checked(wrong):
    with pytest.raises(TypeError, match="fallback is True, False or"):
        wsgi.FallbackMiddleware(page, wrong)
    with pytest.raises(TypeError, match="application is a WSGI application"):
        wsgi.FallbackMiddleware(wrong)
    with pytest.raises(TypeError, match="trusted_proxies"):
        wsgi.application(echo, fallback=True, trusted_proxies="127.0.0.1")


def test_a_server_with_a_process_for_each_request_has_no_sessions():
    app = wsgi.FallbackMiddleware(page)
    status, _, body = call(app, opening(**{"wsgi.run_once": True}))
    assert status.startswith("501 ")
    assert code(body) == "refused"
    assert app._reactor is None


# --- bodies -----------------------------------------------------------------------


class Broken:
    def read(self, size):
        raise OSError("the client is gone")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"CONTENT_LENGTH": "-1"}, "invalid Content-Length"),
        ({"CONTENT_LENGTH": "1e3"}, "invalid Content-Length"),
        ({"CONTENT_LENGTH": "5", "wsgi.input": io.BytesIO(b"four")}, "shorter"),
        ({"CONTENT_LENGTH": "5", "wsgi.input": Broken()}, "the client is gone"),
        ({"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}, "no chunked bodies"),
    ],
)
def test_a_body_that_can_t_be_read_is_refused(changes, told):
    app = wsgi.FallbackMiddleware(page)
    status, headers, body = call(app, {**opening(), **changes})
    assert status == "400 Bad Request"
    assert code(body) == "bad_request"
    assert told in json.loads(body)["error"]["message"]
    assert headers["Cache-Control"] == "no-store, no-transform"


def test_a_body_that_is_too_large_is_read_in_part():
    app = wsgi.FallbackMiddleware(page)
    for size, left in ((2**18 + 1, 0), (2**22, 2**22 - 2**18 - 2**20)):
        environ = {**opening(), "CONTENT_LENGTH": str(size), "wsgi.input": io.BytesIO(bytes(size))}
        status, _, body = call(app, environ)
        assert status.startswith("413 ")
        assert code(body) == "too_large"
        assert abs(len(environ["wsgi.input"].read()) - left) <= 2**16
    app.close()


def test_a_server_s_headers_are_those_of_http():
    app = wsgi.FallbackMiddleware(page)
    status, _, body = call(app, opening(HTTP_COOKIE="a\nb"))
    assert status == "400 Bad Request"
    assert code(body) == "bad_request"


# --- who asks ---------------------------------------------------------------------


def judge(app, **changes):
    """Open a session that the application refuses, and return what it has seen."""
    seen = {}

    def application(environ, start_response):
        seen.update(environ)
        return page(environ, start_response)

    middleware = wsgi.FallbackMiddleware(application)
    try:
        _, _, body = call(middleware, opening(**changes))
    finally:
        middleware.close()
    assert code(body) == "refused"
    return seen


def test_the_application_sees_an_upgrade_of_the_same_client():
    seen = judge(
        page,
        SCRIPT_NAME="/mounted",
        QUERY_STRING="a=b",
        REMOTE_USER="ann",
        HTTP_AUTHORIZATION="Basic eDp5",
        HTTP_COOKIE="c=d",
        HTTP_ACCEPT="text/event-stream",
        HTTP_SYNCWS_PROTOCOL="chat",
        **{"wsgi.url_scheme": "https", "werkzeug.socket": object(), "mine": 1},
    )
    expected = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "/mounted",
        "PATH_INFO": "/x",
        "QUERY_STRING": "a=b",
        "REMOTE_USER": "ann",
        "REMOTE_ADDR": "192.0.2.1",
        "HTTP_AUTHORIZATION": "Basic eDp5",
        "HTTP_COOKIE": "c=d",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_PROTOCOL": "chat",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "wsgi.url_scheme": "https",
        "mine": 1,
    }
    assert {key: seen.get(key) for key in expected} == expected
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_ACCEPT", "werkzeug.socket"):
        assert key not in seen
    assert not [key for key in seen if key.startswith("HTTP_SYNCWS_")]


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1234"}, ("192.0.2.1", 1234)),
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "None"}, ("192.0.2.1", 0)),
        ({"REMOTE_ADDR": "2001:db8::1", "REMOTE_PORT": "1"}, ("2001:db8::1", 1, 0, 0)),
        ({"REMOTE_ADDR": ""}, ""),
        ({"REMOTE_ADDR": None}, ""),
    ],
)
def test_the_connection_has_the_client_s_address(told, address):
    seen = []
    app = wsgi.application(lambda ws: seen.append((ws.remote_address, ws.secure)), fallback=True)
    status, _, _ = call(app, opening(**told, **{"wsgi.url_scheme": "https"}))
    assert status == "200 OK"
    wait_until(lambda: seen)
    assert seen == [(address, True)]
    app.close()


@pytest.mark.parametrize(
    ("proxies", "changes", "limited"),
    [
        (None, {}, True),
        (None, {"REMOTE_ADDR": "127.0.0.1"}, False),
        (None, {"REMOTE_ADDR": "::1"}, False),
        (None, {"REMOTE_ADDR": ""}, False),
        (["192.0.2.0/24"], {}, True),
        (["192.0.2.0/24"], {"HTTP_X_FORWARDED_FOR": "198.51.100.1"}, True),
        (["192.0.2.0/24"], {"HTTP_X_FORWARDED_FOR": "unknown"}, False),
    ],
)
def test_one_address_has_so_many_sessions(proxies, changes, limited):
    app = wsgi.application(
        echo, fallback=Fallback(max_sessions_per_address=1), trusted_proxies=proxies
    )
    answers = [call(app, opening(**changes)) for _ in range(2)]
    app.close()
    assert answers[0][0] == "200 OK"
    assert answers[1][0].split()[0] == ("429" if limited else "200")


# --- sessions ---------------------------------------------------------------------


def test_the_transport_has_a_name_and_is_the_session_s():
    seen = []

    def handler(ws):
        for message in ws:
            seen.append((ws.transport, message))

    app = wsgi.application(handler, fallback=True)
    with serving(app) as port, session(port, stream=True) as client:
        wait_until(lambda: client._position == 0 and roster._waiting == 1)
        client.ws.send("hello")
        wait_until(lambda: seen)
        client.ws.close()
    assert seen == [("streaming", "hello")]


def test_a_client_that_vanishes_is_gone_with_1006():
    codes = []

    def handler(ws):
        ws.wait_closed(SOON)
        codes.append(ws.close_code)

    app = wsgi.application(handler, fallback=Fallback(session_timeout=1))
    with serving(app) as port:
        for stream in (False, True):
            with session(port, stream=stream, wait=1) as client:
                wait_until(lambda: roster._waiting == 1)
                client.vanish()
                wait_until(lambda: len(roster) == 0)
        wait_until(lambda: codes == [1006, 1006])
        wait_until(lambda: roster._waiting == 0)


def test_rooms_and_broadcasts_reach_all_transports():
    def chat(ws):
        room = hub.room("lobby")
        room.add(ws)
        ws.send("welcome")
        for message in ws:
            broadcast(room, message)

    with Hub() as hub, contextlib.ExitStack() as stack:
        app = wsgi.application(chat, hub=hub, fallback=True)
        port = stack.enter_context(serving(app))
        clients = [
            stack.enter_context(session(port, stream=bool(number % 2))) for number in range(4)
        ]
        for client in clients:
            assert client.ws.recv(SOON) == "welcome"
        for number, client in enumerate(clients):
            client.ws.send(str(number))
            for each in clients:
                assert each.ws.recv(SOON) == str(number)


def test_connections_of_the_fallback_count_but_take_no_thread_of_the_pool():
    app = wsgi.application(echo, max_connections=2, fallback=True)
    with serving(app) as port:
        with session(port) as one, session(port) as two:
            with pytest.raises(Refused) as raised:
                open_by_hand(port)
            assert (raised.value.status, raised.value.error["code"]) == (503, "refused")
            assert raised.value.headers["Retry-After"]
            assert len(roster) == 2
            wait_until(lambda: roster._threads == 2)  # the two requests that wait
            one.ws.close()
            two.ws.close()
        wait_until(lambda: len(roster) == 0)


def test_close_cuts_sessions_and_refuses_others():
    app = wsgi.application(echo, fallback=True)
    with serving(app) as port, session(port) as client:
        client.ws.send("hello")
        assert client.ws.recv(SOON) == "hello"
        app.close()
        with pytest.raises(ConnectionClosed):
            client.ws.recv(SOON)
        assert client.ws.close_code == 1006
        with pytest.raises(Refused) as raised:
            open_by_hand(port)
        assert (raised.value.status, raised.value.error["code"]) == (503, "busy")
        app.close()


def test_close_waits_for_clients_that_read_what_there_is(monkeypatch):
    monkeypatch.setattr(wsgi_fallback, "LAST_WORDS", SOON)
    closing = threading.Event()

    def handler(ws):
        closing.wait(SOON)
        ws.send("goodbye")

    app = wsgi.application(handler, fallback=True)
    with serving(app) as port, session(port) as client:
        thread = threading.Thread(target=app.close)
        thread.start()
        closing.set()
        assert client.ws.recv(SOON) == "goodbye"
        client.ws.wait_closed(SOON)
        assert client.ws.close_code == 1000
        thread.join(SOON)
        assert not thread.is_alive()


def test_close_without_sessions_is_nothing():
    app = wsgi.FallbackMiddleware(page)
    app.close()
    assert call(app, make_environ())[2] == b"GET /x"


def test_without_descriptors_or_threads_it_is_busy(monkeypatch):
    app = wsgi.FallbackMiddleware(page)

    def fail(*_):
        raise OSError("no descriptor is available")

    monkeypatch.setattr(wsgi_fallback.Reactor, "call", fail)
    status, headers, body = call(app, opening(HTTP_ORIGIN="https://a.example"))
    assert status.startswith("503 ")
    assert code(body) == "busy"
    assert headers["Retry-After"]
    assert headers["Access-Control-Allow-Origin"] == "https://a.example"
    app.close()


def test_a_session_needs_a_thread(monkeypatch):
    app = wsgi.application(echo, fallback=True)

    def fail(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(wsgi_fallback.SessionCall, "start", fail)
    status, _, body = call(app, opening())
    app.close()
    assert status.startswith("503 ")
    assert code(body) == "busy"


def test_no_thread_waits_forever(monkeypatch):
    app = wsgi.application(echo, fallback=True)
    monkeypatch.setattr(wsgi_fallback, "LIMIT", 0.01)
    monkeypatch.setattr(wsgi_fallback.Sessions, "handle", lambda *_: None)  # answers nothing
    status, _, body = call(app, opening())
    app.close()
    assert status.startswith("503 ")
    assert code(body) == "busy"
    assert roster._waiting == 0


def test_a_server_that_wants_no_more_of_a_stream_lets_its_thread_go():
    app = wsgi.application(echo, fallback=True)
    _, _, body = call(app, opening())
    name = json.loads(body)["session"]
    asking = make_environ(
        HTTP_SYNCWS_SESSION=name, HTTP_SYNCWS_ACK="0", HTTP_ACCEPT="text/event-stream"
    )
    started = Started()
    stream = app(asking, started)
    assert dict(started.headers)["Content-Type"] == "text/event-stream"
    assert next(iter(stream)) == b"event: open\ndata: 0\n\n"
    assert roster._waiting == 1
    stream.close()
    stream.close()
    assert roster._waiting == 0
    wait_until(lambda: app._sessions._sessions[name]._get is None)
    app.close()


def test_a_server_that_can_t_start_a_response_has_no_request_left():
    app = wsgi.application(echo, fallback=True)
    _, _, body = call(app, opening())
    name = json.loads(body)["session"]
    asking = make_environ(
        HTTP_SYNCWS_SESSION=name, HTTP_SYNCWS_ACK="0", HTTP_ACCEPT="text/event-stream"
    )

    def start_response(status, headers, exc_info=None):
        raise OSError("the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        app(asking, start_response)
    assert roster._waiting == 0
    wait_until(lambda: app._sessions._sessions[name]._get is None)
    app.close()


def test_old_clients_get_the_fallback_by_http_1_0():
    app = wsgi.application(echo, fallback=True)
    with serving(app) as port, socket.create_connection(("127.0.0.1", port), SOON) as sock:
        sock.sendall(
            b"POST / HTTP/1.0\r\nHost: localhost\r\nSyncws-Session: new\r\nContent-Length: 0\r\n"
            b"Content-Type: application/octet-stream\r\nSyncws-Nonce: %b\r\n\r\n"
            % new_nonce().encode()
        )
        answer = sock.makefile("rb").read()
        assert answer.split()[1] == b"200"
        name = json.loads(answer.partition(b"\r\n\r\n")[2])["session"]
        assert ask(port, "DELETE", "/", {"Syncws-Session": name})[0] == 204


# --- fork and exit ----------------------------------------------------------------

FORKS = """
import json, os, sys
sys.path[:0] = {path!r}
from support.fallback_serving import call, make_environ, opening
from syncws.integrations import wsgi

app = wsgi.application(lambda ws: list(ws), fallback=True)

def open_session():
    return json.loads(call(app, opening())[2])["session"]

def ask(name):
    return call(app, make_environ("DELETE", HTTP_SYNCWS_SESSION=name))[0].split()[0]

name = open_session()
child = os.fork()
if not child:
    answers = [ask(name), ask(open_session())]
    print("child", *answers, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", ask(name), flush=True)
open_session()
print("the end", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_a_child_has_sessions_of_its_own_and_the_process_ends():
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    program = FORKS.format(path=[os.path.dirname(tests), tests])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=2 * SOON,
        check=False,
    )
    assert done.stdout.splitlines() == ["child 404 204", "parent 204", "the end"], done.stderr
    assert done.returncode == 0
