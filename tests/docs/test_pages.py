"""Every program of README and docs is run, by a test of its own or a transcript's.

And all links lead somewhere: theirs, and those of the other pages in Markdown.
"""

import pathlib
import pydoc
import re
from collections import Counter

import pytest
from support.snippets import DOCS, ROOT, blocks
from support.transcripts import programs, transcripts

PAGES = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))
PAGES.append("../README")
LINKING = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
)
TESTS = "\n".join(
    path.read_text(encoding="utf-8") for path in pathlib.Path(__file__).parent.glob("test_*.py")
)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_name_and_a_test(page):
    names = [name for name, _ in blocks(page)]
    assert None not in names
    assert len(set(names)) == len(names)
    played = {program for name in transcripts(page) for program in programs(page, name)}
    prefix = re.sub(r"\W", "_", page.rpartition("/")[2]).lower()
    tested = [name for name in names if name not in played] + list(transcripts(page))
    tests = [f"def test_{prefix}_{name.replace('-', '_')}(" for name in tested]
    assert [test for test in tests if test not in TESTS] == []


#: A link to a file, to a heading of a file, or to a heading of the same page.
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    seen = Counter()
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        anchor = re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1


@pytest.mark.parametrize("page", LINKING)
def test_links_lead_somewhere(page):
    path = ROOT / page
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for file, anchor in LINK.findall(text):
        target = path if not file else (path.parent / file).resolve()
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


@pytest.mark.parametrize("page", LINKING)
def test_help_has_what_pages_say_it_has(page):
    for name in re.findall(r"`help\(([\w.]+)\)`", (ROOT / page).read_text(encoding="utf-8")):
        assert pydoc.locate(name) is not None, name
