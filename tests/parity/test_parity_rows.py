"""Every row of the table of what tutorials have is named by a test of this directory.

A test has the rows that it is about in its name: ``test_M15_closing_...``, or several,
``test_M9_M10_...``. ``pytest -k parity`` runs all of them, ``pytest -k M15`` one row.
"""

import ast
import pathlib
import re

#: The rows, by the part of the table that their letter stands for: the first and the last.
TABLE = {
    "I": (1, 7),  # what WebSockets are good for
    "C": (1, 4),  # concerns
    "N": (1, 1),  # installing
    "S": (0, 22),  # serve()
    "K": (0, 19),  # connect()
    "P": (1, 4),  # sample programs
    "W": (1, 11),  # the server
    "E": (1, 25),  # exceptions
    "M": (1, 55),  # a connection
    "V": (1, 21),  # the server's connection
    "L": (1, 11),  # the client's connection
    "Q": (1, 26),  # ServerProtocol
    "R": (1, 13),  # ClientProtocol
    "F": (1, 10),  # functions
    "T": (0, 12),  # Tornado
    "X": (1, 1),  # ws4py
}

ROWS = {
    f"{letter}{number}"
    for letter, (first, last) in TABLE.items()
    for number in range(first, last + 1)
}

TEST = re.compile(r"test((?:_[A-Z][0-9]+)+)_[A-Za-z]")


def rows_of(name):
    """The rows in a test's name."""
    found = TEST.match(name)
    return found[1].split("_")[1:] if found else []


def named_rows(directory):
    """The rows in the names of a directory's tests, with the tests."""
    tests = {}
    for path in sorted(directory.glob("test_parity_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for row in rows_of(node.name):
                    tests.setdefault(row, []).append(f"{path.name}::{node.name}")
    return tests


def in_order(rows):
    return sorted(rows, key=lambda row: (list(TABLE).index(row[0]), int(row[1:])))


def test_the_table_has_245_rows():
    assert len(ROWS) == 245


def test_every_row_has_a_test():
    missing = ROWS - set(named_rows(pathlib.Path(__file__).parent))
    assert not missing, f"no test names {', '.join(in_order(missing))}"


def test_every_test_names_rows_of_the_table():
    tests = named_rows(pathlib.Path(__file__).parent)
    unknown = {row: tests[row] for row in tests if row not in ROWS}
    assert not unknown


def test_rows_are_found_in_names(tmp_path):
    (tmp_path / "test_parity_mine.py").write_text(
        "class TestMine:\n"
        "    def test_S0_M15_two_rows(self): ...\n"
        "def test_E10_PayloadTooBig(): ...\n"
        "def test_M15(): ...\n"
        "def helper_M16_of_tests(): ...\n"
        "def test_of_S1_something(): ...\n"
    )
    assert sorted(named_rows(tmp_path)) == ["E10", "M15", "S0"]
