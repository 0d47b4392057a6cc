"""Connections that receive and send, with compression and with TLS, in both implementations.

The package is there twice: as it was imported, with the accelerator, and once more without. In a
case both get the same bytes from a peer, in the same pieces, while the program takes messages and
sends some. Which messages came, how the connection ended, and what the peer was sent must be the
same.
"""

import contextlib
import importlib
import os
import random
import socket
import sys
import threading
import types
import zlib

from fuzz import deflate_cases
from fuzz.streams import (
    Compressor,
    Failure,
    check,
    damage_bytes,
    damage_frame,
    random_pieces,
    random_stream,
    split,
)
from fuzz.tls_peers import BROKEN_ENDS, ENDS, TlsPeer
from support.wire import build_frame, parse_frames

#: Seconds for what should take no time.
SOON = 20

#: What the kernel keeps for a connection that is not read, in bytes and in pieces.
MAX_STREAM = 100_000
MAX_PIECES = 60

WINDOW_BITS = (None, None, None, 8, 9, 12, 15)
MAX_SIZES = (None, 1 << 20, 1 << 20, 1 << 20, 0, 1, 20, 126, 1000, (1000, 30), (None, 100))
QUEUES = (16, 16, 1, 2, (3, 1), None)
READ_LIMITS = (1 << 16, 1 << 16, 0, 1, 100)
BOMB = zlib.compressobj(9, zlib.DEFLATED, -9, 9)
BOMB = BOMB.compress(bytes(3 << 20)) + BOMB.flush(zlib.Z_SYNC_FLUSH)

# --- the package, twice ------------------------------------------------------------------


def import_names():
    """What is needed of the package, as it can be imported now."""
    names = types.SimpleNamespace()
    for module, wanted in {
        "accel": ("IMPLEMENTATION",),
        "exceptions": ("ConnectionClosed",),
        "options": ("Deflate", "Options"),
        "sansio.extensions.permessage_deflate": ("PerMessageDeflate",),
        "sansio.protocol": ("Protocol",),
        "sansio.state": ("Role", "State"),
        "threaded.connection": ("Connection",),
        "threaded.tls_socket": ("TlsSocketTransport",),
        "threaded.tls_transport": ("TlsTransport",),
        "threaded.transport": ("Transport",),
    }.items():
        found = importlib.import_module(f"syncws.{module}")
        for name in wanted:
            setattr(names, name, getattr(found, name))
    return names


def import_pure():
    """Import the package once more, without the accelerator."""

    def take_out():
        ours = [name for name in sys.modules if name.split(".")[0] == "syncws"]
        return {name: sys.modules.pop(name) for name in ours}

    usual, before = take_out(), os.environ.get("SYNCWS_PURE")
    os.environ["SYNCWS_PURE"] = "1"
    try:
        return import_names()
    finally:
        take_out()
        sys.modules.update(usual)
        del os.environ["SYNCWS_PURE"]
        if before is not None:
            os.environ["SYNCWS_PURE"] = before


LIBRARIES = []


def libraries():
    """The package with the accelerator, and without."""
    if not LIBRARIES:
        LIBRARIES[:] = [import_names(), import_pure()]
        found = [library.IMPLEMENTATION for library in LIBRARIES]
        check(found == ["c", "pure"], f"the implementations are {found}")
    return LIBRARIES


# --- what happens ------------------------------------------------------------------------


class Plan:
    """What happens to a connection, whichever implementation it is of.

    Attributes:
        pieces: what the peer sends, in bytes that arrive together.
        early: whether the first of them comes with the opening handshake.
        takes: how many messages the program takes after each; ``None`` takes all.
        sends: messages that it sends after each: (message, ``compress``).
    """

    def __init__(self, rng, seed, tls):
        self.is_server = rng.random() < 0.5
        self.on_main = rng.random() < 0.3
        self.streams = rng.random() < 0.1
        self.settings = None
        if rng.random() < (0.4 if tls else 0.9):
            self.settings = {
                "server_no_context_takeover": rng.random() < 0.3,
                "client_no_context_takeover": rng.random() < 0.3,
                "server_max_window_bits": rng.choice(WINDOW_BITS),
                "client_max_window_bits": rng.choice(WINDOW_BITS),
                "min_size": rng.choice((0, 64)),
                "memory_limit": rng.choice((64, 0)),
            }
        self.max_size = rng.choice(MAX_SIZES)
        self.options = {
            "ping_interval": None,
            "max_queue": rng.choice(QUEUES),
            "read_limit": rng.choice(READ_LIMITS),
        }
        data = self._random_data(rng, seed)
        self.pieces = random_pieces(rng, data[:MAX_STREAM])
        if len(self.pieces) > MAX_PIECES:
            self.pieces = split(rng, data[:MAX_STREAM], MAX_PIECES)
        self.early = rng.random() < 0.1
        self.takes = [rng.choice((None, None, 0, 1, 2)) for _ in self.pieces]
        self.sends = [[] for _ in self.pieces]
        for _ in range(rng.choice((0, 0, 1, 3)) if self.is_whole else 0):
            message = deflate_cases.random_data(rng, rng.choice(deflate_cases.SIZES))
            compress = rng.choice((None, None, True, False))
            rng.choice(self.sends).append((message, compress))
        self.tls = rng.choice(("buffers", "buffers", "socket")) if tls else None
        self.tls_seed = rng.getrandbits(32)
        self.tls_end = rng.choice(ENDS) if tls else None

    def _random_data(self, rng, seed):
        """The bytes of frames; sets ``is_whole`` if nothing ends the connection before the last."""
        compressor = None
        if self.settings is not None:
            peer = "client" if self.is_server else "server"
            bits = self.settings[f"{peer}_max_window_bits"] or 15
            compressor = Compressor(rng, bits, self.settings[f"{peer}_no_context_takeover"])
        frames = []
        for _ in range(rng.choice((1, 1, 2, 4))):
            some, _ = random_stream(rng, compressor)
            frames += some
        damage = rng.random()
        if compressor is not None and damage < 0.3:
            index = rng.randrange(len(frames))
            if rng.random() < 0.2:
                frames[index] = (rng.choice((0xC1, 0xC2)), BOMB)
            elif frames[index][0] & 0x0F < 8:
                _, other = rng.choice(rng.choice(deflate_cases.all_series(seed))[1])
                if rng.random() < 0.5:
                    other = frames[index][1]
                frames[index] = (frames[index][0], deflate_cases.dress(rng, b"", other)[1])

        def key():
            return rng.getrandbits(32).to_bytes(4, "big") if self.is_server else None

        wrong = rng.randrange(len(frames)) if 0.2 < damage < 0.5 else -1
        data = b"".join(
            (damage_frame if index == wrong else build)(rng, first, payload, key())
            for index, (first, payload) in enumerate(frames)
        )
        self.is_whole = damage > 0.6 and self.max_size is None
        self.is_whole = self.is_whole and 8 not in [first & 0x0F for first, _ in frames]
        return damage_bytes(rng, data) if 0.45 < damage < 0.6 else data

    def __repr__(self):
        return repr(vars(self))


def build(rng, first, payload, key):
    return build_frame(first, payload, key)


class PlainPeer:
    """The other end of a connection over a socket."""

    def __init__(self, library, plan):
        near, self.sock = socket.socketpair()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.sock.settimeout(SOON)
        self.transport = library.Transport(near)

    def send(self, data):
        with contextlib.suppress(BrokenPipeError):  # the connection has ended
            self.sock.sendall(data)

    def finish(self):
        self.sock.shutdown(socket.SHUT_WR)

    def receive(self):
        """What was sent to it, and how that ended."""
        received = []
        while True:
            piece = self.sock.recv(65536)
            if not piece:
                return b"".join(received), "end"
            received.append(piece)


def describe_end(exc):
    """All that can be seen of an exception, in a form that can be compared."""
    cause = exc.__cause__
    close = getattr(exc, "rcvd", None), getattr(exc, "sent", None)
    return type(exc).__name__, str(exc), repr(close), type(cause).__name__, str(cause)


class Run:
    """A connection of one implementation, that does what the plan says."""

    def __init__(self, library, plan):
        self.library, self.plan = library, plan
        self.messages, self.end = [], None

    def go(self):
        """Do it; return what came of it."""
        plan = self.plan
        peer = (PlainPeer if plan.tls is None else TlsPeer)(self.library, plan)
        connection = self._connect(peer.transport)
        try:
            for index, (count, messages) in enumerate(zip(plan.takes, plan.sends)):
                if index or not plan.early:
                    peer.send(plan.pieces[index])
                self._take(connection, count)
                for message, compress in messages:
                    connection.send(message, compress=compress)
            peer.finish()
            while self.end is None:
                self._take_one(connection, SOON)
            check(connection.wait_closed(SOON), "it is not closed")
            answers, answers_end = peer.receive()
        finally:
            connection.abort()
            peer.sock.close()
        frames = parse_frames(answers, masked=not plan.is_server)
        return {
            "messages": self.messages,
            "end": self.end,
            # Between messages, pings are answered sooner or later.
            "sent": [frame for frame in frames if not frame[0] & 8],
            "answers": [frame for frame in frames if frame[0] & 8],
            "their end": answers_end,
            "count": connection.stats.messages_received,
        }

    def _connect(self, transport):
        library, plan = self.library, self.plan
        role = library.Role.SERVER if plan.is_server else library.Role.CLIENT
        protocol = library.Protocol(role, state=library.State.OPEN, max_size=plan.max_size)
        if plan.settings is not None:
            settings = library.Deflate(**plan.settings)
            protocol.extensions = [library.PerMessageDeflate(role, settings)]
            protocol._make_decoder()
        protocol._early = plan.pieces[0] if plan.early else b""
        options = library.Options(**plan.options)
        connection = library.Connection(transport, protocol, options=options)
        connection._start()
        check(connection._direct is (library.IMPLEMENTATION == "c"), "it is read in another way")
        return connection

    def _take(self, connection, count):
        """Take some of the messages that are there."""
        while count != 0 and self.end is None and self._take_one(connection, 0):
            count = None if count is None else count - 1

    def _take_one(self, connection, timeout):
        """Take a message, or note the end; return whether there was any."""
        try:
            if self.plan.streams and timeout:
                parts = list(connection.recv_streaming())
                self.messages.append(parts[0][:0].join(parts) if parts else "")
            else:
                self.messages.append(connection.recv(timeout))
        except TimeoutError:
            check(timeout == 0, f"nothing comes, after {self.messages!r:.1000}")
            return False
        except self.library.ConnectionClosed as exc:
            self.end = describe_end(exc)
        return True


def call_in_thread(function):
    """Call it in another thread; return or raise what it does."""
    outcome = []

    def call():
        try:
            outcome.append((function(), None))
        except BaseException as exc:
            outcome.append((None, exc))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    [(result, exc)] = outcome
    if exc is not None:
        raise exc
    return result


def newest_pong(answers):
    """Control frames without pongs that others followed."""
    pongs = [index for index, frame in enumerate(answers) if frame[0] == 0x8A]
    return [frame for index, frame in enumerate(answers) if index not in pongs[:-1]]


def compare(plan):
    """Do what the plan says with both implementations."""
    in_c, in_python = (
        run.go() if plan.on_main else call_in_thread(run.go)
        for run in [Run(library, plan) for library in libraries()]
    )
    for what, seen in in_python.items():
        other = in_c[what]
        if plan.tls_end in BROKEN_ENDS:
            # C decrypts what has come at once, and then can't encrypt what answers it.
            if what in ("their end", "answers"):
                continue
            if what in ("messages", "sent"):
                seen = seen[: len(other)]
        elif what == "answers" and plan.on_main and any(plan.sends):
            # The reader thread answers, and keeps the newest pong only while another one writes.
            seen, other = newest_pong(seen), newest_pong(other)
        if seen != other:
            raise Failure(
                f"{what}: {seen!r:.1000} in Python, {other!r:.1000} in C\nplan = {plan!r:.5000}"
            )


def run_reading_case(seed, number):
    """Compare over sockets."""
    compare(Plan(random.Random(f"{seed}/{number}"), seed, tls=False))


def run_tls_case(seed, number):
    """Compare over TLS."""
    compare(Plan(random.Random(f"{seed}/{number}"), seed, tls=True))
