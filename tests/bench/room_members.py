"""Many members of rooms, in one process; for rooms.py.

    python room_members.py '{"ports": [...], "first": 0, "count": 500, "rooms": 50, ...}'

Each is a plain socket. It prints {"ready"} once all are in their rooms, and once all have had the
last message of each of their rooms: what they have received. A member whose server is gone goes to
another one, and says in each room what it has had. After "patience" seconds without any message
that is what there is.
"""

import contextlib
import json
import selectors
import sys
import time
from collections import Counter

from children import end_with_parent, report
from driver import TEXT, build_frame, open_connection
from room_traffic import END, read_text, rooms_of

CLOSE, PING, PONG = 0x88, 0x89, 0x8A

#: Seconds between tries to connect.
RETRY_INTERVAL = 0.05

#: Seconds after the last message in which another one would be noticed.
REST = 1.0


def take_frames(buffer):
    """Take all frames that are complete; return their first bytes and payloads."""
    frames = []
    start = 0
    while len(buffer) >= start + 2:
        size, begin = buffer[start + 1], start + 2
        if size > 125:
            begin += 2 if size == 126 else 8
            if len(buffer) < begin:
                break
            size = int.from_bytes(buffer[start + 2 : begin], "big")
        if len(buffer) < begin + size:
            break
        frames.append((buffer[start], bytes(buffer[begin : begin + size])))
        start = begin + size
    del buffer[:start]
    return frames


class Member:
    """A client in some rooms."""

    def __init__(self, number, rooms):
        self.number = number
        self.sock = None
        self.tries = 0
        self.joined = set()
        self.positions = dict.fromkeys(rooms, "")
        self.received = {room: [] for room in rooms}
        self.ended = set()
        self.incomplete = 0  # times that what was missed was not there any more
        self._buffer = bytearray()

    @property
    def is_done(self):
        return len(self.ended) == len(self.received)

    def connect(self, ports):
        """Go to the next server, and enter all rooms where they were left."""
        port = ports[(self.number + self.tries) % len(ports)]
        self.tries += 1
        self.sock = open_connection(port)
        self._buffer.clear()
        for room, position in self.positions.items():
            text = f"join {room} {position}".strip()
            self.sock.sendall(build_frame(TEXT, text.encode(), masked=True))
        self.sock.setblocking(False)

    def receive(self, delays):
        """Take what has come; tell whether the connection goes on."""
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._buffer += data
        for first, payload in take_frames(self._buffer):
            if first == CLOSE:
                return False
            if first == PING:
                self.sock.sendall(build_frame(PONG, payload, masked=True))
            else:
                self._take(payload.decode(), delays)
        return bool(data)

    def _take(self, text, delays):
        if text.startswith("joined "):
            _, room, complete = text.split()
            self.joined.add(room)
            self.incomplete += complete == "0"
            return
        room, position, message = json.loads(text)
        self.positions[room] = position
        if message == END:
            self.received[room].append(END)
            self.ended.add(room)
            return
        identity, sent = read_text(message)
        self.received[room].append(identity)
        delays[round((time.monotonic() - sent) * 1e4)] += 1


class Members:
    """All of this process."""

    def __init__(self, options):
        self._ports = options["ports"]
        self._patience = options["patience"]
        numbers = range(options["first"], options["first"] + options["count"])
        self._members = [Member(number, rooms_of(number, options)) for number in numbers]
        self._absent = list(self._members)
        self._selector = selectors.DefaultSelector()
        self._delays = Counter()

    def connect(self):
        """Have those connect that aren't."""
        absent, self._absent = self._absent, []
        for member in absent:
            try:
                member.connect(self._ports)
            except OSError:
                self._absent.append(member)
            else:
                self._selector.register(member.sock, selectors.EVENT_READ, member)

    def run_until(self, is_over, patience):
        """Receive until that is so for all, or nothing came for so long."""
        left = set(self._members)
        heard = time.monotonic()
        while left and time.monotonic() < heard + patience:
            self.connect()
            for key, _ in self._selector.select(RETRY_INTERVAL):
                heard = time.monotonic()
                member = key.data
                if not member.receive(self._delays):
                    self._selector.unregister(member.sock)
                    member.sock.close()
                    self._absent.append(member)
                if is_over(member):
                    left.discard(member)

    def run(self):
        self.run_until(lambda member: len(member.joined) == len(member.positions), self._patience)
        joined = sum(len(member.joined) for member in self._members)
        report(ready=joined)
        self.run_until(lambda member: member.is_done, self._patience)
        self.run_until(lambda member: False, REST)
        kinds = Counter()
        for member in self._members:
            for room, received in member.received.items():
                kinds[room, tuple(received)] += 1
        report(
            received=[[room, count, kind] for (room, kind), count in kinds.items()],
            delays=sorted(self._delays.items()),
            reconnects=sum(member.tries - 1 for member in self._members),
            incomplete=sum(member.incomplete for member in self._members),
        )


def main():
    end_with_parent()
    with contextlib.suppress(KeyboardInterrupt):
        Members(json.loads(sys.argv[1])).run()


if __name__ == "__main__":
    main()
