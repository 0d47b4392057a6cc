"""The programs of docs/servers.md."""

import urllib.request

import pytest
from support.pairs import SOON
from support.serving import assert_works
from support.snippets import block, running_server

from syncws import InvalidStatus, connect

PAGE = "servers"


def test_servers_echo():
    with running_server(block(PAGE, "echo")) as (port, _):
        assert_works(connect(f"ws://localhost:{port}/"))


def test_servers_routes():
    with running_server(block(PAGE, "routes")) as (port, _):
        uri = f"ws://guest:secret@localhost:{port}/"
        with connect(f"{uri}chat/garden") as ws:
            assert ws.recv(SOON) == "hello guest, this is garden"
        refused = {
            f"ws://localhost:{port}/chat/garden": 401,
            f"{uri}nowhere": 404,
        }
        for each, status in refused.items():
            with pytest.raises(InvalidStatus) as info:
                connect(each)
            assert info.value.response.status_code == status
        request = urllib.request.Request(f"http://localhost:{port}/health")
        request.add_header("Authorization", "Basic Z3Vlc3Q6c2VjcmV0")
        with urllib.request.urlopen(request, timeout=SOON) as response:
            assert response.read() == b"fine\n"


def test_servers_rooms():
    with running_server(block(PAGE, "rooms")) as (port, _):
        uri = f"ws://localhost:{port}/rooms/"
        with connect(f"{uri}garden") as ann, connect(f"{uri}garden") as bob:
            bob.send("I am here")
            assert bob.recv(SOON) == "I am here"
            with connect(f"{uri}hall") as eve:
                ann.send("hello")
                assert bob.recv(SOON) == "hello"
                eve.send("anybody?")
                assert eve.recv(SOON) == "anybody?"
