"""JSON in several lines, for people to read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ..foreign import UNSAFE

__all__ = ["pretty"]

#: Strings, brackets, colons and commas, and all else: numbers and names.
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')

#: Levels that are indented; deeper ones as the last of them. A short message may be so deep that
#: its indentation would fill the memory.
MAX_INDENTED = 32

OPENING, CLOSING = ("{", "["), ("}", "]")


def pretty(text: str) -> str | None:
    """Return JSON indented, safe to print; ``None`` if the text isn't JSON.

    Each token stays as it was written, and so does their order: numbers keep their digits, names
    that are there twice are there twice.
    """
    try:
        # Only whether it is valid counts. Numbers of any length are.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return UNSAFE.sub(_escape, "".join(_indented(TOKENS.findall(text))), 0)


def _indented(tokens: list[str]) -> Iterator[str]:
    depth, before = 0, ""
    for token in tokens:
        if token in CLOSING:
            depth -= 1
            if before not in OPENING:
                yield _new_line(depth)
        elif before == "," or before in OPENING:
            yield _new_line(depth)
        yield ": " if token == ":" else token
        depth += token in OPENING
        before = token


def _new_line(depth: int) -> str:
    return "\n" + "  " * min(depth, MAX_INDENTED)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} isn't JSON")


def _escape(found: re.Match[str]) -> str:
    return "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}"
