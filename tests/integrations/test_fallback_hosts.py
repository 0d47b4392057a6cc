"""What is known of servers whose threads wait for the fallback, and how many may be taken."""

import socket
import sys
import threading
import types

import pytest
from support.pairs import SOON
from support.wsgi_requests import make_environ, refusal_of, request_pair, taken

from syncws.integrations import wsgi, wsgi_servers
from syncws.integrations.wsgi_roster import WsgiRoster, roster

MANY = {"wsgi.multithread": True}


def test_an_unknown_server_has_no_known_number():
    found = wsgi_servers.find_host(MANY)
    assert (found.sock, found.threads, found.warning) == (None, None, None)
    assert not found.is_stopping()


@pytest.mark.parametrize("multithread", [{}, {"wsgi.multithread": False}])
def test_a_server_without_threads_has_one(multithread):
    assert wsgi_servers.find_host(multithread).threads == 1


def test_a_mixin_s_threads_are_noticed():
    def process_request_thread():
        seen.append(wsgi_servers.find_host({}).threads)

    seen = []
    thread = threading.Thread(target=process_request_thread)
    thread.start()
    thread.join(SOON)
    assert seen == [None]


def test_green_threads_are_noticed():
    sock = type("socket", (), {"__module__": "gevent._socket3"})()
    assert wsgi_servers.find_host({"gunicorn.socket": sock}).threads is None


def test_waitress_tells_its_threads_and_its_end():
    class Channel:
        def __init__(self, server):
            self.server = server

        def check(self):
            return False

    dispatcher = types.SimpleNamespace(stop_count=0)
    adj = types.SimpleNamespace(threads=4)
    server = types.SimpleNamespace(adj=adj, task_dispatcher=dispatcher)
    found = wsgi_servers.find_host({**MANY, "waitress.client_disconnected": Channel(server).check})
    assert (found.sock, found.threads) == (None, 4)
    assert not found.is_stopping()
    dispatcher.stop_count = 4
    assert found.is_stopping()


@pytest.mark.parametrize(
    ("opt", "threads", "warned"),
    [
        ({"threads": b"8"}, 8, False),
        ({"enable-threads": True}, None, False),
        ({}, None, True),
        ({"threads": b"?"}, None, True),
    ],
)
def test_uwsgi_tells_its_threads(monkeypatch, opt, threads, warned):
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(opt=opt))
    found = wsgi_servers.find_host({**MANY, "uwsgi.version": b"2.0"})
    assert found.threads == threads
    assert bool(found.warning) is warned


def test_mod_wsgi_tells_its_threads(monkeypatch):
    monkeypatch.setitem(sys.modules, "mod_wsgi", types.SimpleNamespace(threads_per_process=15))
    assert wsgi_servers.find_host({**MANY, "mod_wsgi.version": (4, 9)}).threads == 15


def test_the_last_thread_is_not_waited_in_for_long():
    counter = WsgiRoster()
    assert [counter.begin_wait(3) for _ in range(4)] == [True, True, False, False]
    assert counter.begin_wait(None)
    for _ in range(3):
        counter.end_wait()
    assert not counter.begin_wait(3)
    counter.after_fork()
    assert counter.begin_wait(2)


def test_requests_that_wait_leave_less_to_websockets(monkeypatch):
    monkeypatch.setattr(wsgi.Gateway, "_limit", lambda self, found: 1)
    with request_pair(monkeypatch) as pair:
        roster.begin_wait(2)
        try:
            with pytest.raises(wsgi.InvalidHandshake, match="1 connection"):
                wsgi.accept(make_environ(pair[1]))
        finally:
            roster.end_wait()
        with taken(pair):
            assert not roster.begin_wait(2)
            roster.end_wait()


def test_where_only_plain_http_works_an_upgrade_is_refused():
    environ = make_environ(None, **{wsgi_servers.HAS_FALLBACK: True})
    refusal = refusal_of(environ)
    assert refusal.response.status_code == 501
    with pytest.raises(wsgi.UnsupportedServer):
        wsgi.accept(make_environ(None))


def test_a_session_s_socket_is_none_of_a_server_s():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        given = wsgi_servers.Found(ours, lambda: b"", is_ours=True)
        assert wsgi_servers.find_server({wsgi_servers.GIVEN: given}) is given
        found = wsgi_servers.find_server({wsgi_servers.GIVEN: ours})
        assert (found.sock, found.is_ours, found.transport) == (ours, True, None)
