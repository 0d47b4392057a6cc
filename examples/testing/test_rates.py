"""Tests of rates.py: of the handler, of the client, and of the client when things go wrong."""

import threading

import pytest
import rates

from syncws.testing import pair, running, scripted_server


def answer(peer):
    peer.expect("USD")
    peer.send('{"rate": 1.5}')
    peer.expect_close(1000)


def cut(peer):
    peer.expect("USD")
    peer.send_part('{"rate": 1.5}', 5)
    peer.cut()


def be_silent(peer):
    peer.expect("USD")
    peer.stall()


def test_handler():
    with pair() as (client, server):
        handling = threading.Thread(target=rates.handle, args=(server,))
        handling.start()
        client.send("EUR")
        assert client.recv(timeout=5) == '{"name": "EUR", "rate": 1.0}'
        client.close()
        handling.join(5)


def test_client_and_server():
    with running(rates.handle) as server:
        assert rates.ask(server.uri, "USD") == 1.25
        with pytest.raises(LookupError, match="there is no XYZ"):
            rates.ask(server.uri, "XYZ")


@pytest.mark.parametrize("fault", [cut, lambda peer: peer.refuse(503)])
def test_client_asks_again(fault):
    with scripted_server(fault, answer) as server:
        assert rates.ask(server.uri, "USD") == 1.5


def test_client_does_not_wait_forever():
    with scripted_server(be_silent, answer) as server:
        assert rates.ask(server.uri, "USD", timeout=0.4) == 1.5


def test_client_gives_up():
    with scripted_server(cut, cut, cut) as server, pytest.raises(rates.Unavailable):
        rates.ask(server.uri, "USD")
