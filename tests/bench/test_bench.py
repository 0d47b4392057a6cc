"""The benchmark runs, and says what is wrong with what it is asked; its figures aren't judged."""

import json
import pathlib
import subprocess
import sys

import pytest

COMPARE = pathlib.Path(__file__).with_name("compare.py")
ROWS = [
    "server_roundtrip",
    "server_receive_1mib",
    "server_fanout_100",
    "server_open",
    "client_receive",
    "client_send",
    "tls_server_roundtrip",
    "tls_server_fanout_100",
    "tls_server_open",
    "tls_client_receive",
    "tls_client_send_1mib",
    "deflate_server_echo",
    "deflate_server_receive",
    "deflate_client_roundtrip",
    "deflate_client_receive",
    "tls_deflate_client_receive",
]


def compare(*args):
    return subprocess.run(
        [sys.executable, COMPARE, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_crowd_passes_all_phases():
    crowd = [sys.executable, COMPARE.with_name("crowd.py"), "--impl", "syncws"]
    done = subprocess.run(
        [*crowd, "--connections", "20", "--idle", "0.5", "--keepalive", "0.2"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    phases = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert phases == ["open", "idle", "send", "broadcast", "vanish", "close"]
