"""The benchmark of the fallback."""

import pathlib
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).with_name("fallback.py")

pytestmark = pytest.mark.once


def measure(*arguments):
    command = [sys.executable, "-W", "error", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_unknown_transports_are_told():
    done = measure("--impl", "polling,pigeons")
    assert done.returncode == 2
    assert "nothing is called 'pigeons'; there are websocket, " in done.stderr


@pytest.mark.slow
def test_figures_are_shown():
    done = measure("--impl", "websocket,streaming,polling", "--seconds", "0.2", "--rounds", "1")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["websocket", "streaming", *["polling"] * 2]
    assert all(line.endswith("/s") for line in lines[1:4])
    assert "polling            1000 sessions: opened in " in lines[4]
