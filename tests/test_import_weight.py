"""Importing the library, and using it, loads nothing but the standard library, without asyncio.

The library is copied to a place of its own and runs in an interpreter that sees that place and
the standard library, no site-packages and no environment.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "syncws"

IMPORT = "import syncws"

USE = """
import syncws

def echo(ws):
    for message in ws:
        ws.send(message)

with syncws.serve(echo, "localhost", 0) as server:
    ws = syncws.connect(server.uri)
    ws.send("hello")
    assert ws.recv(timeout=10) == "hello"
    ws.send(b"\\x00\\xff" * 1000)
    assert ws.recv(timeout=10) == b"\\x00\\xff" * 1000
    ws.close()
    assert ws.close_code == 1000
"""

# Every loaded module with its file, and the directory of the standard library.
REPORT = """
import json, os, sys
modules = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
print(json.dumps({"modules": modules, "stdlib": os.path.dirname(os.__file__)}))
"""


def run(place, program):
    """Run program, isolated, with place on sys.path; return what REPORT prints."""
    source = f"import sys\nsys.path.insert(0, {str(place)!r})\n{program}\n{REPORT}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", source],
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(PACKAGE, place / "syncws", ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.fixture(scope="module")
def imported(place):
    return run(place, IMPORT)


@pytest.fixture(scope="module")
def used(place):
    return run(place, USE)


def is_standard(name, file, stdlib):
    """Whether a loaded module is one of the standard library."""
    if name == "__main__":
        return True
    if sys.version_info >= (3, 10):
        # One tells, in Python 3.15, what isn't there; the other was for tests, before 3.13.
        others = {"_missing_stdlib_info", "_xxsubinterpreters"}
        return name.split(".")[0] in {*sys.stdlib_module_names, *others}
    if file is None:  # built in, or frozen
        return True
    path, root = pathlib.Path(file).resolve(), pathlib.Path(stdlib).resolve()
    return root in path.parents and "site-packages" not in path.parts


def foreign(report):
    """The loaded modules that are neither the library's nor the standard library's."""
    return sorted(
        name
        for name, file in report["modules"].items()
        if name.split(".")[0] != "syncws" and not is_standard(name, file, report["stdlib"])
    )


def test_importing_loads_only_the_standard_library(imported):
    assert foreign(imported) == []


def test_using_loads_only_the_standard_library(used):
    assert foreign(used) == []


def test_importing_and_using_load_no_asyncio(imported, used):
    assert "asyncio" not in imported["modules"]
    assert "asyncio" not in used["modules"]


@pytest.mark.parametrize("name", ["email", "ipaddress", "http.client", "ssl", "urllib"])
def test_importing_loads_nothing_large_that_few_programs_need(imported, name):
    assert name not in imported["modules"]


def test_check_sees_other_modules(place):
    (place / "foreign_module.py").write_text("")
    report = run(place, "import foreign_module, json.decoder, asyncio")
    assert foreign(report) == ["foreign_module"]
    assert "asyncio" in report["modules"]
