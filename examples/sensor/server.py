"""A sensor that measures faster than anybody reads. Usage: python server.py [PORT]."""

import json
import sys
import threading
import time

from syncws import Router, serve


class Sensor:
    """Measures 1000 times a second, whether somebody wants to know or not."""

    def __init__(self):
        self.changed = threading.Condition()
        self.reading = {"number": 0}

    def run(self):
        for number in range(1, sys.maxsize):
            time.sleep(0.001)
            with self.changed:
                self.reading = {"number": number, "celsius": 20 + number % 7, "at": time.time()}
                self.changed.notify_all()

    def wait_for_newer(self, number):
        with self.changed:
            self.changed.wait_for(lambda: self.reading["number"] > number)
            return self.reading


router = Router()
sensor = Sensor()


@router.route("/newest")
def send_newest(ws):
    """Old values are worthless: each message of the client asks for what is true by then."""
    number = 0
    for _ in ws:
        reading = sensor.wait_for_newer(number)
        number = reading["number"]
        ws.send(json.dumps(reading))


@router.route("/recording/<int:count>")
def send_recording(ws, count):
    """Each value counts: send() waits until there is room, and so does what makes them."""
    began = time.monotonic()
    for number in range(count):
        ws.send(json.dumps({"number": number, "curve": [20 + number % 7] * 1000}))
    print(f"{count} curves sent in {time.monotonic() - began:.1f} seconds", flush=True)


if __name__ == "__main__":
    threading.Thread(target=sensor.run, daemon=True).start()
    with serve(router, "localhost", int(sys.argv[1]) if len(sys.argv) > 1 else 8765) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()
