"""The process with healthy clients, which must get all that they are to get: see soak.py."""

import collections
import contextlib
import json
import random
import ssl
import sys
import threading
import time

from measures import Counter, Errors, Histogram, answer_commands
from support.attacks import BINARY, CLOSE, CONT, FIN, PING, PONG, TEXT, frame, open_raw, read_frame

from syncws import InvalidHandshake, connect

#: Seconds that nothing may take.
PATIENCE = 30

counts = Counter()
errors = Errors()
latencies = Histogram()
stopping = threading.Event()


class Raw:
    """A client apart from the library, which sends frames in all forms that are allowed."""

    def __init__(self, rng, port, context):
        self._rng = rng
        self._sock = open_raw(("127.0.0.1", port), "/healthy", context)
        self._sock.settimeout(PATIENCE)
        self._file = self._sock.makefile("rb")

    def send(self, message):
        rng = self._rng
        opcode, payload = (
            (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        )
        cuts = sorted(rng.sample(range(1, len(payload)), min(rng.randint(0, 3), len(payload) - 1)))
        starts, ends = [0, *cuts], [*cuts, len(payload)]
        data = b""
        for number, (start, end) in enumerate(zip(starts, ends)):
            first = (CONT if number else opcode) | (FIN if end == len(payload) else 0)
            data += frame(first, payload[start:end])
            if rng.random() < 0.1:
                data += frame(FIN | rng.choice([PING, PONG]), b"?" * rng.randint(0, 125))
        cut = rng.randint(0, len(data))
        self._sock.sendall(data[:cut])
        self._sock.sendall(data[cut:])

    def recv(self):
        while True:
            received = read_frame(self._file)
            if received is None:
                raise EOFError("the server ended the connection")
            first, payload = received
            if first == FIN | PING:
                self._sock.sendall(frame(FIN | PONG, payload))
            elif first == FIN | TEXT:
                return payload.decode()
            elif first == FIN | BINARY:
                return payload
            elif first != FIN | PONG:
                raise AssertionError(f"frame {first:x} {payload!r}")

    def close(self):
        self._sock.sendall(frame(FIN | CLOSE, b"\x03\xe8"))
        while (received := read_frame(self._file)) is not None:
            if received == (FIN | CLOSE, b"\x03\xe8"):
                break
        else:
            raise AssertionError("no close frame")
        self._file.close()
        self._sock.close()

    def abort(self):
        self._file.close()
        self._sock.close()


class Syncws:
    """A client of the library."""

    def __init__(self, rng, port, context):
        self._ws = connect(
            f"ws{'' if context is None else 's'}://localhost:{port}/healthy",
            host="127.0.0.1",
            ssl=context,
            proxy=None,
            compression=rng.choice(["deflate", None]),
            open_timeout=PATIENCE,
            close_timeout=PATIENCE,
            ping_interval=rng.choice([None, 5]),
            ping_timeout=PATIENCE,
        )
        self.send = self._ws.send
        self.abort = self._ws.abort

    def recv(self):
        return self._ws.recv(PATIENCE)

    def close(self):
        self._ws.close()
        if self._ws.close_code != 1000:
            raise AssertionError(f"closed by {self._ws.close_code} {self._ws.close_reason}")


class Session:
    """One connection's numbered messages, echoes and broadcasts."""

    def __init__(self, rng, client):
        self._rng = rng
        self._client = client
        self._number = 0
        self._expected = collections.deque()  # echoes, with when their messages were sent
        self._first = None  # the number of the first broadcast that is for us
        self._broadcasts = []  # numbers of the first one and the next one

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stopping.is_set():
            for _ in range(self._rng.choice([1, 1, 2, 8])):
                self._send()
            while self._expected:
                self._receive()
            stopping.wait(self._rng.uniform(0.5, 3))
        self._client.send("bye")
        while (done := self._receive()) is None:
            pass
        received, last = map(int, done.split())
        if received != self._number:
            raise AssertionError(f"the server got {received} of {self._number} messages")
        if self._broadcasts != ([self._first, last] if last > self._first else []):
            raise AssertionError(f"broadcasts {self._broadcasts}, not {self._first} to {last}")
        self._client.close()

    def _send(self):
        rng = self._rng
        size = rng.choice([10, 10, 50, 100, 100, 1000, 5000, 5000, 70000])
        body = f"{self._number} {chr(rng.randint(33, 382)) * rng.randint(0, size)}"
        message = body if rng.random() < 0.5 else body.encode()
        echo = f"e {body}"
        self._expected.append((echo if message is body else echo.encode(), time.monotonic()))
        self._number += 1
        self._client.send(message)
        counts.add("sent")

    def _receive(self):
        """Receive something; return what the server says at the end."""
        message = self._client.recv()
        if self._expected and message == self._expected[0][0]:
            latencies.add(time.monotonic() - self._expected.popleft()[1])
            return None
        kind, _, rest = message.partition(" ") if isinstance(message, str) else ("", "", "")
        if kind == "b":
            number = int(rest.partition(" ")[0])
            if not self._broadcasts:
                self._broadcasts = [number, number]
            if number != self._broadcasts[1]:
                raise AssertionError(f"broadcast {number} in place of {self._broadcasts[1]}")
            self._broadcasts[1] = number + 1
            counts.add("broadcasts")
        elif kind == "j" and self._first is None:
            self._first = int(rest)
        elif kind == "d" and not self._expected:
            return rest
        else:
            expected = self._expected[0][0][:20] if self._expected else None
            raise AssertionError(f"{message[:20]!r} came in place of {expected!r}")
        return None


def slot(number):
    """Connect and talk, again and again."""
    rng = random.Random(f"{configuration['seed']}/healthy/{number}")
    stopping.wait(rng.uniform(0, configuration["ramp"]))
    while not stopping.is_set():
        kind = rng.choice([Raw, Syncws, Syncws])
        tls = rng.random() < 0.3
        client = None
        try:
            start = time.monotonic()
            try:
                client = kind(rng, configuration["ports"][tls], context if tls else None)
            except (ConnectionError, ssl.SSLError, EOFError, InvalidHandshake):
                counts.add("refused")  # the server has no descriptor left
                stopping.wait(1)
                continue
            counts.add("opened")
            if time.monotonic() - start > 5:
                counts.add("opened slowly")
            Session(rng, client).run(rng.expovariate(1 / configuration["lifetime"]))
            counts.add("done")
        except Exception as exc:
            errors.add(f"{kind.__name__}{' with TLS' if tls else ''} {number}: {exc!r}")
            if client is not None:
                with contextlib.suppress(OSError):
                    client.abort()
        stopping.wait(rng.uniform(0, 1))


def stats():
    return {**counts.as_dict(), "latencies": latencies.take(), "errors": errors.as_dict()}


def stop():
    stopping.set()
    deadline = time.monotonic() + 2 * PATIENCE
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    for thread in threads:
        if thread.is_alive():
            errors.add(f"{thread.name} hangs")
    return stats()


if __name__ == "__main__":
    configuration = json.loads(sys.argv[1])
    threading.stack_size(256 * 1024)
    context = ssl.create_default_context(cafile=configuration["authority"])
    threads = [
        threading.Thread(target=slot, args=(number,), name=f"client {number}", daemon=True)
        for number in range(configuration["connections"])
    ]
    for thread in threads:
        thread.start()
    answer_commands({}, {"stats": stats, "stop": stop})
