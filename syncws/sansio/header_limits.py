"""How many bytes headers may have, before they are read."""

from __future__ import annotations

import sys

from ..exceptions import HeaderLineTooLong, TooManyHeaders
from .headers import Headers

__all__ = ["MAX_HEADER_SIZE", "check_headers", "header_limits", "too_many_bytes"]

#: Bytes in a request line, status line or header line, without CRLF, where nothing else is said.
MAX_HEADER_SIZE = 2**14

#: How many times as many all header lines of a message may have together.
ALL_HEADERS_FACTOR = 4


def header_limits(max_header_size: int | None) -> tuple[int, int]:
    """Return the bytes that one line of a head, and all its header lines, may have.

    Args:
        max_header_size: of one line; with ``None`` neither is limited.

    Raises:
        ValueError: it isn't positive.
    """
    if max_header_size is None:
        return sys.maxsize, sys.maxsize
    if max_header_size < 1:
        raise ValueError(f"max_header_size must be at least 1, got {max_header_size!r}")
    return max_header_size, max_header_size * ALL_HEADERS_FACTOR


def check_headers(headers: Headers, max_header_size: int | None) -> None:
    """Refuse headers that were parsed by somebody else, and are over the limits of our parsers.

    Raises:
        HeaderLineTooLong: one is.
        TooManyHeaders: all are together.
    """
    line_limit, limit = header_limits(max_header_size)
    sizes = [len(name) + 2 + len(value) for name, value in headers.raw_items()]
    if max(sizes, default=0) > line_limit:
        raise HeaderLineTooLong(f"a line has more than {line_limit} bytes")
    if sum(sizes) + 2 * len(sizes) > limit:
        raise too_many_bytes(limit)


def too_many_bytes(limit: int) -> TooManyHeaders:
    """Return the error for headers that have too many bytes together."""
    return TooManyHeaders(f"the headers have more than {limit} bytes")
