"""A Redis cluster: slots move, nodes go and come, and members get each message once, in order."""

import contextlib

import pytest
from support.pairs import SOON, run, wait_until
from support.publishing import Publishing, receive_all
from support.redis_cluster import ClusterOfRedis
from support.redis_server import NEEDS_REDIS

from syncws.pubsub import Hub, HubUnavailable
from syncws.testing import pair

pytest.importorskip("redis")

from syncws.pubsub.cluster_backend import PARTS, TAGS
from syncws.pubsub.cluster_map import find_slot

pytestmark = NEEDS_REDIS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One whose slots are moved to and fro."""
    with ClusterOfRedis(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def prefix(tmp_path):
    return f"{tmp_path.name}:"


def slot_of(hub, room):
    return find_slot(hub.backend.keys(room)[0])


def rooms_by_node(cluster):
    """A room on each node of a new cluster, in their order."""
    rooms = {}
    with Hub(cluster.url) as hub:
        for name in map(str, range(100)):
            rooms.setdefault(hub.backend._cluster.map.find(slot_of(hub, name))[1], name)
    return [rooms[node.port] for node in cluster.nodes if node.port in rooms]


def others(cluster, node):
    return [other for other in cluster.nodes if other is not node]


class Following:
    """Members of rooms that must get what is published there, while something happens."""

    def __init__(self, stack, hub, publisher, rooms):
        self.hub = hub
        self.rooms = rooms
        self._results = {}
        for name in rooms:
            ends = stack.enter_context(pair(write_limit=2**26))
            hub.room(name).add(ends.server)
            self._results[name] = run(receive_all, ends.client)
        self.publishing = Publishing(publisher, rooms)
        self.publishing.go_on()

    def end(self):
        self.publishing.go_on()
        self.publishing.end()
        for name, result in self._results.items():
            assert result.result() == self.publishing.of(name)
        wait_until(lambda: self.hub.stats().lag_messages == 0)
        stats = self.hub.stats()
        assert (stats.gaps, stats.deaf_for) == (0, 0)
        return stats


@pytest.fixture
def follow(prefix):
    """What makes members of rooms, and publishes from another hub."""
    with contextlib.ExitStack() as stack:

        def follow(cluster, rooms):
            url = cluster.url
            hubs = [stack.enter_context(Hub(url, history=10**6, prefix=prefix)) for _ in range(2)]
            return Following(stack, *hubs, rooms)

        yield follow


# --- slots move ---


def test_a_slot_moves_while_messages_flow(cluster, follow, caplog):
    following = follow(cluster, ["a", "b"])
    slot = slot_of(following.hub, "a")
    for _ in range(4):
        target = others(cluster, cluster.owner(slot))[0]
        cluster.move(slot, target)
        assert cluster.owner(slot) is target
        following.publishing.go_on()
    assert following.end().losses == 0
    assert not caplog.records


def test_a_slot_that_is_half_moved_for_a_while(cluster, follow, prefix):
    following = follow(cluster, ["a"])
    slot = slot_of(following.hub, "a")
    target = others(cluster, cluster.owner(slot))[0]
    source = cluster.begin_move(slot, target)
    try:
        assert cluster.move_keys(slot, source, target, most=2) == 2
        with Hub(cluster.url, prefix=prefix) as hub:  # somebody new, meanwhile
            asking = run(hub.room("a").history)
            publishing = run(hub.room("new").publish, "x")
            assert hub.room("b").publish("in another slot")
            cluster.move_keys(slot, source, target)
            cluster.end_move(slot, source, target)
            assert asking.result()
            assert publishing.result()
    finally:
        cluster.end_move(slot, source, target)
    assert following.end().losses == 0


def test_all_slots_move_to_and_fro(cluster, follow):
    following = follow(cluster, [f"r{number}" for number in range(PARTS)])
    slots = [find_slot(f"{{{tag}}}") for tag in TAGS]
    for slot in slots:
        cluster.move(slot, others(cluster, cluster.owner(slot))[slot % 2])
    assert following.end().losses == 0


def test_a_slot_whose_move_never_ends(cluster, prefix, monkeypatch):
    monkeypatch.setattr("syncws.pubsub.cluster_backend.COMMAND_TIMEOUT", 0.3)
    with Hub(cluster.url, prefix=prefix, publish_timeout=0.3) as hub:
        slot = slot_of(hub, "a")
        target = others(cluster, cluster.owner(slot))[0]
        source = cluster.begin_move(slot, target)
        try:
            with pytest.raises(HubUnavailable, match=f"slot {slot} moves to another node"):
                hub.room("a").publish("x")
            with pytest.raises(HubUnavailable, match=f"slot {slot} moves to another node"):
                hub.room("a").present()
        finally:
            cluster.end_move(slot, source, target)
        hub.room("a").publish("x")


# --- nodes go and come ---


@pytest.fixture(scope="module")
def independent(tmp_path_factory):
    """One whose nodes don't care whether others are there."""
    options = ("--cluster-require-full-coverage", "no")
    with ClusterOfRedis(tmp_path_factory.mktemp("independent"), *options) as cluster:
        yield cluster


@pytest.fixture
def unreliable(independent):
    """The same, for tests that end or freeze nodes."""
    yield independent
    for node in independent.nodes:
        node.thaw()
        if not node.is_running:
            node.start()
    with Hub(independent.url) as hub:
        for room in rooms_by_node(independent):
            hub.publish(room, "all is well", timeout=30)


def test_a_node_that_ends_and_comes_back(unreliable, follow, caplog):
    all_following = [follow(unreliable, [room]) for room in rooms_by_node(unreliable)]
    first, *rest = all_following
    unreliable.nodes[0].stop()
    wait_until(lambda: first.hub.stats().deaf_for > 0, 30)
    with pytest.raises(HubUnavailable):
        first.hub.room(first.rooms[0]).present()
    for following in rest:
        following.publishing.go_on()
    unreliable.nodes[0].start()
    wait_until(lambda: first.hub.stats().deaf_for == 0, 30)
    assert [following.end().losses for following in all_following] == [1, 0, 0]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "can't be reached" in caplog.records[0].getMessage()
    assert "is back" in caplog.records[1].getMessage()


def test_the_rooms_of_other_nodes_go_on(unreliable, follow):
    rooms = rooms_by_node(unreliable)
    with Hub(unreliable.url, publish_timeout=0.3) as hub, contextlib.ExitStack() as stack:
        clients = []
        for room in rooms:
            ends = stack.enter_context(pair())
            hub.room(room).add(ends.server)
            clients.append(ends.client)
        unreliable.nodes[0].stop()
        wait_until(lambda: hub.stats().deaf_for > 0, 30)
        with pytest.raises(HubUnavailable):
            hub.publish(rooms[0], "lost")
        for room, client in list(zip(rooms, clients))[1:]:
            hub.publish(room, "meanwhile")
            assert client.recv(SOON) == "meanwhile"
        unreliable.nodes[0].start()
        hub.publish(rooms[0], "back", timeout=30)
        assert clients[0].recv(30) == "back"
        wait_until(lambda: hub.stats().deaf_for == 0, 30)


def test_a_node_that_is_absent_at_the_start(unreliable):
    rooms = rooms_by_node(unreliable)
    unreliable.nodes[0].stop()
    with Hub(unreliable.url_of(*unreliable.nodes[:2]), publish_timeout=0.1) as hub:
        with pytest.raises(HubUnavailable, match="can't be reached"):
            hub.publish(rooms[0], "a")
        with pair() as ends:
            hub.room(rooms[1]).add(ends.server)
            hub.publish(rooms[1], "b")
            assert ends.client.recv(SOON) == "b"
        unreliable.nodes[0].start()
        hub.publish(rooms[0], "c", timeout=30)
        assert [entry.message for entry in hub.room(rooms[0]).history(1)] == ["c"]


def test_local_rooms_of_a_node_that_is_absent(unreliable):
    first, second, _ = rooms_by_node(unreliable)
    unreliable.nodes[0].stop()
    about = {"publish_timeout": 0.1, "local_when_lost": True}
    with Hub(unreliable.url, **about) as hub, pair() as one, pair() as two:
        hub.room(first).add(one.server)
        hub.room(second).add(two.server)
        assert hub.publish(first, "local") is None
        assert hub.publish(second, "elsewhere") is not None
        assert (one.client.recv(SOON), two.client.recv(SOON)) == ("local", "elsewhere")
        wait_until(lambda: hub.stats().deaf_for > 0, 30)
        unreliable.nodes[0].start()
        wait_until(lambda: hub.stats().deaf_for == 0, 30)
        assert hub.publish(first, "back", timeout=30) is not None
        assert one.client.recv(SOON) == "back"


@pytest.mark.slow
def test_a_node_that_stands_still(unreliable, follow):
    all_following = [follow(unreliable, [room]) for room in rooms_by_node(unreliable)]
    unreliable.nodes[0].freeze()
    wait_until(lambda: all_following[0].hub.stats().deaf_for > 0, 45)
    for following in all_following[1:]:
        following.publishing.go_on()
    unreliable.nodes[0].thaw()
    for following in all_following:
        following.end()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_replica_takes_over(tmp_path, follow):
    with ClusterOfRedis(tmp_path, replicas=3, timeout=1500) as cluster:
        all_following = [follow(cluster, [room]) for room in rooms_by_node(cluster)]
        for following in all_following:  # what isn't copied yet would be lost
            following.publishing.pause()
        master, replica = cluster.nodes[0], cluster.nodes[3]
        wait_until(lambda: offset(master, "master") == offset(replica, "slave"), 30)
        master.stop()
        for following in all_following:
            following.publishing.resume()
            following.end()
        assert cluster.owner(0) is replica


def offset(node, role):
    """How much of what was written a node has."""
    lines = node.command("INFO", "replication").split()
    (found,) = [line for line in lines if line.startswith(f"{role}_repl_offset:")]
    return found.partition(":")[2]


def test_connections_are_cut_again_and_again(cluster, follow):
    following = follow(cluster, ["a", "b", "c"])
    for _ in range(10):
        for node in cluster.nodes:
            node.command("CLIENT", "KILL", "TYPE", "normal")
        following.publishing.go_on(20)
    following.end()
