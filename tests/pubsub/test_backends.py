"""What all backends must do."""

import timeit

import pytest
from support.redis_server import needs_redis

from syncws.pubsub import MemoryBackend
from syncws.pubsub.backend import Post
from syncws.testing.backend_contract import BackendContract


class TestMemory(BackendContract):
    def make(self, history=1000, ttl=86400.0):
        return MemoryBackend(history, ttl)

    def test_exactly_what_is_kept_is_there_however_many_came(self):
        backend = MemoryBackend(3, 3600)
        positions = [backend.newest("r")[0]]
        for count in range(1, 12):
            positions += backend.publish([Post("r", str(count))], 1)
            first = max(1, count - 2)
            kept = list(range(first, count + 1))
            assert [int(entry.message) for entry in backend.last("r", 5)] == kept
            for since in range(count + 1):
                batch = backend.read("r", positions[since], 5)
                after = [number for number in kept if number > since]
                assert [int(entry.message) for entry in batch.entries] == after
                assert batch.complete == (since + 1 >= first)

    def test_reading_on_in_a_long_history_takes_no_longer_than_at_its_beginning(self):
        backend = MemoryBackend(10**5, 3600)
        positions = backend.publish([Post("r", "x")] * 10**5, 60)

        def fastest(position):
            return min(timeit.repeat(lambda: backend.read("r", position, 1), repeat=50, number=1))

        assert fastest(positions[5 * 10**4]) < 20 * fastest(positions[0])


@needs_redis
class TestRedis(BackendContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server):
        self.server = redis_server

    def make(self, history=1000, ttl=86400.0):
        from syncws.pubsub.redis_backend import RedisBackend

        return RedisBackend(self.server.url, "node", history=history, ttl=ttl, prefix="contract:")


@needs_redis
class TestCluster(BackendContract):
    @pytest.fixture(autouse=True)
    def _cluster(self, redis_cluster):
        self.cluster = redis_cluster

    def make(self, history=1000, ttl=86400.0):
        from syncws.pubsub.cluster_backend import ClusterBackend
        from syncws.pubsub.redis_clients import find_cluster

        cluster = find_cluster(self.cluster.url)
        return ClusterBackend(cluster, "node", history=history, ttl=ttl, prefix="contract:")
