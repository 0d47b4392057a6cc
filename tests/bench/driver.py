"""The neutral peer: the other side of every implementation, and the only clock.

    python driver.py server SCENARIO COUNT SIZE CONNECTIONS WINDOW TLS DEFLATE PORT
                                                                    be a client of PORT
    python driver.py client SCENARIO COUNT SIZE CONNECTIONS WINDOW TLS DEFLATE
                                                                    be a server

Blocking sockets, frames made beforehand, many in one write; what arrives is counted in bytes,
not parsed. So it costs little, and the same for all. It prints lines of JSON: as a server
{"port"}, then {"count", "seconds"}.

TLS and DEFLATE are 0 or 1. With 1 the connection is encrypted, or permessage-deflate is agreed on,
else never. Compressed messages are made beforehand, too, each without regard to the others, so
that all can come again; of those that arrive it looks at the frames' headers only.

Messages of an implementation as a server: any text or binary message to be echoed; "done",
answered by "ok"; "COUNT SIZE", answered by that many messages; one that all connections get, and
"hi", which is answered as soon as the connection is among them. As a client it says "go" first,
and is answered by the messages that it receives and then confirms by "ok", or by "go" if it is
to send, and then by "ok" once all have arrived.
"""

import base64
import contextlib
import hashlib
import itertools
import re
import selectors
import socket
import ssl
import sys
import threading
import time
import zlib

from children import end_with_parent, report
from corpora import some_order_books
from secure import server_context

HOST = "127.0.0.1"
TEXT, BINARY, CLOSE = 0x81, 0x82, 0x88
FIN, COMPRESSED = 0x80, 0x40
NORMAL_CLOSURE = b"\x03\xe8"
MASKING_KEY = b"\x37\xfa\x21\x3d"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BLOCK = 1 << 18
WARM_UP = 100
WINDOW_BITS = 12  # of compressed messages; no implementation asks for a smaller window

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
ANSWER = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\n\r\n"
)


class Unexpected(Exception):
    """The implementation did something else than it should."""


# --- frames and handshakes ---------------------------------------------------------


def build_frame(first, payload, *, masked):
    """The bytes of a frame (RFC 6455 §5.2)."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        header = bytes((first, bit | size))
    elif size < 1 << 16:
        header = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return header + payload
    keys = (MASKING_KEY * (size // 4 + 1))[:size]
    data = int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")
    return header + MASKING_KEY + data.to_bytes(size, "big")


def read_head(sock):
    """The bytes of a request or response, up to its empty line."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            raise Unexpected("connection ended within the handshake")
        head += data
    if not head.endswith(b"\r\n\r\n"):
        raise Unexpected("bytes right after the handshake")
    return head


def open_connection(port, context=None, deflate=False):
    """Connect to a server, over TLS if there is a context, and do the opening handshake."""
    sock = socket.create_connection((HOST, port))
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            sock = context.wrap_socket(sock, server_hostname=HOST)
        sock.sendall(REQUEST[:-2] + OFFER if deflate else REQUEST)
        head = read_head(sock)
        status = head.partition(b"\r\n")[0]
        if b" 101 " not in status:
            raise Unexpected(f"refused: {status.decode(errors='replace')}")
        if deflate:
            check_agreement(head)
    except BaseException:
        sock.close()
        raise
    return sock


def check_agreement(head):
    """Check that a server agrees to compressed messages as they are made here."""
    if b"permessage-deflate" not in head:
        raise Unexpected("compression isn't agreed on")
    limit = re.search(rb"client_max_window_bits=(\d+)", head)
    if limit and int(limit[1]) < WINDOW_BITS:
        raise Unexpected(f"the server wants a window of {int(limit[1])} bits")


def accept_connection(listener, context=None, deflate=False):
    """Wait for a client, over TLS if there is a context, and do the opening handshake."""
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context:
        sock = context.wrap_socket(sock, server_side=True)
    head = read_head(sock)
    if deflate and b"permessage-deflate" not in head:
        raise Unexpected("compression isn't offered")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            response = RESPONSE % base64.b64encode(hashlib.sha1(value.strip() + GUID).digest())
            sock.sendall(response[:-2] + ANSWER if deflate else response)
            return sock
    raise Unexpected("a request without a key")


# --- what arrives ------------------------------------------------------------------


def read_exactly(sock, number):
    """Read that many bytes, few enough to come together; a TLS socket can't be told to wait."""
    data = sock.recv(number)
    while len(data) < number:
        more = sock.recv(number - len(data))
        if not more:
            raise Unexpected("connection ended early")
        data += more
    return data


def receive_bytes(sock, number, start=None):
    """Read that many bytes; check that they begin as told."""
    if start is not None:
        head = read_exactly(sock, len(start))
        if head != start:
            raise Unexpected(f"received {head!r} instead of {start!r}")
        number -= len(head)
    buffer = bytearray(min(number, BLOCK))
    while number > 0:
        received = sock.recv_into(buffer, min(number, BLOCK))
        if not received:
            raise Unexpected("connection ended early")
        number -= received


class Messages:
    """The messages that arrive, however long: only the headers of their frames are looked at."""

    def __init__(self, sock):
        self._sock = sock
        self._buffer = bytearray(BLOCK)
        self._start = self._end = 0

    def skip(self, kinds):
        """Read a message and forget it; check that it begins as told, whatever FIN says."""
        first = self._skip_frame()
        if first | FIN not in kinds:
            raise Unexpected(f"received a frame that begins with {first:#x}")
        while not first & FIN:
            first = self._skip_frame()

    def _skip_frame(self):
        """Return its first byte."""
        first, second = self._take(2)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        if second & 0x80:
            size += len(MASKING_KEY)
        while size > self._end - self._start:
            size -= self._end - self._start
            self._start = self._end
            self._fill()
        self._start += size
        return first

    def _take(self, number):
        while self._end - self._start < number:
            self._fill()
        self._start += number
        return self._buffer[self._start - number : self._start]

    def _fill(self):
        rest = self._buffer[self._start : self._end]
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)
        received = self._sock.recv_into(memoryview(self._buffer)[self._end :])
        if not received:
            raise Unexpected("connection ended early")
        self._end += received


def receive_messages(sock, count, size, *, masked):
    """Read that many messages of one size."""
    if size > BLOCK:  # some send them in fragments
        messages = Messages(sock)
        for _ in range(count):
            messages.skip((BINARY,))
    else:
        frame = build_frame(BINARY, b"x" * size, masked=masked)
        header = frame[: len(frame) - size - (len(MASKING_KEY) if masked else 0)]
        receive_bytes(sock, count * len(frame), header)


BOOK = (TEXT | COMPRESSED,)
WORD = (TEXT, TEXT | COMPRESSED)  # some compress what doesn't get smaller


# --- what is sent ------------------------------------------------------------------


def build_compressed_frames(size, *, masked):
    """Frames of texts that differ, each compressed with a window of its own."""
    return [
        build_frame(TEXT | COMPRESSED, deflate_message(text.encode()), masked=masked)
        for text in some_order_books(size)
    ]


def flood_frames(size, deflate, *, masked):
    """What is sent as fast as it is read."""
    if deflate:
        return build_compressed_frames(size, masked=masked)
    return [build_frame(BINARY, b"x" * size, masked=masked)]


def deflate_message(data):
    """The payload of a compressed message (RFC 7692 §7.2.1)."""
    compressor = zlib.compressobj(wbits=-WINDOW_BITS)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def send_frames(sock, frames, count):
    """Send frames in turn until there were so many, in large writes."""
    at_once = max(1, min(count, BLOCK // len(frames[0])))
    batch = list(itertools.islice(itertools.cycle(frames), at_once))
    block = b"".join(batch)
    for _ in range(count // at_once):
        sock.sendall(block)
    sock.sendall(b"".join(batch[: count % at_once]))


# --- scenarios for servers ---------------------------------------------------------


def drive_echo(sock, count, size, window):
    """Have messages echoed, always ``window`` of them on their way."""
    request = build_frame(TEXT, b"x" * size, masked=True)
    reply = build_frame(TEXT, b"x" * size, masked=False)
    for _ in range(min(count, WARM_UP)):
        sock.sendall(request)
        receive_bytes(sock, len(reply), reply)
    block = memoryview(request * window)
    buffer = bytearray(BLOCK)
    start = time.perf_counter()
    sock.sendall(block)
    sent, received, all_bytes = window, 0, count * len(reply)
    while received < all_bytes:
        number = sock.recv_into(buffer)
        if not number:
            raise Unexpected("connection ended early")
        received += number
        more = min(received // len(reply) + window, count) - sent
        if more > 0:
            sock.sendall(block[: more * len(request)])
            sent += more
    return count, time.perf_counter() - start


def drive_echo_many(socks, count, payload, window):
    """Have texts echoed on many connections, ``window`` of them on their way on each.

    The next ones are sent once all have come back: a window costs little more than a message,
    which leaves the processors to the server.
    """
    requests = build_frame(TEXT, payload, masked=True) * window
    replies_size = len(build_frame(TEXT, payload, masked=False)) * window
    with selectors.DefaultSelector() as selector:
        start = time.perf_counter()
        for sock in socks:
            wait_for_bytes(sock, replies_size)
            selector.register(sock, selectors.EVENT_READ)
            sock.sendall(requests)
        sent, done, missing = len(socks) * window, 0, dict.fromkeys(socks, replies_size)
        while done < count:
            for key, _ in selector.select():
                sock = key.fileobj
                number = len(sock.recv(BLOCK))
                if not number:
                    raise Unexpected("connection ended early")
                missing[sock] -= number
                if missing[sock] > 0:
                    wait_for_bytes(sock, 1)
                    continue
                done += window
                missing[sock] = replies_size
                if sent < count:
                    sock.sendall(requests)
                    sent += window
        return done, time.perf_counter() - start


def wait_for_bytes(sock, number):
    """Have a socket count as readable only when so much is there, if the system can do that."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, number)


def drive_fanout(socks, speakers, count, size, window):
    """Send messages on some connections, ``window`` at a time, and receive them on all."""
    requests = build_frame(TEXT, b"x" * size, masked=True) * window
    reply = build_frame(TEXT, b"x" * size, masked=False)
    greeting = build_frame(TEXT, b"hi", masked=False)
    for sock in socks:
        sock.sendall(build_frame(TEXT, b"hi", masked=True))
        receive_bytes(sock, len(greeting), greeting)
    each = window * len(speakers)
    rounds = max(1, count // (each * len(socks)))
    start = time.perf_counter()
    for _ in range(rounds):
        for sock in speakers:
            sock.sendall(requests)
        for sock in socks:
            receive_bytes(sock, each * len(reply), reply[:2])
    return rounds * each * len(socks), time.perf_counter() - start


def drive_compressed_echo(sock, count, size):
    """Have compressed messages echoed, one at a time."""
    frames = itertools.cycle(build_compressed_frames(size, masked=True))
    messages = Messages(sock)
    warm_up = min(count // 2, WARM_UP)
    for index, frame in enumerate(itertools.islice(frames, warm_up + count)):
        if index == warm_up:
            start = time.perf_counter()
        sock.sendall(frame)
        messages.skip(BOOK)
    return count, time.perf_counter() - start


def drive_flood(sock, count, size, deflate):
    """Send messages as fast as they are read."""
    frames = flood_frames(size, deflate, masked=True)
    start = time.perf_counter()
    send_frames(sock, frames, count)
    sock.sendall(build_frame(TEXT, b"done", masked=True))
    Messages(sock).skip(WORD)
    return count, time.perf_counter() - start


def drive_drain(sock, count, size):
    """Ask for messages, and receive them."""
    start = time.perf_counter()
    sock.sendall(build_frame(TEXT, b"%d %d" % (count, size), masked=True))
    receive_messages(sock, count, size, masked=False)
    return count, time.perf_counter() - start


def drive_server(scenario, count, size, connections, window, tls, deflate, port):
    """Be the clients of a server; print the figures."""
    context = ssl.create_default_context() if tls else None
    with contextlib.ExitStack() as stack:
        number = count if scenario == "hold" else connections
        start = time.perf_counter()
        socks = [
            stack.enter_context(open_connection(port, context, deflate)) for _ in range(number)
        ]
        if scenario == "hold":
            report(count=count, seconds=time.perf_counter() - start)
            threading.Event().wait()  # until killed: how idle they are is looked at from outside
        elif scenario in ("echo_many", "echo_json"):
            book = scenario == "echo_json" and some_order_books(size)[0].encode()
            count, seconds = drive_echo_many(socks, count, book or b"x" * size, window)
        elif scenario in ("fanout", "fanout_all"):
            speakers = socks if scenario == "fanout_all" else socks[:1]
            count, seconds = drive_fanout(socks, speakers, count, size, window)
        elif scenario == "flood":
            count, seconds = drive_flood(socks[0], count, size, deflate)
        elif scenario == "drain":
            count, seconds = drive_drain(socks[0], count, size)
        elif deflate:
            count, seconds = drive_compressed_echo(socks[0], count, size)
        else:
            count, seconds = drive_echo(socks[0], count, size, window)
        report(count=count, seconds=seconds)


# --- scenarios for clients ---------------------------------------------------------


def serve_echo(sock, count, size):
    """Answer messages one by one; the time is from one's arrival to the next's."""
    request_size = len(build_frame(TEXT, b"x" * size, masked=True))
    reply = build_frame(TEXT, b"x" * size, masked=False)
    warm_up = min(count // 2, WARM_UP)
    for index in range(count):
        read_exactly(sock, request_size)
        if index == warm_up:
            start = time.perf_counter()
        sock.sendall(reply)
    return count - warm_up - 1, time.perf_counter() - start


def serve_compressed_echo(sock, count, size):
    """Answer compressed messages one by one, with others; the time is as above."""
    frames = itertools.cycle(build_compressed_frames(size, masked=False))
    messages = Messages(sock)
    warm_up = min(count // 2, WARM_UP)
    for index in range(count):
        messages.skip(BOOK)
        if index == warm_up:
            start = time.perf_counter()
        sock.sendall(next(frames))
    return count - warm_up - 1, time.perf_counter() - start


def serve_flood(sock, count, size, deflate):
    """Once told to, send messages as fast as they are read."""
    frames = flood_frames(size, deflate, masked=False)
    messages = Messages(sock)
    messages.skip(WORD)
    start = time.perf_counter()
    send_frames(sock, frames, count)
    messages.skip(WORD)
    return count, time.perf_counter() - start


def serve_sink(sock, count, size):
    """Have messages sent, and receive them."""
    Messages(sock).skip(WORD)
    start = time.perf_counter()
    sock.sendall(build_frame(TEXT, b"go", masked=False))
    receive_messages(sock, count, size, masked=True)
    seconds = time.perf_counter() - start
    sock.sendall(build_frame(TEXT, b"ok", masked=False))
    return count, seconds


def drive_client(scenario, count, size, tls, deflate):
    """Be the server of one client; print the port, then the figures."""
    context = server_context() if tls else None
    with socket.create_server((HOST, 0)) as listener:
        report(port=listener.getsockname()[1])
        with accept_connection(listener, context, deflate) as sock:
            if scenario == "flood":
                count, seconds = serve_flood(sock, count, size, deflate)
            elif scenario == "sink":
                count, seconds = serve_sink(sock, count, size)
            elif deflate:
                count, seconds = serve_compressed_echo(sock, count, size)
            else:
                count, seconds = serve_echo(sock, count, size)
            report(count=count, seconds=seconds)
            if sock.recv(BLOCK):  # the client goes first, and some wait for the answer
                sock.sendall(build_frame(CLOSE, NORMAL_CLOSURE, masked=False))


def main():
    end_with_parent()
    role, scenario = sys.argv[1:3]
    count, size, connections, window, tls, deflate, *port = map(int, sys.argv[3:])
    try:
        if role == "server":
            drive_server(scenario, count, size, connections, window, tls, deflate, *port)
        else:
            drive_client(scenario, count, size, tls, deflate)
    except Unexpected as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
