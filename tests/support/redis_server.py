"""What tests need for a real Redis server."""

import shutil

import pytest
from support.redis_process import RedisServer

__all__ = ["NEEDS_REDIS", "RedisServer", "needs_redis"]

HAS_NONE = shutil.which("redis-server") is None

#: Marks of tests that need one; they say the same on each Python.
NEEDS_REDIS = [pytest.mark.once, pytest.mark.skipif(HAS_NONE, reason="needs redis-server")]


def needs_redis(test):
    """Mark a test, or a class of them."""
    for mark in NEEDS_REDIS:
        test = mark(test)
    return test


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """One for tests that leave it as it is."""
    pytest.importorskip("redis")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server
