"""The other end of a connection over TLS, which may do to records and segments what it likes."""

import _ssl
import contextlib
import ctypes
import functools
import random
import socket
import ssl
import sys

from fuzz.streams import split
from support.certificates import client_context, server_context

RECORD_SIZES = (1, 2, 5, 100, 1000, 16384)
GARBAGE = (
    b"\x17\x03\x03\x00\x20" + bytes(32),
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"GET / HTTP/1.1\r\n\r\n",
)

#: How a stream ends: as it should, without TLS's end, in a record, with one that is broken.
ENDS = ("close_notify", "close_notify", "nothing", "cut", "flipped", "garbage")
BROKEN_ENDS = ("flipped", "garbage")


@functools.cache
def contexts(version):
    """Both sides of TLS of a version, the server's first."""
    both = server_context(), client_context()
    for context in both:
        context.minimum_version = context.maximum_version = version
    return both


def key_updater():
    """The function of OpenSSL's that Python has no method for; ``None`` if it can't be called."""
    if sys.implementation.name != "cpython" or not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(_ssl.__file__).SSL_key_update
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return function


SSL_key_update = key_updater()


def update_key(tls, wants_answer):
    """Let what TLS sends next be encrypted by a new key; ask for the same, perhaps."""
    if SSL_key_update is not None and tls.version() == "TLSv1.3":
        # Behind the head of Python's object stand its owner and OpenSSL's object.
        place = id(tls._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
        SSL_key_update(ctypes.c_void_p.from_address(place).value, int(wants_answer))


class TlsPeer:
    """Puts what it sends into records of any size, and those into pieces of any size.

    Both implementations get the same records, in the same pieces, though encrypted by other keys.

    Attributes:
        transport: the connection's, after the handshake.
    """

    def __init__(self, library, plan):
        self._rng = random.Random(plan.tls_seed)
        self._end = plan.tls_end
        version = self._rng.choice((ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
        near, self.sock = socket.socketpair()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._sides = contexts(version)
        self._tls = self._wrap_bio(not plan.is_server, self._incoming, self._outgoing)
        shake = self._shake_socket if plan.tls == "socket" else self._shake_buffers
        self.transport = shake(library, near, plan.is_server)
        self._late = b""  # what comes with the next records

    def _side(self, server):
        name = None if server else "localhost"
        return self._sides[0 if server else 1], {"server_side": server, "server_hostname": name}

    def _wrap_bio(self, server, incoming, outgoing):
        context, options = self._side(server)
        return context.wrap_bio(incoming, outgoing, **options)

    def _shake(self, other, carry):
        """Have both sides shake hands; ``carry()`` takes to each what the other has written."""
        left = [self._tls, other]
        while left:
            for tls in list(left):
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    left.remove(tls)
                carry()

    def _shake_buffers(self, library, near, server):
        """Shake hands from buffer to buffer."""
        context, options = self._side(server)
        transport = library.TlsTransport(library.Transport(near), context, **options)

        def carry():
            transport._incoming.write(self._outgoing.read())
            self._incoming.write(transport._outgoing.read())

        self._shake(transport.ssl_object, carry)
        return transport

    def _shake_socket(self, library, near, server):
        """Shake hands with a socket that somebody else has wrapped."""
        context, options = self._side(server)
        near.settimeout(0)
        near = context.wrap_socket(near, do_handshake_on_connect=False, **options)
        self.sock.settimeout(0)

        def carry():
            self.sock.sendall(self._outgoing.read())
            with contextlib.suppress(BlockingIOError):
                self._incoming.write(self.sock.recv(65536))

        self._shake(near, carry)
        return library.TlsSocketTransport(near)

    def send(self, data):
        """Send records, and keep the last bytes back sometimes."""
        rng = self._rng
        self.sock.settimeout(20)
        while data:
            size = rng.choice(RECORD_SIZES if len(data) < 1000 else RECORD_SIZES[-3:])
            self._tls.write(data[:size])
            data = data[size:]
            if rng.random() < 0.02:
                update_key(self._tls, rng.random() < 0.5)
        records = self._late + self._outgoing.read()
        kept = rng.choice((0, 0, 0, 1, 5, 30))
        self._late = records[len(records) - kept :] if kept else b""
        for piece in split(
            rng, records[: len(records) - len(self._late)], rng.choice((0, 0, 1, 3))
        ):
            self._send(piece)

    def finish(self):
        """Send what is left, and the end."""
        data = self._late
        if self._end == "close_notify":
            with contextlib.suppress(
                ssl.SSLError
            ):  # it wants the other side's, or has a key to send
                self._tls.unwrap()
            data += self._outgoing.read()
        elif self._end == "cut":
            data = data[: self._rng.randrange(len(data) + 1)]
        elif self._end == "flipped" and data:
            data = data[:-1] + bytes((data[-1] ^ 1,))
        elif self._end == "garbage":
            data += self._rng.choice(GARBAGE)
        self._send(data)
        self.sock.shutdown(socket.SHUT_WR)

    def _send(self, data):
        with contextlib.suppress(BrokenPipeError):  # the connection has ended
            self.sock.sendall(data)

    def receive(self):
        """What was sent to it, and how that ended."""
        received = []
        while True:
            try:
                piece = self._tls.read(65536)
            except ssl.SSLWantReadError:
                records = self.sock.recv(65536)
                if not records:
                    return b"".join(received), "end of TCP"
                self._incoming.write(records)
            except ssl.SSLZeroReturnError:
                return b"".join(received), "close_notify"
            except ssl.SSLError as exc:
                return b"".join(received), exc.reason
            else:
                if not piece:
                    return b"".join(received), "close_notify"
                received.append(piece)
