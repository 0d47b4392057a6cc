import contextlib
import socket
import struct
import time

import pytest
from support.certificates import contexts
from support.pairs import SOON, receive_exactly
from support.scripted import (
    build_response as respond,
)
from support.scripted import (
    mute_after,
    nothing_left,
    parse_head,
    read_all,
    read_head,
    says,
    scripted_server,
    silent,
)
from support.serving import assert_works, serving
from support.wire import build_frame

from syncws import (
    ClientConnection,
    ClientProtocol,
    ConnectionClosedError,
    ConnectionClosedOK,
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidProtocol,
    InvalidState,
    InvalidStatus,
    InvalidStatusCode,
    InvalidUpgrade,
    NegotiationError,
    SecurityError,
    State,
    connect,
)


def refuse(status, *headers, body=b""):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def failure(script, error, match=None, **kwargs):
    """What connect() raises at a server that goes by this script. It leaves nothing behind."""
    with (
        scripted_server(script) as server,
        nothing_left(),
        pytest.raises(error, match=match) as info,
    ):
        connect(server.uri, **kwargs)
    return info.value


def drip(head, piece):
    """A script: read a request, send this, and then a piece again and again."""

    def script(sock):
        read_head(sock)
        sock.sendall(head)
        sock.settimeout(0.01)
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(piece)
                try:
                    if not sock.recv(1):
                        return
                except socket.timeout:
                    pass

    return script


# --- the request ---


def test_the_request_is_to_the_letter():
    def script(sock):
        requests.append(read_head(sock))

    requests = []
    with scripted_server(script) as server:
        port = server.port
        with contextlib.suppress(InvalidHandshake, OSError):
            connect(f"{server.uri}chat?a=b", compression=None, user_agent_header=None)
    first, headers, _ = parse_head(requests[0])
    assert first == "GET /chat?a=b HTTP/1.1"
    assert len(headers.pop("sec-websocket-key")) == 24
    assert headers == {
        "host": f"localhost:{port}",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
    }


# --- what comes with the response ---


def test_messages_in_the_packet_of_the_response_are_delivered():
    frames = build_frame(0x81, b"one") + build_frame(0x82, b"two")
    script = mute_after(lambda request: respond(request) + frames)
    with scripted_server(script) as server, connect(server.uri, close_timeout=0.1) as ws:
        assert ws.recv(SOON) == "one"
        assert ws.recv(SOON) == b"two"


def test_a_frame_that_is_split_by_the_end_of_the_response_is_delivered():
    def script(sock):
        frame = build_frame(0x81, b"hello")
        sock.sendall(respond(read_head(sock)) + frame[:3])
        receive_exactly(sock, 6)  # the client's pong: its handshake is done
        sock.sendall(frame[3:] + build_frame(0x88, b"\x03\xe8"))
        receive_exactly(sock, 8)

    with scripted_server(script) as server, connect(server.uri) as ws:
        ws.pong()
        assert list(ws) == ["hello"]


def test_a_ping_in_the_packet_of_the_response_is_answered_once():
    def script(sock):
        sock.sendall(respond(read_head(sock)) + build_frame(0x89, b"p"))
        received.append(receive_exactly(sock, 7))
        sock.sendall(build_frame(0x88, b"\x03\xe8"))
        received.append(receive_exactly(sock, 8))

    received = []
    with scripted_server(script) as server, connect(server.uri) as ws:
        assert list(ws) == []
    assert [data[:2] for data in received] == [b"\x8a\x81", b"\x88\x82"]


def test_a_close_in_the_packet_of_the_response_is_a_close():
    frames = build_frame(0x81, b"bye") + build_frame(0x88, b"\x03\xe8")
    with scripted_server(says(lambda request: respond(request) + frames)) as server:
        ws = connect(server.uri)
        assert ws.recv(SOON) == "bye"
        with pytest.raises(ConnectionClosedOK) as info:
            ws.recv(SOON)
    assert info.value.rcvd_then_sent


def test_garbage_in_the_packet_of_the_response_fails_the_connection():
    with scripted_server(mute_after(lambda request: respond(request) + b"\xff\xff")) as server:
        ws = connect(server.uri, close_timeout=0.1)
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
    assert info.value.sent.code == 1002


def test_a_response_may_come_byte_by_byte():
    def script(sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in respond(read_head(sock)) + build_frame(0x81, b"hello"):
            sock.sendall(bytes([byte]))
        read_all(sock)

    with scripted_server(script) as server, connect(server.uri, close_timeout=0.1) as ws:
        assert ws.recv(SOON) == "hello"


def test_interim_responses_are_skipped():
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    script = mute_after(early, respond)
    with scripted_server(script) as server, connect(server.uri, close_timeout=0.1) as ws:
        assert ws.response.status_code == 101


# --- refusals ---


def test_a_refusal_has_the_response():
    script = says(refuse("403 Forbidden", "X-Reason: because", body=b"not you"))
    exc = failure(script, InvalidStatus, "403")
    response = exc.response
    assert (response.status_code, response.reason_phrase) == (403, "Forbidden")
    assert response.headers["X-Reason"] == "because"
    assert response.body == b"not you"


def test_a_refusal_can_be_caught_by_its_older_name():
    exc = failure(says(refuse("404 Not Found")), InvalidStatusCode)
    assert exc.status_code == 404
    assert exc.headers["Content-Length"] == "0"


@pytest.mark.parametrize("status", ["200 OK", "301 Moved Permanently", "500 Oops", "503 "])
def test_every_status_but_101_is_a_refusal(status):
    failure(says(refuse(status)), InvalidStatus, status[:3])


def test_a_refusal_whose_body_is_ended_by_the_connection_is_one():
    exc = failure(says(b"HTTP/1.1 404 Not Found\r\n\r\nsorry"), InvalidStatus)
    assert exc.response.body == b"sorry"


def test_a_refusal_whose_body_does_not_end_in_time_has_what_came():
    script = mute_after(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\n", b"try later")
    exc = failure(script, InvalidStatus, open_timeout=0.3)
    assert exc.response.status_code == 503
    assert exc.response.body == b"try later"


ENDLESS = {
    "no length": b"HTTP/1.1 403 Forbidden\r\n\r\nnot you",
    "too short": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nnot you",
    "cut off": b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nnot you",
    "unended": b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nnot you\r\n",
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_refusal_whose_body_does_not_end_is_known_long_before_open_timeout(answer, tls):
    server_context, client_context = contexts() if tls else (None, None)
    started = time.monotonic()
    with (
        scripted_server(mute_after(answer), server_context) as server,
        nothing_left(),
        pytest.raises(InvalidStatus) as info,
    ):
        connect(server.uri, ssl=client_context, open_timeout=SOON)
    assert time.monotonic() - started < SOON / 2
    assert info.value.response.status_code == 403
    assert info.value.response.body == b"not you"


def test_a_refusal_whose_body_drips_is_known_long_before_open_timeout():
    started = time.monotonic()
    head = b"HTTP/1.1 403 Forbidden\r\n\r\n"
    exc = failure(drip(head, b"no"), InvalidStatus, open_timeout=SOON)
    assert time.monotonic() - started < SOON / 2
    assert exc.response.body.startswith(b"no")


def test_a_redirect_whose_body_does_not_end_is_followed():
    with serving() as target:
        answer = f"HTTP/1.1 302 Found\r\nLocation: {target.uri}\r\n\r\nover there".encode()
        with scripted_server(mute_after(answer)) as server, connect(server.uri) as ws:
            assert ws.remote_address[1] == target.port


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: gzip\r\n\r\nxyz",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: many\r\n\r\nxyz",
    ],
)
def test_a_refusal_whose_body_is_malformed_is_one(answer):
    exc = failure(says(answer), InvalidStatus, "403")
    assert exc.response.body == b""
    assert isinstance(exc.__cause__, ValueError)


@pytest.mark.parametrize("status", [200, 400, 404, 505])
def test_a_refusal_in_http_1_0_is_one(status):
    exc = failure(says(f"HTTP/1.0 {status} No\r\nX-Why: old\r\n\r\nsorry".encode()), InvalidStatus)
    assert exc.response.status_code == status
    assert exc.response.headers["X-Why"] == "old"
    assert exc.response.body == b"sorry"


def test_a_redirect_in_http_1_0_is_followed():
    with serving() as target:
        answer = f"HTTP/1.0 302 Found\r\nLocation: {target.uri}\r\n\r\n".encode()
        with scripted_server(says(answer)) as server, connect(server.uri) as ws:
            assert ws.remote_address[1] == target.port


def reset(sock):
    """Make closing the socket reset the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_refusal_whose_body_ends_in_a_reset_has_what_came(monkeypatch):
    def recv(transport, deadline=None):
        if not pieces:
            raise ConnectionResetError(104, "Connection reset by peer")
        return pieces.pop(0)

    monkeypatch.setattr("syncws.threaded.transport.Transport.recv", recv)
    pieces = [b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n", b"not"]
    with scripted_server(silent) as server, pytest.raises(InvalidStatus) as info:
        connect(server.uri)
    assert info.value.response.body == b"not"
    assert isinstance(info.value.__cause__, ConnectionResetError)


# --- answers that aren't ---


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 101",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: web",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 101 Switching Protocols\r\nno colon\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_an_error(data):
    exc = failure(says(data), InvalidMessage)
    assert exc.__cause__ is not None


def test_an_answer_in_http_1_0_is_an_error():
    failure(says(b"HTTP/1.0 101 Switching Protocols\r\n\r\n"), InvalidProtocol)


def test_an_answer_with_lf_line_ends_is_an_error():
    def answer(request):
        return respond(request).replace(b"\r\n", b"\n")

    failure(says(answer), InvalidMessage, "LF instead of CRLF")


def test_an_empty_subprotocol_in_an_answer_is_an_error():
    def answer(request):
        return respond(request, Sec_WebSocket_Protocol="")

    failure(says(answer), InvalidHeader)


def test_an_answer_without_end_is_an_error():
    failure(says(b"HTTP/1.1 101 OK\r\nX: " + b"a" * 20_000), SecurityError)


@pytest.mark.parametrize("limit", [2**14, 1000, 2**16])
def test_headers_of_an_answer_may_be_as_long_as_is_said(limit):
    def answer(request, size):
        return respond(request, X=(size - len("X: ")) * "a")

    with scripted_server(mute_after(lambda request: answer(request, limit))) as server:
        connect(server.uri, max_header_size=limit, close_timeout=0).close()
    script = mute_after(lambda request: answer(request, limit + 1))
    failure(script, HeaderLineTooLong, str(limit), max_header_size=limit)


def test_the_headers_of_a_request_may_be_longer_than_those_of_its_answer():
    with serving(max_header_size=2**16) as server:
        cookie = {"Cookie": "a" * 30_000}
        assert_works(connect(server.uri, additional_headers=cookie, max_header_size=1000))


def test_a_limit_of_headers_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="max_header_size must be at least 1"):
        connect("ws://127.0.0.1:9/", max_header_size=0)


def test_a_server_that_closes_without_reading_is_an_error():
    failure(lambda sock: None, (InvalidMessage, OSError))


def test_a_server_that_resets_is_an_error():
    def script(sock):
        read_head(sock)
        reset(sock)

    with scripted_server(script) as server, nothing_left(), pytest.raises(ConnectionError):
        connect(server.uri)


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"Sec_WebSocket_Accept": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, InvalidHeaderValue),
        ({"Sec_WebSocket_Accept": None}, InvalidHeader),
        ({"Upgrade": "h2c"}, InvalidUpgrade),
        ({"Upgrade": None}, InvalidUpgrade),
        ({"Connection": "keep-alive"}, InvalidUpgrade),
        ({"Sec_WebSocket_Protocol": "chat"}, NegotiationError),
        ({"Sec_WebSocket_Extensions": "x-unknown"}, NegotiationError),
    ],
)
def test_an_answer_to_another_request_is_an_error(headers, error):
    script = mute_after(lambda request: respond(request, **headers))
    with scripted_server(script) as server, nothing_left(), pytest.raises(error) as info:
        connect(server.uri)
    assert isinstance(info.value, InvalidHandshake)


def test_a_server_that_says_nothing_is_a_timeout():
    failure(silent, TimeoutError, "timed out during opening handshake", open_timeout=0.1)


def test_a_server_that_drips_headers_is_a_timeout():
    script = drip(b"HTTP/1.1 101 OK\r\nX: ", b"a")
    with scripted_server(script) as server, nothing_left(), pytest.raises(TimeoutError):
        connect(server.uri, open_timeout=0.2)


# --- the connection's own method ---


def test_a_connection_shakes_hands_over_any_socket():
    with serving() as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        ws = ClientConnection(sock, ClientProtocol("ws://example.com/chat"))
        assert ws.state is State.CONNECTING
        with pytest.raises(InvalidState):
            ws.ensure_open()
        ws.handshake({"X-Token": "secret"}, user_agent_header="mine", timeout=SOON)
        with ws:
            assert ws.path == "/chat"
            assert ws.request_headers["X-Token"] == "secret"
            assert ws.request_headers["User-Agent"] == "mine"
            ws.send("hello")
            assert ws.recv() == "hello"


def test_a_failed_handshake_leaves_the_connection_closed():
    with scripted_server(says(refuse("404 Not Found"))) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        ws = ClientConnection(sock, ClientProtocol(server.uri))
        with pytest.raises(InvalidStatus):
            ws.handshake()
    assert ws.closed
    assert ws.close_code == 1006
    with pytest.raises(ConnectionClosedError) as info:
        ws.send("hello")
    assert isinstance(info.value.__cause__, InvalidStatus)


def test_an_interruption_after_the_handshake_closes_the_connection(monkeypatch):
    class Interrupted(BaseException):
        pass

    def interrupted(connection):
        start(connection)
        raise Interrupted

    start = ClientConnection._start
    monkeypatch.setattr(ClientConnection, "_start", interrupted)
    with serving() as server, nothing_left(), pytest.raises(Interrupted):
        connect(server.uri)


def test_no_thread_for_the_timekeeper_is_an_error(monkeypatch):
    def no_thread(connection):
        raise RuntimeError("can't start new thread")

    with scripted_server(mute_after(respond)) as server, nothing_left():
        monkeypatch.setattr("syncws.threaded.connection.watch", no_thread)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            connect(server.uri)
