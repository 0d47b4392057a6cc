"""Which implementation of deflate is used: the only place that chooses it.

zlib-ng (``pip install syncws[deflate]``) takes a third of zlib's time for messages of 4 KiB at
level 1, to a result that is a fifth to a quarter larger; at level 2 it is a little faster than zlib
at level 1, and the result a little smaller. Inflating takes about half the time. Its compressor
takes a third more memory, and its inflater as much for a small window as for a large one.

isal can't take its place: its levels end at 3, and it refers further back than a window of 8 bits
allows (``tests/bench/compression.py`` measures all three).
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["compressor_size", "zlib"]


def _choose() -> Any:
    """Return zlib-ng's module where it is installed, and wanted, else zlib."""
    if os.environ.get("SYNCWS_PURE", "0") in ("", "0"):
        try:
            return importlib.import_module("zlib_ng.zlib_ng")
        except ImportError:
            pass
    return importlib.import_module("zlib")


#: The module in use: zlib, or one with the same functions.
zlib: Any = _choose()


def compressor_size(window_bits: int, memory_level: int, implementation: Any = zlib) -> int:
    """Return the bytes of memory that a compressor takes.

    zlib's are told by its zconf.h; zlib-ng's hash table has always the same size, and its memory
    for what is pending is a little larger. Some KiB come with any compressor.
    """
    if implementation.__name__ == "zlib":
        return (1 << (window_bits + 2)) + (1 << (memory_level + 9)) + (6 << 10)
    return (1 << (window_bits + 2)) + (1 << 17) + (5 << (memory_level + 6)) + (7 << 10)
