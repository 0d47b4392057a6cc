"""100,000 messages each way through each network: syncws.js in Node and Chromium, connect()."""

import functools

import pytest
from support.browser import needs_chromium, running_chromium
from support.numbers import POLLING, STREAMING, exchange, exchange_in_page, exchange_in_python
from support.routes import opened_route

#: Messages each way, and how many may be on their way: programs that sent all before they received
#: would wait for each other, over TCP as well.
COUNT, WINDOW = 100_000, 200

pytestmark = [pytest.mark.slow, pytest.mark.peers, pytest.mark.timeout(300)]

NETWORKS = ["direct", "nginx", "nginx, no buffers", "haproxy", "faulty"]

networks = pytest.mark.parametrize("name", [*NETWORKS, "nginx, HTTP/1.1"])
networks_for_pages = pytest.mark.parametrize("name", [*NETWORKS, "nginx, only buffers"])
transports = pytest.mark.parametrize("options", [POLLING, STREAMING], ids=["polling", "streaming"])


def only_if_faulty(name, options):
    """Without what else a client would try: it gives up a transport that fails too often."""
    return {"transports": options["transports"][:1]} if name == "faulty" else options


@networks
@transports
def test_in_node(name, options):
    options = only_if_faulty(name, options)
    with opened_route(name) as route:
        used = exchange(route, options, count=COUNT, window=WINDOW)
        assert used == options["transports"][:1]


@networks
@pytest.mark.parametrize("streaming", [False, True], ids=["polling", "streaming"])
def test_in_python(name, streaming):
    with opened_route(name, streaming=streaming) as route:
        exchange(route, {}, count=COUNT, window=WINDOW, run=exchange_in_python)


@pytest.mark.browser
@needs_chromium
@networks_for_pages
@transports
def test_in_chromium(tmp_path, name, options):
    options = only_if_faulty(name, options)
    with opened_route(name) as route, running_chromium(tmp_path) as driver:
        run = functools.partial(exchange_in_page, driver)
        used = exchange(route, options, count=COUNT, window=WINDOW, run=run)
        assert used[-1] == ("polling" if route.buffers else options["transports"][0])
