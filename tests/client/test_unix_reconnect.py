"""Connecting to a Unix socket again and again."""

import pytest
from support.certificates import contexts
from support.serving import assert_works, echo

import syncws.client.reconnecting
from syncws import unix_reconnect, unix_serve


@pytest.fixture
def delays(monkeypatch):
    """The delays between attempts, of which none is waited for."""
    taken = []
    monkeypatch.setattr(
        syncws.client.reconnecting, "_pause", lambda stop, delay: taken.append(delay)
    )
    return taken


def test_a_server_that_was_started_again_is_found(tmp_path, delays):
    path = tmp_path / "ws"
    connections = unix_reconnect(path, "ws://example.com/chat", compression=None)
    for _ in range(2):
        with unix_serve(echo, path, origins=None):
            ws = next(connections)
            assert (ws.request.headers["Host"], ws.path) == ("example.com", "/chat")
            assert_works(ws)
    connections.close()
    assert delays == [0.0]


def test_a_socket_that_is_not_there_yet_is_looked_for_again(tmp_path, delays):
    with pytest.raises(FileNotFoundError):
        next(unix_reconnect(tmp_path / "ws", max_attempts=3, backoff=[1, 2, 3]))
    assert delays == [1, 2]


def test_what_reconnect_refuses_is_refused(tmp_path):
    with pytest.raises(TypeError, match="sock= can't be used"):
        unix_reconnect(tmp_path / "ws", sock=object())
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        unix_reconnect(tmp_path / "ws", nothing=1)


def test_with_a_context_it_asks_for_tls(tmp_path, delays):
    server_tls, client_tls = contexts()
    with unix_serve(echo, tmp_path / "ws", ssl=server_tls):
        connections = unix_reconnect(tmp_path / "ws", ssl=client_tls)
        ws = next(connections)
        assert ws.secure
        assert_works(ws)
        connections.close()
