"""Docstrings in parts: text, code, tables, and the sections of Google's style."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["parts", "table"]

#: Lines that begin a section.
SECTION = re.compile(r"(Args|Attributes|Raises[^.:]*|Returns|Yields):")

#: A line of a table, above and below its head and at its end.
RULE = re.compile(r" *=+(?: +=+)+")


def parts(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the parts of a docstring: what each is, and its lines.

    It is ``"text"``, ``"code"`` (indented), ``"table"``, or the name of a section.
    """
    lines = text.splitlines()
    collected: list[str] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        kind = None
        if SECTION.fullmatch(line):
            kind = line[:-1]
        elif line.endswith("::"):
            kind = "code"
            if line != "::":
                collected.append(line[:-1])
        elif RULE.fullmatch(line):
            kind = "table"
            position -= 1
        else:
            collected.append(line)
        if kind is not None:
            yield "text", collected
            collected = []
            end = position
            while end < len(lines) and _belongs(lines[end], kind):
                end += 1
            yield kind, lines[position:end]
            position = end
    yield "text", collected


def _belongs(line: str, kind: str) -> bool:
    """Tell whether a line goes on with a part of this kind."""
    return bool(line.strip()) if kind == "table" else not line or line.startswith(" ")


def table(lines: list[str]) -> list[list[str]]:
    """Return the rows of a table, the head first; its cells are empty if there is none."""
    rules = [number for number, line in enumerate(lines) if RULE.fullmatch(line)]
    starts = [match.start() for match in re.finditer("=+", lines[0])]
    columns = [slice(*ends) for ends in zip(starts, [*starts[1:], None])]
    rows: list[list[str]] = [] if len(rules) > 2 else [[""] * len(columns)]
    for line in lines:
        cells = [line[column].strip() for column in columns]
        if line in (lines[number] for number in rules):
            continue
        if cells[0]:
            rows.append(cells)
        else:  # it goes on with the row above
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells)]
    return rows
