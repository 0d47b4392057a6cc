"""route() and unix_route(): werkzeug's maps, with the arguments that websockets has."""

import pytest
from support.certificates import client_context, server_context
from support.pairs import SOON
from support.scripted import build_request, exchange
from support.serving import assert_works, echo

from syncws import InvalidStatus, connect, route, unix_connect, unix_route
from syncws.server.url_route import URLMapRouter

routing = pytest.importorskip("werkzeug.routing", reason="werkzeug is not installed")


def tell(ws, number):
    ws.send(f"number {number}")


def make_map(**kwargs):
    return routing.Map(
        [
            routing.Rule("/", endpoint=echo),
            routing.Rule("/number/<int:number>", endpoint=tell),
            routing.Rule("/old", redirect_to="/"),
        ],
        **kwargs,
    )


def location(server, path="/old"):
    first, headers, _ = exchange(server, build_request(path))
    assert first.startswith("HTTP/1.1 30")
    return headers["location"]


def test_handlers_get_what_the_path_says():
    with route(make_map(), "127.0.0.1", 0) as server:
        assert_works(connect(server.uri))
        with connect(server.uri + "number/7") as ws:
            assert ws.recv(SOON) == "number 7"
        with pytest.raises(InvalidStatus, match="404"):
            connect(server.uri + "nothing")
        assert location(server) == "ws://localhost/"


def test_redirects_lead_to_the_name_and_scheme_that_clients_know():
    with route(make_map(), "127.0.0.1", 0, server_name="example.com:8443", ssl=True) as server:
        assert server.uri.startswith("ws://")
        assert location(server) == "wss://example.com:8443/"


def test_tls_is_served_with_a_context():
    with route(make_map(), "127.0.0.1", 0, ssl=server_context()) as server:
        assert_works(connect(server.uri, ssl=client_context()))


@pytest.mark.parametrize("several", [False, True])
def test_process_request_runs_before(several):
    def process_request(ws, request):
        return ws.respond(401) if request.path == "/" else None

    given = [process_request] if several else process_request
    with route(make_map(), "127.0.0.1", 0, process_request=given) as server:
        with pytest.raises(InvalidStatus, match="401"):
            connect(server.uri)
        with connect(server.uri + "number/1") as ws:
            assert ws.recv(SOON) == "number 1"


def test_the_router_may_be_another():
    class Router(URLMapRouter):
        def get_server_name(self, connection, request):
            return "other.example"

        def redirect(self, connection, url):
            response = super().redirect(connection, url)
            response.status_code = 307
            return response

        def not_found(self, connection):
            return connection.respond(410)

        def handler(self, connection):
            connection.send("before")
            super().handler(connection)

    with route(make_map(), "127.0.0.1", 0, create_router=Router) as server:
        with connect(server.uri + "number/2") as ws:
            assert [ws.recv(SOON), ws.recv(SOON)] == ["before", "number 2"]
        with pytest.raises(InvalidStatus, match="410"):
            connect(server.uri + "nothing")
        assert location(server) == "ws://other.example/"


def test_maps_are_served_on_unix_sockets(tmp_path):
    path = str(tmp_path / "socket")
    with unix_route(make_map(), path):
        with unix_connect(path) as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
        with unix_connect(path, "ws://localhost/number/3") as ws:
            assert ws.recv(SOON) == "number 3"


def test_endpoints_that_nobody_would_run_are_refused():
    def generator(ws):
        yield

    with pytest.raises(TypeError, match="drop yield"):
        route(routing.Map([routing.Rule("/", endpoint=generator)]), "127.0.0.1", 0)
