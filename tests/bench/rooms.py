#!/usr/bin/env python3
"""Show that rooms over several processes lose nothing, whatever happens; and how fast they are.

    python tests/bench/rooms.py
    python tests/bench/rooms.py --processes 2 --members 1000 --rooms 50 --scenarios killed,big
    python tests/bench/rooms.py --processes 4 --scenarios "" --seconds 5 --rounds 3

Each scenario begins with a Redis of its own, server processes and members. Each process publishes,
and so does this one, which has no server; meanwhile something happens to Redis or to a process. In
the end all members must have what was published in their rooms, each message once, in the order
of the stream in Redis. README.md says more. Exit status 1: something was lost, double or out of
order, or couldn't be measured, or the rates are too low.
"""

import argparse
import contextlib
import json
import pathlib
import resource
import sys
import tempfile
import threading
import time
from collections import Counter

from children import HERE, Child, Failed, environment
from room_rates import LEVEL, PEERS, compare_rates
from room_traffic import (
    END,
    PUBLISH_TIMEOUT,
    Publisher,
    identify,
    judge,
    make_text,
    published_by,
    read_text,
    room_name,
    rooms_of,
)

for path in (HERE.parents[1], HERE.parent):  # the package, and where the tests' Redis is
    sys.path.append(str(path))

from support.redis_process import RedisServer  # noqa: E402

from syncws.pubsub import Hub  # noqa: E402

OUTSIDE = "outside"
BIG = "big"

#: Bytes of the output buffer limit, and of a message above it.
OUTPUT_LIMIT, BIG_SIZE = 300_000, 3_000_000

#: Seconds that a scenario may take, and any wait within it.
DEADLINE, WAIT = 300, 90

#: Seconds between looks at what others have done.
LOOK_INTERVAL = 0.01


def wait_until(condition, what):
    deadline = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {WAIT} s")
        time.sleep(LOOK_INTERVAL)


class Server:
    """A server's process, and how many messages its publisher has published."""

    def __init__(self, name, url, env):
        self.name = name
        self.child = Child("room_servers.py", "syncws-positions", url, deadline=DEADLINE, env=env)
        self.confirmed = 0
        self.stats = None
        self.is_killed = False

    def listen(self):
        """Return the port; from now on note what the publisher says."""
        port = self.child.read()["port"]
        threading.Thread(target=self._note, daemon=True).start()
        return port

    def _note(self):
        with contextlib.suppress(Failed, ValueError):  # it was killed
            while True:
                line = self.child.read()
                self.confirmed = line.get("confirmed", self.confirmed)
                self.stats = line.get("stats")

    def publish(self, rooms, rate):
        self.child.write(f"publish {self.name} {rooms} {rate}")

    def stop(self):
        self.child.write("stop")
        wait_until(lambda: self.stats is not None, f"{self.name} stops publishing")

    def kill(self):
        self.is_killed = True
        self.child.process.kill()


class Run:
    """Server processes, members and publishers.

    Attributes:
        redis: the Redis server.
        servers: the server processes.
        hub: that of this process.
        big: the messages that this process has published besides.
    """

    def __init__(self, stack, options):
        self._options = options
        self._settings = {
            "rooms": options.rooms,
            "memberships": options.memberships,
            "patience": options.patience,
        }
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.redis = stack.enter_context(RedisServer(folder))
        self.hub = stack.enter_context(Hub(self.redis.url, history=10**6))
        env = environment()
        names = [f"server{number}" for number in range(options.processes)]
        self.servers = [Server(name, self.redis.url, env) for name in names]
        for server in self.servers:
            stack.enter_context(server.child)
        ports = [server.listen() for server in self.servers]
        share = -(-options.members // options.member_processes)
        self._members = []
        for first in range(0, options.members, share):
            count = min(share, options.members - first)
            about = {**self._settings, "ports": ports, "first": first, "count": count}
            child = Child("room_members.py", json.dumps(about), deadline=DEADLINE, env=env)
            self._members.append(stack.enter_context(child))
        ready = sum(child.read()["ready"] for child in self._members)
        if ready < options.members * options.memberships:
            raise Failed(f"only {ready} memberships after {options.patience} s")
        self.outside = 0
        self.big = []
        self._publisher = Publisher(
            self.hub.publish, OUTSIDE, options.rooms, self.rate, self._note_outside
        )

    @property
    def rate(self):
        """Messages per second of each publisher."""
        return self._options.rate / (self._options.processes + 1)

    def _note_outside(self, count):
        self.outside = count

    def start(self):
        for server in self.servers:
            server.publish(self._options.rooms, self.rate)
        self._publisher.start()

    def go_on(self, seconds=None):
        """Wait until each publisher has published as much as it should in so many seconds."""
        more = round(self.rate * (self._options.before if seconds is None else seconds)) + 1
        living = [server for server in self.servers if not server.is_killed]
        goals = [server.confirmed + more for server in living]
        outside = self.outside + more
        wait_until(
            lambda: (
                self.outside >= outside
                and all(server.confirmed >= goal for server, goal in zip(living, goals))
            ),
            "publishing goes on",
        )

    def publish_big(self, room):
        text = make_text(BIG, len(self.big), "x" * BIG_SIZE)
        self.hub.publish(room, text, timeout=PUBLISH_TIMEOUT)
        self.big.append((room, identify(BIG, len(self.big), BIG_SIZE)))

    def end(self):
        """Stop publishing; return the verdict, and what members noticed."""
        self._publisher.stop()
        for server in self.servers:
            if not server.is_killed:
                server.stop()
        rooms = [room_name(number) for number in range(self._options.rooms)]
        self.hub.publish_many([(room, END) for room in rooms], timeout=PUBLISH_TIMEOUT)
        notes = [child.read() for child in self._members]
        received = {room: [] for room in rooms}
        for note in notes:
            for room, count, kind in note["received"]:
                received[room].append((count, kind))
        published = {
            server.name: published_by(server.name, server.confirmed, len(rooms))
            for server in self.servers
        }
        published[OUTSIDE] = published_by(OUTSIDE, self.outside, len(rooms))
        published[BIG] = self.big
        members = Counter()
        for member in range(self._options.members):
            members.update(rooms_of(member, self._settings))
        verdict = judge(published, self._read_streams(rooms), received, members)
        return verdict, Notes(notes, self.servers, published, received)

    def _read_streams(self, rooms):
        """The identities of all messages of each room, as Redis has them."""
        entries = {room: self.hub.room(room).history(10**6) for room in rooms}
        return {
            room: [END if each.message == END else read_text(each.message)[0] for each in found]
            for room, found in entries.items()
        }


class Notes:
    """What is shown besides the verdict."""

    def __init__(self, notes, servers, published, received):
        self.published = sum(map(len, published.values()))
        self.received = sum(count * len(kind) for each in received.values() for count, kind in each)
        self.reconnects = sum(note["reconnects"] for note in notes)
        self.incomplete = sum(note["incomplete"] for note in notes)
        living = [server for server in servers if not server.is_killed]
        self.losses = sum(server.stats["losses"] for server in living)
        self.gaps = sum(server.stats["gaps"] for server in living)
        self.tracebacks = sum(server.child.errors().count("Traceback") for server in living)
        self.errors = "".join(server.child.errors() for server in living)
        self._delays = Counter()
        for note in notes:
            for tenths, count in note["delays"]:
                self._delays[tenths] += count

    def delay(self, share):
        """Milliseconds after which that share of the messages had come."""
        tenths = sorted(self._delays.elements())
        return tenths[min(len(tenths) - 1, int(len(tenths) * share))] / 10


# --- what happens ------------------------------------------------------------------


def calm(run):
    """Nothing happens."""


def restart(run):
    """Redis is killed, and started with its append-only file."""
    run.redis.stop()
    run.redis.start()


def frozen(run):
    """Redis stands still for 10 s."""
    run.redis.freeze()
    time.sleep(10)
    run.redis.thaw()


def cut(run):
    """All connections to Redis are cut, 20 times."""
    for _ in range(20):
        run.redis.command("CLIENT", "KILL", "TYPE", "normal")
        run.go_on(0.1)


def killed(run):
    """A server process is killed; its members go to the others with their positions."""
    run.servers[-1].kill()


def big(run):
    """A message exceeds Redis' output buffer limit."""
    run.redis.command(
        "CONFIG", "SET", "client-output-buffer-limit", f"normal {OUTPUT_LIMIT} 0 0", check=True
    )
    run.publish_big(room_name(0))
    run.go_on()
    run.redis.command("CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0", check=True)


def forgotten(run):
    """Redis forgets everything: this must fail."""
    run.redis.command("FLUSHALL", check=True)


SCENARIOS = {
    function.__name__: function for function in (calm, restart, frozen, cut, killed, big, forgotten)
}


def show_scenario(name, options):
    """Run a scenario and print a line; return whether all went well."""
    print(f"{name:10}", end="", flush=True)
    try:
        with contextlib.ExitStack() as stack:
            run = Run(stack, options)
            run.start()
            run.go_on()
            SCENARIOS[name](run)
            run.go_on()
            verdict, notes = run.end()
    except Failed as exc:
        print(f" failed: {exc}", flush=True)
        return False
    good = verdict.is_good and not notes.tracebacks
    delays = [notes.delay(share) for share in (0.5, 0.99, 1)]
    print(
        f" {notes.published:7,} published {notes.received:9,} received {verdict};",
        f"delay {delays[0]:.1f} / {delays[1]:.1f} / {delays[2]:.1f} ms;",
        f"Redis lost {notes.losses} times, {notes.reconnects} members moved;",
        "good" if good else "NOT GOOD",
        flush=True,
    )
    if notes.gaps or notes.incomplete:
        print(f"{'':10} {notes.gaps} gaps, {notes.incomplete} came back too late")
    if notes.tracebacks or not good:
        print(notes.errors)
    return good


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    usual = ",".join(name for name in SCENARIOS if name != "forgotten")
    parser.add_argument("--processes", default="2,4", help="of servers (default: 2,4)")
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--memberships", type=int, default=2, help="rooms of a member (default: 2)")
    parser.add_argument("--rate", type=float, default=200, help="messages/s of all publishers")
    parser.add_argument("--before", type=float, default=3, help="seconds before and after trouble")
    parser.add_argument("--patience", type=float, default=30, help="seconds of silence at the end")
    parser.add_argument("--member-processes", type=int, default=2)
    parser.add_argument("--scenarios", default=usual, help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--impl", default=",".join(["syncws", *PEERS]), help="whose rates")
    parser.add_argument("--receivers", default="1,10,100", help="of each message")
    parser.add_argument("--rate-members", type=int, default=200, help="where rates are measured")
    parser.add_argument("--window", type=int, default=256, help="messages on their way")
    parser.add_argument("--seconds", type=float, default=3, help="of a measurement; 0: none")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--level", type=float, default=LEVEL, help="times a peer's rate to reach")
    options = parser.parse_args()
    for name in filter(None, options.scenarios.split(",")):
        if name not in SCENARIOS:
            parser.error(f"no scenario is called {name!r}; there are {', '.join(SCENARIOS)}")
    return options


def main():
    options = parse_arguments()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    good = True
    for processes in map(int, options.processes.split(",")):
        options.processes = processes
        print(
            f"{processes} server processes, {options.members} members in {options.memberships} of",
            f"{options.rooms} rooms each",
        )
        for name in filter(None, options.scenarios.split(",")):
            good &= show_scenario(name, options)
        if options.seconds:
            with tempfile.TemporaryDirectory() as folder:
                good &= compare_rates(options, RedisServer, pathlib.Path(folder))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
