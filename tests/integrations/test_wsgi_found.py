"""Which server a request is of, what is known about it, and its TLS; without one being started."""

import io
import logging
import socket
import threading
import types

import pytest
from support.certificates import contexts
from support.pairs import SOON, run, wait_until
from support.serving import messages
from support.wsgi_requests import make_environ, refusal_of, request_pair, taken
from support.wsgi_servers import running

from syncws import ServerConnection
from syncws.integrations import takeover, wsgi, wsgi_servers
from syncws.integrations.wsgi_roster import WsgiRoster


@pytest.fixture
def pair(monkeypatch):
    with request_pair(monkeypatch) as ends:
        yield ends


# --- servers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"uwsgi.version": b"2.0"}, "uWSGI can't hand over a connection"),
        ({"mod_wsgi.version": (5, 0)}, "mod_wsgi can't hand over a connection"),
        ({"waitress.client_disconnected": None}, "waitress can't hand over a connection"),
        ({"SERVER_SOFTWARE": "waitress"}, "waitress can't hand over a connection"),
        ({"SERVER_SOFTWARE": "other/1.0"}, r"this WSGI server \(other/1.0\) isn't known"),
        ({}, "this WSGI server isn't known"),
    ],
)
def test_servers_that_cannot_work_are_explained(environ, why):
    with pytest.raises(wsgi.UnsupportedServer, match=why) as raised:
        wsgi.accept({"wsgi.input": io.BytesIO(), **environ})
    assert "gthread" in str(raised.value)
    assert "syncws.serve()" in str(raised.value)


def test_waitress_is_told_from_the_others(tmp_path):
    pytest.importorskip("waitress")
    with running("waitress", tmp_path) as server:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        status, body = server.get("/unsupported", upgrade)
    assert status == 501
    assert b"waitress can't hand over a connection: its main thread" in body


@pytest.mark.parametrize("module", ["OpenSSL.SSL", "eventlet.greenio"])
def test_sockets_of_other_libraries_are_explained(module):
    attributes = {"__module__": module, "do_handshake": None} if "SSL" in module else {}
    sock = type("Socket", (), {"__module__": module, **attributes})()
    with pytest.raises(wsgi.UnsupportedServer, match="can't be taken over"):
        wsgi.accept({"gunicorn.socket": sock, "wsgi.input": io.BytesIO()})


def test_gevent_without_patched_threads_is_explained():
    sock = type("socket", (), {"__module__": "gevent._socket3"})()
    with pytest.raises(wsgi.UnsupportedServer, match=r"patch_all\(\) was not called"):
        wsgi.accept({"gunicorn.socket": sock, "wsgi.input": io.BytesIO()})


def test_gevent_that_patched_too_late_is_explained(monkeypatch):
    sock = type("socket", (), {"__module__": "gevent._socket3"})()
    lock = type("Lock", (), {"__module__": "gevent.thread"})
    monkeypatch.setattr(takeover.threading, "Lock", lock)
    with pytest.raises(wsgi.UnsupportedServer, match="imported before"):
        wsgi.accept({"gunicorn.socket": sock, "wsgi.input": io.BytesIO()})


def test_server_that_stops_refuses_with_503(pair, monkeypatch):
    found = wsgi_servers.Found(pair[1], lambda: b"", is_stopping=lambda: True)
    monkeypatch.setattr(wsgi, "find_server", lambda environ: found)
    exc = refusal_of(make_environ(pair[1]))
    assert exc.response.status_code == 503
    assert "shutting down" in str(exc)


def test_server_that_stops_closes_what_is_open(pair, monkeypatch):
    stopping = threading.Event()
    found = wsgi_servers.Found(pair[1], lambda: b"", is_stopping=stopping.is_set, grace=1)
    monkeypatch.setattr(wsgi, "find_server", lambda environ: found)
    with taken(pair) as (ws, client):
        stopping.set()
        assert client.recv(100) == b"\x88\x02\x03\xe9"
        assert ws.wait_closed(SOON)  # in half of the grace, as the client says nothing


@pytest.mark.parametrize(("threads", "limit"), [(None, None), (1, None), (2, 1), (8, 7)])
def test_pool_leaves_one_thread(threads, limit):
    found = wsgi_servers.Found(None, lambda: b"", threads=threads)
    assert wsgi.Gateway()._limit(found) == limit
    assert wsgi.Gateway(max_connections=None)._limit(found) is None
    assert wsgi.Gateway(max_connections=3)._limit(found) == 3


def test_what_users_should_know_is_said_once(pair, caplog, monkeypatch):
    found = wsgi_servers.Found(pair[1], lambda: b"", warning="beware")
    monkeypatch.setattr(wsgi, "find_server", lambda environ: found)
    monkeypatch.setattr(wsgi, "_warned", set())
    for _ in range(2):
        refusal_of(make_environ(pair[1], REQUEST_METHOD="POST"))
    assert messages(caplog, "WARNING") == ["beware"]
    assert logging.getLogger("syncws.server").name == "syncws.server"


# --- TLS -------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [False, True])
def test_tls_is_taken_off_the_server_s_socket_at_the_end(pair, cut):
    server_context, client_context = contexts()
    shaking = run(server_context.wrap_socket, pair[1], server_side=True)
    client = client_context.wrap_socket(pair[0], server_hostname="localhost")
    server = shaking.result()
    server.settimeout(5)
    number = server.fileno()
    with client, server:
        client.sendall(b"\x81\x82\0\0\0\0hi")
        environ = make_environ(server, **{"wsgi.url_scheme": "https"})
        ws = wsgi.Gateway(compression=None).accept(environ)
        assert ws.secure
        assert ws.recv(SOON) == "hi"
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        if not cut:
            client.sendall(b"\x88\x80\0\0\0\0")
        client.shutdown(socket.SHUT_WR)
        assert ws.wait_closed(SOON)
        ws.close()  # late, as the socket is the server's again
        ws.abort()
        assert (server.fileno(), server.gettimeout()) == (number, 5)
        server.sendall(b"HTTP/1.1 101 ")
        assert server.recv(1) == b""


def test_server_that_closed_its_socket_before_the_end_keeps_its_descriptor(pair):
    server_context, client_context = contexts()
    shaking = run(server_context.wrap_socket, pair[1], server_side=True)
    with client_context.wrap_socket(pair[0], server_hostname="localhost"):
        server = shaking.result()
        ws = wsgi.accept(make_environ(server))
        number = server.fileno()
        server.shutdown(socket.SHUT_RDWR)
        server.close()  # though the connection is open, which is the program's mistake
        with socket.socket() as other:
            assert other.fileno() == number
            ws.abort()
            assert ws.wait_closed(SOON)
            assert other.getsockname()[0] == "0.0.0.0"


# --- what servers tell about themselves ------------------------------------------


class Worker:
    """What gunicorn's workers have, as far as it is looked at."""

    def __init__(self, threads, graceful_timeout=30, timeout=30):
        self.alive = True
        self.cfg = types.SimpleNamespace(
            threads=threads, graceful_timeout=graceful_timeout, timeout=timeout
        )

    def handle_exit(self, sig, frame):
        self.alive = False


@pytest.mark.parametrize(
    ("kind", "threads", "warned"),
    [("ThreadWorker", 4, False), ("SyncWorker", None, True), ("GeventWorker", None, False)],
)
def test_gunicorn_s_worker_is_known_by_its_signal_handler(monkeypatch, kind, threads, warned):
    worker = type(kind, (Worker,), {})(4)
    monkeypatch.setattr(wsgi_servers.signal, "getsignal", lambda number: worker.handle_exit)
    unreader = types.SimpleNamespace(buf=io.BytesIO(b"early"), read=lambda: b"early")
    body = types.SimpleNamespace(reader=types.SimpleNamespace(unreader=unreader))
    found = wsgi_servers.find_server({"gunicorn.socket": object(), "wsgi.input": body})
    assert found.take_early() == b"early"
    unreader.buf = io.BytesIO()
    assert found.take_early() == b""  # without reading from the socket
    assert found.threads == threads
    assert bool(found.warning) is warned
    assert found.grace == 30
    assert not found.is_stopping()
    worker.handle_exit(None, None)
    assert found.is_stopping()


def test_gunicorn_whose_signal_handler_is_another_s_is_used_all_the_same(monkeypatch):
    monkeypatch.setattr(wsgi_servers.signal, "getsignal", lambda number: print)
    found = wsgi_servers.find_server({"gunicorn.sock": object(), "wsgi.input": io.BytesIO(b"x")})
    assert found.take_early() == b"x"
    assert found.threads is None
    assert not found.is_stopping()


def test_cheroot_is_known_by_its_thread():
    server = types.SimpleNamespace(
        ready=True, shutdown_timeout=5, requests=types.SimpleNamespace(min=10)
    )
    conn = types.SimpleNamespace(socket=object(), rfile=io.BytesIO(b"early"))
    kind = type("WorkerThread", (threading.Thread,), {"__module__": "cheroot.workers"})
    result = []
    for conn_of_thread in (conn, None):
        thread = kind(target=lambda: result.append(wsgi_servers._find_cheroot({})))
        thread.server, thread.conn = server, conn_of_thread
        thread.start()
        thread.join()
    found, none = result
    assert none is None
    assert found.sock is conn.socket
    assert found.take_early() == b"early"
    assert (found.threads, found.grace) == (10, 5)
    assert not found.is_stopping()
    server.ready = False
    assert found.is_stopping()


# --- what goes wrong -------------------------------------------------------------


def test_without_a_thread_for_the_time_nothing_is_taken_over(pair, monkeypatch):
    def fail(delay, callback):
        raise RuntimeError("can't start new thread")

    registry = WsgiRoster()
    monkeypatch.setattr("syncws.integrations.wsgi_roster.call_later", fail)
    monkeypatch.setattr("syncws.integrations.wsgi_connection.roster", registry)
    exc = refusal_of(make_environ(pair[1]))
    assert exc.response.status_code == 500
    pair[1].sendall(b"as before")
    assert pair[0].recv(100) == b"as before"


def test_connection_that_cannot_begin_is_closed(pair, monkeypatch):
    def fail(ws):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(wsgi.WsgiConnection, "_start", fail)
    with pytest.raises(RuntimeError, match="can't start"):
        wsgi.accept(make_environ(pair[1]))
    assert pair[0].recv(1000).startswith(b"HTTP/1.1 101 ")
    assert pair[0].recv(1) == b""


def test_trouble_of_one_connection_does_not_keep_others_open(pair, monkeypatch, caplog):
    def fail(*args):
        raise ZeroDivisionError

    found = wsgi_servers.Found(pair[1], lambda: b"", is_stopping=lambda: False)
    monkeypatch.setattr(wsgi, "find_server", lambda environ: found)
    with taken(pair) as (ws, _):
        monkeypatch.setattr(ws, "_begin_close", fail)
        found.is_stopping = lambda: True
        wait_until(lambda: "closing a connection failed" in messages(caplog, "ERROR"))
        found.is_stopping = lambda: False


def test_pages_without_an_end_are_cut_off(pair, monkeypatch):
    monkeypatch.setattr(takeover, "MAX_WASTE", 1_000_000)

    def write():
        while True:
            pair[1].sendall(bytes(10_000))

    with taken(pair), pytest.raises(ConnectionError):
        run(write).result()


def test_connections_of_other_classes_are_refused(pair):
    with pytest.raises(TypeError, match="makes a WsgiConnection"):
        wsgi.accept(make_environ(pair[1]), create_connection=ServerConnection)


def test_forked_children_forget_what_is_the_parent_s(pair):
    """In this process, which then is the child; the connection's part is tested with a fork."""
    registry, others = WsgiRoster(), takeover.Sinks()
    near, far = socket.socketpair()
    others.add(near)
    registry._connections[object()] = None
    registry._armed = True
    registry.after_fork()
    others.after_fork()
    assert len(registry) == len(others) == 0
    assert not registry._armed
    assert near.fileno() == -1
    far.close()
