"""Rooms: their members get each message once, in one order, wherever it was published."""

import contextlib
import json
import threading
import time

import pytest
from support.pairs import SOON, run, wait_until
from support.publishing import Publishing
from support.serving import serving

from syncws import PayloadTooBig, connect
from syncws.exceptions import ConnectionClosed, InvalidState
from syncws.pubsub import Hub, HubError, HubUnavailable, MemoryBackend, Position
from syncws.testing import pair

#: Messages that are published at full speed. On a busy machine members may never catch up with
#: whoever waits for nothing.
MOST = 20_000


@pytest.fixture
def join():
    """Make a connection a member; return the client's end."""
    pairs = []

    def join(room, **kwargs):
        pairs.append(pair(write_limit=2**26))
        join.results.append(room.add(pairs[-1].server, **kwargs))
        return pairs[-1].client

    join.results = []
    join.pairs = pairs
    yield join
    for ends in pairs:
        ends.close()


def receive(client, count):
    return [client.recv(SOON) for _ in range(count)]


def receive_until(client, last):
    return list(iter(lambda: client.recv(SOON), last))


def assert_no_more(*clients):
    for client in clients:
        with pytest.raises(TimeoutError):
            client.recv(0.05)


def test_members_get_what_is_published(make_hub, join):
    hub = make_hub()
    news, other = hub.room("news"), hub.room("other")
    one, two, three = join(news), join(news), join(other)
    news.publish("a")
    news.publish(b"\x00b")
    other.publish("c")
    hub.publish("news", bytearray(b"d"))
    for client in (one, two):
        assert receive(client, 3) == ["a", b"\x00b", b"d"]
    assert receive(three, 1) == ["c"]
    assert_no_more(one, two, three)


def test_nothing_of_before_is_sent(make_hub, join):
    room = make_hub().room("r")
    room.publish("before")
    client = join(room)
    room.publish("after")
    assert receive(client, 1) == ["after"]


def test_many_at_once(make_hub, join):
    hub = make_hub()
    clients = {name: join(hub.room(name)) for name in "abc"}
    messages = [(name, f"{name} {i}") for i in range(100) for name in "abc"]
    positions = hub.publish_many(messages)
    assert len(set(zip(positions, (name for name, _ in messages)))) == len(messages)
    for name, client in clients.items():
        assert receive(client, 100) == [f"{name} {i}" for i in range(100)]
    assert hub.publish_many([]) == []


def test_membership(make_hub, join):
    room = make_hub().room("r")
    assert (len(room), list(room)) == (0, [])
    assert room.position is None
    client = join(room)
    (connection,) = room
    assert connection in room
    assert room.add(connection)
    assert room.members == room.connections == {connection}
    room.discard(connection)
    room.discard(connection)
    assert connection not in room
    room.publish("unheard")
    room.add(connection)
    room.publish("heard")
    assert receive(client, 1) == ["heard"]
    assert "'r' with 1" in repr(room)


def test_membership_ends_with_the_connection(make_hub, join):
    hub = make_hub()
    client = join(hub.room("a"))
    (connection,) = hub.room("a")
    hub.room("b").add(connection)
    client.close()
    wait_until(lambda: not hub._rooms.snapshot())
    assert hub.room("a").add(connection)  # does nothing, and says so of nothing missing
    assert not hub._rooms.snapshot()


def test_position_of_each_message(make_hub, join):
    room = make_hub().room("r")
    client = join(room)
    positions = [room.publish(str(i)) for i in range(3)]
    receive(client, 3)
    wait_until(lambda: room.position == positions[-1])
    assert [entry.position for entry in room.history()] == positions
    assert [entry.message for entry in room.history(2)] == ["1", "2"]
    with pytest.raises(ValueError, match="limit"):
        room.history(0)


@pytest.mark.parametrize("as_text", [False, True])
def test_catching_up(make_hub, join, as_text):
    room = make_hub().room("r")
    position = room.publish("0")
    for i in range(1, 600):
        room.publish(str(i))
    client = join(room, since=str(position) if as_text else position)
    room.publish("600")
    assert join.results == [True]
    assert receive(client, 600) == [str(i) for i in range(1, 601)]
    assert_no_more(client)


def test_catching_up_from_before_the_first_message(make_hub, join):
    room = make_hub().room("r")
    first = join(room)
    start = room.position
    room.publish("a")
    second = join(room, since=start)
    assert receive(first, 1) == receive(second, 1) == ["a"]


def test_catching_up_with_what_is_not_there_any_more(make_hub, join):
    room = make_hub(history=5).room("r")
    position = room.publish("0")
    for _ in range(3):
        room._hub.publish_many([("r", "x")] * 200)
    client = join(room, since=position)
    assert join.results == [False]
    room.publish("live")
    assert receive(client, 1) == ["live"]
    join(room, since=Position("another", "1-0-1"))
    assert join.results == [False, False]
    assert len(room) == 2


@pytest.mark.parametrize("since", ["nonsense", "", "/", 5, ["a", "b"], {"epoch": "a"}])
def test_catching_up_with_what_is_no_position(make_hub, join, since):
    """Whatever a client may have sent as one."""
    room = make_hub().room("r")
    with pytest.raises(ValueError, match="position"):
        join(room, since=since)
    with pytest.raises(ValueError, match="position"):
        room.listen(since=since)
    assert len(room) == 0


def test_catching_up_while_others_publish_at_full_speed(make_hub, join):
    hub, publisher = make_hub(history=10**6), make_hub(history=10**6)
    if isinstance(hub.backend, MemoryBackend):
        publisher = hub
    room = hub.room("r")
    position = room.publish("start")
    stop = threading.Event()

    def publish():
        for number in range(1, MOST + 1):
            publisher.publish("r", str(number))
            if stop.is_set():
                break
        return number

    all_ends = [pair(write_limit=2**26) for _ in range(6)]
    publishing = run(publish)
    wait_until(lambda: len(room.history(300)) == 300)
    receiving = [run(receive_until, ends.client, "end") for ends in all_ends]
    adding = [run(room.add, ends.server, since=position) for ends in all_ends]
    assert [result.result() for result in adding] == [True] * len(all_ends)
    stop.set()
    last = publishing.result()
    room.publish("end")
    for result, ends in zip(receiving, all_ends):
        assert result.result() == [str(i) for i in range(1, last + 1)]
        ends.close()


def test_the_last_messages_and_what_comes(make_hub, join):
    room = make_hub().room("r")
    empty = join(room, last=3)
    for i in range(5):
        room.publish(str(i))
    client = join(room, last=3)
    all_ = join(room, last=100)
    room.publish("live")
    assert join.results == [True] * 3
    assert receive(empty, 6) == receive(all_, 6) == [*"01234", "live"]
    assert receive(client, 4) == [*"234", "live"]
    assert_no_more(empty, client, all_)
    with pytest.raises(ValueError, match="last must be at least 1"):
        join(room, last=0)


def test_the_last_messages_are_for_those_who_have_no_position(make_hub, join):
    room = make_hub().room("r")
    position, *_ = [room.publish(str(i)) for i in range(5)]
    client = join(room, since=position, last=1)
    assert receive(client, 4) == [*"1234"]
    (connection,) = room
    assert room.add(connection, last=3)  # it is a member already
    assert_no_more(client)


def test_the_last_messages_among_those_who_come_and_go(make_hub, join):
    room = make_hub().room("r")
    room.publish("a")
    room.publish("b")
    for name in range(5):
        join(room, data=name)
    client = join(room, last=2, data="newcomer")
    room.publish("c")
    assert receive(client, 3) == ["a", "b", "c"]


def test_the_last_messages_while_others_publish_at_full_speed(make_hub):
    hub = make_hub(history=10**6)
    room = hub.room("r")
    publishing = Publishing(hub, most=MOST)
    publishing.go_on(50)
    all_ends = [pair(write_limit=2**26) for _ in range(6)]
    receiving = [run(receive_until, ends.client, "end") for ends in all_ends]
    adding = [run(room.add, ends.server, last=30) for ends in all_ends]
    assert [result.result() for result in adding] == [True] * len(all_ends)
    published = publishing.end()
    for result, ends in zip(receiving, all_ends):
        received = result.result()
        assert received == published[-len(received) :]
        assert len(received) >= 30
        ends.close()


def test_many_rooms_come_and_go_meanwhile(make_hub, join):
    hub = make_hub()
    room = hub.room("steady")
    client = join(room)
    passing = join(hub.room("first"))
    (connection,) = hub.room("first")
    for i in range(200):
        other = hub.room(f"other {i}")
        other.add(connection)
        other.publish(str(i))
        room.publish(str(i))
        assert passing.recv(SOON) == str(i)
        other.discard(connection)
    assert receive(client, 200) == [str(i) for i in range(200)]
    assert len(hub._rooms.snapshot()) == 2


def test_an_envelope(make_hub, join):
    def envelope(room, entry):
        return json.dumps([room, entry.message, str(entry.position)])

    room = make_hub(envelope=envelope).room("r")
    client = join(room)
    position = room.publish("a")
    newcomer = join(room, last=1)
    assert json.loads(newcomer.recv(SOON)) == ["r", "a", str(position)]
    later = join(room, since=room.publish("b"))
    room.publish("c")
    assert json.loads(client.recv(SOON)) == ["r", "a", str(position)]
    assert json.loads(later.recv(SOON))[1] == "c"


def test_what_can_not_be_published(make_hub):
    hub = make_hub()
    hub.backend.max_message_size = 10
    room = hub.room("r")
    for message in (None, 1, ["a"]):
        with pytest.raises(TypeError, match="can't be published"):
            room.publish(message)
    with pytest.raises(PayloadTooBig) as raised:
        hub.publish_many([("r", "a"), ("r", "é" * 6)])
    assert (raised.value.size, raised.value.max_size) == (12, 10)
    with pytest.raises(TypeError, match="name of a room"):
        hub.room(b"r")
    with pytest.raises(TypeError, match="name of a room"):
        hub.publish(1, "a")
    assert room.history() == []


def test_asking_whether_the_backend_answers(make_hub, join):
    hub = make_hub()
    assert 0 <= hub.ping() < SOON
    join(hub.room("r"))
    assert 0 <= hub.ping(timeout=SOON) < SOON
    hub.close()
    with pytest.raises(InvalidState):
        hub.ping()


def test_a_backend_that_does_not_answer(make_hub):
    hub = make_hub()
    asked, goes_on = [], threading.Event()

    def ping():
        asked.append(True)
        assert goes_on.wait(SOON)

    hub.backend.ping = ping
    for _ in range(3):
        with pytest.raises(HubUnavailable, match=r"no answer within 0\.01 s"):
            hub.ping(timeout=0.01)
    goes_on.set()
    wait_until(lambda: hub._health._question.is_over.is_set())
    assert len(asked) == 1
    assert hub.ping(SOON) >= 0
    assert len(asked) == 2


def test_a_backend_that_answers_but_can_not_be_read_from(make_hub):
    hub = make_hub()
    hub._reading.lost_at = time.monotonic() - 5
    with pytest.raises(HubUnavailable, match=r"nothing could be read for \d+\.\d s"):
        hub.ping(SOON)


def test_a_backend_that_answers_wrongly(make_hub):
    def ping():
        raise problem

    hub = make_hub()
    hub.backend.ping = ping
    for problem in (HubError("refused"), HubUnavailable("gone"), RuntimeError("defect")):
        with pytest.raises(HubError, match=str(problem)) as raised:
            hub.ping(SOON)
        is_ours = isinstance(problem, HubError)
        assert type(raised.value) is (type(problem) if is_ours else HubError)


def test_a_closed_hub(make_hub, join):
    hub = make_hub()
    room = hub.room("r")
    client = join(room)
    (connection,) = room
    hub.close()
    hub.close()
    with pytest.raises(InvalidState):
        room.publish("a")
    with pytest.raises(InvalidState):
        hub.room("other").add(connection)
    threads = hub._reading.thread, hub._presence._thread
    assert not [thread for thread in threading.enumerate() if thread in threads]
    connection.send("still open")
    assert client.recv(SOON) == "still open"


def test_a_connection_that_ends_while_it_catches_up(make_hub, join):
    def envelope(room, entry):
        ends.client.abort()
        assert ends.server.wait_closed(SOON)
        return entry.message

    room = make_hub(envelope=envelope).room("r")
    position = room.publish("0")
    room.publish("1")
    with pair() as ends:
        with pytest.raises(ConnectionClosed):
            room.add(ends.server, since=position)
        assert len(room) == 0
        assert room.add(ends.server, since=position)  # it is closed, and misses nothing
        assert len(room) == 0


def test_a_connection_that_is_closed_joins_no_room_though_it_has_not_left_others_yet(make_hub):
    hub = make_hub()
    with pair() as ends:
        leaves = threading.Event()
        assert ends.server._call_at_end(lambda: leaves.wait(SOON))
        assert hub.room("r").add(ends.server)
        ends.client.abort()
        assert ends.server.wait_closed(SOON)
        other = hub.room("other")
        position = other.publish("0")
        other.publish("1")
        assert other.add(ends.server, since=position)
        assert hub.stats()[:2] == (1, 1)
        leaves.set()
        wait_until(lambda: hub.stats()[:2] == (0, 0))


def test_stats(make_hub, join):
    hub = make_hub()
    room = hub.room("r")
    clients = [join(room), join(room)]
    hub.publish_many([("r", "a"), ("r", "b"), ("elsewhere", "c")])
    for client in clients:
        receive(client, 2)
    # The thread that passes messages on counts them after that.
    wait_until(lambda: hub.stats().received == 2 and hub.stats().lag_messages == 0)
    stats = hub.stats()
    assert stats._replace(lag_seconds=0.0) == (1, 2, 3, 2, 0, 0, 0.0, 0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"history": 0}, "history must be positive"),
        ({"ttl": -1}, "ttl must be positive"),
        ({"lifetime": 0}, "lifetime must be positive"),
        ({"publish_timeout": 0}, "publish_timeout must be positive"),
        ({"slow_peers": "wait"}, "slow_peers is"),
        ({"prefix": "a{}:"}, "can't be in a prefix"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Hub(**arguments)


# --- programs that listen, servers and groups ---


def test_listening(make_hub, join):
    room = make_hub().room("r")
    room.publish("before")
    client = join(room)
    with room.listen() as entries:
        position = room.publish("a")
        room.publish(b"b")
        assert [next(entries).message for _ in range(2)] == ["a", b"b"]
        assert len(room) == 1
        with room.listen(since=str(position), timeout=0.05) as others:
            assert [entry.message for entry in others] == [b"b"]
    assert list(entries) == []
    assert receive(client, 2) == ["a", b"b"]
    wait_until(lambda: len(room._hub._rooms.find("r").members) == 1)


def test_listening_ends_with_the_hub(make_hub):
    hub = make_hub()
    result = run(list, hub.room("r").listen())
    hub.room("r").publish("a")
    hub.publish("r", "b")
    wait_until(lambda: hub.stats().received == 2)
    hub.close()
    assert [entry.message for entry in result.result()] == ["a", "b"]


def test_listening_since_what_is_gone(make_hub):
    room = make_hub(history=5).room("r")
    position = room.publish("0")
    for _ in range(3):
        room._hub.publish_many([("r", "x")] * 200)
    with pytest.raises(LookupError):
        room.listen(since=position)
    assert not room._hub._rooms.snapshot()


def test_a_server_with_a_hub(make_hub):
    def handler(ws):
        group = ws.group("all")
        assert ws.hub is hub
        assert ws.server.group("all").add(ws)
        assert ws in group
        for message in ws:
            group.publish(message)

    hub = make_hub()
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(handler, hub=hub)) for _ in range(2)]
        one, two = [stack.enter_context(connect(server.uri)) for server in servers]
        wait_until(lambda: len(hub.room("all")) == 2)
        one.send("a")
        assert one.recv(SOON) == two.recv(SOON) == "a"
        servers[0].group("all").broadcast("b")
        assert one.recv(SOON) == two.recv(SOON) == "b"


def test_groups_without_a_hub_are_used_in_the_same_way():
    def handler(ws):
        ws.group("all").add(ws)
        for message in ws:
            ws.group("all").publish(message)

    with serving(handler) as server, connect(server.uri) as ws:
        ws.send("a")
        assert ws.recv(SOON) == "a"


def test_a_connection_without_server_and_hub_has_no_groups():
    with pair() as ends, pytest.raises(RuntimeError, match="no hub"):
        ends.server.group("r")
    with pytest.raises(TypeError, match="hub= is a"):
        pair(server_options={"hub": "redis://localhost"})


def test_an_envelope_that_fails_loses_one_message(make_hub, join, caplog):
    def envelope(room, entry):
        if entry.message == "bad":
            raise RuntimeError("in envelope")
        return None if entry.message == "wrong" else entry.message

    room = make_hub(envelope=envelope).room("r")
    client = join(room)
    room._hub.publish_many([("r", message) for message in ("a", "bad", "wrong", "b")])
    assert receive(client, 2) == ["a", "b"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "in envelope" in caplog.text


def test_memory_of_rooms_that_nobody_uses(join):
    with Hub(ttl=0.05) as hub:
        steady = hub.room("steady")
        client = join(steady)
        position, _ = hub.publish_many([("passing", "a"), ("passing", "b")])
        steady.publish("0")
        hub._presence._news.set()  # the next sign of life, with the rooms in use
        wait_until(lambda: hub.publish("other", "x") and "passing" not in hub.backend._streams)
        assert hub.room("passing").history() == []
        with pytest.raises(LookupError):
            hub.room("passing").listen(since=position)
        assert receive(client, 1) == ["0"]
