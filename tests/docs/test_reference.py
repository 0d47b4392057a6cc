"""The reference is made from the docstrings, and is up to date."""

import inspect
import re
import subprocess
import sys

import pytest
from support.snippets import DOCS

import syncws

REFERENCE = DOCS / "reference"

#: The list of all names.
INDEX = (REFERENCE / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The files as they would be made now, by this Python."""
    directory = tmp_path_factory.mktemp("reference")
    command = [sys.executable, DOCS / "make_reference.py", directory]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.md")}


def test_it_is_up_to_date(made):
    committed = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md")}
    outdated = [name for name in {**made, **committed} if made.get(name) != committed.get(name)]
    assert not outdated, "run: python docs/make_reference.py"


def test_docstrings_leave_no_markup_behind(made):
    for name, text in made.items():
        assert re.findall(r":\w+:`|``", text) == [], name


@pytest.mark.parametrize("name", sorted({*syncws.__all__, *syncws._LAZY} - {"legacy", "styles"}))
def test_each_public_name_is_there(name):
    assert f"[`{name}`](" in INDEX


@pytest.mark.parametrize("name", syncws.__all__)
def test_each_docstring_says_first_what_it_does(name):
    value = getattr(syncws, name)
    if isinstance(value, (type, type(inspect))) or inspect.isroutine(value):
        first = inspect.getdoc(value).splitlines()[0]
        assert re.fullmatch(r"[A-Z`].*\.", first)
        assert not re.match(r"(This|The) (function|method|class)\b|Constructor\b", first)


@pytest.mark.parametrize("page", ["connections.md", "server.md", "client.md"])
def test_what_is_on_a_page_has_a_text(made, page):
    """A heading is followed by more than how it is called."""
    for part in re.split(r"^#{2,} ", made[page], flags=re.M)[1:]:
        texts = [line for line in part.splitlines()[1:] if line and not line.startswith("    ")]
        assert texts, part
