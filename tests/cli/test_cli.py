"""The command line as a whole: help, versions, exit codes."""

import os
import subprocess
import sys

import pytest
from support.shell import DEADLINE, end, program, serving

import syncws
from syncws import cli
from syncws.cli.serve_command import echo


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "demo"),
        (["--help"], "demo"),
        (["demo", "--help"], "Ctrl-C stops it"),
        (["connect", "--help"], "ws://localhost:8765/"),
        (["--version"], f"syncws {syncws.__version__}\n"),
    ],
)
def test_it_explains_itself(capsys, args, text):
    try:
        status = cli.main(args)
    except SystemExit as exc:
        status = exc.code
    assert not status
    out, err = capsys.readouterr()
    assert text in out
    assert err == ""


@pytest.mark.parametrize(
    "args",
    [["dance"], ["connect"], ["demo", "--port", "65536"], ["demo", "--port", "x"]],
)
def test_wrong_arguments_end_with_status_2(capsys, args):
    with pytest.raises(SystemExit) as caught:
        cli.main(args)
    assert caught.value.code == 2
    assert "usage: python -m syncws" in capsys.readouterr().err


def test_the_program_ends_with_the_status_of_its_command():
    with program("connect", "http://localhost/") as process:
        status, err = end(process)
    assert status == 2
    assert err.startswith("syncws: 'http://localhost/' isn't")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
@pytest.mark.parametrize(("redirection", "status"), [(">&-", 0), (">/dev/full", 1)])
def test_output_that_can_not_be_written_is_no_traceback(redirection, status):
    with serving(echo) as uri:
        command = f'"{sys.executable}" -W error -m syncws connect {uri} {redirection}'
        ended = subprocess.run(
            command, shell=True, input="hello\n", capture_output=True, text=True, timeout=DEADLINE
        )
    assert ended.returncode == status
    assert "Traceback" not in ended.stderr
    assert ("syncws: can't go on: No space left on device\n" in ended.stderr) == bool(status)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_the_status_is_right_although_nothing_can_be_said():
    with open("/dev/full", "w") as full, program("connect", "x", stderr=full) as process:
        assert process.wait(DEADLINE) == 2
