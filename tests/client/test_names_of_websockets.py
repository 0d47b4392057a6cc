"""Arguments of connect() and reconnect() that websockets has under these names."""

import socket

import pytest
from support.peers import reserved_port
from support.serving import assert_works, serving

from syncws import connect, reconnect


def test_delays_may_have_the_name_that_websockets_has():
    with reserved_port() as port, pytest.raises(OSError, match="refused"):
        next(reconnect(f"ws://127.0.0.1:{port}/", reconnect_delays=[]))
    with pytest.raises(TypeError, match="give one of them"):
        next(reconnect("ws://localhost/", reconnect_delays=[], backoff=[]))


@pytest.mark.parametrize("legacy", [None, True])
def test_connecting_is_done_at_once_unless_it_is_asked_for_otherwise(legacy):
    with serving() as server:
        assert_works(connect(server.uri, legacy=legacy))


def test_what_is_not_connected_yet_connects_once_or_again_and_again():
    with serving() as server:
        connecting = connect(server.uri, legacy=False, compression=None, proxy=None)
        for _ in range(2):
            with connecting as ws:
                assert ws.extensions == []
                assert_works(ws)
            assert ws.close_code == 1000
        assert not server.stats().connections_opening
        connections = []
        for ws in connecting:
            assert_works(ws)
            connections.append(ws)
            if len(connections) == 3:
                break
        assert len(set(connections)) == 3
        assert server.stats().connections_accepted == 5


def test_what_is_not_connected_yet_takes_a_socket_for_one_connection_only():
    with serving() as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        connecting = connect(server.uri, sock=sock, legacy=False)
        with pytest.raises(TypeError, match="sock="):
            next(iter(connecting))
        with connecting as ws:
            assert_works(ws)
