"""Follow a room, and miss nothing. Usage: python client.py NAME [ROOM [URI]]."""

import contextlib
import json
import sys

from syncws import ConnectionClosed, reconnect


def show(parts):
    if "text" in parts:
        print(parts["text"], flush=True)
    elif "here" in parts:
        print("here:", ", ".join(parts["here"]), flush=True)
    else:
        print("some messages are lost", flush=True)


def main(name, room="news", uri="ws://localhost:8765/"):
    position = None  # of the last message that came
    for ws in reconnect(uri + room):
        with contextlib.suppress(ConnectionClosed):
            ws.send(json.dumps({"name": name, "since": position}))
            for message in ws:
                parts = json.loads(message)
                show(parts)
                position = parts.get("position", position)
        print("no connection; trying again", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
