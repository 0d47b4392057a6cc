"""Say something in a room. Usage: python client.py [URI]."""

import sys

from syncws import InvalidStatus, connect


def main(uri):
    try:
        connect(uri.replace("ann:red@", ""))
    except InvalidStatus as exc:
        print(f"without a password: {exc.response.status_code}")
    with connect(uri) as websocket:
        print(websocket.recv(timeout=10))
        websocket.send("hello")
        print(websocket.recv(timeout=10))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ws://ann:red@localhost:8765/rooms/kitchen")
