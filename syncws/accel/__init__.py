"""The hot loops, and the one place that chooses their implementation.

:mod:`syncws.accel.pure` has them in Python, and says what they do. ``csrc`` has them in C, which
is used if there was a compiler when the package was installed. Results and errors are identical:
the same tests hold both to that. With the environment variable ``SYNCWS_PURE`` set (to anything but
``0``) Python is used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .utf8 import Utf8Error, Utf8Validator

__all__ = [
    "IMPLEMENTATION",
    "Channel",
    "CompressorBudget",
    "Deflater",
    "FrameParser",
    "Inflater",
    "MessageQueue",
    "Utf8Error",
    "Utf8Validator",
    "WriteLock",
    "apply_mask",
    "serialize_frame",
    "serialize_messages",
    "split_head",
    "unattended",
]

#: Which implementation is in use: ``"c"`` or ``"pure"``.
IMPLEMENTATION = "pure"

if TYPE_CHECKING:
    from .pure import (
        Channel,
        CompressorBudget,
        Deflater,
        FrameParser,
        Inflater,
        MessageQueue,
        WriteLock,
        apply_mask,
        serialize_frame,
        serialize_messages,
        split_head,
        unattended,
    )
else:
    if os.environ.get("SYNCWS_PURE", "0") in ("", "0"):
        try:
            from ._speedups import (
                Channel,
                CompressorBudget,
                Deflater,
                FrameParser,
                Inflater,
                MessageQueue,
                WriteLock,
                apply_mask,
                forget_masking_keys,
                renew_turnstile,
                serialize_frame,
                serialize_messages,
                split_head,
                unattended,
            )
        except ImportError:  # there was no compiler
            pass
        else:
            IMPLEMENTATION = "c"
            if hasattr(os, "register_at_fork"):
                # After a fork both processes would use the same keys.
                os.register_at_fork(after_in_child=forget_masking_keys)
                os.register_at_fork(after_in_child=renew_turnstile)
    if IMPLEMENTATION == "pure":
        from .pure import (
            Channel,
            CompressorBudget,
            Deflater,
            FrameParser,
            Inflater,
            MessageQueue,
            WriteLock,
            apply_mask,
            serialize_frame,
            serialize_messages,
            split_head,
            unattended,
        )
