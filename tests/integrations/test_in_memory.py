"""Connections to WSGI applications without a network."""

import queue
import subprocess
import sys
import threading

import pytest
from support.pairs import SOON, run

from syncws import ConnectionClosed, InvalidHandshake, InvalidStatus
from syncws.integrations.in_memory import connect_wsgi
from syncws.integrations.wsgi import Gateway, application


def echo(ws):
    for message in ws:
        ws.send(message)


def looking(found, **options):
    """An application that accepts, and hands its environ over."""

    def handler(ws):
        found.append(ws.environ)

    return application(handler, **options)


def environ_of(uri="/", **options):
    found = []
    with connect_wsgi(looking(found), uri, **options):
        pass
    return found[0]


def answering(status, headers, *chunks):
    def app(environ, start_response):
        start_response(status, headers)
        return list(chunks)

    return app


# --- connecting ---


def test_messages_go_both_ways():
    with connect_wsgi(application(echo), "/echo") as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
        ws.send(b"\x00" * 300_000)
        assert ws.recv(SOON) == b"\x00" * 300_000
    assert ws.close_code == 1000


def test_options_are_those_of_connect():
    app = application(echo, subprotocols=["chat"])
    with connect_wsgi(app, subprotocols=["chat"], compression=None) as ws:
        assert ws.subprotocol == "chat"
        assert "Sec-WebSocket-Extensions" not in ws.response.headers


def test_unknown_options_are_errors():
    with pytest.raises(TypeError, match="subprotocol"):
        connect_wsgi(application(echo), subprotocol="chat")


def test_the_name_of_the_thread_says_what_it_is():
    names = []
    with connect_wsgi(application(lambda ws: names.append(threading.current_thread().name))):
        pass
    assert names == ["syncws-application"]


def test_a_page_of_another_site_is_refused():
    with pytest.raises(InvalidStatus) as info:
        connect_wsgi(application(echo), origin="http://evil.example")
    assert info.value.response.status_code == 403


# --- environ ---


def test_environ_says_what_the_request_says():
    environ = environ_of("/a%20b/%C3%A9?x=1&y=%20")
    assert environ["PATH_INFO"] == "/a b/é".encode().decode("latin-1")
    assert environ["QUERY_STRING"] == "x=1&y=%20"
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == "/a%20b/%C3%A9?x=1&y=%20"
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["HTTP_HOST"] == environ["SERVER_NAME"] == "localhost"
    assert environ["SERVER_PORT"] == "80"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.input"].read() == b""


def test_headers_of_one_name_are_joined():
    headers = [("X-Word", "a"), ("X-Word", "b"), ("Cookie", "c=1"), ("Cookie", "d=2")]
    environ = environ_of(headers=headers)
    assert environ["HTTP_X_WORD"] == "a, b"
    assert environ["HTTP_COOKIE"] == "c=1; d=2"


def test_uri_says_host_and_scheme():
    environ = environ_of("wss://example.com:8443/x")
    assert environ["HTTP_HOST"] == "example.com:8443"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("example.com", "8443")
    assert environ["wsgi.url_scheme"] == "https"
    assert environ_of("ws://example.com/")["wsgi.url_scheme"] == "http"
    assert environ_of("wss://example.com/")["SERVER_PORT"] == "443"


def test_environ_may_be_given():
    environ = environ_of("/app/page", environ={"REMOTE_ADDR": "1.2.3.4", "SCRIPT_NAME": "/app"})
    assert environ["REMOTE_ADDR"] == "1.2.3.4"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", "/page")
    environ = environ_of("/application", environ={"SCRIPT_NAME": "/app"})
    assert environ["PATH_INFO"] == "/application"


# --- plain HTTP ---


def test_a_plain_answer_is_an_invalid_status():
    app = answering("404 Not Found", [("X-Why", "because")], b"not ", b"here")
    with pytest.raises(InvalidStatus) as info:
        connect_wsgi(app)
    response = info.value.response
    assert (response.status_code, response.reason_phrase) == (404, "Not Found")
    assert response.headers["X-Why"] == "because"
    assert response.body == b"not here"


def test_what_the_application_returns_is_closed():
    closed = []

    class Body:
        def __iter__(self):
            return iter([])

        def close(self):
            closed.append(True)

    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"written")
        return Body()

    with pytest.raises(InvalidStatus) as info:
        connect_wsgi(app)
    assert info.value.response.body == b"written"
    assert closed == [True]


def test_an_answer_without_an_end_ends_with_the_client():
    closed = threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.set()

    with pytest.raises(InvalidHandshake):
        connect_wsgi(app)
    assert closed.wait(SOON)


def test_an_application_that_says_nothing_is_an_error():
    with pytest.raises(RuntimeError, match="did not call start_response"):
        connect_wsgi(lambda environ, start_response: [b"text"])


def test_what_is_returned_after_accepting_goes_nowhere():
    gateway = Gateway()

    def app(environ, start_response):
        ws = gateway.accept(environ)
        ws.send("first")
        start_response("500 Internal Server Error", [])
        ws.send("second")
        gateway.handle(ws, lambda ws: None)
        return [b"HTTP/1.1 500 Internal Server Error\r\n\r\n"]

    with connect_wsgi(app) as ws:
        assert list(ws) == ["first", "second"]
    assert ws.close_code == 1000


def test_an_answer_that_is_no_http_is_an_invalid_handshake():
    with pytest.raises(InvalidHandshake):
        connect_wsgi(answering("101 Switching Protocols", []))


# --- exceptions ---


class Failure(Exception):
    pass


def fails(*args):
    raise Failure("the application")


def test_what_is_raised_before_the_answer_is_raised_by_connecting():
    with pytest.raises(Failure, match="the application") as info:
        connect_wsgi(fails)
    assert info.value.__suppress_context__


def accepting_and_failing(environ, start_response):
    gateway = Gateway()
    ws = gateway.accept(environ)
    gateway.handle(ws, lambda ws: ws.close(1011))
    fails()


def test_what_is_raised_later_is_raised_once_by_closing():
    ws = connect_wsgi(accepting_and_failing)
    with pytest.raises(ConnectionClosed):
        ws.recv(SOON)
    with pytest.raises(Failure):
        ws.close()
    ws.close()


def test_what_is_raised_later_is_raised_at_the_end_of_the_block():
    with pytest.raises(Failure), connect_wsgi(accepting_and_failing) as ws:
        ws.recv(SOON)


# --- deadlines ---


def test_an_application_that_does_not_answer_is_a_timeout():
    released = threading.Event()

    def app(environ, start_response):
        released.wait(SOON)
        return answering("200 OK", [], b"too late")(environ, start_response)

    with pytest.raises(TimeoutError):
        connect_wsgi(app, open_timeout=0.05)
    released.set()


def test_an_application_that_goes_on_is_a_timeout_of_closing():
    released = threading.Event()
    ws = connect_wsgi(application(lambda ws: released.wait(SOON)), close_timeout=0.05)
    with pytest.raises(TimeoutError, match=r"still running 0\.05 s after"):
        ws.close()
    released.set()
    ws.close()


def test_closing_wakes_the_application():
    ws = connect_wsgi(application(echo))
    closing = run(ws.close)
    closing.result()


def test_a_cut_connection_ends_the_application():
    ws = connect_wsgi(application(echo))
    ws.abort()
    ws.close()
    assert ws.close_code == 1006


def test_the_application_may_close_its_clients_connection():
    handed = queue.SimpleQueue()
    with connect_wsgi(application(lambda ws: handed.get(timeout=SOON).close())) as ws:
        handed.put(ws)
        with pytest.raises(ConnectionClosed):
            ws.recv(SOON)


def test_a_client_that_does_not_ask_ends_the_application():
    called = []
    with pytest.raises(ValueError, match="belongs to the opening handshake"):
        connect_wsgi(lambda *args: called.append(args), headers={"Upgrade": "other"})
    assert called == []


def test_importing_loads_no_asyncio():
    modules = "syncws.integrations.in_memory, syncws.integrations.sock_options"
    program = f"import sys, {modules}; print('asyncio' in sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SOON)
    assert done.stdout == "False\n"
