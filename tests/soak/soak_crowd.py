"""The process with a crowd of idle clients, which come and leave all at once: see soak.py."""

import json
import sys

from measures import Counter, Errors, answer_commands
from support.attacks import open_raw, reset

counts = Counter()
errors = Errors()
crowd = []


def gather():
    """Open connections, one after the other, and send a message on each."""
    for _ in range(configuration["crowd"]):
        try:
            crowd.append(open_raw(("127.0.0.1", configuration["ports"][0]), "/echo", None))
            counts.add("gathered")
        except Exception as exc:  # descriptors run out now and then
            counts.add("refused")
            if counts.as_dict()["refused"] > counts.as_dict().get("gathered", 0) / 10 + 100:
                errors.add(f"crowd: {exc!r}")
    return stats()


def vanish():
    """Reset all connections."""
    while crowd:
        reset(crowd.pop())
        counts.add("vanished")
    return stats()


def stats():
    return {"counts": counts.as_dict(), "errors": errors.as_dict()}


if __name__ == "__main__":
    configuration = json.loads(sys.argv[1])
    answer_commands({}, {"gather": gather, "vanish": vanish, "stats": stats, "stop": vanish})
