"""Who is in a room, over all processes."""

import contextlib
import json
import subprocess
import sys
import threading

import pytest
from support.pairs import SOON, wait_until
from support.redis_server import needs_redis

from syncws.pubsub import Hub
from syncws.testing import pair


def names(room):
    return sorted(member.data["name"] for member in room.present())


def test_members_with_data_are_present(make_hub):
    hub = make_hub()
    room = hub.room("r")
    with pair() as ann, pair() as ben, pair() as nobody:
        room.add(ann.server, data={"name": "Ann"})
        room.add(ben.server, data={"name": "Ben"})
        room.add(nobody.server)
        assert names(room) == ["Ann", "Ben"]
        assert {member.node for member in room.present()} == {hub.node}
        assert {member.id for member in room.present()} == {str(ann.server.id), str(ben.server.id)}
        room.discard(ben.server)
        wait_until(lambda: names(room) == ["Ann"])
        ann.client.close()
        wait_until(lambda: names(room) == [])


def test_those_who_come_and_go_are_told(make_hub):
    told = []
    hub = make_hub(
        on_join=lambda room, member: told.append(("join", room.name, member.data)),
        on_leave=lambda room, member: told.append(("leave", room.name, member.data)),
    )
    room = hub.room("r")
    with pair() as watcher, pair() as ann:
        room.add(watcher.server)
        room.add(ann.server, data="Ann")
        wait_until(lambda: len(told) == 1)
        ann.client.abort()
        wait_until(lambda: len(told) == 2)
        room.publish("message")
        assert watcher.client.recv(SOON) == "message"  # of the others it was sent nothing
    assert told == [("join", "r", "Ann"), ("leave", "r", "Ann")]
    assert [entry.message for entry in room.history()] == ["message"]


def test_history_has_messages_however_many_come_and_go(make_hub):
    room = make_hub().room("r")
    with pair() as watcher, pair() as ends:
        room.add(watcher.server)
        for message in "abc":
            room.publish(message)
        for _ in range(5):
            room.add(ends.server, data="Ann")
            room.discard(ends.server)
            wait_until(lambda: room.present() == [])
        assert [entry.message for entry in room.history(2)] == ["b", "c"]
        assert [entry.message for entry in room.history(4)] == ["a", "b", "c"]


def test_all_are_gone_once_a_hub_is_closed(make_hub):
    one, two = make_hub(), make_hub()
    with pair() as ends:
        one.room("r").add(ends.server, data="Ann")
        one.close()
        assert two.room("r").present() == []


def test_data_must_be_json(make_hub):
    room = make_hub().room("r")
    with pair() as ends:
        with pytest.raises(TypeError):
            room.add(ends.server, data=object())
        assert len(room) == 0


def test_functions_that_raise_stop_nothing(make_hub, caplog):
    def fail(room, member):
        raise RuntimeError("in on_join")

    room = make_hub(on_join=fail).room("r")
    with pair() as ends:
        room.add(ends.server, data="Ann")
        room.publish("message")
        assert ends.client.recv(SOON) == "message"
        wait_until(lambda: "in on_join" in caplog.text)


def test_functions_that_raise_keep_nobody_from_being_told(make_hub, caplog):
    told = []
    here, goes_on = threading.Event(), threading.Event()

    def on_join(room, member):
        told.append(member.data)
        if member.data == "first":
            here.set()
            assert goes_on.wait(SOON)
        raise RuntimeError("in on_join")

    room = make_hub(on_join=on_join).room("r")
    with contextlib.ExitStack() as stack:
        room.add(stack.enter_context(pair()).server, data="first")
        assert here.wait(SOON)
        for name in ("Ann", "Bob"):  # which come at once
            room.add(stack.enter_context(pair()).server, data=name)
        goes_on.set()
        wait_until(lambda: told == ["first", "Ann", "Bob"])
        wait_until(lambda: caplog.text.count("RuntimeError: in on_join") == 3)


KILLED = """
import sys, time
from syncws.pubsub import Hub
from syncws.testing import pair

hub = Hub(sys.argv[1], prefix=sys.argv[2], lifetime=0.5)
ends = pair()
hub.room("r").add(ends.server, data={"name": "killed"})
print("present", flush=True)
time.sleep(60)
"""


@needs_redis
def test_members_of_a_process_that_is_killed(redis_server, tmp_path):
    left = []
    prefix = f"{tmp_path.name}:"
    hub = Hub(
        redis_server.url,
        prefix=prefix,
        lifetime=0.5,
        on_leave=lambda room, member: left.append(member.data["name"]),
    )
    with hub, pair() as ends, pair() as other:
        room = hub.room("r")
        room.add(ends.server, data={"name": "here"})
        room.add(other.server)
        command = [sys.executable, "-c", KILLED, redis_server.url, prefix]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout.readline().strip() == "present"
            wait_until(lambda: names(room) == ["here", "killed"])
            program.kill()
        wait_until(lambda: names(room) == ["here"])
        wait_until(lambda: left == ["killed"])


@needs_redis
def test_members_of_a_process_that_was_taken_for_dead(redis_server, tmp_path):
    with Hub(redis_server.url, prefix=f"{tmp_path.name}:", lifetime=0.5) as hub, pair() as ends:
        room = hub.room("r")
        room.add(ends.server, data={"name": "Ann"})
        key = f"{tmp_path.name}:node:{hub.node}"
        # What another one does that finds it dead: it may only have been stopped for a while.
        hub.backend._commands.delete(key)
        hub.backend._commands.delete(hub.backend.keys("r")[2])
        wait_until(lambda: names(room) == ["Ann"])
        assert json.loads(hub.backend.last("r", 9)[-1].message)["data"] == {"name": "Ann"}


def test_who_leaves_and_comes_back_at_once_is_present(make_hub):
    room = make_hub().room("r")
    with pair() as ends:
        for number in range(20):
            room.add(ends.server, data={"name": f"Ann {number}"})
            room.discard(ends.server)
        room.add(ends.server, data={"name": "Ann"})
        untold = room._hub._presence._gone
        wait_until(lambda: not untold)
        assert names(room) == ["Ann"]
