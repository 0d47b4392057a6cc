import pytest

from syncws import HeaderLineTooLong, InvalidState
from syncws.fallback.streamed_response import StreamedResponse
from syncws.sansio.http_parser import MAX_BODY_SIZE


def parse(data, size=None):
    """A response that was fed with these bytes, in pieces, and the body that was taken from it."""
    response, body = StreamedResponse(), b""
    for start in range(0, len(data), size or len(data)):
        response.receive_data(data[start : start + (size or len(data))])
        body += response.take_body()
    return response, body


@pytest.mark.parametrize("size", [None, 1, 3])
def test_a_body_with_a_length_is_taken_in_pieces(size):
    response, body = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello", size)
    assert body == b"hello"
    assert response.head.status_code == 200
    assert response.head.headers["A"] == "b"
    assert response.is_complete
    assert response.keeps_alive


@pytest.mark.parametrize("size", [None, 1, 3])
def test_a_chunked_body_is_taken_in_pieces(size):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    response, body = parse(head + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", size)
    assert body == b"hello"
    assert response.keeps_alive


def test_a_body_is_there_as_soon_as_it_has_come():
    response = StreamedResponse()
    assert not response.has_begun
    assert response.head is None
    response.receive_data(b"HT")
    assert response.has_begun
    assert not response.keeps_alive
    response.receive_data(b"TP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel")
    assert response.take_body() == b"hel"
    assert response.take_body() == b""
    assert not response.is_complete
    assert not response.keeps_alive


def test_a_body_has_no_limit():
    response, body = parse(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(3 * MAX_BODY_SIZE), MAX_BODY_SIZE)
    assert len(body) == 3 * MAX_BODY_SIZE
    assert not response.is_complete
    response.receive_eof()
    assert response.is_complete
    assert not response.keeps_alive


@pytest.mark.parametrize(
    "headers", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"A: b\r\n"]
)
def test_an_end_before_the_end_is_noticed(headers):
    response = StreamedResponse()
    with pytest.raises(EOFError, match="before the status line"):
        response.receive_eof()
    response.receive_data(b"HTTP/1.1 200 OK\r\n" + headers)
    with pytest.raises(EOFError, match="after 1 headers"):
        response.receive_eof()
    response.receive_data(b"\r\n")
    if b":" in headers[:3]:  # the end of the stream is that of the body
        assert response.receive_eof().status_code == 200
    else:
        with pytest.raises(EOFError, match="in the middle of the body"):
            response.receive_eof()


def test_what_follows_is_not_for_the_parser():
    response, _ = parse(b"HTTP/1.1 204 No Content\r\n\r\n")
    with pytest.raises(InvalidState):
        response.receive_data(b"HTTP/1.1")
    response, _ = parse(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1")
    assert not response.keeps_alive


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: Keep-Alive\r\n", True),
        ("1.1", "Connection: x, Close\r\n", False),
        ("1.1", "Connection: x\r\nConnection: close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", True),
    ],
)
def test_a_connection_is_kept_as_the_response_says(version, connection, keeps):
    head = f"HTTP/{version} 200 OK\r\n{connection}Content-Length: 0\r\n\r\n"
    assert parse(head.encode())[0].keeps_alive is keeps


def test_headers_have_a_limit():
    with pytest.raises(HeaderLineTooLong):
        StreamedResponse(100).receive_data(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 200)
