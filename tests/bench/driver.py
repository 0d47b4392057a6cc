"""The neutral peer: the other side of every implementation, and the only clock.

    python driver.py server SCENARIO COUNT SIZE CONNECTIONS WINDOW PORT   be a client of PORT
    python driver.py client SCENARIO COUNT SIZE CONNECTIONS WINDOW        be a server

Blocking sockets, frames made beforehand, many in one write; what arrives is counted in bytes,
not parsed. So it costs little, and the same for all. It neither offers nor accepts compression.
It prints lines of JSON: as a server {"port"}, then {"count", "seconds"}.

Messages of an implementation as a server: any text or binary message to be echoed; "done",
answered by "ok"; "COUNT SIZE", answered by that many messages. As a client it says "go" first,
and is answered by the messages that it receives and then confirms by "ok", or by "go" if it is
to send, and then by "ok" once all have arrived.
"""

import base64
import contextlib
import hashlib
import selectors
import socket
import sys
import threading
import time

from children import end_with_parent, report

HOST = "127.0.0.1"
TEXT, BINARY, CLOSE = 0x81, 0x82, 0x88
NORMAL_CLOSURE = b"\x03\xe8"
MASKING_KEY = b"\x37\xfa\x21\x3d"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BLOCK = 1 << 18
WARM_UP = 100

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
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


def open_connection(port):
    """Connect to a server, and do the opening handshake."""
    sock = socket.create_connection((HOST, port))
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(REQUEST)
        status = read_head(sock).partition(b"\r\n")[0]
        if b" 101 " not in status:
            raise Unexpected(f"refused: {status.decode(errors='replace')}")
    except BaseException:
        sock.close()
        raise
    return sock


def accept_connection(listener):
    """Wait for a client, and do the opening handshake."""
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for line in read_head(sock).split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            accept = base64.b64encode(hashlib.sha1(value.strip() + GUID).digest())
            sock.sendall(RESPONSE % accept)
            return sock
    raise Unexpected("a request without a key")


# --- counting bytes ----------------------------------------------------------------


def receive_bytes(sock, number, start=None):
    """Read that many bytes; check that they begin as told."""
    buffer = bytearray(min(number, BLOCK))
    if start is not None:
        head = sock.recv(len(start), socket.MSG_WAITALL)
        if not head:
            raise Unexpected("connection ended early")
        if head != start:
            raise Unexpected(f"received {head!r} instead of {start!r}")
        number -= len(head)
    while number > 0:
        received = sock.recv_into(buffer, min(number, BLOCK))
        if not received:
            raise Unexpected("connection ended early")
        number -= received


def send_frames(sock, frame, count):
    """Send the same frame many times, in large writes."""
    at_once = max(1, min(count, BLOCK // len(frame)))
    block = memoryview(frame * at_once)
    for _ in range(count // at_once):
        sock.sendall(block)
    sock.sendall(block[: count % at_once * len(frame)])


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


def drive_echo_many(socks, count, size):
    """Have messages echoed, one on its way on each of many connections."""
    request = build_frame(TEXT, b"x" * size, masked=True)
    reply = build_frame(TEXT, b"x" * size, masked=False)
    with selectors.DefaultSelector() as selector:
        start = time.perf_counter()
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
            sock.sendall(request)
        sent, done, missing = len(socks), 0, dict.fromkeys(socks, len(reply))
        while done < count:
            for key, _ in selector.select():
                sock = key.fileobj
                number = len(sock.recv(BLOCK))
                if not number:
                    raise Unexpected("connection ended early")
                missing[sock] -= number
                if missing[sock] > 0:
                    continue
                done += 1
                missing[sock] = len(reply)
                if sent < count:
                    sock.sendall(request)
                    sent += 1
        return count, time.perf_counter() - start


def drive_flood(sock, count, size):
    """Send messages as fast as they are read."""
    frame = build_frame(BINARY, b"x" * size, masked=True)
    answer = build_frame(TEXT, b"ok", masked=False)
    start = time.perf_counter()
    send_frames(sock, frame, count)
    sock.sendall(build_frame(TEXT, b"done", masked=True))
    receive_bytes(sock, len(answer), answer)
    return count, time.perf_counter() - start


def drive_drain(sock, count, size):
    """Ask for messages, and receive them."""
    frame = build_frame(BINARY, b"x" * size, masked=False)
    start = time.perf_counter()
    sock.sendall(build_frame(TEXT, b"%d %d" % (count, size), masked=True))
    receive_bytes(sock, count * len(frame), frame[: len(frame) - size])
    return count, time.perf_counter() - start


def drive_server(scenario, count, size, connections, window, port):
    """Be the clients of a server; print the figures."""
    with contextlib.ExitStack() as stack:
        number = count if scenario == "hold" else connections
        start = time.perf_counter()
        socks = [stack.enter_context(open_connection(port)) for _ in range(number)]
        if scenario == "hold":
            report(count=count, seconds=time.perf_counter() - start)
            threading.Event().wait()  # until killed: how idle they are is looked at from outside
        elif scenario == "echo_many":
            count, seconds = drive_echo_many(socks, count, size)
        elif scenario == "echo":
            count, seconds = drive_echo(socks[0], count, size, window)
        else:
            drive = {"flood": drive_flood, "drain": drive_drain}[scenario]
            count, seconds = drive(socks[0], count, size)
        report(count=count, seconds=seconds)


# --- scenarios for clients ---------------------------------------------------------


def serve_echo(sock, count, size):
    """Answer messages one by one; the time is from one's arrival to the next's."""
    request_size = len(build_frame(TEXT, b"x" * size, masked=True))
    reply = build_frame(TEXT, b"x" * size, masked=False)
    warm_up = min(count // 2, WARM_UP)
    for index in range(count):
        if len(sock.recv(request_size, socket.MSG_WAITALL)) < request_size:
            raise Unexpected("connection ended early")
        if index == warm_up:
            start = time.perf_counter()
        sock.sendall(reply)
    return count - warm_up - 1, time.perf_counter() - start


def wait_for_word(sock):
    """Read "go" or "ok"."""
    size = len(build_frame(TEXT, b"go", masked=True))
    receive_bytes(sock, size, bytes((TEXT, 0x82)))


def serve_flood(sock, count, size):
    """Once told to, send messages as fast as they are read."""
    frame = build_frame(BINARY, b"x" * size, masked=False)
    wait_for_word(sock)
    start = time.perf_counter()
    send_frames(sock, frame, count)
    wait_for_word(sock)
    return count, time.perf_counter() - start


def serve_sink(sock, count, size):
    """Have messages sent, and receive them."""
    frame = build_frame(BINARY, b"x" * size, masked=True)
    wait_for_word(sock)
    start = time.perf_counter()
    sock.sendall(build_frame(TEXT, b"go", masked=False))
    receive_bytes(sock, count * len(frame), frame[: len(frame) - size - len(MASKING_KEY)])
    seconds = time.perf_counter() - start
    sock.sendall(build_frame(TEXT, b"ok", masked=False))
    return count, seconds


def drive_client(scenario, count, size):
    """Be the server of one client; print the port, then the figures."""
    with socket.create_server((HOST, 0)) as listener:
        report(port=listener.getsockname()[1])
        with accept_connection(listener) as sock:
            serve = {"echo": serve_echo, "flood": serve_flood, "sink": serve_sink}[scenario]
            count, seconds = serve(sock, count, size)
            report(count=count, seconds=seconds)
            if sock.recv(BLOCK):  # the client goes first, and some wait for the answer
                sock.sendall(build_frame(CLOSE, NORMAL_CLOSURE, masked=False))


def main():
    end_with_parent()
    role, scenario = sys.argv[1:3]
    count, size, connections, window, *port = map(int, sys.argv[3:])
    try:
        if role == "server":
            drive_server(scenario, count, size, connections, window, *port)
        else:
            drive_client(scenario, count, size)
    except Unexpected as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
