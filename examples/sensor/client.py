"""Read a sensor slowly. Usage: python client.py [URI [COUNT]]."""

import json
import sys
import time

from syncws import connect


def watch(uri, count):
    """Show values as they are now: skip those that came while we were busy."""
    with connect(uri) as ws:
        skipped = previous = age = 0
        for _ in range(count):
            ws.send("next")
            reading = json.loads(ws.recv(timeout=10))
            age = max(age, time.time() - reading["at"])
            skipped += reading["number"] - previous - 1
            previous = reading["number"]
            time.sleep(0.05)  # so slow are we
    print(f"newest: {count} readings, {skipped} skipped, none older than {age:.3f} seconds")


def keep_all(uri, count):
    """Take every value of a recording, however long it takes."""
    # Four messages may wait here; then nobody reads from the network, its buffers fill, and the
    # server's send() waits. Neither program ever has more in memory.
    with connect(f"{uri}/{count}", max_queue=4, compression=None) as ws:
        numbers = []
        for message in ws:
            numbers.append(json.loads(message)["number"])
            time.sleep(0.001)
    assert numbers == list(range(count))
    print(f"recording: {count} curves, none skipped")


def main(uri="ws://localhost:8765/", count=20):
    watch(f"{uri}newest", int(count))
    keep_all(f"{uri}recording", 100 * int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
