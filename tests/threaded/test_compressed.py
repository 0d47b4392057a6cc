"""Compression on open connections: both ends refer to the same, whatever gets in between."""

import os
import select
import signal
import socket
import threading

import pytest
from support.interrupting import Interrupted
from support.kinds import compressed_pair
from support.pairs import SOON, run, wait_until

from syncws import ConnectionClosedError, broadcast, connect, serve
from syncws.accel import IMPLEMENTATION
from syncws.options import Deflate
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.state import Role


def frames(*messages, compress=True):
    """The bytes of a client's frames: (opcode, payload, fin) each."""
    client = PerMessageDeflate(Role.CLIENT, Deflate())
    encoded = (client.encode(Frame(*message), compress=compress) for message in messages)
    return b"".join(frame.serialize(masked=True) for frame in encoded)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_message_that_the_kernel_refuses_is_compressed_once(nobody_looks, tls):
    noise = [os.urandom(150) * 3 for _ in range(3)]
    with compressed_pair(tls, ping_interval=None) as (client, server):
        sock = client._transport.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        assert server._take_role()  # nobody reads
        fillers = 0
        while select.select([], [sock], [], 0)[1]:
            client.send(b"f" * 9)
            fillers += 1
        sending = [run(client.send, noise[0])]
        wait_until(lambda: client.buffered_amount or client._writer.lock._is_owned() is False)
        server._give_up_role()
        assert [server.recv(SOON) for _ in range(fillers)] == [b"f" * 9] * fillers
        sending[0].result()
        client.send(noise[0][:200] + noise[1])
        client.send(noise[2])
        assert server.recv(SOON) == noise[0]
        assert server.recv(SOON) == noise[0][:200] + noise[1]
        assert server.recv(SOON) == noise[2]


@pytest.mark.skipif(IMPLEMENTATION == "pure", reason="an interrupted send fails the connection")
def test_a_send_that_is_interrupted_while_it_waits_for_tls_leaves_nothing_to_refer_to():
    text = os.urandom(150).hex()
    with compressed_pair(tls=True, ping_interval=None) as (client, server):
        held, release = threading.Event(), threading.Event()

        def hold():
            with client._transport._lock:
                held.set()
                release.wait(SOON)

        def handle(*_):
            release.set()
            raise Interrupted

        client.send(text)
        assert server.recv(SOON) == text
        holding = run(hold)
        held.wait(SOON)
        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(Interrupted):
                client.send("x" + text)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        holding.result()
        client.send("y" + text)
        assert server.recv(SOON) == "y" + text


def test_receiving_while_a_message_is_streamed_that_takes_the_room_ends_in_time():
    with compressed_pair(ping_interval=None) as (client, server):
        sock = client._transport.sock
        parts = [(Opcode.CONT if i else Opcode.BINARY, bytes(40_000), False) for i in range(12)]
        sock.sendall(frames(*parts))
        stream = server.recv_streaming()
        assert next(stream)
        waiting = run(server.recv, 0.3)
        with pytest.raises(TimeoutError):
            waiting.result()
        with pytest.raises(TimeoutError):
            server.recv(0.05)


@pytest.mark.parametrize("on_main", [False, True])
def test_nothing_follows_what_broke_the_rules(on_main):
    call = (lambda f: f()) if on_main else (lambda f: run(f).result())
    with compressed_pair(ping_interval=None) as (client, server):
        client._transport.sock.sendall(
            frames(
                (Opcode.BINARY, b"first", True),
                (Opcode.TEXT, b"\xff\xfe isn't UTF-8" * 20, False),
                (Opcode.CONT, b"rest", True),
                (Opcode.TEXT, b"after that " * 10, True),
            )
        )
        assert call(lambda: server.recv(SOON)) == b"first"
        with pytest.raises(ConnectionClosedError) as caught:
            call(lambda: server.recv(SOON))
        assert caught.value.sent.code == 1007


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_what_is_left_after_a_handler_has_received_is_received():
    messages = [f"{number} " * 30 for number in range(20)]
    with compressed_pair(ping_interval=None) as (client, server):
        received = []

        def handle(*_):
            for message in messages:
                client.send(message)
            wait_until(lambda: select.select([server._transport.sock], [], [], 0)[0])
            received.extend(server.recv(SOON) for _ in range(17))

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            while len(received) < len(messages):
                received.append(server.recv(SOON))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert sorted(received) == sorted(messages)


def test_messages_of_threads_that_send_and_broadcast_are_all_understood():
    def handler(ws):
        for message in ws:
            ws.send(message)

    text = "to be, or not to be, " * 20
    serving = serve(handler, "127.0.0.1", ping_interval=None, write_limit=2**20)
    with serving as server, connect(f"ws://127.0.0.1:{server.port}/") as ws:

        def send():
            for number in range(300):
                ws.send(f"{number} {text}")

        def cast():
            for number in range(300):
                broadcast(server, f"all {number} {text}")

        wait_until(lambda: server.connections)
        running = [run(send), run(cast)]
        own, everybody = [], []
        while len(own) < 300 or len(everybody) < 300:
            message = ws.recv(SOON)
            (everybody if message.startswith("all") else own).append(message)
        for each in running:
            each.result()
    assert own == [f"{number} {text}" for number in range(300)]
    assert everybody == [f"all {number} {text}" for number in range(300)]
