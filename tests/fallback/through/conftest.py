"""The routes, each with its server for the tests of a module."""

import pytest
from support.routes import NGINX, opened_route

PROXIES = [pytest.param(name, marks=pytest.mark.peers) for name in (*NGINX, "haproxy")]


@pytest.fixture(scope="module", params=["direct", *PROXIES])
def route(request):
    with opened_route(request.param) as route:
        yield route
