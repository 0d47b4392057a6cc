"""The process with the server: see soak.py, which starts it."""

import contextlib
import ctypes
import gc
import json
import logging
import socket
import ssl
import sys
import threading
import time

from measures import Counter, Errors, answer_commands, sample

from syncws import ConnectionClosed, Router, SendTimeout, broadcast, serve

#: What hostile peers run into. Healthy ones may be slow on a machine that is busy.
OPTIONS = {
    "open_timeout": 4,
    "ping_interval": 10,
    "ping_timeout": 10,
    "close_timeout": 3,
    "send_timeout": 2,
    "max_size": 2**18,
}

#: What the log says while the server has no descriptors.
SHORTAGES = (
    "accepting a connection failed",
    "no descriptor is available",
    "the process has no thread, descriptor or memory left",
)

GROUPS = 10
BROADCAST_INTERVAL = 0.1

counts = Counter()
raised = Counter()  # by handlers, as they should
errors = Errors()
stopping = threading.Event()


class Record(logging.Handler):
    """Looks at everything that is logged."""

    def __init__(self):
        super().__init__()
        self.setFormatter(logging.Formatter())
        self.logged = Counter()

    def emit(self, record):
        text = self.format(record)
        if record.exc_info:
            name = record.exc_info[0].__name__
            if record.getMessage() == "connection handler failed" and name in FAILURES:
                self.logged.add(name)
            else:
                errors.add(f"traceback: {text}")
        elif record.levelno >= logging.ERROR:
            if any(shortage in text for shortage in SHORTAGES):
                counts.add("out of descriptors")
            else:
                errors.add(f"error: {text}")
        elif record.levelno >= logging.WARNING:
            counts.add("warnings")

    def handleError(self, record):
        errors.add(f"logging failed: {record.msg} {record.args}")


# --- healthy connections ---


class Broadcaster:
    """Sends numbered messages to groups of healthy connections, and what is too much to some."""

    def __init__(self):
        self._locks = [threading.Lock() for _ in range(GROUPS)]
        self._numbers = [0] * GROUPS

    def join(self, ws, number):
        """Return the number of the first broadcast that the connection will get."""
        with self._locks[number]:
            ws.server.group(str(number)).add(ws)
            return self._numbers[number]

    def leave(self, ws, number):
        """Return the number of the first broadcast that the connection won't get."""
        with self._locks[number]:
            ws.server.group(str(number)).discard(ws)
            return self._numbers[number]

    def run(self):
        turn = 0
        while not stopping.wait(BROADCAST_INTERVAL):
            number = turn % GROUPS
            turn += 1
            with self._locks[number]:
                members = [ws for server in servers for ws in server.group(str(number))]
                message = f"b {self._numbers[number]} " + "x" * (turn * 37 % 500)
                broadcast(members, message)
                self._numbers[number] += 1
                counts.add("broadcasts", len(members))
            for server in servers:
                server.group("deaf").broadcast(bytes(1 << 15))


def healthy(ws):
    """Check and echo numbered messages; the client says when it has enough."""
    group = ws.number % GROUPS
    first = broadcaster.join(ws, group)
    ws.send(f"j {first}")
    expected = 0
    for message in ws:
        text = message if isinstance(message, str) else message.decode()
        number, _, rest = text.partition(" ")
        if number == "bye":
            last = broadcaster.leave(ws, group)
            ws.send(f"d {expected} {last}")
            counts.add("healthy")
            for message in ws:
                errors.add(f"{ws.id}: {message[:20]!r} after the end")
            if ws.close_code != 1000:
                errors.add(f"{ws.id} ended by {ws.close_code} {ws.close_reason}")
            return
        if int(number) != expected:
            errors.add(f"{ws.id}: {number} came in place of {expected}")
        expected = int(number) + 1
        reply = f"e {number} {rest}"
        ws.send(reply if isinstance(message, str) else reply.encode())
        counts.add("messages")
    errors.add(f"{ws.id} ended early: {ws.protocol.close_exc!r}")


# --- handlers for hostile peers, and hostile handlers ---


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("this exception can't be printed")


class Base(BaseException):
    pass


FAILURES = {
    failure.__name__: failure
    for failure in (ValueError, SystemExit, KeyboardInterrupt, Unprintable, Base)
}


def fail(ws, kind):
    for _ in ws:
        break
    raised.add(kind)
    raise FAILURES[kind]


def echo(ws):
    for message in ws:
        ws.send(message)


def sink(ws):
    for _ in ws:
        pass


def hang(ws):
    stopping.wait(3)


def end(ws):
    pass


def late(ws):
    stopping.wait(1)
    for message in ws:
        ws.send(message)


def flood(ws):
    try:
        while True:
            ws.send(bytes(1 << 16))
    except SendTimeout:
        counts.add("send timeouts")


def deaf(ws):
    ws.server.group("deaf").add(ws)
    for _ in ws:
        pass
    counts.add(f"deaf ended by {ws.close_code}")


def quietly(handler):
    """Peers that go away are no failure of a handler's."""

    def handle(ws, **arguments):
        try:
            handler(ws, **arguments)
        except (ConnectionClosed, SendTimeout):
            counts.add("peers gone")

    return handle


def health(request):
    counts.add("health")
    return "well\n"


# --- the process ---


def trim():
    """Give memory that is free back to the system, so that what remains is in use."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return sample("self")["rss"]


def stats():
    return {
        "trimmed": trim(),
        **counts.as_dict(),
        "blocks": sys.getallocatedblocks(),
        "connections": sum(len(server.connections) for server in servers),
        "raised": raised.as_dict(),
        "logged": record.logged.as_dict(),
        "errors": errors.as_dict(),
    }


def left():
    """What is left of connections once all clients are gone."""
    names = ("ServerConnection", "ServerProtocol", "Transport", "TlsTransport", "Inbox", "Ping")
    gc.collect()
    trim()
    kinds = [type(thing).__name__ for thing in gc.get_objects()]
    return {
        **{name: kinds.count(name) for name in names},
        "groups": sum(len(server._roster.groups._members) for server in servers),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }


def stop():
    start = time.monotonic()
    stopping.set()
    for server in servers:
        server.close()
    return {"seconds": time.monotonic() - start, **stats()}


if __name__ == "__main__":
    configuration = json.loads(sys.argv[1])
    record = Record()
    logging.basicConfig(level=logging.INFO, handlers=[record])
    threading.excepthook = lambda args: errors.add(f"thread {args.thread} failed: {args!r}")
    sys.unraisablehook = lambda args: errors.add(f"unraisable: {args!r}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(configuration["certificate"])
    router = Router()
    router.http("/health")(health)
    router.route("/healthy")(healthy)
    router.route("/fail/<kind>")(fail)
    for handler in (echo, sink, hang, end, late, flood, deaf):
        router.route(f"/{handler.__name__}")(quietly(handler))
    servers = [serve(router, "127.0.0.1", ssl=tls, **OPTIONS).start() for tls in (None, context)]
    for server in servers:
        for sock in server._sockets:  # or the kernel takes many seconds of what nobody reads
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
    broadcaster = Broadcaster()
    threading.Thread(target=broadcaster.run, name="broadcaster", daemon=True).start()
    answer_commands(
        {"ports": [server.port for server in servers]},
        {"stats": stats, "left": left, "stop": stop},
    )
