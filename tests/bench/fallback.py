#!/usr/bin/env python3
"""Measure the transports of the fallback beside WebSocket, and beside Socket.IO's long polling.

    python tests/bench/fallback.py
    python tests/bench/fallback.py --impl polling,socketio-gunicorn --seconds 5 --rounds 3
    python tests/bench/fallback.py --sessions 1000 --seconds 0

A server echoes messages of 64 bytes; the clients are plain sockets in this process. There are:

- websocket, streaming, polling: one server of syncws, by its three transports;
- socketio: long polling of python-socketio, its Server(async_mode="threading"), in Werkzeug, which
  closes each connection after a response;
- socketio-gunicorn: the same in gunicorn with threads, where connections stay open.

Measured are:

- one: one message at a time, from sending it to receiving its echo, in milliseconds: the median,
  and the 99th percentile;
- many: messages per second that are echoed, 16 in each request (as many as Engine.IO takes);
- clients: the same of 10 clients, each with one message at a time.

Then a crowd: so many sessions by long polling, of each of which a request waits. Shown are the
server's threads and memory, and how long it takes until all have one message. Exit status 1: it
failed, or polling has not three times the rate of the better one of Socket.IO.
"""

import argparse
import contextlib
import os
import resource
import statistics
import sys
import threading
import time
from importlib.util import find_spec

from children import Child, Failed, environment
from fallback_clients import Polling, SocketIO, Streaming, WebSocket

#: Of each implementation: its server, and its client.
IMPLEMENTATIONS = {
    "websocket": ("syncws", WebSocket),
    "streaming": ("syncws", Streaming),
    "polling": ("syncws", Polling),
    "socketio": ("werkzeug", SocketIO),
    "socketio-gunicorn": ("gunicorn", SocketIO),
}
OURS, PEERS = "polling", ("socketio", "socketio-gunicorn")

#: What the peers need.
MODULES = {"socketio": "werkzeug", "socketio-gunicorn": "gunicorn"}

#: Those with long polling, of which there can be a crowd.
CROWDS = (OURS, *PEERS)

#: Messages of one request, and clients at the same time.
BATCH, CLIENTS = 16, 10

#: Times the peer's rate that is to be reached.
LEVEL = 3

#: Seconds that a server runs at most.
DEADLINE = 600


@contextlib.contextmanager
def running(name):
    """A server; yields its process and port."""
    with Child("fallback_servers.py", name, deadline=DEADLINE, env=environment()) as child:
        about = child.read()
        yield child, about["port"], about["pid"]


def repeat(client, count, seconds):
    """Exchange messages for a while; return how long each exchange took."""
    took = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or not took:
        client.exchange(count)
        took.append(time.perf_counter() - start)
    return took


def measure_rate(make_client, port, count, clients, seconds):
    """Messages per second of so many clients."""
    ready = threading.Barrier(clients + 1)
    counts = []

    def run():
        with contextlib.closing(make_client(port)) as client:
            repeat(client, count, seconds / 10)
            ready.wait()
            counts.append(count * len(repeat(client, count, seconds)))
            ready.wait()

    threads = [threading.Thread(target=run, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait(DEADLINE)
    start = time.perf_counter()
    ready.wait(DEADLINE)
    rate = sum(counts) / (time.perf_counter() - start)
    for thread in threads:
        thread.join()
    return rate


def measure(name, seconds):
    """One round of an implementation: its figures by their names."""
    server, make_client = IMPLEMENTATIONS[name]
    with running(server) as (_, port, _):
        with contextlib.closing(make_client(port)) as client:
            repeat(client, 1, seconds / 10)
            took = sorted(repeat(client, 1, seconds))
        return {
            "median": statistics.median(took) * 1e3,
            "late": took[len(took) * 99 // 100] * 1e3,
            "many": measure_rate(make_client, port, BATCH, 1, seconds),
            "clients": measure_rate(make_client, port, 1, CLIENTS, seconds),
        }


def better(figures, others):
    """The best of two rounds, figure by figure: other work only makes them worse."""
    if figures is None:
        return others
    choose = {"median": min, "late": min, "many": max, "clients": max}
    return {key: choose[key](figures[key], others[key]) for key in figures}


def compare(names, seconds, rounds):
    """Show all figures; return whether the level is reached."""
    best = dict.fromkeys(names)
    for _ in range(rounds):  # they take turns
        for name in names:
            best[name] = better(best[name], measure(name, seconds))
    print(f"{'':18} {'one: median':>12} {'99 %':>9} {'many':>12} {f'{CLIENTS} clients':>12}")
    for name, each in best.items():
        print(
            f"{name:18} {each['median']:9.2f} ms {each['late']:6.2f} ms",
            f"{each['many']:10,.0f}/s {each['clients']:10,.0f}/s",
            flush=True,
        )
    peers = [best[name] for name in PEERS if name in names]
    if OURS not in names or not peers:
        return True
    ratios = {key: best[OURS][key] / max(p[key] for p in peers) for key in ("many", "clients")}
    good = min(ratios.values()) >= LEVEL
    said = ", ".join(f"{key} {ratio:.1f}" for key, ratio in ratios.items())
    print(f"{OURS} / Socket.IO: {said} (at least {LEVEL}): {'good' if good else 'NOT GOOD'}")
    return good


# --- a crowd -----------------------------------------------------------------------


def usage(pid):
    """Threads, and MiB of memory, of a process (Linux)."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[17]), int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def show_crowd(name, sessions):
    """Show what so many sessions cost that wait for a message, and how fast they get one."""
    server, make_client = IMPLEMENTATIONS[name]
    with running(server) as (child, port, pid), contextlib.ExitStack() as stack:
        before = usage(pid)
        start = time.perf_counter()
        clients = []
        for _ in range(sessions):
            client = make_client(port)
            stack.callback(client.down.close)
            client.up.close()  # as browsers do, after a while
            client.wait()
            clients.append(client)
        opened = time.perf_counter() - start
        threads, memory = usage(pid)
        start = time.perf_counter()
        child.write("x" * 64)
        for client in clients:
            client.take()
        told = time.perf_counter() - start
    print(
        f"{name:18} {sessions} sessions: opened in {opened:.2f} s,",
        f"{threads - before[0]} more threads, {memory - before[1]:.1f} MiB more;",
        f"a message to all in {told * 1e3:.0f} ms",
        flush=True,
    )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--impl", default=",".join(IMPLEMENTATIONS))
    parser.add_argument("--seconds", type=float, default=3, help="of a measurement; 0: none")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=1000, help="of a crowd; 0: none")
    options = parser.parse_args()
    options.impl = options.impl.split(",")
    for name in options.impl:
        if name not in IMPLEMENTATIONS:
            parser.error(f"nothing is called {name!r}; there are {', '.join(IMPLEMENTATIONS)}")
    return options


def main():
    options = parse_arguments()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    names = options.impl
    for name in PEERS:
        missing = [each for each in ("socketio", MODULES[name]) if not find_spec(each)]
        if name in names and missing:
            print(f"{name}: there is no {missing[0]}")
            names.remove(name)
    good = True
    try:
        if options.seconds:
            good = compare(names, options.seconds, options.rounds)
        if options.sessions:
            for name in names:
                if name in CROWDS:
                    show_crowd(name, options.sessions)
    except (Failed, OSError) as exc:
        print(f"failed: {exc}")
        good = False
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
