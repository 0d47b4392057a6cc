"""The head of an HTTP message, taken apart in one pass (RFC 9112 §2.1, §5)."""

from __future__ import annotations

import re
from typing import Union

from ..header_lines import HEADER_LINE

__all__ = ["Head", "split_head"]

#: All header lines of a head, one after the other. Where one can't be read, the second
#: alternative takes all the rest, so that the search never resumes within a line.
_HEADER_LINES = re.compile(rf"{HEADER_LINE.pattern}\r\n|.+", re.DOTALL)

#: Start line, fields, their values by lower-case name (a list of those that occur several times),
#: and how many bytes the head has.
Head = tuple[str, list[tuple[str, str]], dict[str, Union[str, list[str]]], int]


def split_head(data: bytes, limit: int, max_fields: int) -> Head | None:
    """Take a head apart if all of it is there, and its header lines are well-formed.

    Otherwise nothing is said about what is missing or wrong. The start line isn't looked at.

    Args:
        data: what was received.
        limit: bytes that the head may have, without its last four.
        max_fields: header lines that it may have.
    """
    end = data.find(b"\r\n\r\n")
    if not 0 <= end <= limit:
        return None
    start_line, _, lines = data[: end + 2].decode("latin-1").partition("\r\n")
    found = _HEADER_LINES.findall(lines)
    if "\n" in start_line or len(found) > max_fields or found[-1:] == [("", "")]:
        return None
    fields = [(name, value.strip(" \t")) for name, value in found]
    values: dict[str, str | list[str]] = {}
    for name, value in fields:
        key = name.lower()
        others = values.get(key)
        if others is None:
            values[key] = value
        elif isinstance(others, list):
            others.append(value)
        else:
            values[key] = [others, value]
    return start_line, fields, values, end + 4
