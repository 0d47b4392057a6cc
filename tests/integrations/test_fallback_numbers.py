"""Numbered messages both ways through waitress: by syncws.js, by connect(), by a faulty proxy."""

import contextlib
import queue

import pytest
from support.browser import needs_chromium, running_chromium
from support.fallback_serving import serving
from support.faulty_proxy import FAULTS, FaultyProxy
from support.numbers import (
    ANY,
    PAGE,
    POLLING,
    STREAMING,
    Server,
    exchange,
    exchange_in_page,
    exchange_in_python,
    make_handler,
)
from support.routes import Route

from syncws import Fallback
from syncws.integrations import wsgi

pytestmark = pytest.mark.once

transports = pytest.mark.parametrize("options", [POLLING, STREAMING], ids=["polling", "streaming"])


class Waitress(Server):
    """waitress, in this process."""

    def __init__(self, port, outcomes):
        self.port = port
        self._outcomes = outcomes


@contextlib.contextmanager
def serving_numbers():
    outcomes = queue.Queue()
    numbers = wsgi.application(make_handler(outcomes))

    def find(environ, start_response):
        if environ["PATH_INFO"] == "/numbers":
            return numbers(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/html")])
        return [PAGE.encode()]

    app = wsgi.FallbackMiddleware(find, Fallback(session_timeout=20))
    with serving(app) as port:
        yield Waitress(port, outcomes)


@pytest.mark.parametrize("closes", ["client", "server"])
@transports
def test_nothing_is_lost_or_doubled_in_node(options, closes):
    with serving_numbers() as server:
        assert exchange(Route(server, server), options, closes)[-1] == options["transports"][0]


@pytest.mark.parametrize("closes", ["client", "server"])
def test_nothing_is_lost_or_doubled_by_connect(closes):
    with serving_numbers() as server:
        used = exchange(Route(server, server), POLLING, closes, run=exchange_in_python)
        assert "websocket" not in used


@pytest.mark.browser
@needs_chromium
def test_a_page_of_waitress_has_its_websocket(tmp_path):
    with running_chromium(tmp_path) as driver, serving_numbers() as server:

        def run(uri, options):
            return exchange_in_page(driver, uri, options)

        assert "websocket" not in exchange(Route(server, server), ANY, run=run)


@pytest.mark.parametrize("transport", ["polling", "streaming"])
def test_a_faulty_network_loses_and_doubles_nothing(transport):
    with serving_numbers() as server, FaultyProxy(server.port, 0) as proxy:
        route, options = Route(proxy, server), {"transports": [transport]}
        assert exchange(route, options, count=1000, window=10) == [transport]
        assert len(proxy.happened) > len(FAULTS) // 2
