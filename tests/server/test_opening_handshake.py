"""What requests are answered, and what becomes of clients that are slow or gone."""

import socket
import threading
import time

import pytest
from support.asking import ask, echo_once, status
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
    serve,
)


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


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
    monkeypatch.setattr("syncws.server.opening_handshake.LINGER_TIMEOUT", 0.1)
    with serving(open_timeout=None) as server, raw_client(server) as sock:
        sock.sendall(build_request(method="PUT"))
        assert status(parse_head(read_all(sock))) == 405
        wait_until(lambda: not server._roster.running)


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
