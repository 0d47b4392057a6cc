"""The program's part: process_request, process_response, headers, subprotocols."""

import re

import pytest
from support.asking import ask, echo_once, refused, status
from support.scripted import (
    build_request,
    exchange,
    raw_client,
    read_all,
)
from support.serving import messages, serving

from syncws import (
    AbortHandshake,
    Headers,
    Response,
    ServerConnection,
    State,
    connect,
    serve,
)
from syncws.server.responses import http_date


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


def test_process_request_answers_with_a_plain_response():
    def process_request(ws, request):
        seen.append((ws.path, ws.request is request, ws.state))
        if request.path == "/health":
            return ws.respond(200, "OK\n")
        return None

    seen = []
    with serving(process_request=process_request) as server:
        first, headers, body = exchange(server, build_request("/health", Upgrade=None))
        assert first == "HTTP/1.1 200 OK"
        assert body == b"OK\n"
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert headers["content-length"] == "3"
        assert headers["connection"] == "close"
        assert {"date", "server"} <= set(headers)
        with connect(server.uri) as ws:
            assert ws.open
    assert seen == [("/health", True, State.CONNECTING), ("/", True, State.CONNECTING)]


def test_process_request_may_build_the_response_itself_and_use_it_again():
    page = Response(200, "OK", Headers({"Content-Type": "text/html"}), b"<p>hello</p>")
    with serving(process_request=lambda ws, request: page, extra_headers={"X-A": "1"}) as server:
        for method in ("HEAD", "GET", "GET"):
            first, headers, body = exchange(server, build_request(method=method))
            assert first == "HTTP/1.1 200 OK"
            assert headers["content-type"] == "text/html"
            assert headers["content-length"] == "12"
            assert headers["x-a"] == "1"
            assert headers["connection"] == "close"
            assert body == (b"" if method == "HEAD" else b"<p>hello</p>")
    assert list(page.headers) == ["content-type"]


def test_process_request_runs_for_other_methods_too():
    answer = ask(
        build_request(method="OPTIONS"),
        process_request=lambda ws, request: ws.respond(204, headers={"Allow": request.method}),
    )
    assert status(answer) == 204
    assert answer[1]["allow"] == "OPTIONS"


def test_process_request_may_abort_the_handshake():
    def process_request(ws, request):
        raise AbortHandshake(401, {"WWW-Authenticate": "Basic"}, b"who are you?")

    response = refused(process_request=process_request, extra_headers={"X-Extra": "1"})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Basic"
    assert response.body == b"who are you?"
    assert "X-Extra" not in response.headers


def test_process_request_may_be_overridden():
    class Mine(ServerConnection):
        def process_request(self, request):
            return self.respond(403, "no", {"X-Mine": "1"})

        def process_response(self, request, response):
            response.headers["X-Too"] = "2"

    response = refused(create_connection=Mine)
    assert response.status_code == 403
    assert response.headers["X-Mine"] == "1"
    assert response.headers["X-Too"] == "2"


def fail(*args):
    raise ZeroDivisionError("mine")


def wrong_headers(*args):
    return {"X-Wrong": "a\r\nb"}


@pytest.mark.parametrize(
    "kwargs",
    [
        {"process_request": fail},
        {"process_response": fail},
        {"extra_headers": fail},
        {"extra_headers": wrong_headers},
        {"select_subprotocol": fail},
        {"process_request": lambda ws, request: (200, {}, b"as it used to be")},
        {"process_response": lambda ws, request, response: "OK"},
        {"process_request": lambda ws, request: Response(1000, "?", Headers())},
        {"process_request": lambda ws, request: ws.respond(200, headers={"": ""})},
        {"process_response": lambda ws, request, response: Response(200, "\n", Headers())},
    ],
)
def test_a_function_that_fails_is_500_and_logged_once(caplog, kwargs):
    response = refused(**kwargs)
    assert response.status_code == 500
    assert b"mine" not in response.body
    assert messages(caplog, "ERROR") == ["opening handshake failed"]
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info[1] is not None
    assert record.websocket.close_code == 1006


def test_a_failure_of_an_extension_is_500_and_logged(caplog):
    class Factory:
        name = "permessage-deflate"
        process_request_params = fail

    assert refused(extensions=[Factory()]).status_code == 500
    assert messages(caplog, "ERROR") == ["opening handshake failed"]


def test_an_exit_in_a_function_ends_the_connection_only(caplog):
    def leave(ws, request):
        raise SystemExit

    with serving(process_request=leave) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        assert read_all(sock) == b""
        assert server.is_serving()
    assert messages(caplog, "ERROR") == ["connection failed"]


def test_process_request_counts_for_open_timeout(caplog):
    def slow(ws, request):
        ws.wait_closed(0.1)

    with serving(process_request=slow, open_timeout=0.05) as server, raw_client(server) as sock:
        sock.sendall(build_request())
        assert read_all(sock) == b""
    assert "timed out during opening handshake" in caplog.text


# --- process_response ---


def test_process_response_may_change_the_response():
    def process_response(ws, request, response):
        response.headers["X-Path"] = request.path

    with serving(process_response=process_response) as server:
        assert exchange(server, build_request("/chat"))[1]["x-path"] == "/chat"


def test_process_response_may_replace_the_response():
    def process_response(ws, request, response):
        assert response.status_code == 101
        return ws.respond(403, "after all not")

    response = refused(process_response=process_response, server_header="mine")
    assert response.status_code == 403
    assert response.body == b"after all not"
    assert response.headers["Server"] == "mine"


def test_process_response_sees_refusals_too():
    seen = []
    ask(
        build_request(method="PUT"),
        process_response=lambda ws, request, response: seen.append(response.status_code),
    )
    assert seen == [405]


def test_process_response_may_abort_the_handshake():
    def process_response(ws, request, response):
        raise AbortHandshake(402)

    assert refused(process_response=process_response).status_code == 402


def test_select_subprotocol_may_abort_the_handshake():
    def select_subprotocol(ws, offered):
        raise AbortHandshake(403, body=b"none of these")

    response = refused(select_subprotocol=select_subprotocol)
    assert (response.status_code, response.body) == (403, b"none of these")


# --- headers ---


@pytest.mark.parametrize(
    "extra_headers",
    [
        {"X-Extra": "/chat localhost"},
        [("X-Extra", "/chat localhost")],
        iter([("X-Extra", "/chat localhost")]),
        lambda path, headers: {"X-Extra": f"{path} {headers['Host']}"},
    ],
)
def test_extra_headers_are_added_to_each_response(extra_headers):
    with serving(extra_headers=extra_headers) as server:
        for _ in range(2):
            headers = exchange(server, build_request("/chat"))[1]
            assert headers["x-extra"] == "/chat localhost"


def test_extra_headers_come_before_ours():
    headers = ask(extra_headers={"Server": "mine", "Date": "today"})[1]
    assert (headers["server"], headers["date"]) == ("mine", "today")


def test_extra_headers_that_can_not_be_sent_are_refused_at_once():
    with pytest.raises(ValueError, match="X-Extra"):
        serve(echo_once, extra_headers={"X-Extra": "a\r\nb"})


@pytest.mark.parametrize(("header", "expected"), [("mine/1.0", "mine/1.0"), (None, None)])
def test_the_server_header_can_be_chosen(header, expected):
    assert ask(server_header=header)[1].get("server") == expected


def test_the_server_header_is_ours_by_default():
    assert re.fullmatch(r"Python/3\.\d+ syncws/[\d.]+", ask()[1]["server"])


def test_dates_are_written_as_http_writes_them():
    assert http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert http_date(1700000000) == "Tue, 14 Nov 2023 22:13:20 GMT"


# --- subprotocols ---


def test_subprotocols_are_chosen_in_the_order_of_the_server():
    request = build_request(Sec_WebSocket_Protocol="one, two")
    answer = ask(request, subprotocols=["two", "one"])
    assert answer[1]["sec-websocket-protocol"] == "two"


@pytest.mark.parametrize("offer", [None, "three"])
def test_no_subprotocol_in_common_is_refused(offer):
    request = build_request(Sec_WebSocket_Protocol=offer)
    assert status(ask(request, subprotocols=["one", "two"])) == 400


def test_subprotocols_in_a_str_are_refused():
    with pytest.raises(TypeError, match="subprotocols"):
        serve(echo_once, subprotocols="chat")


def test_a_choice_that_was_not_offered_is_refused():
    request = build_request(Sec_WebSocket_Protocol="one")
    assert status(ask(request, select_subprotocol=lambda ws, offered: "two")) == 400


def test_the_choice_may_depend_on_the_request():
    def select(ws, offered):
        return offered[-1] if ws.path == "/last" else None

    with serving(select_subprotocol=select) as server:
        with connect(f"{server.uri}last", subprotocols=["a", "b"]) as ws:
            assert ws.subprotocol == "b"
        with connect(server.uri, subprotocols=["a", "b"]) as ws:
            assert ws.subprotocol is None
