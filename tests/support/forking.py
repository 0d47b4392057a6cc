"""A program that forks while it has a hub, and publishes and receives in all processes."""

import os

__all__ = ["FORKING", "HAS_FORK"]

HAS_FORK = hasattr(os, "fork")

#: Its arguments are the hub's URL and prefix, and "begun" if the hub is used before.
FORKING = """
import os, sys
from syncws.pubsub import Hub
from syncws.testing import pair

hub = Hub(sys.argv[1], prefix=sys.argv[2])
room = hub.room("r")
if sys.argv[3] == "begun":
    with pair() as ends:
        room.add(ends.server, data="parent")
        room.publish("parent 0")
        assert ends.client.recv(15) == "parent 0"
children = []
for name in range(3):
    pid = os.fork()
    if not pid:
        with pair() as ends:
            room.add(ends.server, data=f"child {name}")
            for i in range(20):
                room.publish(f"child {name} {i}")
            own = [f"child {name} {i}" for i in range(20)]
            while own:
                if ends.client.recv(15) == own[0]:
                    del own[0]
        hub.close()
        os._exit(0)
    children.append(pid)
for i in range(20):
    room.publish(f"parent {i}")
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
found = [entry.message for entry in room.history(1000)]
assert len(found) == len(set(found)) + (sys.argv[3] == "begun"), found
assert len(set(found)) == 80, found
hub.close()
"""
