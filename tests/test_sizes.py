"""Sizes of the tests' own modules: what is longer than a reader follows is divided by behaviour."""

import pathlib

TESTS = pathlib.Path(__file__).parent
MOST_LINES = 600


def count_lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_module_of_tests_has_more_than_600_lines():
    sizes = {str(path.relative_to(TESTS)): count_lines(path) for path in TESTS.rglob("*.py")}
    assert "test_sizes.py" in sizes
    assert {name: size for name, size in sizes.items() if size > MOST_LINES} == {}
