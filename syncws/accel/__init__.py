"""The hot loops: the only place that chooses their implementation.

:mod:`~syncws.accel.pure` and :mod:`~syncws.accel.pure_channel` have them in Python, and say
what they do; ``_speedups.c`` has them in C, where a compiler was found when the package was
installed. Results and errors are identical: both are held to it by the same tests. With the
environment variable ``SYNCWS_PURE`` set (to anything but ``0``) Python is used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .pure import Utf8Error, Utf8Validator

__all__ = [
    "IMPLEMENTATION",
    "Channel",
    "FrameParser",
    "MessageQueue",
    "Utf8Error",
    "Utf8Validator",
    "WriteLock",
    "apply_mask",
    "serialize_frame",
    "serialize_messages",
]

#: Which implementation is in use: ``"c"`` or ``"pure"``.
IMPLEMENTATION = "pure"

if TYPE_CHECKING:
    from .pure import FrameParser, apply_mask, serialize_frame, serialize_messages
    from .pure_channel import Channel, MessageQueue, WriteLock
else:
    if os.environ.get("SYNCWS_PURE", "0") in ("", "0"):
        try:
            from ._speedups import (
                Channel,
                FrameParser,
                MessageQueue,
                WriteLock,
                apply_mask,
                forget_masking_keys,
                serialize_frame,
                serialize_messages,
            )
        except ImportError:  # there was no compiler
            pass
        else:
            IMPLEMENTATION = "c"
            if hasattr(os, "register_at_fork"):
                # After a fork both processes would use the same keys.
                os.register_at_fork(after_in_child=forget_masking_keys)
    if IMPLEMENTATION == "pure":
        from .pure import FrameParser, apply_mask, serialize_frame, serialize_messages
        from .pure_channel import Channel, MessageQueue, WriteLock
