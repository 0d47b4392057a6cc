"""Redis goes away, refuses, forgets: nothing is lost that it still has, and what is shows."""

import threading
import time

import pytest
from support.pairs import SOON, run, wait_until
from support.publishing import Publishing, receive_all
from support.redis_server import NEEDS_REDIS, RedisServer
from support.snippets import free_port

from syncws.pubsub import Hub, HubError, HubUnavailable
from syncws.testing import pair

redis = pytest.importorskip("redis")

pytestmark = NEEDS_REDIS


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def ends():
    with pair(write_limit=2**26) as ends:
        yield ends


def while_publishing(server, ends, trouble, **kwargs):
    """What comes while there is trouble is what was published, once and in order."""
    with Hub(server.url, history=10**6) as hub, Hub(server.url, history=10**6) as publisher:
        hub.room("r").add(ends.server)
        received = run(receive_all, ends.client)
        publishing = Publishing(publisher)
        publishing.go_on()
        trouble(publishing)
        publishing.go_on()
        published = publishing.end()
        assert received.result() == published
        wait_until(lambda: hub.stats().lag_messages == 0)
        return hub.stats()


def test_restart(server, ends):
    def restart(publishing):
        server.stop()
        server.start()

    assert while_publishing(server, ends, restart).gaps == 0


def test_absence(server, ends):
    def stop_and_start_later(publishing):
        server.stop()
        count = publishing.count
        assert not threading.Event().wait(1.0)  # so long it is away
        assert publishing.count <= count + 1
        server.start()

    stats = while_publishing(server, ends, stop_and_start_later)
    assert stats.losses >= 1
    assert stats.deaf_for == 0


def test_connections_are_cut_again_and_again(server, ends):
    def cut(publishing):
        for _ in range(20):
            server.command("CLIENT", "KILL", "TYPE", "normal")
            publishing.go_on(20)

    while_publishing(server, ends, cut)


@pytest.mark.slow
def test_a_server_that_stands_still(server, ends):
    def freeze(publishing):
        server.freeze()
        assert not threading.Event().wait(10.0)
        server.thaw()

    while_publishing(server, ends, freeze)


@pytest.mark.slow
def test_a_message_that_the_server_does_not_send_in_one_piece(server, ends):
    big = ["x" * 3_000_000, b"\xff" * 1_000_000]

    def publish_big(publishing):
        server.command("CONFIG", "SET", "client-output-buffer-limit", "normal 300kb 0 0")
        server.command("CONFIG", "SET", "client-query-buffer-limit", "1gb")

    with Hub(server.url) as hub, pair(max_size=None, write_limit=2**26) as ends:
        publish_big(None)
        rooms = [hub.room(str(i)) for i in range(20)]
        for room in rooms:
            room.add(ends.server)
        received = run(lambda: [ends.client.recv(60) for _ in range(41)])
        hub.publish_many([(room.name, message) for room in rooms for message in big], timeout=60)
        wait_until(lambda: hub.stats().lag_messages == 0, 60)
        rooms[0].publish("end")
        messages = received.result()
        assert messages[-1] == "end"
        assert sorted(map(len, messages[:-1])) == [1_000_000] * 20 + [3_000_000] * 20
        assert hub.stats().gaps == 0


def test_losing_the_engine_is_said_once_and_so_is_finding_it(server, ends, caplog):
    with Hub(server.url) as hub:
        hub.room("r").add(ends.server)
        server.stop()
        wait_until(lambda: hub.stats().deaf_for > 0.5)
        assert hub.stats().lag_messages is None
        server.start()
        wait_until(lambda: hub.stats().deaf_for == 0)
        hub.room("r").publish("back")
        assert ends.client.recv(SOON) == "back"
    warnings = [r for r in caplog.records if r.name == "syncws.hub"]
    assert [record.levelname for record in warnings] == ["WARNING", "WARNING"]
    assert "can't be reached" in warnings[0].getMessage()
    assert "is back" in warnings[1].getMessage()
    assert warnings[0].ws_hub == warnings[1].ws_hub == hub.node
    assert warnings[1].ws_lost > 0.5


def test_asking_whether_it_answers(server, ends):
    with Hub(server.url) as hub:
        hub.room("r").add(ends.server)
        assert hub.ping() < SOON
        server.stop()
        with pytest.raises(HubUnavailable, match="can't be reached"):
            hub.ping(SOON)
        wait_until(lambda: hub.stats().deaf_for > 0)
        server.start()
        wait_until(lambda: not unavailable(hub))
        assert hub.stats().deaf_for == 0


def unavailable(hub):
    try:
        hub.ping(SOON)
    except HubUnavailable as exc:
        return exc
    return None


@pytest.mark.slow
def test_asking_whether_one_that_stands_still_answers(server):
    with Hub(server.url) as hub:
        assert hub.ping() < SOON
        server.freeze()
        try:
            start = time.monotonic()
            with pytest.raises(HubUnavailable, match=r"no answer within 0\.2 s"):
                hub.ping(0.2)
            assert time.monotonic() - start < SOON
        finally:
            server.thaw()
        wait_until(lambda: not unavailable(hub))


def test_what_is_lost_is_known_to_be_lost(server, ends, caplog):
    missed = []
    with Hub(server.url, on_resync=lambda *args: missed.append(args)) as hub:
        room = hub.room("r")
        room.add(ends.server)
        position = room.publish("before")
        assert ends.client.recv(SOON) == "before"
        server.command("FLUSHALL")
        room.publish("after")
        assert ends.client.recv(SOON) == "after"
        wait_until(lambda: missed)
        ((found, connection),) = missed
        assert (found.name, connection) == ("r", ends.server)
        assert hub.stats().gaps == 1
        with pair() as other:
            assert room.add(other.server, since=position) is False
            room.publish("live")
            assert other.client.recv(SOON) == "live"
    assert "are lost" in caplog.text


def test_a_reader_that_is_too_slow_knows(server, ends):
    missed = []
    with Hub(server.url, history=10, on_resync=lambda *args: missed.append(args)) as hub:
        room = hub.room("r")
        room.add(ends.server)
        room.publish("before")
        assert ends.client.recv(SOON) == "before"
        hub.backend.wait = lambda *args: list(filter(None, [threading.Event().wait(0.01)]))
        for _ in range(3):
            hub.publish_many([("r", "x")] * 300)
        del hub.backend.wait
        wait_until(lambda: missed)
        room.publish("after")
        assert receive_until(ends.client, "after") < 900


def receive_until(client, last):
    return sum(1 for _ in iter(lambda: client.recv(SOON), last))


# --- clear errors ---


def test_publishing_while_it_is_away(server, ends):
    with Hub(server.url, publish_timeout=0.3) as hub:
        server.stop()
        start = time.monotonic()
        with pytest.raises(HubUnavailable, match="can't be reached"):
            hub.publish("r", "a")
        assert 0.3 <= time.monotonic() - start < SOON
        with pytest.raises(HubUnavailable):
            hub.room("r").add(ends.server)
        assert len(hub.room("r")) == 0
        server.start()
        hub.publish("r", "b")
        assert [entry.message for entry in hub.room("r").history()] == ["b"]


def test_what_is_published_is_so_even_if_it_goes_away_then(server):
    with Hub(server.url, publish_timeout=60) as hub:
        first = hub.publish("r", "a")
        publish = hub.backend._publisher.publish

        def publish_and_lose_it(*args):
            offsets = publish(*args)
            server.stop()
            hub.backend._epoch = None  # as the thread that reads does
            return offsets

        hub.backend._publisher.publish = publish_and_lose_it
        position = hub.publish("r", "b")
        server.start()
        assert [entry.message for entry in hub.room("r").history()] == ["a", "b"]
        assert hub.backend.read("r", first, 10).complete
        assert not hub.backend.read("r", position, 10).complete


def test_positions_where_an_answer_is_lost(server):
    with Hub(server.url) as hub:
        hub.publish("r", "first")
        publisher = hub.backend._publisher
        send = publisher._run

        def lose_the_answer(jobs):
            publisher._run = send
            send(jobs)
            raise redis.exceptions.ConnectionError("lost")

        publisher._run = lose_the_answer
        messages = ["a", "b", "c"]
        positions = hub.publish_many([("r", message) for message in messages])
        for i, position in enumerate(positions):
            batch = hub.backend.read("r", position, 10)
            found = [entry.message for entry in batch.entries]
            assert found == messages[i + 1 :] if batch.complete else i < 2


def test_several_messages_are_published_as_one(server):
    """Otherwise a server that refuses the first and takes the second would lose the first.

    One that was just started does, for example, once another client has loaded the script. The
    first is sent again then, after the second, which is not how a hub's messages come.
    """
    with Hub(server.url) as hub:
        hub.publish("r", "first")
        hub.publish_many([("r", "a"), ("other", "b"), ("r", "c")])
    stats = server.command("INFO", "commandstats")
    assert "cmdstat_exec:calls=1," in stats


def test_nothing_is_lost_if_the_server_goes_while_what_it_has_sent_is_looked_at(server, ends):
    with Hub(server.url) as hub:
        hub.room("r").add(ends.server)
        backend, failed = hub.backend, threading.Event()
        find_epoch = backend._find_epoch

        def fail_once():
            if threading.current_thread() is hub._reading.thread and not failed.is_set():
                failed.set()
                raise HubUnavailable("gone")
            return find_epoch()

        backend._find_epoch = fail_once
        for message in ("a", "b"):
            hub.publish("r", message)
            assert ends.client.recv(SOON) == message
        assert failed.is_set()
        assert hub.stats().gaps == 0


def test_a_room_that_is_none_costs_the_others_nothing(server):
    with Hub(server.url) as hub:
        hub.publish("good", "before")
        server.command("SET", "syncws:{bad}", "of somebody else")
        with pytest.raises(HubError, match="WRONGTYPE"):
            hub.publish_many([("good", "a"), ("bad", "b"), ("good", "c")])
        assert [entry.message for entry in hub.room("good").history()] == ["before", "a", "c"]


def test_many_threads_publish_while_it_is_away(server):
    with Hub(server.url, publish_timeout=30) as hub:
        server.stop()
        results = [run(hub.publish, "r", str(i)) for i in range(20)]
        impatient = [run(hub.publish, "r", "never", timeout=0.2) for _ in range(5)]
        for result in impatient:
            with pytest.raises(HubUnavailable):
                result.result()
        server.start()
        assert len({result.result() for result in results}) == 20
        messages = sorted(int(entry.message) for entry in hub.room("r").history(100))
        assert messages == list(range(20))


def test_a_thread_that_is_interrupted_lets_others_publish(server):
    with Hub(server.url) as hub:
        hub.publish("r", "first")
        publisher = hub.backend._publisher
        send, begun, goes_on = publisher._run, threading.Event(), threading.Event()

        def be_interrupted(jobs):
            publisher._run = send
            begun.set()
            assert goes_on.wait(SOON)
            raise KeyboardInterrupt

        publisher._run = be_interrupted
        interrupted = run(hub.publish, "r", "interrupted")
        assert begun.wait(SOON)
        others = [run(hub.publish, "r", str(i)) for i in range(3)]
        wait_until(lambda: len(publisher._queue) == 4)
        goes_on.set()
        with pytest.raises(KeyboardInterrupt):
            interrupted.result()
        assert len({other.result() for other in others}) == 3
        hub.publish("r", "last")
        messages = [entry.message for entry in hub.room("r").history()]
        assert (messages[0], *sorted(messages[1:-1]), messages[-1]) == ("first", *"012", "last")


def test_many_threads_ask_at_once(server):
    count = 200
    everybody = threading.Barrier(count)
    with Hub(server.url) as hub:

        def ask(number):
            everybody.wait(SOON)
            return hub.room(f"r{number}").history()

        results = [run(ask, number) for number in range(count)]
        assert [result.result() for result in results] == [[]] * count
        clients = server.command("CLIENT", "LIST").splitlines()
        assert len([line for line in clients if "name=syncws-" in line]) < 50


def test_absent_at_the_start(ends, caplog):
    with Hub(f"redis://127.0.0.1:{free_port()}", publish_timeout=0.1) as hub:
        with pytest.raises(HubUnavailable, match="can't be reached"):
            hub.room("r").add(ends.server)
        with pytest.raises(HubUnavailable):
            hub.room("r").present()
        with pytest.raises(HubUnavailable):
            hub.room("r").history()


def test_local_rooms_go_on_if_they_may(server, ends):
    with Hub(server.url, publish_timeout=0.1, local_when_lost=True) as hub:
        room = hub.room("r")
        room.add(ends.server)
        assert room.publish("a") is not None
        assert ends.client.recv(SOON) == "a"
        server.stop()
        assert room.publish("b") is None
        assert ends.client.recv(SOON) == "b"
        with pair() as other:
            assert room.add(other.server, last=10) is False  # nobody knows them
            room.publish("c")
            assert other.client.recv(SOON) == ends.client.recv(SOON) == "c"
            server.start()
            wait_until(lambda: hub.stats().deaf_for == 0)
            room.publish("d")
            assert other.client.recv(SOON) == ends.client.recv(SOON) == "d"


@pytest.mark.parametrize("local", [False, True])
def test_local_rooms_when_it_was_never_there(server, ends, local):
    server.stop()
    with Hub(server.url, publish_timeout=0.1, local_when_lost=local) as hub:
        room = hub.room("r")
        if not local:
            with pytest.raises(HubUnavailable):
                room.add(ends.server)
            return
        room.add(ends.server)
        room.publish("a")
        assert ends.client.recv(SOON) == "a"
        server.start()
        wait_until(lambda: room.position is not None)
        assert room.publish("b") is not None
        assert ends.client.recv(SOON) == "b"


def test_a_wrong_password(tmp_path):
    with RedisServer(tmp_path, "--requirepass", "secret") as server:
        for url in (server.url, server.url.replace("://", "://:wrong@")):
            with Hub(url) as hub, pytest.raises(HubError, match=r"(?i)refuses.*(auth|password)"):
                hub.publish("r", "a")
        with Hub(server.url.replace("://", "://:secret@")) as hub:
            hub.publish("r", "a")


def test_a_replica_that_is_read_only(server, tmp_path):
    (tmp_path / "replica").mkdir()
    server.command("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    options = ("--replicaof", "127.0.0.1", str(server.port))
    with RedisServer(tmp_path / "replica", *options) as replica:
        wait_until(lambda: "master_link_status:up" in replica.command("INFO", "replication"))
        with Hub(replica.url) as hub, pytest.raises(HubError, match="read only replica"):
            hub.publish("r", "a")


def test_full_memory(server, ends):
    with Hub(server.url) as hub:
        room = hub.room("r")
        room.add(ends.server)
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(HubError, match=r"OOM|maxmemory") as raised:
            room.publish("a")
        assert not isinstance(raised.value, HubUnavailable)
        server.command("CONFIG", "SET", "maxmemory", "0")
        room.publish("b")
        assert ends.client.recv(SOON) == "b"
