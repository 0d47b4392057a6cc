"""What header lines look like: for the parser, and for what takes a whole head apart."""

from __future__ import annotations

import re

__all__ = ["HEADER_LINE", "TOKEN"]

#: A token (RFC 9110 §5.6.2), for ``fullmatch``.
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

#: RFC 9112 §5. White space around the value is stripped later: a pattern would backtrack.
HEADER_LINE = re.compile(rf"({TOKEN.pattern}):([\t -~\x80-\xff]*)")
