"""The rooms' benchmark runs, and can tell that something went wrong; its figures aren't judged."""

import pathlib
import subprocess
import sys

import pytest
from support.redis_server import needs_redis

PROGRAM = pathlib.Path(__file__).with_name("rooms.py")
FEW = ["--processes", "2", "--members", "12", "--rooms", "4", "--rate", "100", "--before", "0.2"]


def measure(*args):
    return subprocess.run(
        [sys.executable, PROGRAM, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def judge(import_program):
    """Judge one room with two members: what was published, what Redis has, what each got."""
    traffic = import_program("room_traffic")

    def judge(stream, *received, published=(), members=2):
        found = traffic.judge(
            {"one": [("room0", identity) for identity in published]},
            {"room0": list(stream)},
            {"room0": [(1, list(each)) for each in received]},
            {"room0": members},
        )
        return str(found), found.is_good

    return judge


def test_all_have_the_same(judge):
    assert judge("abc", "abc", "abc", published="ac") == (
        "0 lost, 0 double, 0 out of order",
        True,
    )


@pytest.mark.parametrize(
    ("stream", "received", "published", "verdict"),
    [
        ("abc", ("abc", "ac"), "abc", "1 lost, 0 double, 0 out of order"),
        ("abc", ("abc",), "abc", "3 lost, 0 double, 0 out of order"),
        ("abc", ("abc", "abbc"), "abc", "0 lost, 1 double, 0 out of order"),
        ("abc", ("abc", "acb"), "abc", "0 lost, 0 double, 1 out of order"),
        ("ab", ("ab", "ab"), "abc", "1 lost, 0 double, 0 out of order"),
        ("bac", ("bac", "bac"), "abc", "0 lost, 0 double, 1 out of order"),
        ("abb", ("ab", "ab"), "ab", "0 lost, 1 double, 0 out of order"),
        ("ab", ("ab", "abc"), "ab", "1 lost, 0 double, 0 out of order"),
    ],
)
def test_what_is_wrong_is_seen(judge, stream, received, published, verdict):
    assert judge(stream, *received, published=published) == (verdict, False)


@pytest.mark.parametrize(
    ("rate", "took", "verdict"),
    [
        (500, [1, 2, 3], True),
        (499, [1, 2, 3], False),
        (900, [1, 5, 3], False),
    ],
)
def test_rates_are_compared_with_the_best_peer(import_program, capsys, rate, took, verdict):
    rates = import_program("room_rates")
    figures = {
        "syncws": {"rate": rate, "took": took, "alone": 1, "work": 1},
        "one": {"rate": 100, "took": [4, 4, 4], "alone": 1, "work": 1},
        "two": {"rate": 50, "took": [9, 9, 9], "alone": 9, "work": 1},
    }
    best = {(10, name): row for name, row in figures.items()}
    assert rates.show_rates(best, list(figures), [10], 5) is verdict
    assert ("NOT GOOD" in capsys.readouterr().out) is not verdict


def test_an_unknown_scenario_is_an_error():
    pytest.importorskip("redis")
    done = measure("--scenarios", "calm,flood")
    assert done.returncode == 2
    assert "no scenario is called 'flood'; there are calm, restart, " in done.stderr


@needs_redis
@pytest.mark.slow
def test_members_have_everything():
    pytest.importorskip("redis")
    done = measure(*FEW, "--scenarios", "calm,restart,cut,killed,big", "--seconds", "0")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["calm", "restart", "cut", "killed", "big"]
    for line in lines:
        assert "0 lost, 0 double, 0 out of order" in line
        assert "good" in line


@needs_redis
@pytest.mark.slow
def test_it_fails_if_messages_are_lost():
    pytest.importorskip("redis")
    done = measure(*FEW, "--scenarios", "forgotten", "--seconds", "0")
    assert (done.returncode, done.stderr) == (1, ""), done.stdout
    assert "NOT GOOD" in done.stdout
    assert " 0 lost" not in done.stdout


@needs_redis
@pytest.mark.slow
def test_rates_are_shown():
    pytest.importorskip("redis")
    few = ["--seconds", "0.4", "--rounds", "1", "--window", "4", "--rate-members", "6"]
    choice = ["--impl", "syncws", "--receivers", "1,3", "--processes", "2", "--scenarios", ""]
    done = measure(*few, *choice)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if " syncws " in line]
    assert [row[0] for row in rows] == ["1", "3"]
