"""Test the chat without a network: pytest test_server.py."""

import pytest
from server import sock

from syncws import InvalidStatus


def test_strangers_are_refused():
    with pytest.raises(InvalidStatus) as info:
        sock.test_client().connect("/chat")
    assert info.value.response.status_code == 401


def test_users_hear_each_other():
    ann, bob = sock.test_client(), sock.test_client()
    ann.post("/login", data={"name": "ann"})
    bob.post("/login", data={"name": "bob"})
    with ann.connect("/chat") as hers, bob.connect("/chat") as his:
        his.send("hello")
        assert his.recv(timeout=5) == "bob: hello"
        hers.send("hello, bob")
        assert his.recv(timeout=5) == "ann: hello, bob"
