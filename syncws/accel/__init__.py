"""The hot loops: the only place that chooses their implementation.

:mod:`~syncws.accel.pure` has them in Python. Whatever else implements them
gives identical results and errors, and is held to it by the same tests.
"""

from __future__ import annotations

from .pure import FrameParser, Utf8Error, Utf8Validator, apply_mask, serialize_frame

__all__ = [
    "IMPLEMENTATION",
    "FrameParser",
    "Utf8Error",
    "Utf8Validator",
    "apply_mask",
    "serialize_frame",
]

#: Which implementation is in use.
IMPLEMENTATION = "pure"
