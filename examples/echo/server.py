"""Answer each message. Usage: python server.py [PORT]."""

import sys

from syncws import serve


def handler(websocket, path):
    print(f"somebody connected to {path}", flush=True)
    for message in websocket:
        websocket.send(f"received: {message}")
    print("and is gone", flush=True)


def main(port):
    with serve(handler, "localhost", port) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
