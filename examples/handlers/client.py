"""Greet a room. Usage: python client.py [NAME [ROOM [URI]]]."""

import sys

from syncws import connect


def main(name="ann", room="kitchen", uri="ws://localhost:8765/"):
    with connect(f"{uri}rooms/{room}?name={name}") as websocket:
        websocket.send("hello")
        for message in websocket:
            print(message, flush=True)
            if message == f"{name}: hello":
                break


if __name__ == "__main__":
    main(*sys.argv[1:])
