"""Ways to reach a Redis cluster, and clear errors where there is none."""

import queue
import re
import subprocess
import sys
import threading

import pytest
from support.forking import FORKING, HAS_FORK
from support.pairs import SOON, wait_until
from support.redis_cluster import ClusterOfRedis
from support.redis_server import NEEDS_REDIS
from support.snippets import DOCS, free_port

from syncws.pubsub import Hub, HubError, HubUnavailable
from syncws.testing import pair
from syncws.threaded.deadline import Deadline

redis = pytest.importorskip("redis")

from syncws.pubsub.cluster_reader import PartReader  # noqa: E402

pytestmark = NEEDS_REDIS


def assert_works(url, count=40, **kwargs):
    """Rooms do, in all parts if there are enough of them."""
    names = [f"r{number}" for number in range(count)]
    with Hub(url, **kwargs) as hub, Hub(url, **kwargs) as publisher, pair() as ends:
        for name in names:
            hub.room(name).add(ends.server, data=name)
        publisher.publish_many([(name, name) for name in names])
        assert sorted(ends.client.recv(SOON) for _ in names) == sorted(names)
        for name in names:
            assert [member.data for member in publisher.room(name).present()] == [name]
        assert publisher.publish("r", "x" * 100_000) is not None


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_url(redis_cluster, tmp_path, protocol):
    assert_works(f"{redis_cluster.url}?protocol={protocol}", prefix=f"{tmp_path.name}:")


def test_what_a_hub_says_of_its_cluster():
    hub = Hub("redis+cluster://user:secret@one:1,two")
    assert "<ClusterBackend <Cluster of one:1, two:6379>>" in repr(hub)
    hub.close()


def test_a_url_of_one_node(redis_cluster, tmp_path):
    assert_works(redis_cluster.url_of(redis_cluster.nodes[1]), prefix=f"{tmp_path.name}:")


def test_a_prefix_with_braces_puts_all_into_one_slot(redis_cluster, tmp_path):
    assert_works(redis_cluster.url, prefix=f"{tmp_path.name}{{x}}:")


def test_a_client_of_the_programs(redis_cluster, tmp_path):
    port = redis_cluster.nodes[0].port
    for number, options in enumerate(({}, {"socket_timeout": 0.5}, {"client_name": "chat"})):
        client = redis.RedisCluster(host="127.0.0.1", port=port, **options)
        assert_works(client, prefix=f"{tmp_path.name}{number}:")
        assert client.ping()  # it is the program's, and stays open
        client.close()
    client = redis.RedisCluster(host="127.0.0.1", port=port, decode_responses=True)
    with pytest.raises(TypeError, match="RedisCluster of a hub must not have decode_responses"):
        Hub(client)
    client.close()


def test_a_client_that_knows_other_addresses(redis_cluster, tmp_path):
    asked = []

    def remap(address):
        asked.append(address)
        return address

    client = redis.RedisCluster.from_url(
        f"redis://127.0.0.1:{redis_cluster.nodes[0].port}", address_remap=remap
    )
    asked.clear()
    assert_works(client, prefix=f"{tmp_path.name}:")
    assert {port for _, port in asked} == {node.port for node in redis_cluster.nodes}
    client.close()


def test_connections_have_the_hubs_name(redis_cluster, tmp_path):
    with Hub(redis_cluster.url, prefix=f"{tmp_path.name}:") as hub, pair() as ends:
        for number in range(40):
            hub.room(f"r{number}").add(ends.server)
        for node in redis_cluster.nodes:
            assert f"name=syncws-{hub.node}" in node.command("CLIENT", "LIST")
    for node in redis_cluster.nodes:
        wait_until(lambda node=node: hub.node not in node.command("CLIENT", "LIST"))


def test_a_connection_that_is_made_while_all_are_closed_is_closed_too():
    class Part:
        """Reads over a connection that was just being made when the first one was closed."""

        def __init__(self):
            self.reads = threading.Event()
            self.closed = [threading.Event() for _ in range(2)]

        def wait(self, since, timeout):
            self.reads.set()
            for closed in self.closed:
                assert closed.wait(SOON)
            raise HubUnavailable("closed")

        def disconnect(self):
            next((each for each in self.closed if not each.is_set()), self.closed[-1]).set()

    part, news = Part(), queue.SimpleQueue()
    reader = PartReader(part, news)
    reader.ask({"room": None})
    assert part.reads.wait(SOON)
    reader.end()
    reader.join(Deadline(SOON))
    assert isinstance(news.get(timeout=0).error, HubUnavailable)


def test_tls_and_a_password(tmp_path):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate, trusted = tmp_path / "certificate.pem", tmp_path / "authority.pem"
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    authority.cert_pem.write_to_path(trusted)
    # Nodes are one another's clients.
    authority.cert_pem.write_to_path(certificate, append=True)
    with ClusterOfRedis(tmp_path, certificate=certificate) as cluster:
        for node in cluster.nodes:
            node.command("ACL", "SETUSER", "chat", "on", ">secret", *rules(), check=True)
        port = cluster.nodes[0].tls_port
        url = f"rediss+cluster://chat:secret@127.0.0.1:{port}?ssl_ca_certs={trusted}"
        assert_works(url, 6)
        refused = pytest.raises(HubError, match=r"(?i)refuses.*(auth|password)")
        with Hub(url.replace("secret", "wrong")) as hub, refused:
            hub.publish("r", "x")
        for node in cluster.nodes:  # which the program's client needs for itself
            node.command("ACL", "SETUSER", "chat", "+command", check=True)
        client = redis.RedisCluster(
            host="127.0.0.1",
            port=port,
            username="chat",
            password="secret",
            ssl=True,
            ssl_ca_certs=str(trusted),
        )
        assert_works(client, 6)
        client.close()


def rules():
    """The permissions that the documentation has."""
    page = (DOCS / "rooms.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^ACL SETUSER chat on >secret (.*)$", page, re.M)
    (more,) = re.findall(r"cluster, add\s+`(\+\S+)`", page)
    return [*found.split(), more]


def test_no_cluster(redis_server):
    refused = pytest.raises(HubError, match=r"refuses: .*cluster support disabled")
    with Hub(redis_server.url.replace("redis:", "redis+cluster:")) as hub, refused as raised:
        hub.publish("r", "x")
    assert not isinstance(raised.value, HubUnavailable)


def test_a_cluster_that_is_taken_for_a_server(redis_cluster):
    refused = pytest.raises(HubError, match=r"it is a cluster, whose URL is redis\+cluster://")
    with Hub(f"redis://127.0.0.1:{redis_cluster.nodes[0].port}") as hub, refused:
        hub.publish_many([(f"r{number}", "x") for number in range(20)])


@pytest.mark.parametrize(
    "url",
    ["redis+cluster://localhost:x", "redis+cluster://a,b:1:2", "redis+cluster://a:1,,b:1"],
)
def test_what_is_no_url(url):
    with pytest.raises(ValueError, match=r"."):
        Hub(url)


def test_nobody_is_there():
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    with Hub(url, publish_timeout=0.1) as hub, pair() as ends:
        with pytest.raises(HubUnavailable, match="can't be reached"):
            hub.publish("r", "x")
        with pytest.raises(HubUnavailable, match="can't be reached"):
            hub.room("r").add(ends.server)


@pytest.mark.skipif(not HAS_FORK, reason="there is no fork()")
@pytest.mark.parametrize("when", ["new", "begun"])
def test_forked_children_publish_and_receive(redis_cluster, tmp_path, when):
    ignore = "ignore:This process:DeprecationWarning"  # that it has threads
    command = [sys.executable, "-W", ignore, "-c", FORKING, redis_cluster.url, tmp_path.name, when]
    subprocess.run(command, check=True, timeout=60)
