"""The tutorial is the same in both languages: the same programs, but for what people read."""

import ast
import itertools

import pytest
from support.snippets import DOCS
from support.transcripts import BLOCK, DIFF, FILE, LINE, read, transcripts

STEPS = sorted(path.stem for path in (DOCS / "tutorial").glob("*.md"))

#: What a line of a transcript begins with that isn't printed.
DONE = ("$ python", "» ", "^C", "^D", "...")


def programs(page, kind):
    return {m["name"]: m["text"] for m in FILE.finditer(read(page)) if m["kind"] == kind}


def assert_correspond(ours, theirs):
    """See that two syntax trees differ in texts only, where the second has Chinese ones."""
    assert type(ours) is type(theirs)
    if isinstance(ours, ast.JoinedStr):  # its texts may be anywhere between its values
        ours, theirs = (
            [part for part in tree.values if isinstance(part, ast.FormattedValue)]
            for tree in (ours, theirs)
        )
    if isinstance(ours, list):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs):
            assert_correspond(mine, other)
    elif isinstance(ours, ast.AST):
        for name in ours._fields:
            assert_correspond(getattr(ours, name), getattr(theirs, name))
    else:
        assert ours == theirs or (isinstance(ours, str) and not theirs.isascii())


def test_the_steps_are_the_same():
    assert {path.stem for path in (DOCS / "zh/tutorial").glob("*.md")} == set(STEPS)
    assert len(STEPS) == 7


@pytest.mark.parametrize("step", STEPS)
def test_the_blocks_have_the_same_names_and_order(step):
    for pattern in (FILE, BLOCK):
        ours, theirs = (
            [match["name"] for match in pattern.finditer(read(f"{folder}/{step}"))]
            for folder in ("tutorial", "zh/tutorial")
        )
        assert ours == theirs


@pytest.mark.parametrize("step", STEPS)
def test_changes_are_the_same(step):
    ours, theirs = (
        [match[0] for match in DIFF.finditer(read(f"{folder}/{step}"))]
        for folder in ("tutorial", "zh/tutorial")
    )
    assert ours == theirs


@pytest.mark.parametrize("step", STEPS)
def test_programs_differ_in_texts_only(step):
    ours, theirs = (
        programs(f"{folder}/{step}", "python") for folder in ("tutorial", "zh/tutorial")
    )
    for name, code in ours.items():
        assert_correspond(ast.parse(code), ast.parse(theirs[name]))


@pytest.mark.parametrize("step", STEPS)
def test_pages_for_browsers_differ_in_texts_only(step):
    ours, theirs = (programs(f"{folder}/{step}", "html") for folder in ("tutorial", "zh/tutorial"))
    for name, text in ours.items():
        pairs = itertools.zip_longest(text.splitlines(), theirs[name].splitlines())
        differing = [theirs for ours, theirs in pairs if ours != theirs]
        assert [line for line in differing if line is None or line.isascii()] == [
            '<html lang="zh-CN">'
        ]


@pytest.mark.parametrize("step", STEPS)
def test_transcripts_differ_in_texts_and_people_only(step):
    ours, theirs = transcripts(f"tutorial/{step}"), transcripts(f"zh/tutorial/{step}")
    assert ours.keys() == theirs.keys()
    for name, text in ours.items():
        people = {}
        pairs = itertools.zip_longest(text.splitlines(), theirs[name].splitlines())
        for our_line, their_line in pairs:
            mine, other = LINE.fullmatch(our_line), LINE.fullmatch(their_line)
            assert people.setdefault(mine["terminal"], other["terminal"]) == other["terminal"]
            for done in DONE:
                assert mine["text"].startswith(done) == other["text"].startswith(done)
