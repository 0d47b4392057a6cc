"""Compute in handlers. Usage: python server.py [PORT]."""

import json
import sys
import threading

from syncws import serve


class Count:
    """What all handlers share. They run at the same time, so whoever changes it takes the lock."""

    def __init__(self):
        self._lock = threading.Lock()
        self.blocks = self.primes = 0

    def add(self, primes):
        with self._lock:
            self.blocks += 1
            self.primes += primes


count = Count()


def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def handler(ws):
    """Answer each block of numbers by how many primes are in it."""
    for message in ws:
        start, stop = json.loads(message)
        # The long part uses nothing that other handlers change, and so takes no lock.
        primes = sum(map(is_prime, range(start, stop)))
        count.add(primes)
        ws.send(json.dumps(primes))


def main(port=8765):
    with serve(handler, "localhost", int(port)) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()
    print(f"{count.primes} primes in {count.blocks} blocks")


if __name__ == "__main__":
    main(*sys.argv[1:])
