"""Have primes counted over several connections. Usage: python client.py [URI [MOST [LIMIT]]]."""

import json
import queue
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from syncws import connect

BLOCK = 5000


def work(uri, blocks):
    """Take blocks until there are none; return the number of primes in them."""
    primes = 0
    with connect(uri) as ws:
        while True:
            try:
                block = blocks.get_nowait()
            except queue.Empty:
                return primes
            ws.send(json.dumps(block))
            primes += json.loads(ws.recv(timeout=60))


def main(uri="ws://localhost:8765/", most=4, limit=400_000):
    limit = int(limit)
    for number in range(1, int(most) + 1):
        # Not an iterator: threads that share one may get the same block, or miss one.
        blocks = queue.SimpleQueue()
        for start in range(0, limit, BLOCK):
            blocks.put([start, min(start + BLOCK, limit)])
        began = time.perf_counter()
        with ThreadPoolExecutor(number) as pool:
            primes = sum(pool.map(work, [uri] * number, [blocks] * number))
        seconds = time.perf_counter() - began
        print(f"connections: {number}, primes below {limit}: {primes}, seconds: {seconds:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
