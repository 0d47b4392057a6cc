"""Numbered messages both ways through real and faulty networks: the library's own client."""

import pytest
from support.faulty_proxy import FAULTS
from support.numbers import exchange, exchange_in_python
from support.routes import KEEPING, NGINX, opened_route

PROXIES = [pytest.param(name, marks=pytest.mark.peers) for name in (*NGINX, "haproxy")]


def exchange_by(route, **kwargs):
    return exchange(route, {}, run=exchange_in_python, **kwargs)


@pytest.mark.parametrize("closes", ["client", "server"])
@pytest.mark.parametrize("streaming", [False, True], ids=["polling", "streaming"])
@pytest.mark.parametrize("name", ["direct", *PROXIES])
def test_nothing_is_lost_or_doubled(name, streaming, closes):
    with opened_route(name, streaming=streaming) as route:
        used = exchange_by(route, closes=closes)
        assert used[-1] == ("streaming" if streaming and not route.buffers else "polling")


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
@pytest.mark.parametrize("streaming", [False, True], ids=["polling", "streaming"])
def test_a_faulty_network_loses_and_doubles_nothing(streaming, seed):
    with opened_route("faulty", seed, streaming=streaming) as route:
        exchange_by(route, count=1000 + 1000 * seed, window=10)
        assert len(route.front.happened) > len(FAULTS) // 2


@pytest.mark.parametrize("name", KEEPING)
def test_streams_that_are_kept_back_are_given_up(name):
    with opened_route(name) as route:
        assert exchange_by(route)[-1] == "polling"
