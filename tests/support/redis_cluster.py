"""A real Redis cluster, each node of which has a port and a directory of its own."""

import contextlib
import subprocess

import pytest
from support.pairs import wait_until
from support.redis_process import RedisServer
from support.snippets import free_port

__all__ = ["ClusterOfRedis", "redis_cluster"]


class ClusterOfRedis:
    """Masters that share the slots, and replicas, if any, in the same order.

    With the path of a certificate, nodes have TLS at their ``tls_port``, too.
    """

    def __init__(self, directory, *options, masters=3, replicas=0, timeout=5000, certificate=None):
        self.nodes = []
        self._buses = {}
        with contextlib.ExitStack() as stack:
            for number in range(masters + replicas):
                bus = free_port()
                tls_port = free_port()
                tls = () if certificate is None else tls_options(certificate, tls_port)
                (directory / f"node {number}").mkdir()
                node = RedisServer(
                    directory / f"node {number}",
                    *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
                    *("--cluster-node-timeout", str(timeout), *options),
                    *("--repl-diskless-sync-delay", "0", *tls),
                )
                node.tls_port = tls_port
                self.nodes.append(node)
                self._buses[node.port] = bus
                stack.callback(node.stop)
            self._create(self.nodes[:masters], certificate)
            for number, node in enumerate(self.nodes[masters:]):
                self._add_replica(node, self.nodes[number])
            wait_until(self._is_ready, 60)
            self._stack = stack.pop_all()

    def _create(self, nodes, certificate):
        name = "port" if certificate is None else "tls_port"
        addresses = [f"127.0.0.1:{getattr(n, name)}@{self._buses[n.port]}" for n in nodes]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        if certificate is not None:
            create += ["--tls", "--insecure"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)

    def _add_replica(self, node, master):
        first = self.nodes[0].port
        node.command("CLUSTER", "MEET", "127.0.0.1", first, self._buses[first], check=True)
        name = self.id(master)
        wait_until(lambda: name in node.command("CLUSTER", "NODES"), 30)
        wait_until(lambda: "OK" in node.command("CLUSTER", "REPLICATE", name), 30)
        wait_until(lambda: "master_link_status:up" in node.command("INFO", "replication"), 30)

    def _is_ready(self):
        """Whether each node knows all others, and that all slots are somebody's."""
        ready = {"cluster_state:ok", f"cluster_known_nodes:{len(self.nodes)}"}
        return all(ready <= set(node.command("CLUSTER", "INFO").split()) for node in self.nodes)

    @property
    def url(self):
        return self.url_of(*self.nodes)

    def url_of(self, *nodes):
        """A URL that names some of them."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)

    def id(self, node):
        return node.command("CLUSTER", "MYID").strip()

    def owner(self, slot):
        """The node that says that it has a slot."""
        for node in self.nodes:
            for line in node.command("CLUSTER", "NODES").splitlines():
                fields = line.split()
                if "myself,master" in fields[2] and any(
                    int(first) <= slot <= int(last or first)
                    for first, _, last in (
                        span.partition("-") for span in fields[8:] if span[0] != "["
                    )
                ):
                    return node
        return None

    # --- moving a slot, in the steps that redis-cli takes ---

    def begin_move(self, slot, target):
        """Have keys that aren't there any more, or not yet, asked for at another node."""
        source = self.owner(slot)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id(source), check=True)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id(target), check=True)
        return source

    def move_keys(self, slot, source, target, most=10**9):
        """Move that many of its keys; return how many there were."""
        count = 0
        while count < most:
            keys = source.command("CLUSTER", "GETKEYSINSLOT", slot, min(10, most - count))
            keys = keys.split("\n")[:-1]
            if not any(keys):
                break
            place = ("127.0.0.1", target.port, "", 0, 10000)
            assert "OK" in source.command("MIGRATE", *place, "KEYS", *keys)
            count += len(keys)
        return count

    def end_move(self, slot, source, target):
        """Say that it is the other one's, which tells the others."""
        for node in (target, source):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", self.id(target), check=True)

    def move(self, slot, target):
        """Move a slot as a whole."""
        source = self.begin_move(slot, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._stack.close()


def tls_options(certificate, port):
    return (
        *("--tls-port", str(port), "--tls-cluster", "yes", "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)),
        *("--tls-ca-cert-file", str(certificate)),
    )


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory):
    """One of three masters, for tests that leave it as it is."""
    pytest.importorskip("redis")
    with ClusterOfRedis(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
