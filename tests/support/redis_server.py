"""What tests need for a real Redis server."""

import shutil

import pytest
from support.redis_process import RedisServer

__all__ = ["RedisServer", "needs_redis"]

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """One for tests that leave it as it is."""
    pytest.importorskip("redis")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server
