"""Listening sockets for several processes."""

import socket

import pytest

from syncws.server import listeners
from syncws.server.inheriting import open_inherited
from syncws.server.listeners import listen_for_processes


def close(found):
    for sockets in found:
        for sock in sockets:
            sock.close()


@pytest.mark.skipif(not listeners.DIVIDES, reason="the system doesn't divide clients")
def test_each_process_has_sockets_of_its_own_on_the_same_port():
    found = listen_for_processes("localhost", 0, 3, backlog=5)
    every = [sock for sockets in found for sock in sockets]
    try:
        assert len(found) == 3
        assert len({sock.fileno() for sock in every}) == len(every)
        assert len({sock.getsockname()[1] for sock in every}) == 1
    finally:
        close(found)


def test_all_share_the_sockets_where_the_system_does_not_divide_clients(monkeypatch):
    monkeypatch.setattr(listeners, "DIVIDES", False)
    found = listen_for_processes("127.0.0.1", 0, 3, backlog=5)
    try:
        (one,) = found[0]
        assert found == [[one]] * 3
    finally:
        close(found)


def test_a_port_of_other_processes_is_taken():
    found = listen_for_processes("127.0.0.1", 0, 2, backlog=5)
    try:
        with pytest.raises(OSError, match="can't listen on 127"):
            listen_for_processes("127.0.0.1", found[0][0].getsockname()[1], 2, backlog=5)
    finally:
        close(found)


def test_none_is_left_if_one_can_not_be_had(monkeypatch):
    monkeypatch.setattr(listeners, "DIVIDES", True)
    made = []
    listen = listeners.listen

    def fail_at_last(*args, reuse_port=False, **kwargs):
        if len(made) == 2:
            raise OSError("no more")
        made.append(listen(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(listeners, "listen", fail_at_last)
    with pytest.raises(OSError, match="no more"):
        listen_for_processes("127.0.0.1", 0, 3, backlog=5)
    assert all(sock.fileno() == -1 for sockets in made for sock in sockets)


def test_inherited_sockets_are_not_passed_on():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.set_inheritable(True)
        (found,) = open_inherited([sock.fileno()])
        try:
            assert not found.get_inheritable()
            assert found.getsockname() == sock.getsockname()
        finally:
            found.detach()


def test_only_listening_sockets_are_inherited():
    with socket.socket() as sock, pytest.raises(ValueError, match="isn't a socket that listens"):
        open_inherited([sock.fileno()])
