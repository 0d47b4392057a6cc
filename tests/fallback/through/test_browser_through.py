"""Numbered messages both ways through real and faulty networks: syncws.js in Chromium."""

import functools

import pytest
from support.browser import needs_chromium, running_chromium
from support.faulty_proxy import FAULTS
from support.numbers import ANY, POLLING, STREAMING, exchange, exchange_in_page
from support.routes import NGINX, opened_route

pytestmark = [pytest.mark.browser, needs_chromium]

transports = pytest.mark.parametrize("options", [POLLING, STREAMING], ids=["polling", "streaming"])


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with running_chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def exchange_by(chromium):
    """A function that has the browser exchange messages by a route."""
    return functools.partial(exchange, run=functools.partial(exchange_in_page, chromium))


@pytest.mark.parametrize("closes", ["client", "server"])
@transports
def test_nothing_is_lost_or_doubled(exchange_by, route, options, closes):
    used = exchange_by(route, options, closes)
    assert used[-1] == ("polling" if route.buffers else options["transports"][0])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("transport", ["polling", "streaming"])
def test_a_faulty_network_loses_and_doubles_nothing(exchange_by, transport, seed):
    with opened_route("faulty", seed) as route:
        used = exchange_by(route, {"transports": [transport]}, count=1000, window=10)
        assert used == [transport]
        assert len(route.front.happened) > len(FAULTS) // 2


@pytest.mark.peers
@pytest.mark.parametrize("name", NGINX)
def test_who_gets_no_websocket_falls_back(exchange_by, name):
    with opened_route(name) as route:
        used = exchange_by(route, ANY, count=200)
        assert used[-1] == ("polling" if route.buffers else "streaming")
        assert "websocket" not in used


def test_who_gets_a_websocket_uses_it(exchange_by):
    with opened_route("direct") as route:
        assert exchange_by(route, ANY) == ["websocket"]
