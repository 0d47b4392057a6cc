"""Send a few messages and print the answers. Usage: python client.py [URI]."""

import sys

from syncws import connect


def main(uri):
    with connect(uri) as websocket:
        for message in ("hello", "is there anybody?", "goodbye"):
            websocket.send(message)
            print(websocket.recv(timeout=10))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8765/")
