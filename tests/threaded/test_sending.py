"""What happens to a frame on its way to the kernel: at once, in part, apart from its header."""

import contextlib
import os
import select
import signal
import socket
import struct
import threading
import types

import pytest
from support.certificates import contexts
from support.channels import import_c
from support.interrupting import Interrupted
from support.kinds import KINDS, kind_and_socket, pair_of
from support.pairs import (
    SOON,
    connect_protocol,
    connection_and_socket,
    connection_pair,
    cut_at_the_end,
    receive_exactly,
    run,
    send_reset,
    socket_pair,
    transport_pair,
    wait_until,
)
from support.wire import parse_frames

from syncws import ConcurrencyError, ConnectionClosedError
from syncws.accel import pure
from syncws.sansio.state import Role
from syncws.threaded.deadline import Deadline
from syncws.threaded.transport import Transport
from syncws.threaded.writer import LARGE

HEADER = b"\x82\x7f" + (100_000).to_bytes(8, "big")
PAYLOAD = bytes(range(250)) * 400


def narrow(connection, peer):
    """Leave room for few bytes between connection and peer."""
    connection._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)


def wait_until_full(connection):
    """Wait until the kernel takes no more."""
    sock = connection._transport.sock
    wait_until(lambda: not select.select([], [sock], [], 0)[1])


# --- arguments ---


@pytest.fixture(params=["c", "pure"])
def channel(request):
    """The base of a connection, which notes how it sends."""
    module = pure if request.param == "pure" else import_c()

    class Connection(module.Channel):
        def __init__(self):
            self.sent = []

        def _send(self, *arguments):
            self.sent.append(arguments)

    return Connection()


@pytest.mark.parametrize(
    ("arguments", "keywords", "complaint"),
    [
        ((), {}, "missing 1 required .*'message'"),
        ((), {"text": True}, "missing 1 required .*'message'"),
        (("a", "b"), {}, "positional argument"),
        (("a", None, None, None), {}, "positional argument"),
        (("a",), {"wrong": 1}, "unexpected keyword argument 'wrong'"),
        (("a",), {"text": True, "é": 1}, "unexpected keyword argument 'é'"),
        (("a",), {"message": "b"}, "multiple values for argument 'message'"),
    ],
)
def test_wrong_arguments_send_nothing(channel, arguments, keywords, complaint):
    with pytest.raises(TypeError, match=complaint):
        channel.send(*arguments, **keywords)
    assert channel.sent == []


@pytest.mark.parametrize(
    ("arguments", "keywords", "sent"),
    [
        (("a",), {}, ("a", None, None, None)),
        ((), {"message": "a"}, ("a", None, None, None)),
        (("a",), {"compress": True, "text": False}, ("a", False, None, True)),
        ((), {"timeout": 5, "message": b"a"}, (b"a", None, 5, None)),
        ((5,), {}, (5, None, None, None)),
        (([],), {"timeout": None, "text": None, "compress": None}, ([], None, None, None)),
    ],
)
def test_arguments_are_passed_on_where_sending_at_once_is_not_possible(
    channel, arguments, keywords, sent
):
    assert channel.send(*arguments, **keywords) is None
    assert channel.sent == [sent]


# --- a peer that does not read, or goes away ---


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)
@pytest.mark.parametrize("timeout", [None, SOON])
@pytest.mark.parametrize("size", [10, 1000, 15_000, LARGE - 1, LARGE, 100_000])
def test_sends_to_a_peer_that_does_not_read_block_and_then_go_on_in_order(role, timeout, size):
    count = 1_500 if size == 10 else 1_200_000 // size
    with connection_and_socket(role) as (connection, peer):
        narrow(connection, peer)

        def send():
            for number in range(count):
                connection.send(struct.pack("!I", number) * (size // 4), timeout=timeout)

        sender = run(send)
        if size > 10:
            wait_until_full(connection)
            assert not sender.done()
        length = size // 4 * 4
        header = 2 if length < 126 else 4 if length < 65536 else 10
        masked = role is Role.CLIENT
        data = receive_exactly(peer, count * (header + 4 * masked + length))
        sender.result()
        frames = parse_frames(data, masked=masked)
        assert [first for first, _ in frames] == [0x82] * count
        assert all(
            payload == struct.pack("!I", number) * (size // 4)
            for number, (_, payload) in enumerate(frames)
        )
        assert connection.stats.bytes_sent == len(data)
        assert connection.stats.messages_sent == count
        assert not connection._writer.is_behind


@pytest.mark.parametrize("size", [10, 10_000, 100_000])
@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)
def test_peer_that_resets_ends_sending_with_its_error_as_the_cause(role, size):
    with connection_and_socket(role) as (connection, peer):
        send_reset(peer)

        def send():
            while True:
                connection.send(b"x" * size)

        with pytest.raises(ConnectionClosedError) as caught:
            send()
        assert isinstance(caught.value.__cause__, OSError)
        assert connection.wait_closed(SOON)
        with pytest.raises(ConnectionClosedError):
            connection.send("more")


def test_peer_that_resets_ends_a_send_that_waits_for_it():
    with connection_and_socket() as (connection, peer):
        narrow(connection, peer)

        def send():
            while True:
                connection.send(b"x" * 1000)

        sender = run(send)
        wait_until_full(connection)
        send_reset(peer)
        with pytest.raises(ConnectionClosedError) as caught:
            sender.result()
        assert isinstance(caught.value.__cause__, OSError)


# --- several threads, signals ---


@pytest.mark.parametrize("kind", KINDS)
def test_messages_of_several_threads_stay_whole_and_pings_are_answered_meanwhile(kind):
    sizes = [1, 100, 5000, 40_000]
    with pair_of(kind) as (client, server):
        for sender, receiver in ((client, server), (server, client)):

            def send(name, sender=sender):
                for number in range(40):
                    sender.send(f"{name} {number} ".ljust(sizes[number % 4], name))

            threads = [run(send, name) for name in "abcdefgh"]

            def ping(receiver=receiver, threads=threads):
                pings = 0
                while pings < 5 or not all(thread.done() for thread in threads):
                    assert receiver.ping().wait(SOON)
                    pings += 1

            pinging = run(ping)
            numbers = {name: [] for name in "abcdefgh"}
            for _ in range(40 * len(threads)):
                message = receiver.recv(SOON)
                name, number, rest = message.split(" ")
                numbers[name].append(int(number))
                assert message == f"{name} {number} ".ljust(sizes[int(number) % 4], name)
                assert set(rest) <= {name}
            for thread in [*threads, pinging]:
                thread.result()
            assert all(seen == list(range(40)) for seen in numbers.values())


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.parametrize("message", [b"x" * 10_000, b"x" * 600_000, ["x" * 1000, "y" * 1000]])
def test_handler_that_sends_while_it_interrupts_a_send_is_refused_or_sends(message):
    outcomes = []

    def handle(*_):
        try:
            connection.send("handler")
        except ConcurrencyError:
            outcomes.append("refused")
        else:
            outcomes.append("sent")

    with connection_and_socket() as (connection, peer):
        narrow(connection, peer)
        received, end = bytearray(), threading.Event()

        def read():
            while not end.is_set():
                wait_until(lambda: outcomes)  # so that there is a send to interrupt
                received.extend(peer.recv(1 << 16))

        reader = run(read)
        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.001)
        count = 0
        try:
            while count < 5 or not outcomes:
                connection.send(message)
                count += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0, 0)
            signal.signal(signal.SIGALRM, before)
        end.set()
        connection.send("last")
        reader.result()
        wait_until(lambda: finished(peer, received))
        frames = parse_frames(bytes(received), masked=True)
        assert frames[-1] == (0x81, b"last")
        payloads = [payload for _, payload in frames]
        assert payloads.count(b"handler") == outcomes.count("sent")
        whole = [message] if isinstance(message, (str, bytes)) else message
        for part in whole:
            assert payloads.count(part if isinstance(part, bytes) else part.encode()) == count


def finished(peer, received):
    """Read what there is; return whether the last message has come."""
    if select.select([peer], [], [], 0)[0]:
        received.extend(peer.recv(1 << 16))
    with_mask = bytes(received[-8:-4])
    return (
        len(received) > 10
        and bytes(byte ^ with_mask[i] for i, byte in enumerate(received[-4:])) == b"last"
    )


# --- large payloads, apart from their header ---


class Kernel:
    """A socket that takes as many bytes at a time as it is told."""

    def __init__(self, sock, takes):
        self._sock = sock
        self._takes = takes
        self.calls = []
        self.payload = None

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def _take(self, name, data, flags):
        self.calls.append(name)
        size = self._takes.pop(0) if self._takes else len(data)
        if not size:
            assert flags & socket.MSG_DONTWAIT, "it would wait forever"
            raise BlockingIOError
        return self._sock.send(bytes(data[:size]))

    def send(self, data, flags=0):
        return self._take("send", data, flags)

    def sendmsg(self, buffers, ancillary=(), flags=0):
        self.payload = buffers[-1]
        return self._take("sendmsg", b"".join(map(bytes, buffers)), flags)


@pytest.fixture
def write():
    """A transport over a socket that takes so many bytes at a time, and what reads the rest."""
    local, remote = socket_pair()
    remote.settimeout(SOON)
    with local, remote:
        yield lambda *takes: (
            Transport(Kernel(local, list(takes))),
            lambda size: receive_exactly(remote, size),
        )


@pytest.mark.skipif(not hasattr(socket.socket, "sendmsg"), reason="needs sendmsg()")
@pytest.mark.parametrize("timeout", ["none", None, SOON])
@pytest.mark.parametrize(
    "takes",
    [
        [],
        [0],
        [1],
        [9],
        [10],
        [11],
        [1, 1],
        [5, 2, 3, 1],
        [10, 1, 99_999],
        [50_000, 20_000],
        [100_009],
        [100_009, 1],
    ],
    ids=str,
)
def test_header_and_payload_arrive_however_little_the_kernel_takes(write, takes, timeout):
    transport, read = write(*takes)
    deadline = None if timeout == "none" else Deadline(timeout)
    transport.send_apart(HEADER, PAYLOAD, deadline)
    assert read(len(HEADER + PAYLOAD)) == HEADER + PAYLOAD
    assert transport.bytes_sent == len(HEADER + PAYLOAD)
    assert transport.sock.payload is PAYLOAD, "it was copied"
    assert transport.sock.calls[0] == "sendmsg"
    assert not transport.pending


@pytest.mark.skipif(not hasattr(socket.socket, "sendmsg"), reason="needs sendmsg()")
@pytest.mark.parametrize("takes", [[0, 0, 3], [0, 1, 0, 2], [0, 6, 3], [2, 0, 0]], ids=str)
def test_waits_for_room_are_waited_out_with_a_deadline(write, takes):
    transport, read = write(*takes)
    transport.send_apart(HEADER, PAYLOAD, Deadline(SOON))
    assert read(len(HEADER + PAYLOAD)) == HEADER + PAYLOAD
    assert transport.sock.calls[: len(takes)] == ["sendmsg"] + ["send"] * (len(takes) - 1)


@pytest.mark.skipif(not hasattr(socket.socket, "sendmsg"), reason="needs sendmsg()")
@pytest.mark.parametrize("deadline", [None, Deadline(SOON)], ids=["forever", "deadline"])
@pytest.mark.parametrize("takes", [[0], [0, 3], [0, 3, 0, 3, 2], [0, 6, 4]], ids=str)
def test_backlog_goes_before_header_and_payload(write, takes, deadline):
    transport, read = write(*takes)
    transport.send_now(b"before")
    assert transport.pending
    transport.send_apart(HEADER, memoryview(PAYLOAD), deadline)
    assert read(6 + len(HEADER + PAYLOAD)) == b"before" + HEADER + PAYLOAD
    assert not transport.pending


def test_without_sendmsg_they_are_written_one_after_the_other(write, monkeypatch):
    transport, read = write(3, 7, 50_000)
    monkeypatch.setattr("syncws.threaded.transport.DONT_WAIT", 0)
    transport.send_apart(HEADER, PAYLOAD)
    assert read(len(HEADER + PAYLOAD)) == HEADER + PAYLOAD
    assert set(transport.sock.calls) == {"send"}


@pytest.mark.skipif(not hasattr(socket.socket, "sendmsg"), reason="needs sendmsg()")
def test_time_that_is_up_in_the_middle_is_an_error(write):
    transport, _ = write(5, 0, 0)
    select_nothing = types.SimpleNamespace(
        poll=lambda: types.SimpleNamespace(register=lambda *_: None, poll=lambda _: []),
        POLLIN=select.POLLIN,
        POLLOUT=select.POLLOUT,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("syncws.threaded.transport.select", select_nothing)
        with pytest.raises(TimeoutError, match="timed out while sending"):
            transport.send_apart(HEADER, PAYLOAD, Deadline(0.1))
    assert transport.bytes_sent == 5


LARGE_MESSAGES = [
    b"x" * (LARGE - 1),
    b"x" * LARGE,
    "é" * LARGE,
    bytearray(b"y" * 300_000),
    memoryview(b"z" * 300_000),
    memoryview(b"ab" * LARGE)[::2],
    memoryview(b"abcd" * LARGE).cast("I"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("timeout", [None, SOON])
def test_large_messages_arrive_both_ways(kind, timeout):
    with pair_of(kind) as (client, server):
        for sender, receiver in ((client, server), (server, client)):
            receiving = run(lambda it=receiver: [it.recv(SOON) for _ in range(9)])
            for message in LARGE_MESSAGES:
                sender.send(message, timeout=timeout)
            sender.send([b"x" * LARGE, b"", b"y" * LARGE], timeout=timeout)
            sender.send("after")
            received = receiving.result()
            assert received[:-2] == [
                message if isinstance(message, str) else bytes(message)
                for message in LARGE_MESSAGES
            ]
            assert received[-2:] == [b"x" * LARGE + b"y" * LARGE, "after"]
            assert sender.stats.messages_sent == 9
            assert sender.stats.frames_sent == 11


@pytest.mark.parametrize("side", ["client", "server"])
def test_large_payload_is_copied_only_where_it_is_masked(monkeypatch, side):
    with connection_pair() as (client, server):
        sender, receiver = (client, server) if side == "client" else (server, client)
        transport, written = sender._transport, []

        def send_all(data, deadline=None):
            written.append(data)
            Transport.send_all(transport, data, deadline)

        def send_apart(header, payload, deadline=None):
            written.append(payload)
            Transport.send_apart(transport, header, payload, deadline)

        monkeypatch.setattr(transport, "send_all", send_all)
        monkeypatch.setattr(transport, "send_apart", send_apart)
        message = b"x" * LARGE
        sender.send(message)
        assert receiver.recv(SOON) == message
        assert [data is message for data in written] == [side == "server"]


@pytest.mark.skipif(os.name != "posix", reason="needs non-blocking sends")
def test_what_is_sent_at_once_in_part_is_completed_before_control_frames():
    with connection_and_socket(Role.SERVER) as (connection, peer):
        narrow(connection, peer)
        sender = run(lambda: [connection.send(b"x" * 15_000) for _ in range(80)])
        wait_until_full(connection)
        connection.pong(b"in between")
        assert not sender.done()
        data = receive_exactly(peer, 80 * 15_004 + 12)
        sender.result()
        frames = parse_frames(data, masked=False)
        assert sorted(frames) == [(0x82, b"x" * 15_000)] * 80 + [(0x8A, b"in between")]


@contextlib.contextmanager
def connection_that_nobody_reads_from(kind):
    """A client, and its socket."""
    if kind == "tls":
        near, far = transport_pair(contexts())
        connection = connect_protocol(near, Role.CLIENT)
        with cut_at_the_end(connection):
            yield connection, near._below.sock
            far.abort()
        far.close()
        return
    with kind_and_socket(kind) as (connection, _):
        yield connection, connection._transport.sock


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs signals of POSIX")
@pytest.mark.parametrize("size", [500_000, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_signal_that_comes_just_before_a_send_waits_ends_it(kind, size):
    """Another thread gets it, so that the call of the main thread is not interrupted."""

    def handle(*_):
        raise Interrupted

    def interrupt(sock):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        looks = 0
        while looks < 20:  # until the kernel has taken no more for a while
            looks = 0 if select.select([], [sock], [], 0.005)[1] else looks + 1
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        with connection_that_nobody_reads_from(kind) as (connection, sock):
            interrupting = run(interrupt, sock)
            send_on = iter(lambda: connection.send(os.urandom(size)), 0)
            with pytest.raises(Interrupted):
                list(send_on)
            interrupting.result()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGUSR1, before)
