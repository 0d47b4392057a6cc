"""What is published in rooms, who is to get it, and whether it came.

A message's text is its publisher's name, its number among those, and when it was sent; maybe
something long after that. What identifies it is the name, the number and how long that is.
"""

import itertools
import random
import threading
import time
from collections import Counter

#: The last message in each room.
END = "end"

#: Seconds that publishing goes on trying.
PUBLISH_TIMEOUT = 60


def room_name(number):
    return f"room{number}"


def rooms_of(member, options):
    """The rooms that a member is in: the same in every process that asks."""
    chosen = random.Random(member).sample(range(options["rooms"]), options["memberships"])
    return [room_name(number) for number in chosen]


def make_text(publisher, number, padding=""):
    return f"{publisher} {number} {time.monotonic():.6f} {padding}"


def read_text(text):
    """What identifies a message, and when it was sent."""
    publisher, number, sent, padding = text.split(" ", 3)
    return identify(publisher, number, len(padding)), float(sent)


def identify(publisher, number, length=0):
    return f"{publisher}:{number}:{length}"


class Publisher(threading.Thread):
    """Publishes in all rooms in turn, until it is stopped.

    Args:
        publish: a hub's.
        name: the publisher's.
        rooms: how many there are.
        rate: messages per second; it catches up with what it could not send in time.
        confirmed: called with how many are published.
    """

    def __init__(self, publish, name, rooms, rate, confirmed):
        super().__init__(daemon=True)
        self._publish = publish
        self._name = name
        self._rooms = rooms
        self._rate = rate
        self._confirmed = confirmed
        self._stop_asked = threading.Event()

    def run(self):
        start = time.monotonic()
        for number in itertools.count():
            due = start + number / self._rate - time.monotonic()
            if self._stop_asked.wait(max(0, due)):
                return
            room = room_name(number % self._rooms)
            self._publish(room, make_text(self._name, number), timeout=PUBLISH_TIMEOUT)
            self._confirmed(number + 1)

    def stop(self):
        self._stop_asked.set()
        self.join()


def published_by(name, count, rooms):
    """The rooms and identities of what a publisher has published."""
    return [(room_name(number % rooms), identify(name, number)) for number in range(count)]


class Verdict(Counter):
    """What went wrong: messages that are lost, double or out of order, each for each member."""

    KINDS = ("lost", "double", "out of order")

    @property
    def is_good(self):
        return not any(self[kind] for kind in self.KINDS)

    def __str__(self):
        return ", ".join(f"{self[kind]} {kind}" for kind in self.KINDS)


def judge(published, streams, received, members):
    """Compare what was published, what Redis has, and what members got.

    Args:
        published: of each publisher, the rooms and identities of what was confirmed, in order.
        streams: of each room, the identities of its messages.
        received: of each room, how many members got which identities, one pair for each kind.
        members: of each room, how many there are.
    """
    verdict = Verdict()
    for messages in published.values():
        for room in streams:
            mine = [identity for name, identity in messages if name == room]
            verdict["lost"] += len(set(mine) - set(streams[room]))
            verdict["out of order"] += not is_in_order(streams[room], mine)
    for room, stream in streams.items():
        verdict["double"] += len(stream) - len(set(stream))
        silent = members[room] - sum(count for count, _ in received[room])
        verdict["lost"] += silent * len(stream)
        for count, got in received[room]:
            verdict["lost"] += count * len(set(stream) ^ set(got))
            verdict["double"] += count * (len(got) - len(set(got)))
            verdict["out of order"] += count * (not is_in_order(got, stream))
    return verdict


def is_in_order(found, expected):
    """Whether what is in both has the same order; of doubles the first counts."""
    common = set(found) & set(expected)
    first, second = (
        list(dict.fromkeys(each for each in texts if each in common)) for texts in (found, expected)
    )
    return first == second
