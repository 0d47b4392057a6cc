"""Publish to a room, without a server. Usage: HUB=redis://... python publish.py ROOM [MESSAGE...].

Without messages, each line of the input is one.
"""

import os
import sys

from syncws.pubsub import Hub, HubError


def main(room, *messages):
    with Hub(os.environ["HUB"]) as hub:
        for message in messages or map(str.strip, sys.stdin):
            try:
                print("published, position", hub.room(room).publish(message, timeout=30))
            except HubError as exc:
                sys.exit(f"not published: {exc}")


if __name__ == "__main__":
    main(*sys.argv[1:])
