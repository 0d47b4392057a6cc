"""Send the time, every second. Usage: python server.py [PORT]."""

import contextlib
import sys
import time

from syncws import ConnectionClosed, serve


def tell_the_time(websocket):
    with contextlib.suppress(ConnectionClosed):
        over = False
        while not over:
            websocket.send(time.strftime("%H:%M:%S"))
            over = websocket.wait_closed(1)  # sleeps, but not longer than there is somebody


def main(port):
    with serve(tell_the_time, "localhost", port) as server:
        print("listening on", server.uri, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
