"""How many messages rooms pass on, and how long that takes; for rooms.py, which see.

    python room_rates.py '{"kind": "syncws", "ports": [...], "receivers": 10, "members": 200, ...}'

Members are plain sockets in one process. One of them says something in another one's room; once
it has come, another one does, so that always as many messages are on their way. Of each room, the
member that joined last in each process is watched closely: a message has come when these have it.
Of the others, bytes are counted, which costs less, and must be right in the end.
"""

import contextlib
import json
import os
import pathlib
import selectors
import socket
import sys
import time

from children import Child, Failed, end_with_parent, environment, report
from driver import HOST, REQUEST, TEXT, build_frame
from room_members import take_frames
from room_traffic import room_name

OURS = "syncws"
PEERS = ("flask-socketio", "python-socketio")

#: Times the rate of the best peer that is to be reached.
LEVEL = 5

#: Bytes of a message, and of the number that it begins with.
SIZE, DIGITS = 64, 8

#: Seconds between looks at those that aren't watched closely.
LOOK_INTERVAL = 0.005

#: Seconds that any wait may take.
PATIENCE = 30


class Plain:
    """How clients speak to a server of syncws."""

    path = b"/"
    opening = ()
    join = "join {}"
    joined = "joined"
    say = "say {} {}"
    heard = "{}"


class SocketIO:
    """How they speak to one of Socket.IO; what they say first, and the answers."""

    path = b"/socket.io/?EIO=4&transport=websocket"
    opening = (("", "0{"), ("40", "40{"))
    join = '42["join","{}"]'
    joined = '42["joined"'
    say = '42["say","{}","{}"]'
    heard = '42["message","{}"]'


class Member:
    """A client in one room.

    Attributes:
        room: the room's name.
        expected: bytes that it has to receive.
        received: bytes that it has received.
    """

    def __init__(self, port, room, dialect):
        self.room = room
        self.expected = self.received = 0
        self._number = dialect.heard.index("{")  # where it begins
        self._buffer = bytearray()
        self.sock = socket.create_connection((HOST, port), timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(REQUEST.replace(b"GET /", b"GET " + dialect.path, 1))
        while b"\r\n\r\n" not in self._buffer:
            self._read()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if b" 101 " not in head:
            raise Failed(f"refused: {head.decode()}")
        for said, answer in (*dialect.opening, (dialect.join.format(room), dialect.joined)):
            if said:
                self.send(said)
            self._expect(answer)
        self.sock.setblocking(False)

    def send(self, text):
        self.sock.sendall(build_frame(TEXT, text.encode(), masked=True))

    def _read(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise Failed("the server closed the connection")
        self._buffer += data
        return len(data)

    def _expect(self, answer):
        while not (frames := take_frames(self._buffer)):
            self._read()
        ((_, payload),) = frames
        if not payload.startswith(answer.encode()):
            raise Failed(f"received {payload!r} instead of {answer!r}")

    def count(self):
        """Take what has come, without looking at it."""
        self.received += self._read()
        self._buffer.clear()

    def take_numbers(self):
        """Take what has come; return the numbers of the messages."""
        self.received += self._read()
        begin, end = self._number, self._number + DIGITS
        return [int(payload[begin:end]) for _, payload in take_frames(self._buffer)]


class Crowd:
    """All members, and the messages that are on their way."""

    def __init__(self, options):
        self._dialect = Plain if options["kind"] == OURS else SocketIO
        ports = options["ports"]
        count = options["members"]
        rooms = count // options["receivers"]
        self._members = []
        self._closely, self._loosely = (selectors.DefaultSelector() for _ in range(2))
        watched = {}
        for i in range(count):
            # In each room they are of all processes, in turn.
            port = ports[(i + i // rooms) % len(ports)]
            self._members.append(Member(port, room_name(i % rooms), self._dialect))
            watched[i % rooms, port] = self._members[-1]
        self._watches = dict.fromkeys((member.room for member in self._members), 0)
        for member in self._members:
            is_watched = member in watched.values()
            self._watches[member.room] += is_watched
            selector = self._closely if is_watched else self._loosely
            selector.register(member.sock, selectors.EVENT_READ, member)
        text = self._dialect.heard.format("x" * SIZE)
        self._frame_size = len(build_frame(TEXT, text.encode(), masked=False))
        self._sent = 0
        self._on_way = {}
        self._rooms = dict.fromkeys(self._watches, 0)

    def _say(self):
        """Have a member say something in the room of the one before it."""
        number = self._sent
        self._sent += 1
        members = self._members
        room = members[number % len(members)].room
        self._rooms[room] += 1
        text = self._dialect.say.format(room, f"{number:0{DIGITS}}".ljust(SIZE, "x"))
        self._on_way[number] = [time.perf_counter(), self._watches[room]]
        members[(number + 1) % len(members)].send(text)

    def _receive(self, took):
        """Receive for a while; note how long those took that have come. Return how many."""
        done = 0
        for key, _ in self._closely.select(LOOK_INTERVAL):
            for number in key.data.take_numbers():
                message = self._on_way[number]
                message[1] -= 1
                if not message[1]:
                    took.append(time.perf_counter() - message[0])
                    del self._on_way[number]
                    done += 1
        if time.perf_counter() > self._look_at:
            for key, _ in self._loosely.select(0) if self._loosely.get_map() else ():
                key.data.count()
            self._look_at = time.perf_counter() + LOOK_INTERVAL
        return done

    def measure(self, window, seconds):
        """Keep so many messages on their way for a time; return the rate, and how long they took.

        Raises:
            Failed: something that was said did not come.
        """
        took = []
        start = self._look_at = time.perf_counter()
        for _ in range(window):
            self._say()
        while time.perf_counter() < start + seconds:
            for _ in range(self._receive(took)):
                self._say()
        end = time.perf_counter()
        rate = len(took) / (end - start)
        while not self._is_complete():
            self._receive(took)
            if time.perf_counter() > end + PATIENCE:
                raise Failed(f"{len(self._on_way)} messages did not come everywhere")
        return rate, took

    def _is_complete(self):
        size = self._frame_size
        return not self._on_way and all(
            member.received == self._rooms[member.room] * size for member in self._members
        )


def share(took, part):
    """Milliseconds after which that part had come."""
    return sorted(took)[min(len(took) - 1, int(len(took) * part))] * 1000


def processor_time(pids):
    """Seconds that processes have worked so far (needs /proc)."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def drive(options):
    crowd = Crowd(options)
    crowd.measure(options["window"], options["seconds"] / 4)  # to warm up
    _, alone = crowd.measure(1, options["seconds"] / 4)
    worked = processor_time(options["pids"])
    rate, took = crowd.measure(options["window"], options["seconds"])
    worked = (processor_time(options["pids"]) - worked) / len(took)
    parts = [share(took, part) for part in (0.5, 0.99, 0.999)]
    report(rate=rate, took=parts, alone=share(alone, 0.5), work=worked * 1000)


# --- comparing ---------------------------------------------------------------------


def measure(kind, ports, pids, receivers, options, env):
    """One measurement."""
    about = {
        "kind": kind,
        "ports": ports,
        "pids": pids,
        "receivers": receivers,
        "members": max(receivers, options.rate_members),
        "window": options.window,
        "seconds": options.seconds,
    }
    deadline = 4 * PATIENCE + 2 * options.seconds
    with Child("room_rates.py", json.dumps(about), deadline=deadline, env=env) as child:
        return child.read()


def compare_rates(options, start_redis, folder):
    """Show rates, in turns; return whether they are as high as they should be."""
    env = environment()
    names = options.impl.split(",")
    receivers = list(map(int, options.receivers.split(",")))
    figures = {}
    failures = {}
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(start_redis(folder, "--appendfsync", "everysec"))
        ports, pids = {}, {}
        for name in names:
            children = [
                stack.enter_context(
                    Child("room_servers.py", name, redis.url, deadline=1e5, env=env)
                )
                for _ in range(options.processes)
            ]
            ports[name] = [child.read()["port"] for child in children]
            pids[name] = [redis.pid, *(child.process.pid for child in children)]
        for number in receivers:
            for _ in range(options.rounds):
                for name in names:
                    try:
                        found = measure(name, ports[name], pids[name], number, options, env)
                    except Failed as exc:
                        failures[name, number] = str(exc)
                        continue
                    figures.setdefault((number, name), []).append(found)
    for (name, number), why in failures.items():
        print(f"{name} with {number} receivers failed: {why}")
    best = {key: max(found, key=lambda each: each["rate"]) for key, found in figures.items()}
    return show_rates(best, names, receivers, options.level) and not any(
        name == OURS for name, _ in failures
    )


def show_rates(best, names, receivers, level):
    """Print a table, and how ours compares with the best peer; return whether that is enough."""
    print(
        f"\n{'receivers':>9}  {'':16} {'messages/s':>10} {'p50':>8} {'p99':>8} {'p99.9':>8}", end=""
    )
    print(f" {'alone':>8} {'work':>8}   (ms)")
    good = True
    for number in receivers:
        rows = {name: best[number, name] for name in names if (number, name) in best}
        for name, row in rows.items():
            took = "".join(f" {each:8.1f}" for each in row["took"])
            print(f"{number:9}  {name:16} {row['rate']:10,.0f}{took} {row['alone']:8.2f}", end="")
            print(f" {row['work']:8.3f}")
        peers = [row for name, row in rows.items() if name != OURS]
        if OURS in rows and peers:
            good &= show_ratio(rows[OURS], peers, level)
    return good


def show_ratio(ours, peers, level):
    times = ours["rate"] / max(row["rate"] for row in peers)
    slower = [
        name
        for name, mine, best in zip(
            ("p50", "p99", "p99.9", "alone"),
            (*ours["took"], ours["alone"]),
            map(min, zip(*((*row["took"], row["alone"]) for row in peers))),
        )
        if mine > best
    ]
    good = times >= level and not slower
    latency = f"slower at {', '.join(slower)}" if slower else "at equal or better latency"
    print(f"{'':9}  {times:.1f} times the best peer, {latency}; {'good' if good else 'NOT GOOD'}")
    return good


def main():
    end_with_parent()
    try:
        drive(json.loads(sys.argv[1]))
    except Failed as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
