"""The process with hostile clients, which do all that they should not: see soak.py."""

import contextlib
import json
import random
import ssl
import struct
import sys
import threading
import time

from measures import Counter, Errors, answer_commands
from support.attacks import (
    BINARY,
    CONT,
    DEFLATE,
    FIN,
    PING,
    PONG,
    REQUEST,
    RSV1,
    TEXT,
    bomb,
    client_hello,
    dial,
    frame,
    invalid_frames,
    open_raw,
    read_close,
    reset,
)

#: Seconds after which the server must have ended what it has to end.
PATIENCE = 30

#: Bytes that one attack may send: the machine is not to be busy with attackers alone.
FLOOD_SIZE = 1 << 18

BOMB = bomb(1 << 20)
SMALL_BOMB = bomb(1 << 17)

counts = Counter()
errors = Errors()
stopping = threading.Event()


class Attacker:
    """Attacks on one server, each with fresh connections."""

    def __init__(self, rng, port, context):
        self.rng = rng
        self._address = ("127.0.0.1", port)
        self._context = context

    def _dial(self, tls=True):
        return dial(self._address, self._context if tls else None)

    def _open(self, path="/echo", headers=b"", **kwargs):
        return open_raw(self._address, path, self._context, headers, **kwargs)

    def _expect_end(self, sock):
        """Read until the server ends the connection."""
        sock.settimeout(PATIENCE)
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while sock.recv(1 << 16):
                    pass
        except TimeoutError:
            raise AssertionError("the server did not end it") from None

    def _expect_close(self, sock, *codes):
        sock.settimeout(PATIENCE)
        code = read_close(sock)
        # What we send while the server closes may reset the connection, and lose the frame.
        if code is not None and code not in codes:
            raise AssertionError(f"closed by {code}, not {codes}")

    def _trickle(self, sock, data):
        """Send bytes one by one until the server has enough of it."""
        with contextlib.suppress(OSError):
            for byte in data:
                sock.sendall(bytes((byte,)))
                if stopping.wait(0.5):
                    return
        self._expect_end(sock)

    def _repeat(self, sock, data, size=FLOOD_SIZE):
        """Send this again and again, until it is enough."""
        block = data * max(1, 8192 // len(data))
        with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
            for _ in range(size // len(block) + 1):
                sock.sendall(block)

    # --- before the connection is open ---

    def slow_tls(self):
        with self._dial(tls=False) as sock:
            self._trickle(sock, client_hello())

    def slow_http(self):
        with self._dial() as sock:
            self._trickle(sock, REQUEST % b"/echo")

    def silence(self):
        with self._dial(tls=self.rng.random() < 0.5) as sock:
            self._expect_end(sock)

    def garbage(self):
        with self._dial(tls=self.rng.random() < 0.5) as sock:
            size = self.rng.randint(1, 2000)
            with contextlib.suppress(ConnectionError):
                sock.sendall(self.rng.getrandbits(8 * size).to_bytes(size, "big"))
            self._expect_end(sock)

    def many_headers(self):
        with self._dial() as sock:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                sock.sendall(REQUEST % b"/echo")
            self._repeat(sock, b"X-Flood: x\r\n")
            self._expect_end(sock)

    def endless_line(self):
        with self._dial() as sock:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                sock.sendall(self.rng.choice([b"GET /", REQUEST % b"/echo" + b"X-Endless: "]))
            self._repeat(sock, b"x")
            self._expect_end(sock)

    def large_body(self):
        with self._dial() as sock:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                sock.sendall(REQUEST % b"/echo" + b"Content-Length: 100000000\r\n\r\n")
            self._repeat(sock, b"x")
            self._expect_end(sock)

    def resets(self):
        for _ in range(20):
            reset(self._dial(tls=False))

    def goes_away(self):
        sock = self._dial(tls=False)
        sock.sendall(client_hello() if self._context else REQUEST % b"/echo")
        sock.close()

    def refused(self):
        request = self.rng.choice(
            [
                REQUEST % b"/nowhere" + b"\r\n",
                REQUEST % b"/echo" + b"Origin: http://evil.example\r\n\r\n",
                b"POST /echo HTTP/1.1\r\nHost: localhost\r\n\r\n",
                b"GET /echo HTTP/1.1\r\n\r\n",
            ]
        )
        with self._dial() as sock:
            sock.sendall(request)
            if not sock.recv(1 << 16).startswith(b"HTTP/1.1 4"):
                raise AssertionError("not refused")
            if self.rng.random() < 0.5:
                self._expect_end(sock)

    def health(self):
        with self._dial() as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := sock.recv(1 << 16):
                    answer += piece
            if not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"well\n")):
                raise AssertionError(f"not well: {answer!r}")

    # --- floods and bombs ---

    def fragments(self):
        with self._open() as sock:
            sock.sendall(frame(TEXT, b"x"))
            size = self.rng.choice([0, 1, 400])
            if size == 400:
                self._repeat(sock, frame(CONT, bytes(size)), 2 * FLOOD_SIZE)
                self._expect_close(sock, 1009)
            else:
                self._repeat(sock, frame(CONT, bytes(size)))

    def pings(self):
        with self._open(self.rng.choice(["/echo", "/hang"])) as sock:
            self._repeat(sock, frame(FIN | PING, bytes(self.rng.choice([0, 125]))))
            if self.rng.random() < 0.5:
                sock.sendall(frame(FIN | 8, b"\x03\xe8"))
                self._expect_close(sock, 1000, 1008)  # 1008: too many in too short a time

    def pongs(self):
        with self._open() as sock:
            self._repeat(sock, frame(FIN | PONG, bytes(self.rng.choice([0, 125]))))

    def reopens(self):
        for _ in range(10):
            sock = self._open(self.rng.choice(["/echo", "/end", "/sink"]))
            self.rng.choice([reset, socket_close])(sock)

    def bombs(self):
        path = self.rng.choice(["/echo", "/sink"])
        with self._open(path, DEFLATE) as sock:
            kind = self.rng.randint(0, 2)
            if kind == 0:
                sock.sendall(frame(FIN | RSV1 | BINARY, BOMB))
                self._expect_close(sock, 1009)
            elif kind == 1:
                sock.sendall(frame(RSV1 | BINARY, BOMB[:50]))
                self._repeat(sock, frame(CONT, BOMB[50:90]), 1 << 13)
                self._expect_close(sock, 1002, 1007, 1008, 1009)
            else:
                self._repeat(sock, frame(FIN | RSV1 | BINARY, SMALL_BOMB), 1 << 12)

    # --- peers that don't read, or vanish ---

    def deaf(self):
        path = self.rng.choice(["/flood", "/deaf", "/deaf"])
        # The kernels would take many seconds of what is sent otherwise.
        with self._open(path, receive_buffer=1 << 12) as sock:
            if not stopping.wait(self.rng.uniform(3, 12)):  # otherwise it was not deaf for long
                self._expect_end(sock)

    def deaf_echo(self):
        with self._open(self.rng.choice(["/echo", "/late"])) as sock:
            sock.settimeout(1)
            self._repeat(sock, frame(FIN | TEXT, b"x" * 10000), 1 << 22)
            self.rng.choice([reset, socket_close])(sock)

    def vanishes(self):
        """Neither read nor answer: the server's pings find out."""
        with self._open(self.rng.choice(["/echo", "/sink"])) as sock:
            stopping.wait(21)
            self._expect_end(sock)

    def half_a_frame(self):
        with self._open() as sock:
            data = frame(FIN | BINARY, bytes(self.rng.choice([10, 1000, 100000])))
            sock.sendall(data[: self.rng.randint(1, len(data) - 1)])
            if self.rng.random() < 0.5:
                reset(sock)

    def stops_sending(self):
        with self._open() as sock:
            sock.sendall(frame(FIN | TEXT, b"x"))
            if self._context is None:
                sock.shutdown(1)
            else:
                reset(sock)
                return
            self._expect_end(sock)

    # --- what breaks the rules; handlers that do ---

    def invalid(self):
        with self._open(self.rng.choice(["/echo", "/sink", "/late"]), b"") as sock:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                sock.sendall(invalid_frames(self.rng))
                sock.sendall(struct.pack("!BB", FIN | TEXT, 5))  # whatever it was, this is wrong
            self._expect_end(sock)

    def failing_handler(self):
        kinds = ["ValueError", "SystemExit", "KeyboardInterrupt", "Unprintable", "Base"]
        with self._open(f"/fail/{self.rng.choice(kinds)}") as sock:
            sock.sendall(frame(FIN | TEXT, b"fail"))
            self._expect_close(sock, 1011)

    def lazy_handler(self):
        path = self.rng.choice(["/hang", "/end", "/late"])
        with self._open(path) as sock:
            if path != "/end":
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    sock.sendall(frame(FIN | TEXT, b"x" * 1000) * 50)
            if self.rng.random() < 0.5:
                stopping.wait(3)


def socket_close(sock):
    sock.close()


#: How often each is chosen.
WEIGHTS = {
    "slow_tls": 2,
    "slow_http": 2,
    "silence": 2,
    "garbage": 3,
    "many_headers": 3,
    "endless_line": 3,
    "large_body": 2,
    "resets": 3,
    "goes_away": 3,
    "refused": 3,
    "health": 5,
    "fragments": 3,
    "pings": 3,
    "pongs": 2,
    "reopens": 3,
    "bombs": 4,
    "deaf": 3,
    "deaf_echo": 2,
    "vanishes": 1,
    "half_a_frame": 3,
    "stops_sending": 3,
    "invalid": 6,
    "failing_handler": 6,
    "lazy_handler": 3,
}


def slot(number):
    """Attack, again and again."""
    rng = random.Random(f"{configuration['seed']}/faults/{number}")
    stopping.wait(rng.uniform(0, configuration["ramp"]))
    names, weights = zip(*WEIGHTS.items())
    while not stopping.is_set():
        (name,) = rng.choices(names, weights)
        tls = name == "slow_tls" or rng.random() < 0.3
        attacker = Attacker(rng, configuration["ports"][tls], context if tls else None)
        threading.current_thread().name = f"attacker {number} ({name})"
        try:
            getattr(attacker, name)()
            counts.add(name)
        except (ConnectionError, ssl.SSLError, TimeoutError, OSError) as exc:
            # Attackers may be cut off anywhere.
            counts.add(f"{name}: {type(exc).__name__}")
        except Exception as exc:
            errors.add(f"{name}{' with TLS' if tls else ''}: {exc!r}")
        stopping.wait(rng.uniform(0, 12))


def stats():
    return {"counts": counts.as_dict(), "errors": errors.as_dict()}


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
        threading.Thread(target=slot, args=(number,), name=f"attacker {number}", daemon=True)
        for number in range(configuration["attackers"])
    ]
    for thread in threads:
        thread.start()
    answer_commands({}, {"stats": stats, "stop": stop})
