"""Hubs of both kinds."""

import pytest
from support.redis_server import NEEDS_REDIS, redis_server

from syncws.pubsub import Hub

__all__ = ["redis_server"]


@pytest.fixture(params=["memory", pytest.param("redis", marks=NEEDS_REDIS)])
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
