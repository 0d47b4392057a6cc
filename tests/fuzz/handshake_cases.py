"""Opening handshakes of either role, and what follows them."""

import base64
import hashlib
import re

from fuzz.frame_cases import check_output, random_agreement
from fuzz.streams import check, damage_bytes, random_pieces, random_stream
from support.wire import build_frames

from syncws.exceptions import InvalidHandshake
from syncws.sansio.client_protocol import ClientProtocol
from syncws.sansio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from syncws.sansio.http11 import Request, Response
from syncws.sansio.server_protocol import ServerProtocol
from syncws.sansio.state import State

REFUSALS = {400, 403, 405, 414, 426, 431, 505}
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


ODD_HEADERS = (
    ("Origin", "http://localhost"),
    ("Origin", "https://evil.example"),
    ("Origin", "null"),
    ("Origin", "http://[::1"),
    ("Host", "other"),
    ("Sec-WebSocket-Protocol", "chat, superchat"),
    ("Sec-WebSocket-Protocol", "a, b, ,"),
    ("Sec-WebSocket-Protocol", "(bad)"),
    ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=10"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits=8"),
    ("Sec-WebSocket-Extensions", 'permessage-deflate; server_max_window_bits="9"'),
    ("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=16"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; x; x=1, permessage-deflate"),
    ("Sec-WebSocket-Extensions", "x-unknown; a=b, permessage-deflate"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; ="),
    ("Sec-WebSocket-Version", "8"),
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "h2c"),
    ("Content-Length", "5"),
    ("Content-Length", "0"),
    ("Transfer-Encoding", "chunked"),
    ("Cookie", "a=b; c=d"),
    ("X-Long", "x" * 8200),
    ("X-Binary", "caf\xe9"),
)


def random_headers(rng, headers):
    """The header lines of a handshake, some changed."""
    headers = list(headers)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        what = rng.randrange(5)
        if what == 0:
            del headers[rng.randrange(len(headers))]
        elif what == 1:
            headers.append(rng.choice(headers))
        else:
            headers.insert(rng.randrange(len(headers) + 1), rng.choice(ODD_HEADERS))
        if not headers:
            break
    if rng.random() < 0.01:
        headers += [("X-Many", "x")] * 130
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    return "".join(lines).encode("latin-1") + b"\r\n"


def frames_after(rng, key):
    """Frames, that a peer sends right behind its part of the handshake."""
    if rng.random() < 0.6:
        return b""
    frames, _ = random_stream(rng, None)
    return build_frames(frames, key)


def make_request(rng):
    key = base64.b64encode(rng.getrandbits(128).to_bytes(16, "big")).decode()
    line = rng.choice((*["GET / HTTP/1.1"] * 12, "POST / HTTP/1.1", "GET / HTTP/1.0", "GET /"))
    if rng.random() < 0.05:
        line = rng.choice((f"GET /{'x' * 9000} HTTP/1.1", "GET http://a/b HTTP/1.1", "GET * x"))
    headers = (
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", rng.choice((*[key] * 9, key[:-1], "x" * 24))),
        ("Sec-WebSocket-Version", "13"),
    )
    return f"{line}\r\n".encode() + random_headers(rng, headers)


def make_server(settings):
    return ServerProtocol(
        extensions=[ServerPerMessageDeflateFactory(settings[0])] if settings[0] else None,
        subprotocols=settings[1],
        origins=settings[2],
    )


def finish(protocol, events, output):
    """End the connection; return everything that could be seen of it."""
    opened = protocol.state is State.OPEN or protocol.close_rcvd is not None
    protocol.close_expected()
    protocol.receive_eof()
    protocol.receive_data(b"x")
    events += protocol.events_received()
    output += protocol.data_to_send()
    check(protocol.state is State.CLOSED, "not closed after the end")
    check(str(protocol.close_exc) != "", "no exception at the end")
    error = protocol.handshake_exc
    check(error is None or isinstance(error, (InvalidHandshake, EOFError)), f"raised {error!r}")
    check(error is None or len(str(error)) < 20000, "an error quotes too much")
    if b"" in output:
        check(output.index(b"") == len(output) - 1, "output goes on after the end")
    parser_error = protocol.parser_exc
    seen = (type(error), str(error), type(parser_error), str(parser_error))
    return events, seen, opened, protocol.subprotocol, repr(protocol.extensions)


def run_server(settings, pieces):
    protocol = make_server(settings)
    events, output = [], []
    for piece in pieces:
        protocol.receive_data(piece)
        for event in protocol.events_received():
            events.append(event)
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
    result = finish(protocol, events, output)
    check(sum(isinstance(event, Request) for event in events) <= 1, "several requests")
    head = re.match(rb"HTTP/1\.1 (\d{3}) ", b"".join(output))
    if head is None:
        check(protocol.handshake_exc is not None, "no response, and no reason")
        check(output in ([b""], []), "output that isn't a response")
    elif int(head[1]) == 101:
        check(protocol.handshake_exc is None, "accepted in spite of an error")
        check_output(output[1:], protocol)
    else:
        check(int(head[1]) in REFUSALS, f"answered with {head[1]!r}: {protocol.handshake_exc!r}")
        check(isinstance(protocol.handshake_exc, InvalidHandshake), "refused without a reason")
        check(output[1:] == [b""], "no end after a refusal")
    return result, output


def fuzz_server_handshake(rng):
    settings = (
        random_agreement(rng) if rng.random() < 0.6 else None,
        rng.choice((None, None, ["chat"], ["b", "superchat"])),
        rng.choice((None, [None, "http://localhost"], [re.compile(r"https?://evil.*"), None])),
    )
    request = make_request(rng)
    if rng.random() < 0.4:
        request = damage_bytes(rng, request)
    data = request + frames_after(rng, b"\1\2\3\4")
    whole = run_server(settings, [data])
    in_pieces = run_server(settings, random_pieces(rng, data))
    check(whole == in_pieces, f"splits matter: {whole!r:.2000} != {in_pieces!r:.2000}")


CLIENT_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def make_response(rng, protocol):
    accept = base64.b64encode(hashlib.sha1(CLIENT_KEY.encode() + GUID).digest()).decode()
    line = "HTTP/1.1 101 Switching Protocols"
    if rng.random() < 0.3:
        line = rng.choice(
            (
                "HTTP/1.1 200 OK",
                "HTTP/1.1 404",
                "HTTP/1.1 302 Found",
                "HTTP/1.0 101 Old",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Then",
                "HTTP/1.1 99 Low",
                "HTTP/1.1 503 " + "x" * 9000,
                "ICY 200 OK",
            )
        )
    headers = (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", rng.choice((*[accept] * 9, accept.lower()))),
    )
    response = f"{line}\r\n".encode() + random_headers(rng, headers)
    if " 101 " not in line:
        body = (b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\nx", b"x" * 5000)
        response += rng.choice(body)
    return response


def run_client(settings, pieces):
    protocol = ClientProtocol(
        "ws://localhost/",
        extensions=[ClientPerMessageDeflateFactory(settings[0])] if settings[0] else None,
        subprotocols=settings[1],
    )
    protocol.key = CLIENT_KEY
    protocol.send_request(protocol.connect())
    request = b"".join(protocol.data_to_send())
    check(request.startswith(b"GET / HTTP/1.1\r\n"), "no request")
    events, output = [], []
    for piece in pieces:
        protocol.receive_data(piece)
        events += protocol.events_received()
    early = protocol.handshake_exc
    if early is not None:
        check(protocol.state is State.CLOSING and protocol.close_expected(), "still waiting")
        check(protocol.partial_response is None or early is not None, "no reason")
    result = finish(protocol, events, output)
    responses = [event for event in events if isinstance(event, Response)]
    check(len(responses) <= 1, "several responses")
    if protocol.handshake_exc is None:
        check(responses and responses[0].status_code == 101, "open without being accepted")
        check_output(output, protocol)
    else:
        check(isinstance(protocol.handshake_exc, InvalidHandshake), "an undocumented error")
        check(output == [b""], "a refused client sends something")
    return result


def fuzz_client_handshake(rng):
    settings = (
        random_agreement(rng) if rng.random() < 0.6 else None,
        rng.choice((None, None, ["chat", "superchat"])),
    )
    response = make_response(rng, settings)
    if rng.random() < 0.4:
        response = damage_bytes(rng, response)
    data = response + frames_after(rng, None)
    whole = run_client(settings, [data])
    in_pieces = run_client(settings, random_pieces(rng, data))
    check(whole == in_pieces, f"splits matter: {whole!r:.2000} != {in_pieces!r:.2000}")
