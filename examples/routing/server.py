"""Rooms to chat in, for users with a password. Usage: python server.py [PORT]."""

import sys
import threading

from syncws import ConnectionClosed, Router, basic_auth, serve

USERS = {"ann": "red", "bob": "blue"}  # a real server has them somewhere else, hashed

router = Router()
rooms = {}
lock = threading.Lock()


@router.route("/rooms/<name>")
def chat(ws, name):
    with lock:
        rooms.setdefault(name, set()).add(ws)
    try:
        ws.send(f"welcome to {name}, {ws.username}")
        for message in ws:
            tell(name, f"{ws.username}: {message}")
    finally:
        with lock:
            rooms[name].discard(ws)


def tell(name, message):
    with lock:
        members = list(rooms[name])
    for member in members:
        try:
            member.send(message, timeout=5)
        except (ConnectionClosed, TimeoutError):
            member.abort()  # gone, or too slow


@router.http("/rooms")
def index(request):
    with lock:
        return "".join(f"{name}: {len(members)}\n" for name, members in sorted(rooms.items()))


def main(port):
    auth = basic_auth("rooms", USERS)
    with serve(router, "localhost", port, process_request=auth) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
