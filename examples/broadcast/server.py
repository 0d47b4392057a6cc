"""Tell prices to everybody. Usage: python server.py [PORT [INTERVAL]]."""

import json
import random
import sys
import threading

from syncws import broadcast, serve

NAMES = [f"SHARE{number}" for number in range(3000)]


def handler(ws):
    """Wait for the end of a connection: one thread sends to all of them."""
    ws.wait_closed()


def tell_prices(server, interval, stop):
    prices = {name: random.randint(50, 150) for name in NAMES}
    while not stop.wait(interval):
        for name in prices:
            prices[name] += random.randint(-1, 1)
        # Made into a frame once, for all of them, and nobody is waited for. Who can't keep up is
        # closed with 1008: a client that doesn't know that its prices are old is worse off than
        # one that has to connect again. With "skip" it would miss messages instead.
        broadcast(server, json.dumps(prices), slow_peers="close")


def main(port=8765, interval=0.1):
    stop = threading.Event()
    # Compression would be cheap here, as it is done once for all; but this shall be much to send.
    with serve(handler, "localhost", int(port), compression=None) as server:
        telling = threading.Thread(target=tell_prices, args=(server, float(interval), stop))
        telling.start()
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()
        stop.set()
        telling.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
