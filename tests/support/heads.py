"""HTTP messages for the parsers, and ways to feed them, whole or byte by byte."""

from syncws.sansio.http_parser import RequestParser, ResponseParser

REQUEST = (  # RFC 6455 §1.2
    b"GET /chat HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Origin: http://example.com\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)
RESPONSE = (  # RFC 6455 §1.2
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n"
    b"\r\n"
)
SPLITS = ["whole", "bytewise"]


def pieces(data, split):
    return [data] if split == "whole" else [data[i : i + 1] for i in range(len(data))]


def feed(parser, parts):
    """Feed parts up to the end of the message; return it and what comes after."""
    parts = iter(parts)
    for part in parts:
        message = parser.receive_data(part)
        if message is not None:
            return message, parser.trailing + b"".join(parts)
    return None, None


def parse_request(data, split="whole"):
    return feed(RequestParser(), pieces(data, split))[0]


def parse_response(data, split="whole", *, tunnel=False):
    return feed(ResponseParser(tunnel=tunnel), pieces(data, split))[0]


def request_with(*lines):
    return b"".join(line + b"\r\n" for line in (b"GET / HTTP/1.1", *lines, b""))


def response_with(*lines, status=b"200 OK", body=b""):
    return b"".join(line + b"\r\n" for line in (b"HTTP/1.1 " + status, *lines, b"")) + body


def upgrade_with(*lines):
    return response_with(*lines, status=b"101 OK")
