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


NEEDS_FULL_DEVICE = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")


@NEEDS_FULL_DEVICE
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


CLOSED_STREAMS = ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- 2>&-", "<&- >&-", "<&- >&- 2>&-"]


def run(arguments, redirection):
    command = f'exec "{sys.executable}" -W error -m syncws {arguments} {redirection}'
    return subprocess.run(
        command, shell=True, input="hello\n", capture_output=True, text=True, timeout=DEADLINE
    )


@pytest.mark.parametrize("trace", ["", "--trace"])
@pytest.mark.parametrize("closed", CLOSED_STREAMS)
def test_nothing_takes_the_place_of_a_stream_that_is_closed(closed, trace):
    seen = []

    def handler(ws):
        for message in ws:
            seen.append(message)
            ws.send(message)

    with serving(handler) as uri:
        ended = run(f"connect {trace} {uri}", closed)
    assert ended.returncode == 0
    assert seen == ([] if "<" in closed else ["hello"])
    assert ended.stdout == ("hello\n" if seen and " >" not in f" {closed}" else "")
    if "2>" in closed:
        assert ended.stderr == ""
    else:
        assert "Connection closed: 1000" in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("closed", CLOSED_STREAMS)
@pytest.mark.parametrize(
    "arguments", ["connect x", "dance", "serve echo --host 192.0.2.1", "proxy x"]
)
def test_the_status_is_right_although_streams_are_closed(arguments, closed):
    ended = run(arguments, closed)
    assert ended.returncode == (1 if "serve" in arguments else 2)
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", [["serve", "echo"], ["demo"], ["proxy", "ws://localhost:9/"]])
def test_servers_run_although_streams_are_closed(command):
    arguments = " ".join([*command, "--port", "0"])
    shell = f'exec "{sys.executable}" -W error -m syncws {arguments} <&- 2>&-'
    with subprocess.Popen(shell, shell=True, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert "Ctrl-C stops it" in process.stdout.readline()
            numbers = {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (0, 2)}
        finally:
            process.kill()
    assert numbers == {os.devnull}


@NEEDS_FULL_DEVICE
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["connect", "x"], ["dance"]])
def test_the_status_is_right_although_nothing_can_be_said(arguments, unbuffered):
    env = {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full, program(*arguments, stderr=full, env=env) as process:
        assert process.wait(DEADLINE) == 2


@NEEDS_FULL_DEVICE
def test_help_that_nobody_gets_is_no_success():
    env = {"PYTHONUNBUFFERED": ""}
    with open("/dev/full", "w") as full, program("--help", stdout=full, env=env) as process:
        assert process.wait(DEADLINE) == 1
        assert process.stderr.read() == "syncws: can't go on: No space left on device\n"
