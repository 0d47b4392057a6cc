"""What the accelerator is built from: a file that is named nowhere is missing in the sdist."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "syncws" / "accel" / "csrc"


def includes(name):
    return re.findall(r'^#include "(.+)"$', (SOURCES / name).read_text(), re.MULTILINE)


def test_build_configuration_names_every_source():
    # Not by tomllib: older versions of Python have none.
    text = (ROOT / "pyproject.toml").read_text()
    (sources,) = re.findall(r"^sources = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
    (depends,) = re.findall(r"^depends = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
    assert re.findall('"(.+?)"', sources) == ["syncws/accel/csrc/speedups.c"]
    named = ["syncws/accel/csrc/speedups.c", *re.findall('"(.+?)"', depends)]
    there = [path.relative_to(ROOT).as_posix() for path in SOURCES.iterdir()]
    assert sorted(named) == sorted(there)


def test_unit_includes_every_source_once():
    there = [path.name for path in SOURCES.glob("*.c") if path.name != "speedups.c"]
    assert sorted(includes("speedups.c")) == sorted(there)


def test_headers_can_be_included_on_their_own():
    for path in SOURCES.glob("*.h"):
        text = path.read_text()
        guard = f"SYNCWS_{path.stem.upper()}_H"
        assert f"\n#ifndef {guard}\n#define {guard}\n" in text
        assert text.endswith("\n#endif\n")
        if path.name != "speedups.h":
            assert "speedups.h" in includes(path.name)
