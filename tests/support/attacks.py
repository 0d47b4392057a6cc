"""What hostile peers send, in bytes. It doesn't need pytest: the soak test uses it as well."""

import contextlib
import socket
import ssl
import struct
import zlib

TIMEOUT = 20

#: An opening handshake without the empty line that ends it.
REQUEST = (
    b"GET %b HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
)

DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1 = 0x40
FIN = 0x80


def frame(first, payload=b"", *, masked=True):
    """The bytes of a frame. The masking key is zero, which saves work."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        header = bytes((first, bit | size))
    elif size < 1 << 16:
        header = struct.pack("!BBH", first, bit | 126, size)
    else:
        header = struct.pack("!BBQ", first, bit | 127, size)
    return header + (b"\0\0\0\0" if masked else b"") + payload


def dial(address, context=None, *, receive_buffer=None):
    """A socket connected to a server, perhaps by TLS."""
    sock = socket.socket()
    try:
        sock.settimeout(TIMEOUT)
        if receive_buffer is not None:  # changing it after that has odd effects
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return sock
    try:
        return context.wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise


def open_raw(address, path="/", context=None, headers=b"", **kwargs):
    """A socket after the opening handshake; other arguments are passed to :func:`dial`.

    Raises:
        ConnectionError: the server did not accept it.
    """
    sock = dial(address, context, **kwargs)
    try:
        sock.sendall(REQUEST % path.encode() + headers + b"\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = sock.recv(1)
            if not byte:
                raise ConnectionError(f"the server closed after {head!r}")
            head += byte
        if not head.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"the server answered {head!r}")
    except BaseException:
        sock.close()
        raise
    return sock


def reset(sock):
    """Close a socket with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_frame(file):
    """Read a frame from a server; return its first byte and payload, or ``None`` at the end."""
    header = file.read(2)
    if len(header) < 2:
        return None
    first, size = header
    if size & 0x80:
        raise AssertionError("a server does not mask")
    if size == 126:
        (size,) = struct.unpack("!H", file.read(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", file.read(8))
    payload = file.read(size)
    return (first, payload) if len(payload) == size else None


def read_close(sock):
    """Read up to the close frame and return its code; ``None`` if there is none."""
    with contextlib.suppress(ConnectionError, ssl.SSLError), sock.makefile("rb") as file:
        while (received := read_frame(file)) is not None:
            if received[0] == FIN | CLOSE:
                return int.from_bytes(received[1][:2], "big")
    return None


def client_hello():
    """The first bytes that a TLS client sends."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def bomb(size):
    """A message of so many zeros, compressed about 1000:1."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(min(size, 1 << 20))
    pieces = [compressor.compress(zeros) for _ in range(size // len(zeros))]
    pieces.append(compressor.flush(zlib.Z_SYNC_FLUSH))
    return b"".join(pieces)[:-4]


def invalid_frames(rng):
    """Frames that break the rules, or arbitrary bytes, chosen at random."""
    kinds = [
        lambda: frame(FIN | TEXT, b"hello", masked=False),
        lambda: frame(FIN | rng.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), b"?"),
        lambda: frame(FIN | rng.choice([0x10, 0x20, 0x40, 0x70]) | TEXT, b"?"),
        lambda: frame(PING, b"fragmented"),
        lambda: frame(FIN | PING, bytes(126)),
        lambda: frame(FIN | CONT, b"of nothing"),
        lambda: frame(TEXT, b"a") + frame(FIN | TEXT, b"b"),
        lambda: frame(FIN | TEXT, b"\xff\xfe"),
        lambda: frame(TEXT, b"\xf0\x9f") + frame(FIN | CONT, b"\xff"),
        lambda: frame(FIN | CLOSE, b"\x03"),
        lambda: frame(FIN | CLOSE, struct.pack("!H", rng.choice([0, 999, 1005, 1006, 1015, 5000]))),
        lambda: frame(FIN | CLOSE, b"\x03\xe8\xff"),
        lambda: struct.pack("!BBQ", FIN | BINARY, 0xFF, 1 << 63),
        lambda: struct.pack("!BBQ", FIN | BINARY, 0xFF, (1 << 63) - 1),
        lambda: struct.pack("!BBH", FIN | BINARY, 0xFE, 5) + bytes(9),
        lambda: struct.pack("!BBQ", FIN | BINARY, 0xFF, 500) + bytes(504),
    ]
    pieces = [rng.choice(kinds)() for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.5:
        pieces.insert(rng.randint(0, len(pieces)), rng.getrandbits(8 * 50).to_bytes(50, "big"))
    return b"".join(pieces)
