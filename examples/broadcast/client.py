"""Be many listeners, one of them slow. Usage: python client.py [URI [COUNT [MESSAGES]]]."""

import sys

from syncws import ConnectionClosed, connect, wait


def listen(listeners, messages):
    """Receive as much with each of the listeners, in one thread."""
    received = dict.fromkeys(listeners, 0)
    while min(received.values()) < messages:
        for ws in wait(listeners, timeout=10):
            ws.recv()
            received[ws] += 1


def count_rest(ws, limit):
    """Receive what is left of a connection; return how much that was."""
    for number in range(limit):
        try:
            ws.recv(timeout=10)
        except ConnectionClosed:
            return number
    return limit


def main(uri="ws://localhost:8765/", count=50, messages=200):
    listeners = [connect(uri) for _ in range(int(count))]
    with connect(uri) as slow:
        # Nobody receives from this one. What is sent to it stays on its way, first in this
        # program, then in both kernels, and at last in the server, which has a limit for that:
        # write_limit=. Nobody else notices anything of it.
        listen(listeners, int(messages))
        print(f"{count} listeners got {messages} messages each")
        print("the slow one was closed after", count_rest(slow, int(messages)))
    for ws in listeners:
        ws.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
