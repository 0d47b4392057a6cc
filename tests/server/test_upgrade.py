import re
import socket
import threading
import time

import pytest
from support.pairs import SOON, receive_exactly, wait_until
from support.scripted import (
    KEY,
    accept_value,
    build_request,
    exchange,
    parse_head,
    raw_client,
    read_all,
    read_head,
)
from support.serving import messages, serving
from support.wire import KEY as MASK
from support.wire import build_frame

from syncws import (
    SAME_ORIGIN,
    AbortHandshake,
    Headers,
    InvalidStatus,
    Response,
    ServerConnection,
    ServerProtocol,
    State,
    connect,
    serve,
)
from syncws.server.responses import http_date


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


def ask(request=None, **kwargs):
    """What a server made with these arguments answers."""
    with serving(**kwargs) as server:
        return exchange(server, build_request() if request is None else request)


def status(answer):
    return int(answer[0].split(" ")[1])


def refused(**kwargs):
    """The refusal that a client of a server gets."""
    with serving(**kwargs) as server, pytest.raises(InvalidStatus) as info:
        connect(server.uri)
    return info.value.response


def echo_once(ws):
    ws.send(ws.recv())


# --- what a request is answered ---


def test_a_request_is_answered_to_the_letter():
    with serving(lambda ws: None) as server, raw_client(server) as sock:
        sock.sendall(build_request(Origin="http://localhost"))
        first, headers, _ = parse_head(read_head(sock))
        assert receive_exactly(sock, 4) == b"\x88\x02\x03\xe8"
    assert first == "HTTP/1.1 101 Switching Protocols"
    assert headers.pop("date").endswith(" GMT")
    assert headers.pop("server").startswith("Python/3.")
    assert headers == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": accept_value(KEY),
    }


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (build_request(Host=None), 400),
        (build_request(Host="a\r\nHost: b"), 400),
        (build_request(Sec_WebSocket_Key=None), 400),
        (build_request(Sec_WebSocket_Key="short"), 400),
        (build_request(Sec_WebSocket_Version=None), 426),
        (build_request(Content_Length="5") + b"hello", 400),
        (build_request(method="POST"), 405),
        (build_request(path=f"/{'a' * 20_000}"), 414),
        (build_request(Upgrade=None), 426),
        (build_request(Connection="keep-alive"), 426),
        (build_request(Sec_WebSocket_Version="8"), 426),
        (build_request(X_Long="a" * 20_000), 431),
        (build_request(**{f"X_{number}": "a" for number in range(200)}), 431),
        (build_request(version="HTTP/1.0"), 505),
        (build_request(version="HTTP/2.0"), 505),
        (build_request(Origin="http://evil.example"), 403),
    ],
)
def test_a_request_that_can_not_be_accepted_is_refused(request_bytes, expected):
    answer = ask(request_bytes)
    assert status(answer) == expected
    _, headers, body = answer
    assert int(headers["content-length"]) == len(body)
    assert b"Failed to open a WebSocket connection" in body
    assert "close" in headers["connection"]


@pytest.mark.parametrize("limit", [2**14, 1000, 2**16])
def test_headers_may_be_as_long_as_is_said(limit):
    with serving(max_header_size=limit) as server:
        fits, longer = (
            build_request(Cookie=(size - len("Cookie: ")) * "a") for size in (limit, limit + 1)
        )
        assert status(exchange(server, fits)) == 101
        answer = exchange(server, longer)
        assert status(answer) == 431
        assert f"more than {limit} bytes".encode() in answer[2]
        many = {f"X-{number}": (limit - 100) * "a" for number in range(5)}
        answer = exchange(server, build_request(**many))
        assert status(answer) == 431
        assert f"more than {4 * limit} bytes".encode() in answer[2]
        assert status(exchange(server, build_request(f"/{limit * 'a'}"))) == 414


def test_a_limit_of_headers_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="max_header_size must be at least 1"):
        serve(lambda ws: None, max_header_size=0)


def test_a_wrong_version_is_told_the_right_one():
    assert ask(build_request(Sec_WebSocket_Version="8"))[1]["sec-websocket-version"] == "13"


def test_a_wrong_method_is_told_the_right_one():
    assert ask(build_request(method="PUT"))[1]["allow"] == "GET"


def test_a_browser_that_just_looks_is_told_what_is_here():
    first, headers, body = ask(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert first == "HTTP/1.1 426 Upgrade Required"
    assert headers["upgrade"] == "websocket"
    assert b"A WebSocket client" in body


def test_a_refusal_reaches_clients_that_sent_more_than_was_read():
    with serving() as server, raw_client(server) as sock:
        sock.sendall(build_request(method="PUT") + b"a" * 100_000)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).startswith(b"HTTP/1.1 405 ")


def test_a_refused_client_that_goes_on_talking_is_cut_off():
    with serving() as server, raw_client(server) as sock:
        sock.sendall(build_request(method="PUT"))
        assert status(parse_head(read_all(sock))) == 405
        with pytest.raises(ConnectionError):
            send_forever(sock)


def send_forever(sock):
    while True:
        sock.sendall(b"a" * 100_000)


def test_a_refused_client_that_does_not_go_away_is_cut_off(monkeypatch):
    monkeypatch.setattr("syncws.server.upgrade.LINGER_TIMEOUT", 0.1)
    with serving(open_timeout=None) as server, raw_client(server) as sock:
        sock.sendall(build_request(method="PUT"))
        assert status(parse_head(read_all(sock))) == 405
        wait_until(lambda: not server._running)


def test_a_request_may_come_byte_by_byte():
    with serving(echo_once, compression=None) as server, raw_client(server) as sock:
        for byte in build_request() + build_frame(0x81, b"hello", MASK):
            sock.sendall(bytes([byte]))
        assert read_head(sock).startswith(b"HTTP/1.1 101 ")
        assert sock.recv(7) == build_frame(0x81, b"hello")


def test_messages_in_the_packet_of_the_request_are_delivered():
    def handler(ws):
        received.extend(ws)
        ended.set()

    received = []
    ended = threading.Event()
    frames = build_frame(0x81, b"one", MASK) + build_frame(0x82, b"two", MASK)
    frames += build_frame(0x88, b"\x03\xe8", MASK)
    with serving(handler) as server:
        answer = exchange(server, build_request() + frames)
        assert status(answer) == 101
        assert ended.wait(SOON)
    assert received == ["one", b"two"]
    assert answer[2] == b"\x88\x02\x03\xe8"


# --- origins ---


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("example.com", None),
        ("example.com", "https://example.com"),
        ("example.com:8765", "http://example.com:8765"),
        ("EXAMPLE.com", "http://example.COM"),
        ("[::1]:8765", "http://[::1]:8765"),
    ],
)
def test_the_same_origin_is_accepted_and_so_is_none_at_all(host, origin):
    assert status(ask(build_request(Host=host, Origin=origin))) == 101


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost:81", "http://localhost.evil.example", "null", ""],
)
def test_another_origin_is_refused_and_the_log_says_what_would_accept_it(caplog, origin):
    assert status(ask(build_request(Origin=origin))) == 403
    assert messages(caplog, "WARNING") == [
        f"connection from origin {origin} to host localhost refused; "
        f"origins=[{origin!r}] would accept it"
    ]


def test_what_the_log_says_does_accept_it():
    assert status(ask(build_request(Origin="null"), origins=["null"])) == 101


EXAMPLES = ["https://example.com", re.compile(r"https://.*\.example\.com")]


@pytest.mark.parametrize(
    ("origins", "origin", "accepted"),
    [
        (EXAMPLES, "https://example.com", True),
        (EXAMPLES, "https://www.example.com", True),
        (EXAMPLES, "https://www.example.com.evil.example", False),
        (EXAMPLES, "http://localhost", False),
        (EXAMPLES, None, False),
        ([*EXAMPLES, None], None, True),
        ([*EXAMPLES, SAME_ORIGIN], "http://localhost", True),
        ([], "http://localhost", False),
        (None, "https://evil.example", True),
        (None, None, True),
    ],
)
def test_origins_are_strings_patterns_and_none(origins, origin, accepted):
    answer = ask(build_request(Origin=origin), origins=origins)
    assert status(answer) == (101 if accepted else 403)


@pytest.mark.parametrize("origins", ["https://example.com", re.compile("."), [1]])
def test_origins_of_a_wrong_type_are_refused(origins):
    with pytest.raises(TypeError, match="origin"):
        serve(echo_once, origins=origins)


# --- process_request ---


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


# --- time, and clients that are gone ---


def test_a_client_that_says_nothing_is_cut_off(caplog):
    with serving(open_timeout=0.1) as server, raw_client(server) as sock:
        assert read_all(sock) == b""
        wait_until(lambda: "timed out" in caplog.text)


def test_a_client_that_drips_is_cut_off():
    with serving(open_timeout=0.2) as server, raw_client(server) as sock:
        start = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe|peer"):
            drip(sock)
        assert time.monotonic() - start < SOON / 2


def drip(sock):
    sock.sendall(b"GET / HTTP/1.1\r\nX: ")
    sock.settimeout(0.01)
    while True:
        sock.sendall(b"a")
        try:
            if not sock.recv(1):
                raise ConnectionResetError("ended by the peer")
        except socket.timeout:
            pass


def test_a_client_that_goes_away_is_no_error(caplog):
    with serving() as server:
        with raw_client(server) as sock:
            sock.sendall(build_request()[:20])
        reason = "refused: the connection ended before a whole request"
        wait_until(lambda: reason in caplog.text)
    assert not messages(caplog, "ERROR")


def test_open_timeout_may_be_unlimited():
    assert status(ask(open_timeout=None)) == 101


# --- the connection's own method ---


def test_a_connection_shakes_hands_over_any_socket():
    left, right = socket.socketpair()
    with right:
        right.sendall(build_request("/chat", Origin="http://localhost"))
        ws = ServerConnection(left, ServerProtocol())
        ws.handshake(SOON)
        assert ws.open
        assert (ws.side, ws.is_client, ws.path, ws.server) == ("server", False, "/chat", None)
        assert ws.headers["Origin"] == "http://localhost"
        assert read_head(right).startswith(b"HTTP/1.1 101 ")
        ws.send("hello")
        assert right.recv(100) == build_frame(0x81, b"hello")
    assert ws.wait_closed(SOON)


def test_an_interruption_after_the_handshake_closes_the_connection(monkeypatch):
    class Interrupted(BaseException):
        pass

    def interrupted(connection):
        start(connection)
        raise Interrupted

    start = ServerConnection._start
    monkeypatch.setattr(ServerConnection, "_start", interrupted)
    left, right = socket.socketpair()
    with right:
        right.sendall(build_request())
        ws = ServerConnection(left, ServerProtocol())
        with pytest.raises(Interrupted):
            ws.handshake(SOON)
    assert ws.wait_closed(SOON)
