"""Publishing at full speed while something happens."""

import itertools
import threading

from support.pairs import run, wait_until

__all__ = ["Publishing", "receive_all"]


class Publishing:
    """Publishes numbers to rooms in turn, without a pause, until it is asked to stop.

    Once there are as many as there may be, it waits for that.
    """

    def __init__(self, hub, rooms=("r",), most=10**9):
        self._hub = hub
        self._most = most
        self._rooms = rooms
        self._stop = threading.Event()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._paused = threading.Event()
        self.count = 0
        self._result = run(self._run)

    def _run(self):
        for number in itertools.count():
            if not self._goes_on.is_set():
                self._paused.set()
                assert self._goes_on.wait(60)
            room = self._rooms[number % len(self._rooms)]
            self._hub.publish(room, str(number), timeout=60)
            self.count = number + 1
            if self.count == self._most:
                self._stop.wait(60)
            if self._stop.is_set():
                for room in self._rooms:
                    self._hub.publish(room, "end", timeout=60)
                return

    def go_on(self, count=200):
        """Wait for so many more."""
        goal = self.count + count
        wait_until(lambda: self.count >= goal, 60)

    def pause(self):
        """Have everything published that will be, until it is resumed."""
        self._goes_on.clear()
        assert self._paused.wait(60)

    def resume(self):
        self._goes_on.set()

    def end(self):
        self._stop.set()
        self._result.result()
        return [str(i) for i in range(self.count)]

    def of(self, room):
        """What was published in a room, once it has ended."""
        first = self._rooms.index(room)
        return [str(i) for i in range(first, self.count, len(self._rooms))]


def receive_all(client):
    return list(iter(lambda: client.recv(60), "end"))
