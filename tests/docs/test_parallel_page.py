"""The programs of docs/parallel.md, and its figures."""

import sys

from support.snippets import DOCS, block, free_port, run

PAGE = "parallel"
TEXT = (DOCS / "parallel.md").read_text(encoding="utf-8")


def test_parallel_lock():
    has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    expected = "one thread at a time" if has_lock else "threads run in parallel"
    assert run(block(PAGE, "lock")) == f"{expected}\n"


def test_parallel_shared():
    output = run(block(PAGE, "shared"), free_port())
    assert output == "1000 1000\n"
    assert f"`{output.strip()}`" in TEXT


def test_figures_are_those_of_the_program():
    tables = [line for line in TEXT.splitlines() if line.startswith("| ")]
    rows = [line for line in tables if line.startswith(("| echo_", "| json ", "| broadcast "))]
    assert len(rows) == 16
    assert all(line.count("|") == 8 for line in rows)
