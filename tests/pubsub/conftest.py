"""Hubs of both kinds, and a real Redis."""

import pytest
from support.redis_server import RedisServer, needs_redis

from syncws.pubsub import Hub


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """One for tests that leave it as it is."""
    pytest.importorskip("redis")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
def make_hub(request, tmp_path):
    """What makes hubs: in memory all of them are the same one's."""
    hubs = []
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    prefix = f"{tmp_path.name}:"

    def make(**kwargs):
        hubs.append(Hub(url, prefix=prefix, **kwargs))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.close()
