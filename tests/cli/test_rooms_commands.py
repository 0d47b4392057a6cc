"""``publish`` and ``subscribe``: a hub's rooms from the shell."""

import contextlib
import re
import subprocess

import pytest
from support.redis_server import NEEDS_REDIS, RedisServer
from support.shell import end, interrupt, program
from support.snippets import free_port

from syncws import cli
from syncws.pubsub import Hub

pytestmark = NEEDS_REDIS


@pytest.fixture
def hub(redis_server):
    with Hub(redis_server.url) as hub:
        yield hub


@pytest.fixture
def room(hub, request):
    return hub.room(request.node.name)


@pytest.fixture
def publish(redis_server, room):
    def run(*args, options=()):
        return cli.main(["publish", "--hub", redis_server.url, *options, room.name, *args])

    return run


@pytest.fixture
def subscribe(redis_server, room):
    def run(*args):
        return cli.main(["subscribe", "--hub", redis_server.url, room.name, *args])

    return run


def messages(room):
    return [entry.message for entry in room.history()]


def test_arguments_are_messages(publish, room):
    assert publish("hello", "", "wörld €") == 0
    assert messages(room) == ["hello", "", "wörld €"]


def test_lines_are_messages(publish, room, typed):
    typed(b"first\n\nlast without an end")
    assert publish() == 0
    assert messages(room) == ["first", "", "last without an end"]


def test_binary_messages(publish, room, typed):
    assert publish("00 ff", "", options=["--binary"]) == 0
    typed(b"01\n0203\n")
    assert publish(options=["--binary"]) == 0
    assert messages(room) == [b"\x00\xff", b"", b"\x01", b"\x02\x03"]


def test_what_is_not_hexadecimal_is_said(publish, room, capsys, typed):
    typed(b"01\nxy\n02\n")
    assert publish(options=["--binary"]) == 2
    assert messages(room) == [b"\x01"]
    assert re.fullmatch(r"syncws: message 2 isn't hexadecimal: .*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("text", "error"),
    [("x" * (2**24 + 1), "message 1 can't be sent: .*"), ("\udc80", ".* isn't text .*")],
    ids=["too long", "no text"],
)
def test_what_can_not_be_sent_is_said(publish, room, capsys, text, error):
    assert publish(text) == 2
    assert messages(room) == []
    assert re.fullmatch(f"syncws: {error}\n", capsys.readouterr().err)


def test_the_environment_says_where_the_hub_is(redis_server, room):
    with program("publish", room.name, "hello", env={"SYNCWS_HUB": redis_server.url}) as process:
        assert end(process) == (0, "")
    assert messages(room) == ["hello"]


def test_messages_are_lines_that_are_safe_to_print(redis_server, room, subscribe, capsys):
    begin = room.publish("before")
    for message in ("hello", "a\tb\nc \x1b[31m", b"\x00\xff", ""):
        room.publish(message)
    assert subscribe("--since", str(begin), "--count", "4") == 0
    assert capsys.readouterr().out.splitlines() == [
        "hello",
        r"a\tb\nc \x1b[31m",
        "<2 bytes: 00 ff>",
        "",
    ]


def test_positions_are_where_to_go_on(room, subscribe, capsys):
    begin = room.publish("before")
    room.publish("first")
    room.publish("second")
    assert subscribe("--since", str(begin), "--positions", "--count", "1") == 0
    place, message = capsys.readouterr().out.rstrip("\n").split("\t")
    assert message == "first"
    assert subscribe("--since", place, "--count", "1") == 0
    assert capsys.readouterr().out == "second\n"


def test_messages_are_printed_as_they_come_until_ctrl_c(redis_server, room):
    begin = room.publish("before")
    with program("subscribe", "--hub", redis_server.url, "--since", str(begin), room.name) as it:
        for text in ("one", "two"):
            room.publish(text)
            assert it.stdout.readline() == f"{text}\n"
        assert interrupt(it) == (130, "")


def test_what_comes_before_it_listens_is_not_printed(redis_server, room):
    room.publish("before")
    with program("subscribe", "--hub", redis_server.url, "--count", "1", room.name) as process:
        while process.poll() is None:  # it needs some time until it listens
            room.publish("after")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        assert end(process) == (0, "")
        assert process.stdout.read() == "after\n"


def test_it_goes_on_when_the_hub_is_back(tmp_path):
    with RedisServer(tmp_path) as server, Hub(server.url) as hub:
        begin = hub.room("news").publish("before")
        arguments = ("--hub", server.url, "--since", str(begin), "--count", "2", "news")
        with program("subscribe", *arguments) as process:
            hub.room("news").publish("first")
            assert process.stdout.readline() == "first\n"
            server.stop()
            assert "can't be reached" in process.stderr.readline()
            server.start()
            hub.room("news").publish("second")
            assert process.stdout.readline() == "second\n"
            status, errors = end(process)
    assert status == 0
    assert re.fullmatch(r"hub is back after \S+ s\n", errors)


def test_messages_that_are_gone_are_said(subscribe, room, capsys):
    room.publish("there")
    assert subscribe("--since", "another/1-0-1") == 1
    assert capsys.readouterr().err == (
        "syncws: messages since that position are not there any more\n"
    )


def test_a_position_that_is_none(subscribe, capsys):
    with pytest.raises(SystemExit) as caught:
        subscribe("--since", "x")
    assert caught.value.code == 2
    assert "'x' isn't a position" in capsys.readouterr().err


def test_a_prefix_tells_hubs_apart(redis_server, room, publish, subscribe, capsys):
    with Hub(redis_server.url, prefix="other:") as hub:
        begin = hub.room(room.name).publish("before")
        assert publish("hello", options=["--prefix", "other:"]) == 0
        assert messages(hub.room(room.name)) == ["before", "hello"]
        assert messages(room) == []
        assert subscribe("--prefix", "other:", "--since", str(begin), "--count", "1") == 0
    assert capsys.readouterr().out == "hello\n"


def test_the_prefix_may_be_empty(redis_server, room, publish):
    assert publish("hello", options=["--prefix", ""]) == 0
    with Hub(redis_server.url, prefix="") as hub:
        assert messages(hub.room(room.name)) == ["hello"]


@pytest.mark.parametrize(
    ("prefix", "problem"),
    [("a{}:", "{} can't be in a prefix: 'a{}:'"), ("\udc80", "isn't text that can be sent")],
)
def test_a_prefix_that_is_none(publish, capsys, prefix, problem):
    with pytest.raises(SystemExit) as caught:
        publish("hello", options=["--prefix", prefix])
    assert caught.value.code == 2
    assert problem in capsys.readouterr().err


def test_a_cluster(redis_cluster, room, capsys):
    options = ("--hub", redis_cluster.url, "--prefix", "shell:")
    with Hub(redis_cluster.url, prefix="shell:") as hub:
        begin = hub.room(room.name).publish("before")
    assert cli.main(["publish", *options, room.name, "hello"]) == 0
    since = ("--since", str(begin), "--count", "1")
    assert cli.main(["subscribe", *options, room.name, *since]) == 0
    assert capsys.readouterr().out == "hello\n"


# --- hubs that can't be used -----------------------------------------------------

COMMANDS = [["publish", "room", "hello", "--timeout", "0"], ["subscribe", "room"]]


@pytest.mark.parametrize("command", COMMANDS, ids=["publish", "subscribe"])
class TestHubs:
    def test_nobody_there(self, command, capsys):
        url = f"redis://127.0.0.1:{free_port()}/0"
        assert cli.main([*command, "--hub", url]) == 3
        err = capsys.readouterr().err
        assert re.fullmatch(r"syncws: Redis can't be reached: .*refused.*\n", err)

    def test_wrong_password(self, command, redis_server, capsys):
        url = redis_server.url.replace("//", "//user:secret@")
        assert cli.main([*command, "--hub", url]) == 4
        err = capsys.readouterr().err
        assert re.fullmatch(r"syncws: Redis refuses: .*\n", err)
        assert "secret" not in err

    @pytest.mark.parametrize(
        "url",
        [
            "http://user:secret@host/",
            "redis://:secret@h:x/",
            "redis+cluster://user:secret@one:1,two:x/",
            "secret",
        ],
    )
    def test_url_that_is_none(self, command, url, capsys):
        assert cli.main([*command, "--hub", url]) == 2
        err = capsys.readouterr().err
        assert re.fullmatch(r"syncws: '.*' isn't a hub's URL, such as redis://.*\n", err)
        assert ("secret" in err) == (url == "secret")

    def test_none_at_all(self, command, capsys, monkeypatch):
        monkeypatch.delenv("SYNCWS_HUB", raising=False)
        assert cli.main(command) == 2
        assert capsys.readouterr().err == "syncws: which hub? Give --hub URL, or set SYNCWS_HUB\n"
        monkeypatch.setenv("SYNCWS_HUB", "")
        assert cli.main(command) == 2
