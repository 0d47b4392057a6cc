"""The command line as a whole: help, versions, exit codes."""

import pytest
from support.shell import end, program

import syncws
from syncws import cli


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
