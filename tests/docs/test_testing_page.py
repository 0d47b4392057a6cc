"""The programs of docs/testing.md."""

import os
import re
import subprocess
import sys

from support.snippets import DOCS, PATIENCE, ROOT, Program, block, run

from syncws.testing import ClientPeer, ServerPeer

PAGE = "testing"


def test_testing_handler():
    assert run(block(PAGE, "handler")).splitlines() == ["HELLO", "/shout user=ann 1000"]


def test_testing_server():
    with Program(block(PAGE, "server")) as program:
        output, errors = program.process.communicate()
    assert output.splitlines()[:2] == ["welcome to the kitchen", "404"]
    assert output.splitlines()[2].startswith("the handler raised: unsupported operand")
    assert "connection handler failed" in errors  # in the log, too


def test_testing_client():
    lines = run(block(PAGE, "client")).splitlines()
    assert lines[:2] == ["fine", "ConnectionClosedError"]
    (shown,) = re.findall(r"\n```\n(connection 1: .*?)\n```", text(), re.S)
    assert lines[2:] == shown.splitlines()


def test_testing_faults():
    assert run(block(PAGE, "faults")).splitlines() == [
        "lost: the connection ended in the middle of a frame without a close frame",
        "['first', 'second']",
    ]


def test_testing_bad_client():
    with Program(block(PAGE, "bad-client")) as program:
        output, errors = program.process.communicate()
    assert (program.process.returncode, "Traceback" in errors) == (0, False)
    assert output.splitlines() == [
        "1009 (message too big) frame with 101 bytes exceeds the limit of 100 bytes",
        "Forbidden",
        "1002",
    ]


def test_testing_pytest(tmp_path):
    (tmp_path / "test_page.py").write_text(block(PAGE, "pytest"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_testing_unittest():
    with Program(block(PAGE, "unittest")) as program:
        _, errors = program.process.communicate()
    assert "Ran 2 tests" in errors
    assert errors.endswith("OK\n")


def test_steps_of_the_page_are_those_of_peers():
    steps = set(re.findall(r"`(\w+)\(", text()))
    steps -= {"pair", "running", "connect", "serve", "scripted_server", "scripted_client"}
    peers = {name for peer in (ServerPeer, ClientPeer) for name in dir(peer)}
    assert steps <= peers
    assert {name for name in dir(ServerPeer) if not name.startswith("_")} <= steps


def text():
    return (DOCS / f"{PAGE}.md").read_text(encoding="utf-8")
