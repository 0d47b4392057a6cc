"""What all backends must do."""

import pytest
from support.redis_server import needs_redis

from syncws.pubsub import MemoryBackend
from syncws.testing.backend_contract import BackendContract


class TestMemory(BackendContract):
    def make(self, history=1000, ttl=86400.0):
        return MemoryBackend(history, ttl)


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
