"""A news ticker with rooms. Usage: python server.py [PORT].

The environment variable HUB is the URL of a Redis, such as redis://localhost:6379. Without it the
rooms are this process's own.
"""

import json
import os
import sys

from syncws import ConnectionClosed, Router, broadcast, serve
from syncws.pubsub import Hub

RESYNC = json.dumps({"resync": True})

router = Router()


def envelope(room, entry):
    """Make what connections are sent of a message. The position is what they come back with."""
    return json.dumps({"text": entry.message, "position": str(entry.position)})


def resync(room, ws):
    broadcast([ws], RESYNC)  # doesn't wait, which this thread must not


@router.route("/<name>")
def follow(ws, name):
    room = ws.group(name)  # whoever is closed leaves it
    try:
        hello = json.loads(ws.recv(timeout=10))
        is_complete = room.add(ws, since=hello.get("since"), data=hello["name"])
    except (ValueError, KeyError, AttributeError):
        ws.close(1008, 'expected JSON such as {"name": "ann"}')
        return
    except (TimeoutError, ConnectionClosed):
        return
    if not is_complete:
        ws.send(RESYNC)
    ws.send(json.dumps({"here": sorted(member.data for member in room.present())}))
    for message in ws:
        room.publish(f"{hello['name']}: {message}")


def main(port):
    hub = Hub(os.environ.get("HUB"), envelope=envelope, on_resync=resync)
    with hub, serve(router, "localhost", port, hub=hub, max_size=1000) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
