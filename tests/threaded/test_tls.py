"""Connections over TLS whose peer puts frames into records, and records into segments, as it likes.

The peer is a TLS object in memory, so that each test decides what is sent when.
"""

import contextlib
import os
import random
import shutil
import socket
import ssl
import subprocess
import threading

import pytest
from support.certificates import authority, client_context, server_context
from support.pairs import (
    SOON,
    connect_protocol,
    cut_at_the_end,
    run,
    send_reset,
    socket_pair,
    wait_until,
)
from support.wire import build_frame

from syncws import ConnectionClosedError, ProtocolError, serve
from syncws.options import Options
from syncws.sansio.state import Role
from syncws.threaded.deadline import Deadline
from syncws.threaded.tls_socket import TlsSocketTransport
from syncws.threaded.tls_transport import TlsTransport
from syncws.threaded.transport import Transport

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

KEY = b"\1\2\3\4"


carrier = "buffers"


@pytest.fixture(params=["buffers", "socket"], autouse=True)
def choose_carrier(request, monkeypatch):
    """What OpenSSL works with: two buffers in memory, or, for WSGI servers, the socket."""
    monkeypatch.setitem(globals(), "carrier", request.param)


def shake_hands(near, peer):
    """Return the server's transport, after the handshake."""
    if carrier == "socket":
        shaking = run(server_context().wrap_socket, near, server_side=True)
        peer.shake()
        return TlsSocketTransport(shaking.result())
    transport = TlsTransport(Transport(near), server_context(), server_side=True)
    shaking = run(transport.handshake, Deadline(SOON))
    peer.shake()
    shaking.result()
    return transport


class Peer:
    """The client's side of TLS, in memory, over a socket."""

    def __init__(self, sock, context):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def shake(self):
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))
            else:
                self.sock.sendall(self.outgoing.read())
                return

    def record(self, data):
        """A record with these bytes; several, if they are too many for one."""
        self.tls.write(data)
        return self.outgoing.read()

    def receive(self, size):
        """Bytes that were sent to it."""
        data = b""
        while len(data) < size:
            try:
                data += self.tls.read(size - len(data))
            except ssl.SSLWantReadError:
                received = self.sock.recv(65536)
                assert received, "the connection has ended"
                self.incoming.write(received)
        return data


@contextlib.contextmanager
def connection_and_peer(version=ssl.TLSVersion.TLSv1_3, **options):
    """A connection, which is a server's, and its peer."""
    theirs = client_context()
    theirs.maximum_version = theirs.minimum_version = version
    far, near = socket_pair()
    far.settimeout(SOON)
    peer = Peer(far, theirs)
    transport = shake_hands(near, peer)
    options = Options(ping_interval=None, **options)
    connection = connect_protocol(transport, Role.SERVER, options=options, max_size=2**20)
    with cut_at_the_end(connection), far:
        yield connection, peer


def frame(message, first=None):
    payload = message.encode() if isinstance(message, str) else message
    kind = 0x81 if isinstance(message, str) else 0x82
    return build_frame(kind if first is None else first, payload, KEY)


def on_either_thread(receive):
    """Receive in the main thread, which takes other steps, or in another one."""
    return pytest.mark.parametrize(
        "call", [lambda f: f(), lambda f: run(f).result()], ids=["main", "other"]
    )(receive)


@on_either_thread
@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_a_record_may_come_byte_by_byte(version, call):
    with connection_and_peer(version) as (connection, peer):
        record = peer.record(frame("hello"))
        arriving = threading.Event()

        def send():
            for index in range(len(record)):
                peer.sock.sendall(record[index : index + 1])
                arriving.wait(0.001)

        sending = run(send)
        assert call(lambda: connection.recv(SOON)) == "hello"
        sending.result()


@on_either_thread
@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_a_frame_may_come_in_records_of_a_byte(version, call):
    with connection_and_peer(version) as (connection, peer):
        data = frame("hello") + frame(b"\x7f" * 20) + frame("x" * 70000)
        records = b"".join(peer.record(data[i : i + 1]) for i in range(100))
        sending = run(peer.sock.sendall, records + peer.record(data[100:]))
        received = call(lambda: [connection.recv(SOON) for _ in range(3)])
        assert received == ["hello", b"\x7f" * 20, "x" * 70000]
        sending.result()


@on_either_thread
def test_many_records_may_come_at_once(call):
    with connection_and_peer() as (connection, peer):
        messages = [f"{number} ".ljust(number % 300) for number in range(2000)]
        sending = run(peer.sock.sendall, b"".join(peer.record(frame(m)) for m in messages))
        assert call(lambda: [connection.recv(SOON) for _ in messages]) == messages
        sending.result()


@on_either_thread
@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_records_and_segments_the_messages_are_the_same(version, seed, call):
    rng = random.Random(seed)
    with connection_and_peer(version) as (connection, peer):
        messages = []
        for _ in range(60):
            size = rng.choice([0, 1, 5, 60, 125, 126, 1000, 4090, 5000, 16384, 40000, 200_000])
            text = "".join(rng.choices("aé€😀", k=size // 3)) if rng.random() < 0.5 else None
            messages.append(rng.randbytes(size) if text is None else text)
        data, records = b"".join(map(frame, messages)), []
        while data:
            size = rng.choice([1, 2, 17, 100, 5000, 16384, 16385, 70_000])
            records.append(peer.record(data[:size]))
            data = data[size:]
        stream = b"".join(records)

        def send():
            position = 0
            while position < len(stream):
                size = rng.choice([1, 4, 5, 6, 30, 1000, 4096, 16384, 65536, 100_000])
                peer.sock.sendall(stream[position : position + size])
                position += size

        sending = run(send)
        assert call(lambda: [connection.recv(SOON) for _ in messages]) == messages
        sending.result()


@on_either_thread
@pytest.mark.parametrize("timeout", [0, 0.01])
def test_half_a_record_is_no_message_in_time(timeout, call):
    with connection_and_peer() as (connection, peer):
        record = peer.record(frame("hello"))
        peer.sock.sendall(record[:-1])
        for _ in range(3):
            with pytest.raises(TimeoutError):
                call(lambda: connection.recv(timeout))
        peer.sock.sendall(record[-1:])
        assert call(lambda: connection.recv(SOON)) == "hello"


@on_either_thread
def test_what_came_with_the_handshake_is_received(call):
    theirs = client_context()
    far, near = socket_pair()
    far.settimeout(SOON)
    peer = Peer(far, theirs)
    transport = shake_hands(near, peer)
    far.sendall(peer.record(b"first") + peer.record(frame("a")) + peer.record(frame("b" * 9000)))
    assert transport.recv(Deadline(SOON)) == b"first"  # as the opening handshake is read
    connection = connect_protocol(transport, Role.SERVER, options=Options())
    with cut_at_the_end(connection), far:
        assert call(lambda: connection.recv(SOON)) == "a"
        assert call(lambda: connection.recv(SOON)) == "b" * 9000


@on_either_thread
def test_tls_that_ends_in_order_ends_the_connection_after_its_messages(call):
    with connection_and_peer() as (connection, peer):
        records = peer.record(frame("last"))
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.tls.unwrap()
        peer.sock.sendall(records + peer.outgoing.read())
        assert call(lambda: connection.recv(SOON)) == "last"
        with pytest.raises(ConnectionClosedError) as caught:
            call(lambda: connection.recv(SOON))
        assert caught.value.code == 1006


@on_either_thread
@pytest.mark.parametrize("end", ["close_notify", "broken record"])
def test_what_broke_the_rules_before_tls_ended_is_why_the_connection_ends(end, call):
    with connection_and_peer() as (connection, peer):
        records = peer.record(frame("last")) + peer.record(frame("never", 0xF1))
        if end == "close_notify":
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.unwrap()
            records += peer.outgoing.read()
        else:
            records += peer.record(frame("more"))[:-1] + b"?"
        peer.sock.sendall(records)
        assert call(lambda: connection.recv(SOON)) == "last"
        with pytest.raises(ConnectionClosedError) as caught:
            call(lambda: connection.recv(SOON))
        assert isinstance(caught.value.__cause__, ProtocolError)
        assert caught.value.sent.code == 1002


@on_either_thread
def test_tcp_that_ends_in_a_record_ends_the_connection_after_its_messages(call):
    with connection_and_peer() as (connection, peer):
        peer.sock.sendall(peer.record(frame("last")) + peer.record(frame("lost"))[:-3])
        peer.sock.shutdown(socket.SHUT_WR)
        assert call(lambda: connection.recv(SOON)) == "last"
        with pytest.raises(ConnectionClosedError) as caught:
            call(lambda: connection.recv(SOON))
        assert isinstance(caught.value.__cause__, EOFError)


@on_either_thread
def test_a_reset_ends_the_connection_with_its_error(call):
    with connection_and_peer() as (connection, peer):
        peer.sock.sendall(peer.record(frame("last")))
        assert call(lambda: connection.recv(SOON)) == "last"
        send_reset(peer.sock)
        with pytest.raises(ConnectionClosedError) as caught:
            call(lambda: connection.recv(SOON))
        # Not every version of Python's ssl module tells a reset from an end.
        expected = ConnectionResetError
        if carrier == "socket":
            expected = (EOFError, ConnectionResetError)
        assert isinstance(caught.value.__cause__, expected)


@on_either_thread
def test_a_record_that_was_changed_on_its_way_ends_the_connection(call):
    with connection_and_peer() as (connection, peer):
        good, bad = peer.record(frame("good")), bytearray(peer.record(frame("bad")))
        bad[-1] ^= 1
        peer.sock.sendall(good + bad + peer.record(frame("after")))
        assert call(lambda: connection.recv(SOON)) == "good"
        with pytest.raises(ConnectionClosedError) as caught:
            call(lambda: connection.recv(SOON))
        assert isinstance(caught.value.__cause__, ssl.SSLError)
        # The peer is told by an alert, which shows as an error of its own.
        with pytest.raises(ssl.SSLError):
            peer.receive(1)


@on_either_thread
def test_what_broke_tls_is_why_the_connection_ends_though_a_ping_is_not_answered(call):
    with connection_and_peer() as (connection, peer):
        good = peer.record(frame("good")) + peer.record(frame(b"?", 0x89))
        peer.sock.sendall(good + b"GET / HTTP/1.1\r\n\r\n")
        assert call(lambda: connection.recv(SOON)) == "good"
        with pytest.raises(ConnectionClosedError) as caught:
            call(lambda: connection.recv(SOON))
        # As OpenSSL calls it; the latter since 3.5.
        reasons = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}
        assert caught.value.__cause__.reason in reasons


@on_either_thread
def test_what_is_no_tls_ends_the_connection(call):
    with connection_and_peer() as (connection, peer):
        peer.sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        with pytest.raises(ConnectionClosedError) as caught:
            call(lambda: connection.recv(SOON))
        assert isinstance(caught.value.__cause__, ssl.SSLError)


@on_either_thread
def test_a_message_over_the_limit_is_refused_before_it_has_come(call):
    with connection_and_peer() as (connection, peer):
        header = build_frame(0x82, bytes(2**20 + 1), KEY)[:14]
        peer.sock.sendall(peer.record(header))
        with pytest.raises(ConnectionClosedError) as caught:
            call(lambda: connection.recv(SOON))
        assert caught.value.sent.code == 1009
        assert peer.receive(4)[2:] == (1009).to_bytes(2, "big")


@on_either_thread
def test_a_ping_is_answered_while_messages_are_received(call):
    with connection_and_peer() as (connection, peer):
        peer.sock.sendall(peer.record(frame(b"are you there?", 0x89) + frame("hello")))
        assert call(lambda: connection.recv(SOON)) == "hello"
        assert peer.receive(16) == build_frame(0x8A, b"are you there?")


def test_small_messages_go_out_in_a_record_each_and_large_ones_in_full_ones():
    with connection_and_peer() as (connection, peer):

        def records(size):
            """Sizes of what is in records."""
            data, sizes = b"", []
            while sum(sizes) < size:
                while len(data) < 5 or len(data) < 5 + int.from_bytes(data[3:5], "big"):
                    data += peer.sock.recv(65536)
                length = int.from_bytes(data[3:5], "big")
                sizes.append(length - 17)
                data = data[5 + length :]
            return sizes

        connection.send("first")
        peer.receive(7)  # after session tickets
        connection.send("hello")
        assert records(7) == [7]
        sending = run(connection.send, bytes(100_000))
        assert records(100_010) == [16384] * 6 + [100_010 - 6 * 16384]
        sending.result()
        connection.send_many(["x" * 98] * 1000)
        assert len(records(100_000)) <= 8
        with connection.batch():
            for _ in range(100):
                connection.send("x" * 98)
        assert records(10_000) == [10_000]


def test_a_peer_that_does_not_read_costs_the_backlog_only():
    with connection_and_peer(write_limit=2**20) as (connection, peer):
        for sock in (connection._transport.sock, peer.sock):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        left = []

        def send():
            for _ in range(3000):
                connection.send(b"x" * 4000)
                left.append(connection._transport.backlog_size)

        sending = run(send)
        if connection._direct:  # otherwise it waits without leaving anything
            wait_until(lambda: connection._transport.backlog_size)
        received = peer.receive(3000 * 4004)
        sending.result()
        assert not any(left), "send() returned before the kernel had taken all of it"
        assert received == build_frame(0x82, b"x" * 4000) * 3000
        assert connection.stats.messages_sent == 3000


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
class TestOpensslClient:
    """What only the command can do: key updates, renegotiation."""

    @pytest.fixture
    def start(self, tmp_path):
        context = server_context()
        authority().cert_pem.write_to_path(tmp_path / "ca.pem")
        received = []

        def handler(ws):
            for message in ws:
                received.append(message)
                ws.send(message)

        with (
            serve(handler, "127.0.0.1", ssl=context, origins=None) as server,
            contextlib.ExitStack() as stack,
        ):

            def start(*options):
                process = stack.enter_context(
                    subprocess.Popen(
                        [
                            "openssl",
                            "s_client",
                            "-connect",
                            f"127.0.0.1:{server.port}",
                            "-servername",
                            "localhost",
                            "-CAfile",
                            tmp_path / "ca.pem",
                            *options,
                        ],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                    )
                )
                stack.callback(process.kill)
                request = (
                    "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                self.write(process, request.encode())
                self.read_until(process, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                return process

            yield start, received

    def write(self, process, data):
        process.stdin.write(data)
        process.stdin.flush()

    def read_until(self, process, wanted):
        data = b""
        while wanted not in data:
            piece = os.read(process.stdout.fileno(), 65536)
            assert piece, data
            data += piece
        return data

    @pytest.mark.parametrize("command", [b"k\n", b"K\n"], ids=["told", "asked for"])
    def test_keys_may_be_updated(self, start, command):
        start, received = start
        process = start("-tls1_3")
        for number in range(3):
            # A command is a line of its own, at the beginning of what is read at once.
            self.write(process, command)
            self.read_until(process, b"KEYUPDATE")
            text = f"message {number}"
            self.write(process, frame(text))
            self.read_until(process, build_frame(0x81, text.encode()))
        assert received == ["message 0", "message 1", "message 2"]

    def test_renegotiation_is_refused(self, start):
        start, received = start
        process = start("-tls1_2")
        self.write(process, frame("before"))
        self.read_until(process, build_frame(0x81, b"before"))
        self.write(process, b"R\n")
        output = self.read_until(process, b"RENEGOTIATING") + process.stdout.read()
        output = output.partition(b"RENEGOTIATING")[2]
        assert b"renegotiation" in output.lower() or b"alert" in output.lower()
        assert received == ["before"]
