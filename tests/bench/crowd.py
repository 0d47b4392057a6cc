#!/usr/bin/env python3
"""Measure what a crowd of connections costs a server, beside the libraries that are installed here.

    python tests/bench/crowd.py
    python tests/bench/crowd.py --connections 10000 --impl syncws,picows
    python tests/bench/crowd.py --keepalive 20 --idle 30

A server has a handler that echoes. The clients are plain sockets in the process that measures. One
phase follows the other:

- open: connections are opened, one after the other, and answer;
- idle: nothing happens, but for keepalive;
- send: every client sends a message at the same moment, and gets its echo;
- broadcast: the server sends all of them one message;
- vanish: four of five clients reset their connections at the same moment, as when a load balancer
  restarts, while each of the others keeps a message in flight; it is over when the server has
  ended all that the former left behind;
- close: the server closes the rest.

For each phase are shown: the seconds it took, the server's processor time in user and system mode,
the memory of its process and the number of its threads at the end. For echoes, the median, the
99th percentile and the longest. Server and clients run on different CPUs if there are several.
"""

import argparse
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import threading
import time

from driver import REQUEST

#: Seconds that a phase may take.
LIMIT = 120

#: Seconds between two questions whether the server is done.
ASK_INTERVAL = 0.02

#: A text message of 64 bytes, masked with a key of zeros; its echo; and a broadcast.
MESSAGE = b"\x81\xc0" + bytes(4) + b"x" * 64
ECHO = b"\x81\x40" + b"x" * 64
BROADCAST = b"\x81\x05crowd"
#: Answers a close frame.
CLOSE = b"\x88\x82" + bytes(4) + b"\x03\xe8"


# --- servers: print the port, then answer lines: broadcast, count, close ---------------


def commands(count, broadcast, close):
    """Do what the other process asks for."""
    for line in sys.stdin:
        if line == "broadcast\n":
            broadcast()
        elif line == "close\n":
            close()
        print(count(), flush=True)
    os._exit(0)


def serve_syncws(keepalive):
    from syncws import broadcast, serve

    def handler(ws):
        for message in ws:
            ws.send(message)

    options = {"compression": None, "ping_interval": keepalive, "ping_timeout": keepalive}
    with serve(handler, "127.0.0.1", 0, **options) as server:
        print(server.port, flush=True)
        commands(
            lambda: len(server.connections), lambda: broadcast(server, "crowd"), server.shutdown
        )


def serve_websockets(keepalive):
    from websockets.sync.server import broadcast, serve

    connections = set()

    def handler(ws):
        connections.add(ws)
        try:
            for message in ws:
                ws.send(message)
        finally:
            connections.discard(ws)

    options = {"compression": None, "ping_interval": keepalive, "ping_timeout": keepalive}
    with serve(handler, "127.0.0.1", 0, **options) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.socket.getsockname()[1], flush=True)

        def close():
            for ws in list(connections):
                threading.Thread(target=ws.close, daemon=True).start()

        commands(lambda: len(connections), lambda: broadcast(connections, "crowd"), close)


def serve_picows(keepalive):
    import asyncio

    import uvloop
    from picows import WSCloseCode, WSListener, WSMsgType, ws_create_server

    connections = set()

    class Listener(WSListener):
        def on_ws_connected(self, transport):
            self.transport = transport
            connections.add(transport)

        def on_ws_disconnected(self, transport):
            connections.discard(transport)

        def on_ws_frame(self, transport, frame):
            if frame.msg_type == WSMsgType.CLOSE:
                transport.disconnect()
            else:
                transport.send(frame.msg_type, frame.get_payload_as_bytes())

    async def main():
        loop = asyncio.get_running_loop()
        options = {}
        if keepalive:
            options = {"enable_auto_ping": True, "auto_ping_idle_timeout": keepalive}
        server = await ws_create_server(lambda _: Listener(), "127.0.0.1", 0, **options)
        print(server.sockets[0].getsockname()[1], flush=True)

        def broadcast():
            for transport in list(connections):
                transport.send(WSMsgType.TEXT, b"crowd")

        def close():
            for transport in list(connections):
                transport.send_close(WSCloseCode.GOING_AWAY)
                transport.disconnect()

        def call(function):
            async def run():
                return function()

            return lambda: asyncio.run_coroutine_threadsafe(run(), loop).result()

        functions = [call(function) for function in (lambda: len(connections), broadcast, close)]
        await loop.run_in_executor(None, commands, *functions)

    uvloop.run(main())


SERVERS = {
    "syncws": serve_syncws,
    "websockets": serve_websockets,
    "picows": serve_picows,
}


# --- clients -----------------------------------------------------------------------


def connect(port):
    """Open a connection, and give it a message to echo."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(REQUEST)
    response = b""
    while b"\r\n\r\n" not in response:
        data = sock.recv(4096)
        if not data:
            raise ConnectionError(f"the server answered {response!r}")
        response += data
    sock.setblocking(False)
    return sock


class Clients:
    """Connections, and what they wait for."""

    def __init__(self):
        self.socks = {}
        self._poll = select.poll()

    def add(self, sock):
        self.socks[sock.fileno()] = sock
        self._poll.register(sock, select.POLLIN)

    def remove(self, sock):
        self._poll.unregister(sock)
        del self.socks[sock.fileno()]

    def receive(self, timeout):
        """What has come, of each connection; pings are answered and left out."""
        for number, _ in self._poll.poll(timeout * 1000):
            sock = self.socks[number]
            try:
                data = sock.recv(4096)
            except ConnectionResetError:
                data = b""
            while data[:1] == b"\x89":
                size = 2 + data[1]
                sock.sendall(b"\x8a" + bytes([0x80 | data[1]]) + bytes(4) + data[2:size])
                data = data[size:]
                if not data:
                    break
            else:
                yield sock, data

    def gather(self, expected):
        """Wait until every connection has received that; b"" is the end."""
        left = set(self.socks.values())
        deadline = time.monotonic() + LIMIT
        while left:
            for sock, data in self.receive(1):
                if not expected and data[:1] == b"\x88":
                    sock.sendall(CLOSE)
                    continue
                assert data == expected, f"received {data!r}"
                left.discard(sock)
                if not data:
                    self.remove(sock)
                    sock.close()
            assert time.monotonic() < deadline, f"{len(left)} are left after {LIMIT} s"


class Server:
    """A server in a process of its own."""

    def __init__(self, name, keepalive, cpu):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, "--keepalive", str(keepalive or 0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # some log each connection that is cut
            text=True,
        )
        if cpu is not None:
            os.sched_setaffinity(self.process.pid, {cpu})
        self.port = int(self.process.stdout.readline())

    def ask(self, command):
        """Have it do something; return how many connections it has."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def usage(self):
        """Seconds in user and in system mode so far, MiB of memory, and threads."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        tick = os.sysconf("SC_CLK_TCK")
        pages = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        return int(fields[11]) / tick, int(fields[12]) / tick, pages, int(fields[17])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def echo_while(clients, begin, is_over):
    """Keep a message of each client in flight, until what was begun is over.

    Returns:
        How long each echo took.
    """
    over = threading.Event()

    def ask():
        begin()
        while not is_over():
            time.sleep(ASK_INTERVAL)
        over.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    sent = {}
    took = []
    for sock in clients.socks.values():
        sent[sock] = time.perf_counter()
        sock.sendall(MESSAGE)
    deadline = time.monotonic() + LIMIT
    while sent:
        for sock, data in clients.receive(1):
            assert data == ECHO, f"received {data!r}"
            now = time.perf_counter()
            took.append(now - sent.pop(sock))
            if not over.is_set():
                sent[sock] = now
                sock.sendall(MESSAGE)
        assert time.monotonic() < deadline, f"not over after {LIMIT} s"
    asking.join()
    return sorted(took)


def show_phase(name, server, function):
    """Run a phase, and show what it cost."""
    user, system, _, _ = server.usage()
    start = time.perf_counter()
    took = function()
    seconds = time.perf_counter() - start
    after = server.usage()
    line = f"{name:10} {seconds:8.2f} s"
    line += f"  user {after[0] - user:6.2f} s  system {after[1] - system:6.2f} s"
    line += f"  {after[2]:6.0f} MiB  {after[3]:6} threads"
    if took:
        middle, late, last = took[len(took) // 2], took[len(took) * 99 // 100], took[-1]
        line += f"  {len(took)} echoes {middle * 1e3:.1f} / {late * 1e3:.1f} / {last * 1e3:.1f} ms"
    print("    " + line, flush=True)


def measure(name, options, cpu):
    """Show all phases of an implementation."""
    print(f"{name}, {options.connections} connections", flush=True)
    clients = Clients()
    with Server(name, options.keepalive, cpu) as server:

        def open_all():
            for _ in range(options.connections):
                clients.add(connect(server.port))

        def be_idle():
            deadline = time.monotonic() + options.idle
            while (left := deadline - time.monotonic()) > 0:
                for _, data in clients.receive(left):
                    raise AssertionError(f"received {data!r}")

        def send():
            for sock in clients.socks.values():
                sock.sendall(MESSAGE)
            clients.gather(ECHO)

        def broadcast():
            server.ask("broadcast")
            clients.gather(BROADCAST)

        def vanish():
            leaving = list(clients.socks.values())[: options.connections * 4 // 5]
            rest = options.connections - len(leaving)
            threads = server.usage()[3] - len(leaving)
            has_threads = threads > 0
            for sock in leaving:
                clients.remove(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

            def leave():
                for sock in leaving:
                    sock.close()

            def is_over():
                return server.ask("count") <= rest and not (
                    has_threads and server.usage()[3] > threads
                )

            return echo_while(clients, leave, is_over)

        def close():
            closing = threading.Thread(target=server.ask, args=("close",))
            closing.start()
            clients.gather(b"")
            closing.join()

        for phase in (open_all, be_idle, send, broadcast, vanish, close):
            show_phase(phase.__name__.partition("_")[0].replace("be", "idle"), server, phase)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=10, help="seconds (default: 10)")
    parser.add_argument("--keepalive", type=float, default=0, help="seconds; 0 (default) is none")
    parser.add_argument("--impl", default=",".join(SERVERS))
    options = parser.parse_args()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if options.serve:
        SERVERS[options.serve](options.keepalive or None)
        return
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cpus) > 1:
        os.sched_setaffinity(0, {cpus[0]})
    for name in options.impl.split(","):
        measure(name, options, cpus[-1] if len(cpus) > 1 else None)


if __name__ == "__main__":
    main()
