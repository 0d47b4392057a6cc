"""The version is in one file; whatever else needs it reads it there."""

import ast
import pathlib
import re

import syncws

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_the_metadata_reads_it_from_the_source():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in text
    assert 'version = { attr = "syncws.version.__version__" }' in text
    assert not re.search(r"^version = \"", text, re.M)


def test_the_source_has_it_as_a_literal():
    """So that it is read without importing the package, before the accelerator is built."""
    tree = ast.parse((ROOT / "syncws/version.py").read_text(encoding="utf-8"))
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
    }
    assert values["__version__"] == syncws.__version__


def test_it_is_the_changelog_s_first():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", text, re.M)[1] == syncws.__version__


def test_no_code_repeats_it():
    literal = re.compile(rf"[\"'/]{re.escape(syncws.__version__)}\b")
    files = [*(ROOT / "syncws").rglob("*.py"), *(ROOT / "syncws").rglob("*.[ch]")]
    found = [path.name for path in files if literal.search(path.read_text(encoding="utf-8"))]
    assert found == ["version.py"]
