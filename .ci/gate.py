"""Run the steps of the gate, a few side by side, and print a summary: see .ci/run.

Each step has a copy of the tree for itself, so that none sees what another builds or measures.
Every step runs, also after one that failed; the gate fails if any did. Of a suite that fails,
the tests that failed run once more: one that passes then is reported as flaky, and fails the
gate like any other.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

WORK = pathlib.Path(sys.argv[1])
TREE = WORK / "tree"

#: Steps at a time, on two cores: tests wait about as much as they compute.
SIDE_BY_SIDE = 3

#: Seconds after which a step is ended, as one that hangs, and that it then has to say more.
LIMIT = 1800
GRACE = 60

#: Options of pytest for the tests that failed just now.
AGAIN = ["--last-failed", "--last-failed-no-failures=none"]

FAILED = re.compile(r"^(?:FAILED|ERROR) ((tests/.+?)(?: - .*)?)$", re.MULTILINE)
SUMS = re.compile(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+) in [\d.]+s", re.MULTILINE)
SKIPPED = re.compile(r"^(?:\w+: )?skipped: ", re.MULTILINE)


@dataclasses.dataclass
class Step:
    """A command that must succeed, in a copy of the tree."""

    title: str
    command: list[str]
    again: list[str] | None = None  # runs the tests that failed, and no others
    install: list[str] | None = None  # where this fails, the step is skipped
    after: Step | None = None  # this one is over before, whether or not it failed
    result: str = "FAILED"
    output: str = ""
    tests: list[str] = dataclasses.field(default_factory=list)  # that failed, and how
    seconds: float = 0.0
    over: threading.Event = dataclasses.field(default_factory=threading.Event)

    def run(self) -> None:
        """Run the command; keep what it printed and how it ended."""
        if self.after:
            self.after.over.wait()
        start = time.monotonic()
        try:
            self._run()
        except Exception as exc:  # the others go on
            self.output += f"\n{exc!r}"
        finally:
            self.seconds = time.monotonic() - start
            self.over.set()

    def _run(self) -> None:
        directory = WORK / re.sub(r"\W+", "-", self.title)
        shutil.copytree(TREE, directory, symlinks=True)
        if self.install and self._call(self.install, directory):
            self.result = "skipped"
        elif not self._call(self.command, directory):
            self.result = "skipped" if SKIPPED.search(self.output) else "ok"
        elif self.again and (failed := FAILED.findall(self.output)):
            self.output += "\n--- once more, those that failed\n"
            before = len(self.output)
            self._call(self.again, directory)
            still = {test for _, test in FAILED.findall(self.output[before:])}
            self.tests = [
                f"{'failed' if test in still else 'flaky'}: {line}" for line, test in failed
            ]
        shutil.rmtree(directory, ignore_errors=True)

    def _call(self, command: list[str], directory: pathlib.Path) -> int:
        env = dict(os.environ)
        if self.after and self.after.result == "ok":
            env["SYNCWS_REQUIRE_PEERS"] = "1"  # they are there: no test may be skipped
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # pytest shows what has failed by then
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=GRACE)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            self.output += f"{output}\n--- ended after {LIMIT} s\n"
            return process.returncode or 1
        self.output += output
        return process.returncode


def tox(environment: str, *args: str) -> list[str]:
    """The command that runs an environment of tox.ini."""
    return [f"{WORK}/tools/bin/tox", "run", "-q", "-e", environment, *args]


def check(title: str, environment: str) -> Step:
    """A step that runs an environment of tox.ini, if it has that one."""
    if f"[testenv:{environment}]" not in (TREE / "tox.ini").read_text(encoding="utf-8"):
        return Step(title, ["echo", f"skipped: tox.ini has no environment {environment}"])
    return Step(title, tox(environment))


def suite(title: str, environment: str, **kwargs) -> Step:
    """A step that runs the tests of an environment of tox.ini."""
    again = tox(environment, "--skip-pkg-install", "--", *AGAIN)
    return Step(title, tox(environment), again, **kwargs)


def core(version: str) -> Step:
    """A step that runs the tests that a version makes a difference to, if it is there."""
    title = f"tests of threads and codec on {version}"
    if not shutil.which(f"python{version}"):
        return Step(title, ["echo", f"skipped: there is no Python {version}"])
    return suite(title, f"py{version.replace('.', '')}-core")


def all_steps() -> list[Step]:
    """All steps. Those that take longest come first, so that both cores are busy to the end."""
    programs = Step("programs of others", [".ci/programs"])
    return [
        programs,
        Step(
            "README: tests, with coverage",
            [".ci/readme_tests"],
            again=[".venv/bin/python", "-m", "pytest", *AGAIN],
        ),
        suite("tests on 3.9", "py39"),
        suite("tests on 3.13", "py313"),
        suite("tests without a compiler", "no-compiler"),
        suite("tests that take long or drive programs of others", "long", after=programs),
        check("sanitizers", "sanitize"),
        check("conformance", "conformance"),
        suite("stress: threads that switch all the time", "stress"),
        *(core(version) for version in ("3.10", "3.12", "3.14", "3.15")),
        suite("packages of others", "packages", install=tox("packages", "--notest")),
        check("documentation", "docs"),
        check("types", "types"),
        Step("README: main job", [sys.executable, ".ci/readme_main.py"]),
        check("wheel and sdist", "build"),
        check("lint", "lint"),
    ]


def show(step: Step) -> None:
    """Print what a step printed."""
    print(f"\n=== {step.title}\n{step.output.strip()}")
    print(f"--- {step.title}: {step.result} ({step.seconds:.0f} s)", flush=True)


def count(steps: list[Step], outcome: str) -> int:
    """The sum of an outcome in the last lines of all runs of pytest."""
    lines = [line for step in steps for line in SUMS.findall(step.output)]
    return sum(int(n) for line in lines for n in re.findall(rf"(\d+) {outcome}", line))


def main() -> int:
    """Run all steps; return the exit status."""
    start = time.monotonic()
    steps = all_steps()
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        running = {pool.submit(step.run): step for step in steps}
        for future in concurrent.futures.as_completed(running):
            show(running[future])

    print(f"\n=== summary ({time.monotonic() - start:.0f} s)")
    for step in steps:
        print(f"{step.result:8} {step.seconds:5.0f} s  {step.title}")
        for test in step.tests:
            print(f"{'':17}{test}")
    failed = sum(len(step.tests) or 1 for step in steps if step.result == "FAILED")
    print(f"{count(steps, 'passed')} passed, {failed} failed, {count(steps, 'skipped')} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
