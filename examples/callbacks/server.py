"""Send prices of what a client has subscribed to. Usage: python server.py [PORT]."""

import json
import random
import sys
import threading

from syncws import ConnectionClosed, serve

INTERVAL = 0.5  # seconds


def send_prices(websocket, names):
    prices = {}
    try:
        while not websocket.wait_closed(INTERVAL):
            for name in list(names):
                prices[name] = prices.get(name, 100) + random.randint(-5, 5)
                websocket.send(json.dumps({"name": name, "price": prices[name]}))
    except ConnectionClosed:
        pass


def handler(websocket):
    names = []
    threading.Thread(target=send_prices, args=(websocket, names), daemon=True).start()
    for name in websocket:
        names.append(name)


def main(port):
    with serve(handler, "localhost", port) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
