"""Every program of the documentation is run: by a test of its own, or by a transcript's."""

import pathlib
import re

import pytest
from support.snippets import DOCS, blocks
from support.transcripts import programs, transcripts

PAGES = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))
TESTS = "\n".join(
    path.read_text(encoding="utf-8") for path in pathlib.Path(__file__).parent.glob("test_*.py")
)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_name_and_a_test(page):
    names = [name for name, _ in blocks(page)]
    assert None not in names
    assert len(set(names)) == len(names)
    played = {program for name in transcripts(page) for program in programs(page, name)}
    prefix = re.sub(r"\W", "_", page.rpartition("/")[2])
    tested = [name for name in names if name not in played] + list(transcripts(page))
    tests = [f"def test_{prefix}_{name.replace('-', '_')}(" for name in tested]
    assert [test for test in tests if test not in TESTS] == []
