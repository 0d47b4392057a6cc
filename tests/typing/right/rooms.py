"""Rooms of hubs."""

from __future__ import annotations

from typing import Any, Union

from typing_extensions import assert_type

from syncws import ServerConnection, serve
from syncws.pubsub import Entry, Hub, HubStats, Member, Position, Room

hub = Hub("redis+cluster://one:6379,two:6379", prefix="chat:")


def handler(ws: ServerConnection) -> None:
    room = hub.room("news")
    assert_type(room, Room)
    since: str | None = ws.recv(decode=True) or None
    assert_type(room.add(ws, since=since, last=20, data={"name": "Ann"}), bool)
    for message in ws:
        assert_type(room.publish(message), Union[Position, None])


def looking(room: Room) -> Any:
    old: list[Entry] = room.history(5)
    people: list[Member] = room.present()
    print(old[0].position, people[0].data)
    assert_type(hub.stats(), HubStats)
    assert_type(hub.ping(timeout=0.5), float)
    with room.listen(since=room.position, timeout=1) as entries:
        for entry in entries:
            assert_type(entry, Entry)
            assert_type(entry.message, Union[str, bytes])
    return serve(handler, "localhost", 0, hub=hub)
