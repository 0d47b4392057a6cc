"""The programs of docs/stand-in.md."""

from support.serving import serving
from support.snippets import block, run

PAGE = "stand-in"


def test_stand_in_install():
    with serving() as server:
        assert run(block(PAGE, "install"), server.port) == "hello\nTrue\n"


def test_stand_in_block():
    with serving() as server:
        assert run(block(PAGE, "block"), server.port) == "hello\nFalse\n"
