"""Type checkers accept the programs in ``right``, and find every mistake of those in ``wrong``.

Nothing runs these programs.
"""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from collections import defaultdict
from typing import Callable

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: Errors found, or expected: by file and line, the checker's names for them.
Errors = dict[tuple[str, int], set[str]]


def check(command: str, *arguments: str) -> str:
    """Run a type checker as the gate does, and return what it prints."""
    pytest.importorskip(command)
    done = subprocess.run(
        [sys.executable, "-m", command, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(folder: str) -> Errors:
    files = map(str, sorted((HERE / folder).glob("*.py")))
    output = check("mypy", "--strict", "--hide-error-context", "--no-color-output", *files)
    found: Errors = defaultdict(set)
    for line in output.splitlines():
        match = re.fullmatch(r"(.+?):(\d+): error: .*\[(\S+)\]", line)
        if match:
            path, number, code = match.groups()
            found[pathlib.Path(path).name, int(number)].add(code)
        else:
            assert ": error: " not in line, line
    return found


def pyright(folder: str) -> Errors:
    output = check("pyright", "--outputjson", str(HERE / folder))
    report = json.loads(output[output.index("{") :])
    assert report["summary"]["filesAnalyzed"] == len([*(HERE / folder).glob("*.py")])
    found: Errors = defaultdict(set)
    for error in report["generalDiagnostics"]:
        place = pathlib.Path(error["file"]).name, error["range"]["start"]["line"] + 1
        found[place].add(error["rule"])
    return found


def expected(folder: str, checker: int) -> Errors:
    """Return what the comments in the programs say."""
    found: Errors = {}
    for path in (HERE / folder).glob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            _, mark, names = line.partition("# expect: ")
            if mark:
                found[path.name, number] = set(names.split(" / ")[checker].split())
    return found


CHECKERS = [mypy, pyright]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_right_programs_pass(checker: Callable[[str], Errors]) -> None:
    assert checker("right") == {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_every_mistake_is_found(checker: Callable[[str], Errors]) -> None:
    wanted = expected("wrong", CHECKERS.index(checker))
    assert len(wanted) > 20
    found = checker("wrong")
    assert sorted(found) == sorted(wanted)
    for place, names in wanted.items():
        assert names <= found[place], place
