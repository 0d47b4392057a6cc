"""Chat in a terminal. Usage: python client.py NAME [ROOM [URI]]."""

import sys
import threading

from syncws import ConnectionClosed, connect


def show(ws):
    """Print what is said, in a thread of its own: input() below blocks the main one."""
    try:
        for message in ws:
            print(message, flush=True)
    except ConnectionClosed:
        pass
    print(f"the chat is over: {ws.close_code} {ws.close_reason}", flush=True)


def main(name, room="lobby", uri="ws://localhost:8765/"):
    with connect(uri + room) as ws:
        ws.send(name)
        showing = threading.Thread(target=show, args=(ws,))
        showing.start()
        try:
            for line in sys.stdin:  # one thread may send while another receives
                ws.send(line.strip())
        except (ConnectionClosed, KeyboardInterrupt):
            pass
        ws.close()
        showing.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
