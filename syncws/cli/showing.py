"""Text that is safe to print, whoever sent it."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from ..aliases import Data
from ..foreign import escape

__all__ = ["complain", "describe", "escape", "note", "settle", "show", "with_cause"]

#: Bytes of a binary message that are printed.
MAX_HEX = 32


def show(message: Data) -> str:
    """Return a message as a line that is safe to print."""
    if isinstance(message, str):
        return escape(message)
    more = "..." if len(message) > MAX_HEX else ""
    return f"<{len(message)} bytes: {message[:MAX_HEX].hex(' ')}{more}>"


def describe(exc: Exception) -> str:
    """Return what went wrong, without the error's number."""
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


def with_cause(exc: Exception) -> str:
    """Return what went wrong, and what caused that unless it says so already."""
    text, cause = str(exc), str(exc.__cause__ or "")
    return text if cause in text else f"{text} ({cause})"


def note(text: str) -> None:
    """Tell the person something, if they hear it; not on standard output: it is for messages."""
    try:
        print(escape(text), file=sys.stderr, flush=True)
    except OSError:
        settle(sys.stderr)


def settle(stream: TextIO) -> None:
    """Flush a stream, so that nothing is left that would fail, and change the status, at exit.

    Where it can't be flushed, the null device gets what is left and all that comes.
    """
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def complain(text: str, status: int = 1) -> int:
    """Say what went wrong, in one line, and return the exit status that says so too."""
    note(f"syncws: {text}")
    return status
