"""Which address others reach this machine by."""

import ipaddress
import socket

import pytest

from syncws.demo.own_address import find_own_address


def test_own_address_is_one_that_can_be_listened_on_or_there_is_none():
    address = find_own_address()
    if address is not None:
        assert not ipaddress.ip_address(address).is_loopback
        with socket.socket() as sock:
            sock.bind((address, 0))


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_loopback_is_of_no_use_to_others(monkeypatch, address):
    monkeypatch.setattr(socket.socket, "getsockname", lambda self: (address, 1))
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: None)
    assert find_own_address() is None


def test_machine_without_a_network_has_none(monkeypatch):
    def connect(self, address):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert find_own_address() is None
