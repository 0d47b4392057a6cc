"""Many threads, connections and bytes: nothing is lost, nothing is left, nothing hangs."""

import os
import threading

import pytest
from support.certificates import contexts
from support.pairs import connection_pair, run, wait_until

import syncws

LONG = 45

pytestmark = pytest.mark.stress


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def connection_threads():
    names = ("syncws-handler", "syncws-reader")
    return [thread for thread in threading.enumerate() if thread.name.startswith(names)]


needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="descriptors can't be counted here"
)


def echo(ws):
    for message in ws:
        ws.send(message)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_both_ends_send_64_mib_before_either_receives(tls):
    blob = os.urandom(1 << 20) * 64
    with connection_pair(contexts() if tls else None, max_size=None) as ends:
        sent = threading.Barrier(2)

        def work(end):
            end.send(blob)
            sent.wait(LONG)
            return end.recv(LONG) == blob

        workers = [run(work, end) for end in ends]
        assert [worker.result(LONG) for worker in workers] == [True, True]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_both_ends_send_64_mib_in_messages_before_either_receives(tls):
    blob = os.urandom(1 << 20)
    with connection_pair(contexts() if tls else None, max_queue=None, read_limit=1 << 27) as ends:
        sent = threading.Barrier(2)

        def work(end):
            for _ in range(64):
                end.send(blob)
            sent.wait(LONG)
            return all(end.recv(LONG) == blob for _ in range(64))

        workers = [run(work, end) for end in ends]
        assert [worker.result(LONG) for worker in workers] == [True, True]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_messages_of_8_senders_reach_4_receivers_intact_and_once(tls):
    count = 250
    with connection_pair(contexts() if tls else None) as (client, server):

        def send(sender):
            for number in range(count):
                body = f"{sender}:{number}:" + "x" * (number * 37 % 5000)
                if number % 10 == 3:
                    client.send([body[:7], body[7:], ""])
                elif number % 10 == 7:
                    client.send(body.encode())
                else:
                    client.send(body)

        def receive():
            received = []
            for message in server:
                text = message if isinstance(message, str) else message.decode()
                sender, number, rest = text.split(":")
                assert rest == "x" * (int(number) * 37 % 5000)
                received.append((int(sender), int(number)))
            return received

        receivers = [run(receive) for _ in range(4)]
        senders = [run(send, sender) for sender in range(8)]
        for sender in senders:
            sender.result(LONG)
        client.close()
        parts = [receiver.result(LONG) for receiver in receivers]
        everything = sorted(pair for part in parts for pair in part)
        assert everything == [(s, n) for s in range(8) for n in range(count)]
        for part in parts:
            for sender in range(8):
                numbers = [n for s, n in part if s == sender]
                assert numbers == sorted(numbers)


def test_compressed_messages_of_many_senders_keep_the_order_of_their_context():
    with syncws.serve(echo, "127.0.0.1", 0) as server, syncws.connect(server.uri) as ws:
        assert ws.extensions
        count = 200

        def send(sender):
            for number in range(count):
                ws.send(f"{sender} {number} " + "lorem ipsum " * (number % 50), compress=True)

        senders = [run(send, sender) for sender in range(6)]
        received = [ws.recv(LONG) for _ in range(6 * count)]
        for sender in senders:
            sender.result(LONG)
        expected = {f"{s} {n} " + "lorem ipsum " * (n % 50) for s in range(6) for n in range(count)}
        assert set(received) == expected


@needs_proc
def test_1000_connections_leave_no_thread_and_no_descriptor():
    with syncws.serve(echo, "127.0.0.1", 0) as server:
        with syncws.connect(server.uri) as ws:  # what is made once is made
            ws.send("x")
            ws.recv(LONG)
        wait_until(lambda: not connection_threads())
        threads, files = threading.active_count(), descriptors()

        def work():
            for number in range(250):
                with syncws.connect(server.uri, compression=None) as ws:
                    ws.send(str(number))
                    assert ws.recv(LONG) == str(number)

        workers = [run(work) for _ in range(4)]
        for worker in workers:
            worker.result(LONG)
        wait_until(lambda: threading.active_count() == threads)
        assert descriptors() <= files  # an earlier test's may be gone meanwhile
        assert server.connections == set()


def test_150_tls_connections_lose_nothing_in_full_duplex():
    count, size, messages = 150, 3000, 20
    server_context, client_context = contexts()
    with syncws.serve(echo, "127.0.0.1", 0, ssl=server_context) as server:

        def work(number):
            with syncws.connect(server.uri, ssl=client_context, open_timeout=LONG) as ws:
                sending = run(lambda: [ws.send(f"{number}/{n}" * size) for n in range(messages)])
                received = [ws.recv(LONG) for _ in range(messages)]
                sending.result(LONG)
            return received == [f"{number}/{n}" * size for n in range(messages)]

        workers = [run(work, number) for number in range(count)]
        assert [worker.result(LONG) for worker in workers] == [True] * count
