#!/usr/bin/env python3
"""Measure broadcasting to many connections, beside the libraries that are installed here.

    python tests/bench/fanout.py
    python tests/bench/fanout.py --connections 1000 --messages 100 --size 1024 --rounds 5

A server broadcasts messages one after the other; the clients, all in the process that measures,
count bytes on plain sockets. Measured is from the command to broadcast until every client has
everything. They look every few milliseconds, all of them, so that their own work, which is the
same for all, is small. Besides, syncws is measured with two clients in trouble, that don't count:
one never reads, one reads slowly; the kernel's buffers for these are small. As such a client is
closed, that is done once for a server, beside a new one that has none of them. Every figure is the
best of some rounds, in which all have their turn. Server and clients run on different CPUs if
there are several.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time

from driver import REQUEST

#: Seconds between two looks of the clients.
LOOK_INTERVAL = 0.005


# --- servers: print the port, then take lines of the number of messages and their size -----------


def commands():
    for line in sys.stdin:
        number, size = map(int, line.split())
        yield number, "x" * size


def serve_syncws():
    from syncws import broadcast, serve

    in_trouble = []

    def handler(ws):
        if ws.path == "/trouble":
            in_trouble.append(ws)
            ws._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ws.wait_closed()

    with serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(server.port, flush=True)
        for number, message in commands():
            largest = 0
            for _ in range(number):
                broadcast(server, message)
                largest = max([largest, *(ws.buffered_amount for ws in in_trouble)])
            print(largest, flush=True)
        os._exit(0)


def serve_websockets_sync():
    from websockets.sync.server import broadcast, serve

    connections = set()

    def handler(ws):
        connections.add(ws)
        ws.recv()

    with serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.socket.getsockname()[1], flush=True)
        for number, message in commands():
            for _ in range(number):
                broadcast(connections, message)
            print(0, flush=True)
        os._exit(0)


def serve_websockets_uvloop():
    import uvloop
    from websockets.asyncio.server import broadcast, serve

    async def main():
        import asyncio

        async def handler(ws):
            await ws.wait_closed()

        loop = asyncio.get_running_loop()
        server = await serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None)
        print(server.sockets[0].getsockname()[1], flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            number, size = map(int, line.split())
            message = "x" * size
            for _ in range(number):
                broadcast(server.connections, message)
                await asyncio.sleep(0)  # let the loop write: its buffers are unbounded
            print(0, flush=True)
        os._exit(0)

    uvloop.run(main())


SERVERS = {
    "syncws": serve_syncws,
    "websockets-sync": serve_websockets_sync,
    "websockets-uvloop": serve_websockets_uvloop,
}


# --- clients -----------------------------------------------------------------------


class Client:
    def __init__(self, port, trouble=False):
        self.sock = socket.socket()
        request = REQUEST
        if trouble:  # with small buffers, so that the kernel doesn't hide it
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            request = request.replace(b"GET /", b"GET /trouble", 1)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(request)
        response = b""
        while b"\r\n\r\n" not in response:
            response += self.sock.recv(4096)
        self.received = 0
        self.sock.setblocking(False)

    def read(self, size=1 << 18):
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return
        assert data, "the server closed the connection"
        self.received += len(data)


def read_slowly(client, stop):
    """2 KiB every 10 ms, whatever comes."""
    while not stop.wait(0.01):
        try:
            client.read(2048)
        except (AssertionError, OSError):  # closed as too slow: that is the server's right
            return


def measure(process, clients, number, size):
    """Seconds until all clients have all messages."""
    header = 2 if size < 126 else 4 if size < 1 << 16 else 10
    expected = number * (size + header)
    for client in clients:
        client.received = 0
    left = clients
    start = time.perf_counter()
    process.stdin.write(f"{number} {size}\n")
    process.stdin.flush()
    while left:
        time.sleep(LOOK_INTERVAL)
        for client in left:
            client.read()
        left = [client for client in left if client.received < expected]
        assert time.perf_counter() < start + 60, "not everything came within 60 s"
    elapsed = time.perf_counter() - start
    return elapsed, int(process.stdout.readline())


class Running:
    """A server with clients."""

    def __init__(self, name, connections, cpus, trouble=0):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if cpus:
            os.sched_setaffinity(self.process.pid, {cpus[0]})
        port = int(self.process.stdout.readline())
        self.clients = [Client(port) for _ in range(connections - trouble)]
        self.stop = threading.Event()
        self.bad = [Client(port, trouble=True) for _ in range(trouble)]
        for client in self.bad[1:]:
            threading.Thread(target=read_slowly, args=(client, self.stop), daemon=True).start()

    def measure(self, options):
        """Seconds until all have everything, and the most bytes that waited for one in trouble."""
        return measure(self.process, self.clients, options.messages, options.size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.process.kill()
        self.process.communicate()
        for client in self.clients + self.bad:
            client.sock.close()


def compare(names, options, cpus):
    """One round of each after the other, as the speed of machines changes; the best of each."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Running(name, options.connections, cpus)) for name in names]
        rounds = [[server.measure(options)[0] for server in servers] for _ in range(options.rounds)]
    return [min(seconds) for seconds in zip(*rounds)]


def compare_trouble(options, cpus):
    """Seconds without any in trouble and with two, and the most bytes that waited for one."""
    with Running("syncws", options.connections, cpus) as server:
        undisturbed, _ = server.measure(options)
    with Running("syncws", options.connections, cpus, trouble=2) as server:
        return (undisturbed, *server.measure(options))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--impl", default=",".join(SERVERS))
    options = parser.parse_args()
    if options.serve:
        SERVERS[options.serve]()
        return
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cpus) > 1:
        os.sched_setaffinity(0, {cpus[1]})
    else:
        cpus = []
    names = options.impl.split(",")
    best = compare(names, options, cpus)
    for name, seconds in zip(names, best):
        deliveries = options.connections * options.messages / seconds
        print(f"{name:20} {seconds:8.3f} s {deliveries:12,.0f} deliveries/s", end="")
        print(f" {seconds / best[0]:6.2f}")
    if names[0] == "syncws":
        rounds = [compare_trouble(options, cpus) for _ in range(options.rounds)]
        undisturbed, elapsed = (min(seconds) for seconds in list(zip(*rounds))[:2])
        print(f"{'syncws, in trouble':20} {elapsed:8.3f} s, without {undisturbed:8.3f} s", end="")
        print(f" {elapsed / undisturbed:6.2f}  {max(each[2] for each in rounds)} bytes waited")


if __name__ == "__main__":
    main()
