"""Throw mutated frame streams and handshakes at the codec and watch that it keeps its word.

    python tests/fuzz/fuzz_codec.py --count 500000 [--seed N] [--workers 2]
    python tests/fuzz/fuzz_codec.py --seed N --only CASE

A case is made of the seed and its number alone, so that the second line repeats it. In each,
bytes that a peer could send are built, mostly damaged, and fed to a protocol in random pieces
and once more as a whole. Both must end alike. What counts as failure:

- anything raised that a docstring doesn't announce,
- a state, an error or a close frame that don't fit together,
- output that isn't valid, or goes on after a close frame or the end,
- a message or fragment over the limit,
- an undamaged stream that isn't understood.
"""

import argparse
import base64
import hashlib
import multiprocessing
import pathlib
import random
import re
import sys
import time
import traceback
import zlib

# Run as a script, it finds the package and the tests' support next to it.
TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path += [path for path in (str(TESTS.parent), str(TESTS)) if path not in sys.path]

from support.wire import build_frame, build_frames, parse_frames  # noqa: E402

from syncws.exceptions import (  # noqa: E402
    ConnectionClosed,
    InvalidHandshake,
    InvalidState,
    PayloadTooBig,
    ProtocolError,
)
from syncws.options import Deflate  # noqa: E402
from syncws.sansio.client_protocol import ClientProtocol  # noqa: E402
from syncws.sansio.extensions.permessage_deflate import (  # noqa: E402
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from syncws.sansio.frames import Frame, Opcode  # noqa: E402
from syncws.sansio.http11 import Request, Response  # noqa: E402
from syncws.sansio.protocol import Protocol  # noqa: E402
from syncws.sansio.server_protocol import ServerProtocol  # noqa: E402
from syncws.sansio.state import Role, State  # noqa: E402

MAX_RSS_GROWTH_MIB = 256
WIRE_CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
REFUSALS = {400, 403, 405, 414, 426, 431, 505}
CODE_OF_ERROR = {ProtocolError: 1002, UnicodeDecodeError: 1007, PayloadTooBig: 1009}
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ALPHABETS = ("ab ", "aé€😀", "0123456789" * 3 + "\n", "\x00\x7f\u07ff\uffff")


class Failure(Exception):
    """The codec broke its word."""


def check(condition, what):
    if not condition:
        raise Failure(what)


# --- what a peer may send ----------------------------------------------------------------


class Compressor:
    """Compresses as a peer might: any level, any kind of block, final ones too."""

    def __init__(self, rng, bits, forget):
        self.rng, self.bits, self.forget = rng, max(bits, 9), forget
        self.deflater = None

    def compress(self, data):
        rng = self.rng
        if self.deflater is None or self.forget:
            level = rng.choice((0, 1, 6, 9))
            strategy = rng.choice((zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY))
            self.deflater = zlib.compressobj(level, zlib.DEFLATED, -self.bits, 9, strategy)
        compressed = self.deflater.compress(data)
        if rng.random() < 0.1:
            compressed += self.deflater.flush(zlib.Z_FINISH) + b"\x00"
            self.deflater = None
            return compressed
        mode = rng.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH))
        compressed += self.deflater.flush(mode)
        return compressed[:-4] if compressed.endswith(b"\x00\x00\xff\xff") else b"\x00"


def random_size(rng):
    pick = rng.random()
    if pick < 0.7:
        return rng.randrange(20)
    if pick < 0.985:
        return rng.choice((124, 125, 126, 127, 200, 1000))
    return rng.choice((65535, 65536, 70000))


def random_payload(rng, opcode):
    size = random_size(rng)
    if opcode == 1:
        chars = rng.choice(ALPHABETS)
        return "".join(rng.choices(chars, k=min(size, 500)))
    return rng.getrandbits(8 * size).to_bytes(size, "big") if size else b""


def split(rng, data, count):
    """``data`` in up to ``count`` + 1 pieces, empty ones included."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(count))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]


def random_control(rng):
    first = rng.choice((0x89, 0x8A))
    payload = bytes(rng.choices(range(256), k=rng.choice((0, 1, 4, 125))))
    return first, payload


def random_close(rng):
    if rng.random() < 0.2:
        return 0x88, b""
    code = rng.choice((*sorted(WIRE_CODES), 3000, 4999))
    return 0x88, code.to_bytes(2, "big") + rng.choice(("", "bye", "é" * 61)).encode()


def random_stream(rng, compressor):
    """Valid frames, as (first byte, payload), and the messages and control frames they are."""
    frames, meaning = [], []
    for _ in range(rng.randrange(1, 5)):
        opcode = rng.choice((1, 1, 2))
        message = random_payload(rng, opcode)
        data = message.encode() if opcode == 1 else message
        rsv1 = 0
        if compressor is not None and rng.random() < 0.7:
            rsv1, data = 0x40, compressor.compress(data)
        pieces = split(rng, data, rng.choice((0, 0, 0, 1, 2, 5)))
        for index, piece in enumerate(pieces):
            while rng.random() < 0.15:
                frames.append(random_control(rng))
                meaning.append(frames[-1])
            first = 0 if index else opcode | rsv1
            frames.append((first | (0x80 if index == len(pieces) - 1 else 0), piece))
        meaning.append(message)
    if rng.random() < 0.3:
        frames.append(random_close(rng))
        meaning.append(frames[-1])
    return frames, meaning


# --- how it is damaged -------------------------------------------------------------------


def damage_frame(rng, first, payload, key):
    """The bytes of a frame with one thing wrong, or unusual, about it."""
    data = build_frame(first, payload, key)
    what = rng.randrange(8)
    if what == 0:
        return bytes((first ^ (1 << rng.randrange(8)),)) + data[1:]
    if what == 1:
        return bytes((rng.randrange(256),)) + data[1:]
    if what == 2:
        return build_frame(first, payload, b"\1\2\3\4" if key is None else None)
    if what == 3:  # a length in a longer form, or that lies
        bit = 0 if key is None else 0x80
        width = rng.choice((2, 8))
        top = 1 << (8 * width)
        size = rng.choice((len(payload), 125, 126, 65535, 65536, 1 << 62, 1 << 63, top - 1)) % top
        return bytes((first, bit | (126 if width == 2 else 127))) + size.to_bytes(width, "big")
    if what == 4:
        broken = rng.choice((b"\xff", b"\xed\xa0", b"\xc0\x80", b"\xf4\x90", b"\xe2\x82"))
        at = rng.randrange(len(payload) + 1)
        return build_frame(first, payload[:at] + broken + payload[at:], key)
    if what == 5:
        code = rng.choice((0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535))
        reason = rng.choice((b"", b"x", b"\xff"))
        return build_frame(0x88, (code.to_bytes(2, "big") + reason)[rng.randrange(2) :], key)
    if what == 6:
        return build_frame(first, payload + b"x" * rng.choice((1, 126, 2000)), key)
    return build_frame(rng.choice((0x00, 0x80, 0x01, 0x81, 0xC1, 0x41, 0x09, 0x89)), payload, key)


def damage_bytes(rng, data):
    """Bytes with a few of them changed, lost, moved, or there twice."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 8, 40)))
        what = rng.randrange(6)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif what == 1 and data:
            data[at % len(data)] = rng.choice((0, 0x7F, 0x80, 0xFF, 0x0A, 0x0D, 0x20))
        elif what == 2:
            del data[at:end]
        elif what == 3:
            data[at:at] = data[at:end]
        elif what == 4:
            data[at:at] = bytes(rng.choices(range(256), k=rng.choice((1, 2, 8))))
        else:
            del data[at:]
    return bytes(data)


def random_pieces(rng, data):
    style = rng.random()
    if style < 0.15 and len(data) <= 2000:
        return [data[i : i + 1] for i in range(len(data))]
    if style < 0.3:
        size = rng.choice((2, 3, 7, 64, 1000))
        if len(data) <= 200 * size:
            return [data[i : i + size] for i in range(0, len(data), size)]
    return split(rng, data, rng.choice((1, 1, 2, 4, 10)))


# --- frames ------------------------------------------------------------------------------

WINDOW_BITS = (None, None, None, 8, 9, 12, 15)
MAX_SIZES = (None, 1 << 20, 1 << 20, 1 << 20, 0, 1, 20, 126, 1000, (1000, 30), (None, 100))


def random_agreement(rng):
    return Deflate(
        server_no_context_takeover=rng.random() < 0.3,
        client_no_context_takeover=rng.random() < 0.3,
        server_max_window_bits=rng.choice(WINDOW_BITS),
        client_max_window_bits=rng.choice(WINDOW_BITS),
    )


def make_protocol(role, agreement, max_size):
    """A protocol that is open, past its opening handshake."""
    protocol = Protocol(role, state=State.OPEN, max_size=max_size)
    if agreement is not None:
        protocol.extensions = [PerMessageDeflate(role, agreement)]
        protocol._make_decoder()
    return protocol


def assemble(events):
    """The messages, and control frames as (first byte, payload), that events stand for."""
    meaning, parts, opcode = [], [], None
    for event in events:
        if not isinstance(event, Frame):
            meaning.append(event)
        elif event.opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG):
            meaning.append((event.first_byte, event.data))
        else:
            if event.opcode is not Opcode.CONT:
                opcode = event.opcode
            parts.append(event.data)
            if event.fin:
                data = b"".join(parts)
                meaning.append(data.decode() if opcode is Opcode.TEXT else data)
                parts = []
    return meaning


def check_events(events, protocol):
    """Check the limits of messages and fragments, and the order of frames."""
    limit, fragment_limit = protocol.max_message_size, protocol.max_fragment_size
    size, within = 0, False
    for index, event in enumerate(events):
        if isinstance(event, (str, bytes)):
            data, fin, starts = event if isinstance(event, bytes) else event.encode(), True, True
        elif event.opcode >= Opcode.CLOSE:
            check(event.fin and len(event.data) <= 125, "a control frame breaks the rules")
            last = index == len(events) - 1
            check(event.opcode is not Opcode.CLOSE or last, "something follows a close frame")
            continue
        else:
            check(not (event.rsv1 or event.rsv2 or event.rsv3), "a reserved bit is left")
            data, fin, starts = event.data, event.fin, event.opcode is not Opcode.CONT
        check(starts != within, "messages are interleaved")
        size = len(data) if starts else size + len(data)
        within = not fin
        check(limit is None or size <= limit, "a message is over the limit")
        check(fragment_limit is None or len(data) <= fragment_limit, "a fragment is over it")


def check_output(output, protocol):
    """Check what was sent, as strictly as can be; return its frames."""
    data = b"".join(output)
    if b"" in output:
        check(output.index(b"") == len(output) - 1, "output goes on after the end")
    frames = parse_frames(data, masked=protocol.role is Role.CLIENT)
    for index, (first, payload) in enumerate(frames):
        opcode = first & 0x0F
        check(opcode in (0, 1, 2, 8, 9, 10), "output has a reserved opcode")
        if opcode >= 8:
            check(first & 0xF0 == 0x80 and len(payload) <= 125, "a control frame sent is wrong")
        if opcode == 8:
            check(index == len(frames) - 1, "output goes on after a close frame")
            check_close_payload(payload, protocol.close_sent)
    sent = bool(frames) and frames[-1][0] == 0x88
    check(sent == (protocol.close_sent is not None), "close_sent isn't what was sent")
    return frames


def check_close_payload(payload, close):
    check(len(payload) != 1, "a close frame sent has one byte")
    code = int.from_bytes(payload[:2], "big") if payload else 1005
    check(not payload or code in WIRE_CODES or 3000 <= code <= 4999, f"close code {code} sent")
    check((close.code, close.reason) == (code, payload[2:].decode()), "close_sent differs")


def check_end(protocol, error_before_eof, undisturbed):
    """Check that state, error and close frames fit together once it is over."""
    check(protocol.state is State.CLOSED, "not closed after the end")
    exc = protocol.close_exc
    check(isinstance(exc, ConnectionClosed) and str(exc), "no exception at the end")
    check(exc.__cause__ is protocol.parser_exc, "the cause is lost")
    expected = 1006 if protocol.close_rcvd is None else protocol.close_rcvd.code
    check(protocol.close_code == exc.code == expected, "close_code differs")
    check(protocol.close_reason == exc.reason, "close_reason differs")
    error = protocol.parser_exc
    if error_before_eof is not None:
        check(type(error) in CODE_OF_ERROR, f"undocumented error {error!r}")
        check(len(str(error)) < 300, "an error quotes too much")
        if undisturbed:
            check(protocol.close_sent is not None, "failed without a close frame")
            code = CODE_OF_ERROR[type(error)]
            check(protocol.close_sent.code == code, f"{error!r} failed with another code")
    elif error is not None:
        check(type(error) is EOFError and protocol.close_rcvd is None, f"unexpected {error!r}")


def run_frames(protocol, pieces, actions=None):
    """Feed a stream, then the end; return everything that could be seen of it."""
    events, output = [], []
    for piece in pieces:
        protocol.receive_data(piece)
        events += protocol.events_received()
        if actions is not None:
            actions(protocol, output)
    error = protocol.parser_exc
    check((error is not None) <= (protocol.state > State.OPEN), "open in spite of an error")
    expected_end = protocol.close_expected()
    protocol.receive_eof()
    protocol.receive_eof()
    protocol.receive_data(b"\x81\x00")
    check(not protocol.events_received(), "events after the end")
    output += protocol.data_to_send()
    check(not protocol.has_output and not protocol.data_to_send(), "output is there twice")
    check_events(events, protocol)
    frames = check_output(output, protocol)
    check_end(protocol, error, actions is None)
    seen = (type(protocol.parser_exc), str(protocol.parser_exc))
    close = (protocol.close_sent, protocol.close_rcvd, protocol.close_rcvd_then_sent)
    return events, frames, output.count(b""), seen, close, expected_end


def make_actions(rng):
    """What a program may do between reads; only documented exceptions may come of it."""

    def act(protocol, output):
        what = rng.randrange(12)
        try:
            if what == 0:
                protocol.send_text(b"x" * rng.choice((0, 1, 100, 200)), fin=rng.random() < 0.7)
            elif what == 1:
                protocol.send_binary(memoryview(b"\0" * 100), fin=rng.random() < 0.7)
            elif what == 2:
                protocol.send_continuation(bytearray(b"more"), fin=rng.random() < 0.5)
            elif what == 3:
                protocol.send_ping(b"p" * rng.choice((0, 125, 126)))
            elif what == 4:
                protocol.send_pong()
            elif what == 5:
                protocol.send_close(rng.choice((None, 1000, 1005, 1006, 3000)), "é" * 61)
            elif what == 6 and rng.random() < 0.5:
                protocol.fail(rng.choice((1001, 1006, 1011)), "é" * 100)
        except (InvalidState, ProtocolError):
            pass
        if rng.random() < 0.5:
            output += protocol.data_to_send()

    return act


def fuzz_frames(rng):
    role = rng.choice((Role.SERVER, Role.CLIENT))
    agreement = random_agreement(rng) if rng.random() < 0.6 else None
    compressor = None
    if agreement is not None:
        peer = "client" if role is Role.SERVER else "server"
        bits = getattr(agreement, f"{peer}_max_window_bits") or 15
        forget = getattr(agreement, f"{peer}_no_context_takeover")
        compressor = Compressor(rng, bits, forget)
    frames, meaning = random_stream(rng, compressor)
    max_size = rng.choice(MAX_SIZES)

    def key():
        return rng.getrandbits(32).to_bytes(4, "big") if role is Role.SERVER else None

    damage = rng.random()
    wrong = rng.randrange(len(frames)) if damage < 0.5 else -1
    data = b"".join(
        damage_frame(rng, first, payload, key())
        if index == wrong
        else build_frame(first, payload, key())
        for index, (first, payload) in enumerate(frames)
    )
    if 0.4 < damage < 0.8:
        data = damage_bytes(rng, data)
    pieces = random_pieces(rng, data)
    if rng.random() < 0.2:
        run_frames(make_protocol(role, agreement, max_size), pieces, make_actions(rng))
        return
    whole = run_frames(make_protocol(role, agreement, max_size), [data])
    in_pieces = run_frames(make_protocol(role, agreement, max_size), pieces)
    check(whole == in_pieces, f"splits matter: {whole!r:.2000} != {in_pieces!r:.2000}")
    if damage >= 0.8 and (max_size is None or max_size == 1 << 20):
        check(assemble(whole[0]) == meaning, f"{assemble(whole[0])!r:.500} != {meaning!r:.500}")


# --- handshakes --------------------------------------------------------------------------

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


# --- the campaign ------------------------------------------------------------------------


def run_case(seed, number):
    rng = random.Random(f"{seed}/{number}")
    rng.choices((fuzz_frames, fuzz_server_handshake, fuzz_client_handshake), (70, 15, 15))[0](rng)


def run_cases(job):
    """Run the cases of a range; return the failures and the growth of memory in MiB."""
    seed, start, stop = job
    failures = []
    before = max_rss_mib()
    for number in range(start, stop):
        try:
            run_case(seed, number)
        except Exception:
            failures.append((number, traceback.format_exc()))
    return stop - start, failures, max_rss_mib() - before


def max_rss_mib():
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def jobs(seed, count, size):
    for start in range(0, count, size):
        yield seed, start, min(count, start + size)


def campaign(seed, count, workers=1, report=print):
    """Run cases 0 to ``count``; report failures and return their number."""
    work = jobs(seed, count, 1000)
    if workers == 1:
        return collect(seed, map(run_cases, work), report)
    with multiprocessing.Pool(workers) as pool:
        return collect(seed, pool.imap_unordered(run_cases, work), report)


def collect(seed, results, report):
    failed = 0
    for _, failures, growth in results:
        for number, trace in failures:
            failed += 1
            if failed <= 20:
                report(f"{trace}repeat it: fuzz_codec.py --seed {seed} --only {number}\n")
        if growth > MAX_RSS_GROWTH_MIB:
            failed += 1
            report(f"memory grew by {growth:.0f} MiB\n")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10000, help="how many cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="how many processes")
    parser.add_argument("--only", type=int, help="repeat this case, with its traceback")
    args = parser.parse_args()
    if args.only is not None:
        run_case(args.seed, args.only)
        print(f"case {args.only} passes")
        return 0
    start = time.monotonic()
    failed = campaign(args.seed, args.count, args.workers)
    took = time.monotonic() - start
    print(
        f"{args.count} cases, seed {args.seed}: {failed} failures, {took:.0f} s,"
        f" peak {max_rss_mib():.0f} MiB"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
