"""The benchmark runs, and says what is wrong with what it is asked; its figures aren't judged."""

import json
import pathlib
import subprocess
import sys

COMPARE = pathlib.Path(__file__).with_name("compare.py")
ROWS = ["server_roundtrip", "server_receive_1mib", "server_open", "client_receive", "client_send"]


def compare(*args):
    return subprocess.run(
        [sys.executable, COMPARE, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def test_every_row_gets_a_figure(tmp_path):
    out = tmp_path / "figures.json"
    choice = ["--impl", "syncws", "--only", ",".join(ROWS)]
    done = compare("--quick", "--rounds", "1", "--deadline", "20", *choice, "--json", str(out))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    content = json.loads(out.read_text())
    assert list(content["figures"]) == ROWS
    assert content["failures"] == {}
    for row in ROWS:
        assert content["figures"][row]["syncws"] > 0
        assert f"\n{row}: " in done.stdout  # as a row
        assert f"\n{row} " in done.stdout  # in the summary


def test_an_unknown_row_is_an_error():
    done = compare("--only", "server_roundtrip,client_dance")
    assert done.returncode == 2
    assert "no row is called 'client_dance'; there are server_roundtrip, " in done.stderr


def test_an_unknown_implementation_is_an_error():
    done = compare("--impl", "carrier-pigeon")
    assert done.returncode == 2
    assert "no implementation is called 'carrier-pigeon'; there are syncws, " in done.stderr


def test_zero_rounds_are_an_error():
    done = compare("--rounds", "0")
    assert done.returncode == 2
    assert "at least 1" in done.stderr
