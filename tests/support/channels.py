"""Channels without a socket, from either implementation of the accelerator."""

import pytest


class Ended(Exception):
    """The exception that iteration takes for a normal end."""


class Fragments:
    """Stands for a message in fragments."""

    cost = 3

    def message(self, decode):
        if decode == "fails":
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return "abc" if decode is None or decode else b"abc"


def import_c():
    return pytest.importorskip("syncws.accel._speedups")


def make_channel(accel, *messages, high=None, low=0):
    """A channel that records its calls; where it would wait, a script says what comes."""

    class Connection(accel.Channel):
        _ended = Ended

        def __init__(self):
            self._queue = accel.MessageQueue(high, low)
            self._queue.put(list(messages))
            self.waits = []
            self.passed = []
            self.script = []

        def _await_message(self, remaining, timeout):
            self.waits.append((remaining, timeout))
            step = self.script.pop(0) if self.script else TimeoutError()
            if isinstance(step, BaseException):
                raise step
            if callable(step):
                step()
            else:
                self._queue.put(step)

        def _pass_on(self):
            self.passed.append(self._queue.count)

    return Connection()
