"""Which node has a slot: asked for once, learned, doubted, and asked for elsewhere."""

import pytest

from syncws.pubsub import HubError, HubUnavailable, cluster_map
from syncws.pubsub.cluster_map import ClusterMap, Share, find_slot

ONE, TWO, THREE = ("one", 1), ("two", 2), ("three", 3)
WHOLE = [Share(0, 8191, [ONE]), Share(8192, 16383, [TWO, THREE])]


class Nodes:
    """Nodes that answer, or don't; what was asked is noted."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def __call__(self, address):
        self.asked.append(address[0])
        answer = self.answers.get(address[0], HubUnavailable(f"{address[0]} is away"))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def now(monkeypatch):
    """A clock that only tests move."""
    time = [1000.0]
    monkeypatch.setattr(cluster_map, "clock", lambda: time[0])

    def move(seconds):
        time[0] += seconds

    return move


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("", 0),
        ("123456789", 12739),  # as the specification says
        ("{user1000}.following", find_slot("user1000")),
        ("foo{}{bar}", 8363),
        ("foo{{bar}}zap", find_slot("{bar")),
        ("foo{bar}{zap}", find_slot("bar")),
        ("foo{bar", find_slot("foo{bar")),
        ("é€", 934),
    ],
)
def test_slots(key, slot):
    assert find_slot(key) == slot


def test_nodes_are_asked_once():
    nodes = Nodes(one=WHOLE)
    known = ClusterMap([ONE], nodes)
    assert [known.find(slot) for slot in (0, 8191, 8192, 16383)] == [ONE, ONE, TWO, TWO]
    assert nodes.asked == ["one"]


def test_what_is_learned_counts():
    nodes = Nodes(one=WHOLE)
    known = ClusterMap([ONE], nodes)
    known.find(0)
    known.learn(0, THREE)
    assert (known.find(0), known.find(1)) == (THREE, ONE)
    known.learn(1, ("four", 4))
    known.doubt()
    del nodes.answers["one"]
    nodes.answers["four"] = [Share(0, 16383, [("four", 4)])]
    known._asked_at -= 1
    assert known.find(8192) == ("four", 4)


def test_what_is_doubted_is_asked_for_elsewhere_but_not_all_the_time(now):
    nodes = Nodes(one=WHOLE, two=[Share(0, 16383, [TWO])])
    known = ClusterMap([ONE], nodes)
    assert known.find(0) == ONE
    known.doubt()
    assert known.find(0) == ONE
    now(cluster_map.PAUSE)
    assert known.find(0) == TWO
    assert nodes.asked == ["one", "two"]


def test_nodes_that_are_away_are_passed_over(now):
    nodes = Nodes(two=WHOLE)
    known = ClusterMap([ONE, TWO], nodes)
    assert known.find(0) == ONE
    nodes.answers.clear()
    known.doubt()
    now(1)
    assert known.find(0) == ONE  # as far as anybody knows
    assert len(nodes.asked) == 5
    nodes.answers["three"] = [Share(0, 16383, [THREE])]
    now(1)
    assert known.find(0) == THREE


def test_nobody_is_there():
    nodes = Nodes()
    known = ClusterMap([ONE, TWO], nodes)
    for _ in range(2):
        with pytest.raises(HubUnavailable, match="is away"):
            known.find(0)
    assert nodes.asked == ["one", "two"] * 2


def test_slots_that_nobody_has(now):
    nodes = Nodes(one=[], two=[Share(0, 5, [TWO])])
    known = ClusterMap([ONE], nodes)
    with pytest.raises(HubUnavailable, match="no node of the cluster has slot 7"):
        known.find(7)
    nodes.answers["one"] = nodes.answers["two"]
    with pytest.raises(HubUnavailable, match="slot 7"):
        known.find(7)
    assert known.find(5) == TWO


def test_a_node_that_refuses():
    nodes = Nodes(one=HubError("wrong password"))
    known = ClusterMap([ONE], nodes)
    for _ in range(2):
        with pytest.raises(HubError, match="wrong password"):
            known.find(0)
    nodes.answers["one"] = WHOLE
    assert known.find(0) == ONE
