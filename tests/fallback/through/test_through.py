"""Numbered messages both ways through networks that are real, and through one that is faulty.

The client is syncws.js in Node.
"""

import time

import pytest
from support.faulty_proxy import FAULTS
from support.numbers import POLLING, STREAMING, exchange
from support.routes import KEEPING, opened_route

pytestmark = pytest.mark.once

transports = pytest.mark.parametrize("options", [POLLING, STREAMING], ids=["polling", "streaming"])


@pytest.mark.parametrize("closes", ["client", "server"])
@transports
def test_nothing_is_lost_or_doubled(route, options, closes):
    used = exchange(route, options, closes)
    assert used[-1] == ("polling" if route.buffers else options["transports"][0])


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
@pytest.mark.parametrize("transport", ["polling", "streaming"])
def test_a_faulty_network_loses_and_doubles_nothing(transport, seed):
    with opened_route("faulty", seed) as route:
        used = exchange(route, {"transports": [transport]}, count=1000 + 1000 * seed, window=10)
        assert used == [transport]
        assert len(route.front.happened) > len(FAULTS) // 2


@pytest.mark.parametrize("name", KEEPING)
def test_streams_that_are_kept_back_are_given_up(name):
    with opened_route(name) as route:
        assert exchange(route, STREAMING)[-1] == "polling"


def test_streams_that_flow_are_kept():
    """One that has shown that small things get through makes way for one that need not."""
    with opened_route("direct") as route:
        assert exchange(route, {**STREAMING, "pause": 3500}, count=200) == ["streaming"]


@pytest.mark.peers
@transports
def test_silence_does_no_harm(options):
    """It is longer than the proxy allows."""
    with opened_route("haproxy") as route:
        used = exchange(route, {**options, "pause": 12_000}, count=400)
        assert used == [options["transports"][0]]


@pytest.mark.peers
def test_a_proxy_that_delays_streams_loses_nothing():
    with opened_route("haproxy, delays") as route:
        assert exchange(route, STREAMING, count=200) == ["streaming"]


@transports
def test_whoever_is_busy_sending_is_still_acknowledged(options):
    """The server's handler sends more than is on its way unacknowledged, and receives nothing then.

    An acknowledgement that waits for the handler to receive would come after 25 s.
    """
    with opened_route("direct") as route:
        start = time.monotonic()
        exchange(route, options, count=4000, window=1500)
        assert time.monotonic() - start < 20
