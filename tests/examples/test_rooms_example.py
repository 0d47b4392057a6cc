"""The example of rooms, in memory, and with two servers and a real Redis."""

import subprocess

import pytest
from support.examples import (
    EXAMPLES,
    Programs,
    commands,
    interrupt,
    needs_signals,
    outcome,
    read_until,
)
from support.pairs import SOON
from support.redis_server import RedisServer, needs_redis
from support.snippets import free_port

from syncws import connect


@pytest.fixture
def without_hub(monkeypatch):
    monkeypatch.delenv("HUB", raising=False)


@needs_signals
def test_rooms_in_memory(without_hub):
    with Programs() as programs:
        server, uri = programs.serve("rooms/server.py")
        ann = programs.start("rooms/client.py", "ann", "news", uri)
        assert read_until(ann, "here: ") == "here: ann"
        with connect(f"{uri}news") as eve:
            eve.send('{"name": "eve"}')
            assert eve.recv(SOON) == '{"here": ["ann", "eve"]}'
            eve.send("hello")
            assert read_until(ann, "eve") == "eve: hello"
        for wrong in ("hello", "{}", "[]", '{"name": "eve", "since": "nonsense"}'):
            with connect(f"{uri}news") as ws:
                ws.send(wrong)
                assert ws.wait_closed(SOON)
                assert ws.close_code == 1008
        assert interrupt(server) == ""
        read_until(ann, "no connection; trying again")
        assert interrupt(ann) == ""


@needs_signals
@needs_redis
def test_rooms_with_two_servers(tmp_path, monkeypatch):
    pytest.importorskip("redis")
    with RedisServer(tmp_path) as redis, Programs() as programs:
        monkeypatch.setenv("HUB", redis.url)
        port = str(free_port())
        first = programs.start("rooms/server.py", port)
        uri = first.stdout.readline().split()[2]
        _, other = programs.serve("rooms/server.py")
        ann = programs.start("rooms/client.py", "ann", "news", uri)
        assert read_until(ann, "here: ") == "here: ann"
        bob = programs.start("rooms/client.py", "bob", "news", other)
        assert read_until(bob, "here: ") == "here: ann, bob"
        publish(programs, "the bakery is open")
        for client in (ann, bob):
            read_until(client, "the bakery is open")
        assert interrupt(first) == ""
        read_until(ann, "no connection; trying again")
        lines = programs.start("rooms/publish.py", "news", stdin=subprocess.PIPE)
        published = outcome(lines, "bread: 3 euros\nrolls: 1 euro\n").splitlines()
        assert len(published) == 2
        assert all(line.startswith("published, position ") for line in published)
        read_until(bob, "rolls: 1 euro")
        second = programs.start("rooms/server.py", port)
        assert second.stdout.readline().split()[2] == uri
        assert ann.stdout.readline() == "bread: 3 euros\n"
        assert ann.stdout.readline() == "rolls: 1 euro\n"
        assert ann.stdout.readline() == "here: ann, bob\n"
        redis.command("FLUSHALL")
        publish(programs, "anything new?")
        assert "some messages are lost\n" in [bob.stdout.readline() for _ in range(2)]
        for program in (ann, bob):
            interrupt(program)
        second.terminate()
        assert "messages of room 'news' are lost" in second.communicate(timeout=SOON)[1]


def publish(programs, message):
    printed = outcome(programs.start("rooms/publish.py", "news", message))
    assert printed.startswith("published, position ")


def test_commands_of_the_readme_are_programs_of_the_example():
    words = [word for line in commands("rooms/README.md") for word in line.split()]
    names = {word for word in words if word.endswith(".py")}
    assert names == {path.name for path in (EXAMPLES / "rooms").glob("*.py")}
