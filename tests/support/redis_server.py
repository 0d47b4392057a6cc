"""What tests need for a real Redis server."""

import shutil

import pytest
from support.redis_process import RedisServer

__all__ = ["RedisServer", "needs_redis"]

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
