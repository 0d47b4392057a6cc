#!/usr/bin/env python3
"""Measure how a server's speed grows with its connections, each of which has a thread.

    python tests/bench/scaling.py
    python tests/bench/scaling.py --python python3.13 --python python3.13t --rounds 5
    python tests/bench/scaling.py --only echo_64,json --connections 1,8 --check

Two builds of Python are compared, such as one with and one without the interpreter lock: the
second by the first. Install syncws in both, in the same way. What is measured:

- echo_1: texts of 64 bytes are echoed, one on its way on each connection;
- echo_64: the same with 64 on their way; the next are sent once all have come back;
- json: texts of 4 KiB are taken apart and made anew, eight on their way on each connection;
- broadcast: texts of 64 bytes on each connection, 64 at a time, are broadcast to all of them; those
  that arrive are counted.

The clients are a program of their own (driver.py), run by this Python. A single connection is
measured with server and clients on one CPU, so that the time says what the work of both costs;
several with all CPUs, which the clients use as well. With echo_1 these take about as much as the
server does.

The builds take turns in each round. Shown are the best round of each, in messages a second, the
ratio of these, and the median of the rounds' own ratios. Exit status 1: something couldn't be
measured, or with --check, a ratio is below its goal.
"""

import argparse
import contextlib
import os
import statistics
import sys

from children import Child, Failed, environment
from compare import OURS, allow_many_files, format_figure, measure_server, positive
from rows import Row

WORKLOADS = {
    "echo_1": {"work": "echo", "scenario": "echo_many", "count": 40_000},
    "echo_64": {"work": "echo", "scenario": "echo_many", "count": 300_000, "window": 64},
    "json": {"work": "json", "scenario": "echo_json", "count": 12_000, "window": 8, "size": 4096},
    "broadcast": {"work": "fanout", "scenario": "fanout_all", "count": 150_000, "window": 64},
}

#: How many times as fast the second build has to be on two CPUs or more, with as many connections
#: as are measured.
GOALS = {"echo_64": 1.8, "json": 1.8}

#: The same with one connection.
GOAL_OF_ONE = 0.95


class Build:
    """An interpreter with syncws.

    Raises:
        Failed: it has none.
    """

    def __init__(self, python, deadline):
        self._python = python
        self._env = environment(python)
        self._deadline = deadline
        with self.start("implementations.py", "check", OURS) as child:
            found = child.read()[OURS]
        if "missing" in found:
            raise Failed(found["missing"])
        self.name = found["python"] + ("" if found["lock"] else "t")
        lock = "with" if found["lock"] else "without"
        self.meaning = f"Python {self.name}, {lock} the lock: syncws {found['version']}"

    def start(self, script, *arguments):
        """Run a program: the driver by this Python, whatever the build."""
        python = sys.executable if script == "driver.py" else self._python
        return Child(script, *arguments, deadline=self._deadline, env=self._env, python=python)


def rows(names, numbers):
    """What is measured, one workload after the other, and the least that the ratio may be."""
    for name in names:
        for number in numbers:
            row = Row(name, name, unit="msg/s", connections=number, **WORKLOADS[name])
            goal = GOALS.get(name) if number == max(numbers) else None
            yield row, GOAL_OF_ONE if number == 1 else goal


def use_cpus(row, cpus):
    """Keep what is started from now on where the row is measured."""
    if cpus:
        os.sched_setaffinity(0, cpus[-1:] if row.connections == 1 else cpus)


def measure(row, build):
    """Messages a second."""
    found = measure_server(OURS, row, build.start)
    return found["count"] / found["seconds"]


def measure_rounds(row, builds, rounds):
    """The figures of each round, one for each build."""
    return [[measure(row, build) for build in builds] for _ in range(rounds)]


def ratios(rounds):
    """The ratio of the best rounds of two builds, and the median of the rounds' ratios."""
    first, second = map(max, zip(*rounds))
    return second / first, statistics.median(after / before for before, after in rounds)


def is_missed(goal, rounds):
    """Whether two builds were measured, and the ratio of their best rounds is below the goal."""
    return goal is not None and len(rounds[0]) == 2 and ratios(rounds)[0] < goal


# --- what is printed: a table in Markdown ------------------------------------------------


def format_head(builds):
    columns = ["", "connections", *(build.name for build in builds)]
    if len(builds) == 2:
        columns += ["ratio", "median", "goal"]
    return [format_line(columns), format_line(["---", *["---:"] * (len(columns) - 1)])]


def format_row(row, goal, rounds):
    columns = [row.name, row.connections, *(format_figure(max(each)) for each in zip(*rounds))]
    if len(rounds[0]) == 2:
        verdict = "" if goal is None else f"{goal} missed" if is_missed(goal, rounds) else goal
        columns += [*(f"{ratio:.2f}" for ratio in ratios(rounds)), verdict]
    return format_line(columns)


def format_line(columns):
    return f"| {' | '.join(map(str, columns))} |"


# --- the command -------------------------------------------------------------------


def workload_names(text):
    names = text.split(",")
    for name in names:
        if name not in WORKLOADS:
            raise argparse.ArgumentTypeError(
                f"no workload is called {name!r}; there are {', '.join(WORKLOADS)}"
            )
    return names


def numbers(text):
    return [positive(part) for part in text.split(",")]


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python", action="append", metavar="PATH", help="one or two; by default this one"
    )
    parser.add_argument("--only", type=workload_names, default=list(WORKLOADS), metavar="NAME,...")
    parser.add_argument("--connections", type=numbers, default=[1, 2, 4, 8], metavar="N,...")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N")
    parser.add_argument("--check", action="store_true", help="a goal that is missed is an error")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds for one measurement")
    parser.add_argument(
        "--quick", action="store_true", help="next to no work: figures that mean nothing"
    )
    options = parser.parse_args(arguments)
    options.python = options.python or [sys.executable]
    if len(options.python) > 2:
        parser.error("no more than two builds can be compared")
    return options


def run(options):
    """Measure and print; return whether all is well."""
    try:
        builds = [Build(python, options.deadline) for python in options.python]
    except (Failed, OSError) as exc:
        print(f"there is nothing to measure: {exc}")
        return False
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for build in builds:
        print(build.meaning)
    print(f"{os.cpu_count()} CPUs, {options.rounds} rounds\n")
    print("\n".join(format_head(builds)), flush=True)
    failures, missed = [], 0
    with contextlib.ExitStack() as stack:
        if cpus:
            stack.callback(os.sched_setaffinity, 0, cpus)
        for row, goal in rows(options.only, options.connections):
            use_cpus(row, cpus)
            row = row.scaled_down() if options.quick else row
            try:
                found = measure_rounds(row, builds, options.rounds)
            except Failed as exc:
                failures.append(f"{row.name} with {row.connections}: {exc}")
                continue
            print(format_row(row, goal, found), flush=True)
            missed += is_missed(goal, found)
    if failures or missed:
        print("\n" + "\n".join([*failures, *([f"goals missed: {missed}"] if missed else [])]))
    return not failures and not (missed and options.check)


def main(arguments=None):
    options = parse_arguments(arguments)
    allow_many_files()
    try:
        return 0 if run(options) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
