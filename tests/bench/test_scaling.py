"""The measurement of scaling runs, and its verdict depends on the figures; those aren't judged."""

import sys

import pytest

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def scaling(import_program):
    return import_program("scaling")


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
def test_every_workload_gets_figures_and_ratios(scaling, capsys):
    builds = ["--python", sys.executable] * 2
    assert scaling.main([*builds, "--quick", "--rounds", "2", "--connections", "1,3"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert cells(lines[0])[:2] == ["", "connections"]
    table = [cells(line) for line in lines[2:]]
    assert [row[:2] for row in table] == [
        [name, number] for name in scaling.WORKLOADS for number in ("1", "3")
    ]
    for row in table:
        assert all(float(cell.replace(",", "")) > 0 for cell in row[2:6])


@pytest.mark.slow
@pytest.mark.parametrize(("goal", "status"), [(0.0, 0), (1e9, 1)])
def test_with_check_a_missed_goal_is_an_error(scaling, monkeypatch, capsys, goal, status):
    monkeypatch.setattr(scaling, "GOAL_OF_ONE", goal)
    builds = ["--python", sys.executable] * 2
    choice = ["--only", "echo_64", "--connections", "1", "--rounds", "1"]
    assert scaling.main([*builds, "--quick", *choice, "--check"]) == status
    assert ("goals missed: 1" in capsys.readouterr().out) == bool(status)
    if status:
        assert scaling.main([*builds, "--quick", *choice]) == 0


def test_the_verdict_is_on_the_best_rounds(scaling):
    rounds = [(100.0, 150.0), (50.0, 175.0), (80.0, 100.0)]
    assert scaling.ratios(rounds) == (1.75, 1.5)
    assert scaling.is_missed(1.8, rounds)
    assert not scaling.is_missed(1.75, rounds)
    assert not scaling.is_missed(None, rounds)
    assert not scaling.is_missed(1.8, [(100.0,)])


def test_goals_are_for_one_connection_and_for_the_most(scaling):
    goals = {(row.name, row.connections): goal for row, goal in scaling.rows(["json"], [1, 2, 8])}
    assert goals == {("json", 1): 0.95, ("json", 2): None, ("json", 8): 1.8}


def test_a_build_without_the_library_cannot_be_measured(scaling, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "environment", lambda python: {})
    assert scaling.main(["--python", "/no/such/python"]) == 1
    assert "there is nothing to measure: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--python", "a", "--python", "b", "--python", "c"], "no more than two builds"),
        (["--only", "echo_2"], "no workload is called 'echo_2'; there are echo_1, "),
        (["--connections", "1,0"], "at least 1"),
    ],
)
def test_wrong_arguments_are_errors(scaling, capsys, arguments, complaint):
    with pytest.raises(SystemExit) as caught:
        scaling.main(arguments)
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err
