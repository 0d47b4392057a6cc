"""The seven steps of the tutorial, in both languages: their transcripts are played again."""

import signal

import pytest
from support.pairs import SOON
from support.redis_server import RedisServer, needs_redis
from support.snippets import block, free_port
from support.transcripts import Terminal, play, write_files

from syncws import connect


@pytest.fixture(params=["tutorial", "zh/tutorial"])
def perform(request, tmp_path):
    def perform(step, name, changes=()):
        if step[0] in "67":
            copy_rooms(tmp_path, request.param)
        play(f"{request.param}/{step}", name, tmp_path, changes)

    return perform


def copy_rooms(directory, folder="tutorial"):
    """Save the server of the fifth step under the name that the next ones give it."""
    (directory / "rooms.py").write_text(block(f"{folder}/5-rooms", "server"), encoding="utf-8")


def test_1_echo_session(perform):
    perform("1-echo", "session")


def test_1_echo_try(perform):
    perform("1-echo", "try")


def test_1_echo_nobody(perform):
    perform("1-echo", "nobody")


def test_2_messages_session(perform):
    perform("2-messages", "session")


def test_2_messages_mistake(perform):
    perform("2-messages", "mistake")


def test_2_messages_waiting(perform):
    perform("2-messages", "waiting")


def test_3_chat_waiting(perform):
    perform("3-chat", "waiting")


def test_3_chat_session(perform):
    perform("3-chat", "session")


def test_4_names_session(perform):
    perform("4-names", "session")


def test_4_names_strange(perform):
    perform("4-names", "strange")


def test_5_rooms_session(perform):
    perform("5-rooms", "session")


def test_6_lasting_session(perform):
    perform("6-lasting", "session")


def test_6_lasting_testing(perform):
    perform("6-lasting", "testing")


def test_6_lasting_server_stops_when_it_is_told_so(tmp_path):
    port = free_port()
    copy_rooms(tmp_path)
    write_files("tutorial/6-lasting", tmp_path, port)
    server = Terminal(["server.py"], tmp_path)
    try:
        server.expect("The server is running; Ctrl-C ends it.")
        with connect(f"ws://localhost:{port}/chat/garden") as ws:
            ws.send('{"name": "ann"}')
            assert "ann has come" in ws.recv(SOON)
            server.process.send_signal(signal.SIGTERM)
            assert ws.wait_closed(SOON)
            assert ws.close_code == 1012
        server.finish(anything=True)
    finally:
        server.kill()


@needs_redis
def test_7_servers_session(perform, tmp_path):
    pytest.importorskip("redis")
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as redis:
        changes = [("redis://localhost:6379", redis.url), ("8766", str(free_port()))]
        perform("7-servers", "session", changes)
