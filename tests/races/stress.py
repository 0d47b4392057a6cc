"""Threads that meet in one connection, in eight kinds of ways: see thread_sanitizer.sh.

    python tests/races/stress.py                        # all kinds, half a minute
    python tests/races/stress.py --rounds 20 --only roles,endings

Everything goes through the public names. What is checked is the same in every run: each message
arrives, once and in order, and everything ends in time. Needs the standard library only, and for
TLS the program openssl.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
import pathlib
import queue
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from syncws import ConnectionClosed, Deflate, broadcast, connect, serve, wait

#: Seconds for what should take no time; under a sanitizer everything takes twenty times as long.
SOON = 60

#: What is looked at all the time, while threads work.
OBSERVED = ("stats", "buffered_amount", "latency", "state", "open", "closed", "close_code")


class Failed(Exception):
    """Something went wrong."""


def check(holds, text):
    if not holds:
        raise Failed(text)


def together(*calls):
    """Call functions in threads of their own; raise what the first one raises that fails."""
    results = queue.SimpleQueue()

    def work(call):
        try:
            call()
        except BaseException as exc:
            results.put(exc)
        else:
            results.put(None)

    for call in calls:
        threading.Thread(target=work, args=(call,), daemon=True).start()
    end = time.monotonic() + SOON
    for _ in calls:
        try:
            exc = results.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise Failed(f"threads hang after {SOON} s") from None
        if exc is not None:
            raise exc


@contextlib.contextmanager
def observing(*watched):
    """Meanwhile, read what connections and servers tell of themselves."""
    over = threading.Event()

    def observe():
        while not over.wait(0.001):
            for each in watched:
                for name in OBSERVED:
                    getattr(each, name, None)

    thread = threading.Thread(target=observe)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def echo(ws):
    for message in ws:
        ws.send(message)


@contextlib.contextmanager
def pair(client=None, **kwargs):
    """Both ends of a connection, the client's first, which are cut at the end."""
    arrived = queue.SimpleQueue()

    def handler(ws):
        arrived.put(ws)
        ws.wait_closed()

    kwargs.setdefault("ping_interval", None)  # a ping would wake who missed something
    with serve(handler, "127.0.0.1", 0, **kwargs) as server:
        options = {"ping_interval": None, **(client or {})}
        ws = connect(server.uri, **options)
        peer = arrived.get(timeout=SOON)
        try:
            with observing(ws, peer, server):
                yield ws, peer
        finally:
            ws.abort()
            peer.abort()
            server.close(timeout=SOON)


def numbered(sender, number, size=0):
    return f"{sender}:{number}:" + "x" * size


class Ledger:
    """Which messages came: each sender numbers its own, from 0."""

    def __init__(self):
        self._lock = threading.Lock()
        self._came = {}

    def reader(self):
        """A function to call with each message that one thread receives, in its order."""
        last = {}

        def note(message):
            text = message if isinstance(message, str) else bytes(message).decode()
            sender, number, rest = text.split(":")
            check(not rest.strip("x"), "a message is garbled")
            check(last.get(sender, -1) < int(number), f"{sender} is out of order at {number}")
            last[sender] = int(number)
            with self._lock:
                self._came.setdefault(sender, []).append(int(number))

        return note

    def check(self, senders, count):
        for sender in senders:
            came = sorted(self._came.get(str(sender), []))
            check(came == list(range(count)), f"{sender}: {len(came)} of {count} came: {came}")


# --- the kinds: each takes the number of rounds, more of which take longer ---


def echoes(rounds):
    """Many connections, several messages under way in each, both ends in this process."""
    sizes = (0, 1, 130, 5000, 70_000, 10, 20, 1 << 14)
    with serve(echo, "127.0.0.1", 0) as server:

        def talk(client):
            with connect(server.uri) as ws:
                for number in range(rounds):
                    sent = [numbered(client, number, size) for size in sizes]
                    for message in sent:
                        ws.send(message if number % 2 else message.encode())
                    for message in sent:
                        check(ws.recv(SOON, decode=True) == message, "another echo")

        with observing(server):
            together(*(functools.partial(talk, client) for client in range(8)))
        server.close(timeout=SOON)


def senders(rounds):
    """Threads that send on both ends of one connection, while one thread receives at each."""
    names, count = range(5), 10 * rounds

    def send(ws, sender):
        for number in range(count):
            message = numbered(sender, number, number * 37 % 3000)
            if number % 10 == 3:
                ws.send([message[:3], message[3:]])
            elif number % 10 == 7:
                ws.send(message.encode())
            elif number % 10 == 8:
                with ws.batch():
                    ws.send(message)
            else:
                ws.send(message)

    def receive(ws, ledger):
        note = ledger.reader()
        for _ in range(count * len(names)):
            note(ws.recv(SOON))

    with pair() as ends:
        ledgers = [Ledger(), Ledger()]
        together(
            *(functools.partial(send, ws, sender) for ws in ends for sender in names),
            *(functools.partial(receive, *both) for both in zip(ends, ledgers)),
        )
        for ledger in ledgers:
            ledger.check(names, count)


def roles(rounds):
    """Threads that receive from one connection: the role of reading goes from one to another.

    At most one message comes for each thread, and none comes back for another one before all were
    received: a thread that waits for bytes while a message is there would wait for ever.
    """
    received, rested = threading.Semaphore(0), threading.Semaphore(0)
    count = 20 * rounds

    def send(ws, threads):
        number = 0
        while number < count:
            burst = range(number, min(number + 1 + number % threads, count))
            ws.send_many(numbered(0, number) for number in burst)
            for number in burst:
                check(received.acquire(timeout=SOON), f"nobody receives {number}")
            rested.release(len(burst))
            number += 1
        ws.close()

    def receiver(method):
        def receive(ws):
            note = ledger.reader()
            with contextlib.suppress(ConnectionClosed):
                for message in method(ws):
                    note(message)
                    received.release()
                    check(rested.acquire(timeout=SOON), "others receive nothing")

        return receive

    def by_recv(ws):
        while True:
            yield ws.recv()

    def by_short_calls(ws):
        while True:
            with contextlib.suppress(TimeoutError):
                yield ws.recv(timeout=0.002)

    def by_pieces(ws):
        while True:
            yield "".join(ws.recv_streaming())

    def by_wait(ws):
        while True:
            if wait([ws], 0.002):
                with contextlib.suppress(TimeoutError):
                    yield ws.recv(timeout=0)

    for methods in ((iter, by_recv), (iter, iter, by_recv, by_pieces), (by_short_calls, by_wait)):
        ledger = Ledger()
        with pair() as (client, peer):
            receives = [functools.partial(receiver(method), peer) for method in methods]
            together(functools.partial(send, client, len(methods)), *receives)
            ledger.check([0], count)


def pings(rounds):
    """Pings of threads and of both ends' keepalive, beside large messages in both directions."""
    keepalive = {"ping_interval": 0.02, "ping_timeout": SOON, "max_size": None}
    large = "x" * (1 << 18)

    def send(ws):
        for number in range(rounds):
            ws.send(f"0:{number}:{large}")
            ws.send([f"1:{number}:", large, large])

    def receive(ws, ledger):
        note = ledger.reader()
        for _ in range(2 * rounds):
            note(ws.recv(SOON))

    def ping(ws):
        for _ in range(3 * rounds):
            check(ws.ping().wait(SOON), "no pong came")
            ws.pong(b"unasked")

    with pair(keepalive, **keepalive) as ends:
        ledgers = [Ledger(), Ledger()]
        together(
            *(functools.partial(work, ws) for ws in ends for work in (send, ping, ping)),
            *(functools.partial(receive, *both) for both in zip(ends, ledgers)),
        )
        for ledger in ledgers:
            ledger.check([0, 1], rounds)


def slow_peers(rounds):
    """Small queues, peers that read late, what waits to be written, and flush()."""
    count = 10 * rounds
    large = {"write_limit": 1 << 30, "max_queue": 2, "read_limit": 4096}

    def post(ws, sender, begun):
        for number in range(count):
            broadcast([ws], numbered(sender, number, 20_000), slow_peers="skip")
            if number == count // 2:
                begun.set()

    def send(ws, sender):
        ws.send_many(numbered(sender, number, 3000) for number in range(count))

    def flush(ws, begun):
        check(begun.wait(SOON), "nothing was posted")
        for _ in range(rounds):
            with contextlib.suppress(TimeoutError):
                ws.flush(0.01)
            ws.buffered_amount  # noqa: B018
        ws.flush(SOON)

    def receive(ws, ledger, begun):
        check(begun.wait(SOON), "nothing was posted")
        note = ledger.reader()
        for _ in range(3 * count):
            note("".join(ws.recv_streaming()))

    with pair(large, compression=None, **large) as ends:
        calls, ledgers = [], []
        for ws, peer in (ends, ends[::-1]):
            begun, ledger = threading.Event(), Ledger()
            ledgers.append(ledger)
            calls += [functools.partial(post, ws, sender, begun) for sender in (0, 1)]
            calls.append(functools.partial(send, ws, 2))
            calls.append(functools.partial(flush, ws, begun))
            calls.append(functools.partial(receive, peer, ledger, begun))
        together(*calls)
        for ledger in ledgers:
            ledger.check(range(3), count)


def endings(rounds):
    """Connections that other threads end in the middle of receiving, sending and pinging."""
    ways = (
        lambda ws, _: ws.close(),
        lambda ws, _: ws.close(1001, "going"),
        lambda ws, _: ws.abort(),
        lambda ws, _: ws.fail(1011, "failed"),
        lambda _, sock: sock.shutdown(socket.SHUT_RDWR),  # without a word
    )

    def until_the_end(step):
        def work():
            with contextlib.suppress(ConnectionClosed):
                while True:
                    step()

        return work

    def talk(number):
        begun = threading.Event()
        patience = {"close_timeout": SOON}
        with pair(patience, **patience) as ends, contextlib.ExitStack() as stack:
            socks = [socket.socket(fileno=os.dup(ws.socket.fileno())) for ws in ends]
            for sock in socks:
                stack.enter_context(sock)

            def receive(ws):
                note = Ledger().reader()

                def step():
                    for _ in range(10):
                        note(ws.recv())
                    begun.set()

                return step

            def send(ws):
                numbers = itertools.count()
                return lambda: ws.send(numbered(0, next(numbers), 300))

            def ping(ws):
                return lambda: ws.ping().wait(0.01)

            def end(ws, way, sock):
                check(begun.wait(SOON), "nothing came")
                with contextlib.suppress(OSError):  # the other end was faster
                    way(ws, sock)

            first = ways[number % len(ways)]
            second = ways[number // len(ways) % len(ways)]
            together(
                *(until_the_end(kind(ws)) for ws in ends for kind in (receive, send)),
                *(until_the_end(ping(ws)) for ws in ends),
                functools.partial(end, ends[0], first, socks[0]),
                functools.partial(end, ends[1], second, socks[1]),
            )
            for ws in ends:
                check(ws.wait_closed(SOON), "it stays open")

    for number in range(5 * rounds):
        talk(number)


def groups(rounds):
    """Broadcasts to a server and to a group, whose members come and go."""
    over = threading.Event()

    def handler(ws):
        server.group("all").add(ws)
        ws.send("-1:0:")  # it is a member
        ws.wait_closed()

    def talk(number):
        for visit in range(rounds):
            last = {}
            with connect(server.uri) as ws:
                for _ in range(2 + (visit + number) % 5 * 10):
                    sender, this, _ = ws.recv(SOON).split(":")
                    gap = int(this) - last.get(sender, int(this) - 1)
                    check(gap == 1, f"{gap - 1} messages of {sender} are missing")
                    last[sender] = int(this)

    def talk_all():
        try:
            together(*(functools.partial(talk, number) for number in range(6)))
        finally:
            over.set()

    def send(sender):
        for number in itertools.count():
            if over.wait(0.001):
                return
            if sender:
                server.group("all").broadcast(numbered(sender, number, 200))
            else:
                broadcast(server.group("all"), numbered(sender, number, 200))

    with serve(handler, "127.0.0.1", 0, write_limit=1 << 26) as server:
        with observing(server):
            together(talk_all, *(functools.partial(send, sender) for sender in range(3)))
        server.close(timeout=SOON)


def wrapped(rounds, contexts=None):
    """Compression that has memory for few connections, over TLS."""
    compression = Deflate(memory_limit=0.6, min_size=0)
    server_context, client_context = contexts or make_contexts()
    with serve(
        echo, "127.0.0.1", 0, ssl=server_context, compression=compression, max_queue=4
    ) as server:

        def talk(ws, ledger):
            def send(sender):
                for number in range(5 * rounds):
                    ws.send(numbered(sender, number, number * 977 % 30_000))

            def receive():
                note = ledger.reader()
                for _ in range(10 * rounds):
                    note(ws.recv(SOON))

            def ping():
                for _ in range(rounds):
                    check(ws.ping().wait(SOON), "no pong came")

            together(functools.partial(send, 0), functools.partial(send, 1), receive, ping)

        def run(number):
            ledger = Ledger()
            with connect(
                server.uri, ssl=client_context, compression=compression if number % 3 else None
            ) as ws:
                talk(ws, ledger)
                ledger.check([0, 1], 5 * rounds)

        with observing(server):
            together(*(functools.partial(run, number) for number in range(4)))
        server.close(timeout=SOON)


@functools.cache
def make_contexts():
    """Both sides of TLS, the server's first, with a certificate of their own."""
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = (pathlib.Path(directory, name) for name in ("key.pem", "cert.pem"))
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
        command += ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(certificate, key)
        client = ssl.create_default_context(cafile=str(certificate))
    return server, client


KINDS = {
    kind.__name__: kind
    for kind in (echoes, senders, roles, pings, slow_peers, endings, groups, wrapped)
}


def main():
    """Run them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="how much of each")
    parser.add_argument("--only", help=f"some kinds: {','.join(KINDS)}")
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.only.split(",") if arguments.only else KINDS:
        start = time.monotonic()
        try:
            KINDS[name](arguments.rounds)
        except Exception as exc:
            print(f"{name}: {type(exc).__name__}: {exc}", flush=True)
            failed = 1
        else:
            print(f"{name}: ok, {time.monotonic() - start:.1f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
