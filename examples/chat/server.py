"""Rooms to chat in. Usage: python server.py [PORT]."""

import sys

from syncws import ConnectionClosed, Router, serve

router = Router()


@router.route("/<room>")
def chat(ws, room):
    group = ws.server.group(room)  # whoever is closed leaves it
    try:
        name = ws.recv(timeout=60).strip()[:20]
    except (TimeoutError, ConnectionClosed):
        return
    group.add(ws)
    group.broadcast(f"* {name} is here")
    try:
        # Ends when the client leaves. Each member is sent what the others say without being
        # waited for; whoever reads too slowly is closed.
        for message in ws:
            group.broadcast(f"{name}: {message}")
    finally:
        group.discard(ws)
        group.broadcast(f"* {name} has left")


def main(port):
    # Nobody needs more than a few lines at once.
    with serve(router, "localhost", port, max_size=1000) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
