"""Plain HTTP requests that come to the server's side: older versions, and bodies."""

import pytest

from syncws.exceptions import InvalidMessage, InvalidProtocol
from syncws.sansio.server_protocol import ServerProtocol


def wire(fields, line):
    lines = [line, *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode()


def test_a_handshake_by_an_older_version_is_refused():
    server = ServerProtocol()
    server.receive_data(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    (request,) = server.events_received()
    assert request.protocol == "HTTP/1.0"
    assert server.accept(request).status_code == 505
    assert isinstance(server.handshake_exc, InvalidProtocol)


def test_a_body_comes_with_the_request_and_is_no_handshake():
    data = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    server = ServerProtocol()
    for i in range(len(data)):
        assert server.events_received() == []
        server.receive_data(data[i : i + 1])
    (request,) = server.events_received()
    assert request.body == b"hello"
    assert server.accept(request).status_code == 400


@pytest.mark.parametrize(
    ("protocol", "expect", "sent"),
    [
        ("HTTP/1.1", "100-continue", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1", "100-Continue, other", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1", "other", b""),
        ("HTTP/1.0", "100-continue", b""),
    ],
)
def test_a_client_that_waits_is_told_that_its_body_is_welcome(protocol, expect, sent):
    server = ServerProtocol()
    fields = [("Host", "a"), ("Content-Length", "5"), ("Expect", expect)]
    server.receive_data(wire(fields, f"POST / {protocol}"))
    assert b"".join(server.data_to_send()) == sent
    server.receive_data(b"he")
    server.receive_data(b"llo")
    assert server.data_to_send() == []
    assert server.events_received()[0].body == b"hello"


def test_a_client_that_does_not_wait_is_told_nothing():
    server = ServerProtocol()
    fields = [("Host", "a"), ("Content-Length", "5"), ("Expect", "100-continue")]
    server.receive_data(wire(fields, "POST / HTTP/1.1") + b"hel")
    server.receive_data(b"lo")
    assert server.data_to_send() == []


def test_a_body_that_ends_early_is_no_request():
    server = ServerProtocol()
    server.receive_data(wire([("Content-Length", "5")], "POST / HTTP/1.1") + b"hel")
    server.receive_eof()
    assert isinstance(server.handshake_exc, InvalidMessage)
    assert "in the middle of the body" in str(server.handshake_exc.__cause__)


def test_the_limit_of_a_body_is_not_negative():
    with pytest.raises(ValueError, match="max_body_size can't be negative"):
        ServerProtocol(max_body_size=-1)
