"""The soak test itself works: see soak.py. A few seconds find few defects of the server."""

import pathlib
import signal
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).parent / "soak.py"
TIMEOUT = 50

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and prlimit"),
]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_a_short_run_passes():
    with start("--minutes", "0.12", "--connections", "40", "--seed", "1") as process:
        output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output.decode()
    assert output.endswith(b"verdict: passed\n")


def test_ctrl_c_ends_it_with_a_verdict():
    with start("--minutes", "5", "--connections", "20", "--report-interval", "2") as process:
        while not process.stdout.readline().startswith(b" "):
            pass  # up to the first report
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output.decode()
    assert b"interrupted\n" in output
