"""Hubs of all kinds."""

import pytest
from support.redis_cluster import redis_cluster
from support.redis_server import NEEDS_REDIS, redis_server

from syncws.pubsub import Hub

__all__ = ["redis_cluster", "redis_server"]

#: What each kind of hub is in.
ENGINES = {"redis": "redis_server", "cluster": "redis_cluster"}


@pytest.fixture(params=["memory", *(pytest.param(engine, marks=NEEDS_REDIS) for engine in ENGINES)])
def make_hub(request, tmp_path):
    """What makes hubs: in memory all of them are the same one's."""
    hubs = []
    engine = ENGINES.get(request.param)
    url = request.getfixturevalue(engine).url if engine else None
    prefix = f"{tmp_path.name}:"

    def make(**kwargs):
        hubs.append(Hub(url, prefix=prefix, **kwargs))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.close()
