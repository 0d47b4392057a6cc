"""The programs of README.md: its server, and its client."""

from support.serving import assert_works, serving
from support.snippets import block, run, running_server

from syncws import connect

PAGE = "../README"


def test_readme_server():
    with running_server(block(PAGE, "server")) as (port, _):
        assert_works(connect(f"ws://localhost:{port}/"))


def test_readme_client():
    with serving() as server:
        assert run(block(PAGE, "client"), server.port) == "hello\n"
