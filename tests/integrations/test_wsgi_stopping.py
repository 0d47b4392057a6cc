"""How connections end with their server: asked to stop, out of time, out of patience."""

import signal
import time

import pytest
from support.pairs import SOON
from support.wsgi_servers import BAD, WsgiServer, wait_for

from syncws import ConnectionClosed

GRACEFUL = ["gunicorn-gthread", "gunicorn-sync", "gunicorn-gevent", "gunicorn-gevent-pywsgi"]
STOPPED = [*GRACEFUL, "cheroot", "pywsgi"]


#: Those whose --timeout is for what accepts only; and that, in seconds.
OUTLIVED, TIMEOUT = ["gunicorn-gthread", "gunicorn-gevent"], 2


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    started = {
        # These are to end in their own ways.
        "impatient": WsgiServer("gunicorn-sync", tmp_path_factory.mktemp("a"), "--timeout", "1"),
        "replaced": WsgiServer(
            "gunicorn-gthread", tmp_path_factory.mktemp("b"), "--max-requests", "3"
        ),
    }
    for kind in [*STOPPED, "werkzeug"]:
        options = ["--timeout", str(TIMEOUT)] if kind in OUTLIVED else []
        started[kind] = WsgiServer(kind, tmp_path_factory.mktemp(kind), *options)
    yield started
    for server in started.values():
        server.process.terminate()
    for server in started.values():
        server.close()


def assert_goes_away(ws):
    with pytest.raises(ConnectionClosed):
        ws.recv(SOON)
    assert ws.close_code == 1001


@pytest.mark.slow
def test_connections_outlive_the_timeout(servers):
    connections = [servers[kind].connect() for kind in OUTLIVED]
    end = time.monotonic() + 1.5 * TIMEOUT
    while time.monotonic() < end:  # until then something is to go on
        for ws in connections:
            ws.send("still there")
            assert ws.recv(SOON) == "still there"
            with pytest.raises(TimeoutError):
                ws.recv(0.2)
    for ws in connections:
        ws.close()
        assert ws.close_code == 1000
    assert not [kind for kind in OUTLIVED if "TIMEOUT" in servers[kind].log]


def test_handlers_may_end_their_greenlet(servers):
    server = servers["gunicorn-gevent"]
    with server.connect("/leave") as ws:
        ws.send("the reason")
        assert_goes_away(ws)
    with server.connect() as ws:
        ws.send("still there")
        assert ws.recv(SOON) == "still there"


@pytest.mark.parametrize("kind", STOPPED)
def test_stopping_closes_connections_with_1001(servers, kind):
    server = servers[kind]
    ws = server.connect("/hold")
    assert ws.recv(SOON) == "ready"
    server.process.terminate()
    start = time.monotonic()
    assert_goes_away(ws)
    assert time.monotonic() - start < 5
    assert server.process.wait(SOON) == 0
    assert "closed by us with 1001" in server.log
    assert not BAD.search(server.log), server.log


def test_ctrl_c_closes_connections_of_the_development_server_with_1001(servers):
    server = servers["werkzeug"]
    with server.connect("/hold") as ws:
        assert ws.recv(SOON) == "ready"
        server.process.send_signal(signal.SIGINT)
        assert_goes_away(ws)
    server.process.wait(SOON)
    assert "Exception in thread" not in server.log


def test_sync_worker_that_runs_out_of_time_says_so_to_clients(servers):
    server = servers["impatient"]
    with server.connect("/hold") as ws:
        assert ws.recv(SOON) == "ready"
        assert_goes_away(ws)
    assert "WORKER TIMEOUT" in server.log
    wait_for(lambda: server.log.count("Booting worker") == 2, server)
    assert server.get("/")[0] == 200


def test_worker_that_is_replaced_closes_its_connections(servers):
    server = servers["replaced"]
    with server.connect("/hold") as ws:
        assert ws.recv(SOON) == "ready"
        assert server.get("/")[0] == 200
        assert server.get("/")[0] == 200
        assert_goes_away(ws)
    wait_for(lambda: "Worker exiting" in server.log, server)
    with server.connect() as ws:  # the next worker's
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
