"""Which implementation of deflate is used: the only place that chooses it.

zlib-ng (``pip install syncws[deflate]``) compresses messages of 2 KiB and more about twice as
fast as zlib and inflates them half as fast again, to about the same size. A connection that
sends compressed messages takes 160 KiB with it instead of 30, though.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["zlib"]


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
