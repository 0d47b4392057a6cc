"""What docs/shell.md says of the commands."""

import re
import sys

import pytest
from support.redis_server import needs_redis, redis_server
from support.shell import DEADLINE, program, terminate
from support.snippets import DOCS, block

import syncws
from syncws import cli
from syncws.pubsub import Position

__all__ = ["redis_server"]

PAGE = "shell"
TEXT = (DOCS / "shell.md").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@needs_redis
def test_shell_news(tmp_path, redis_server):
    (tmp_path / "news.py").write_text(block(PAGE, "news"), encoding="utf-8")
    arguments = ("serve", "news:handler", "--processes", "2", "--hub", redis_server.url)
    with program(*arguments, "--port", "0", cwd=tmp_path, patience=60) as process:
        process.stdout.readline()
        uri = process.stdout.readline().split()[-1]
        with syncws.connect(uri) as one, syncws.connect(uri) as two:
            one.send("begin")
            assert one.recv(DEADLINE) == "begin"  # it is a member by then
            two.send("hello")
            assert one.recv(DEADLINE) == "hello"
            with syncws.pubsub.Hub(redis_server.url) as hub:
                hub.room("news").publish("from outside")
            assert one.recv(DEADLINE) == "from outside"
            assert terminate(process) == (0, "")


def test_options_of_the_page_are_those_of_the_commands(capsys):
    for command in ("demo", "connect", "serve", "proxy", "run", "publish", "subscribe"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) - {"--help"} <= known


def test_positions_of_the_page_are_positions():
    found = re.findall(r"\b[0-9a-f]{16}/\S+", TEXT)
    assert found
    for text in found:
        assert str(Position.parse(text)) == text
