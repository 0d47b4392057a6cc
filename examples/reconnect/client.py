"""Print what a server sends, whenever there is one. Usage: python client.py [URI]."""

import logging
import random
import sys

from syncws import ConnectionClosed, reconnect


def delays():
    """Give longer and longer delays after failures: random ones, 5 seconds at most."""
    limit = 0.5
    while True:
        yield random.uniform(0, limit)
        limit = min(2 * limit, 5)


def main(uri):
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for websocket in reconnect(uri, backoff=delays):
        try:
            for message in websocket:
                print("the server says that it is", message, flush=True)
        except ConnectionClosed as exc:
            print("lost:", exc, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8765/")
    except KeyboardInterrupt:
        print("stopped")
