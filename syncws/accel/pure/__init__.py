"""The hot loops in Python; ``csrc`` has them in C, in files of the same names.

=====================  =============================================================
``http_head``          the head of an HTTP message, taken apart
``masking``            masking payloads, and keys to mask with
``serializing``        messages in, frames out
``frame_header``       the rules that a frame's header must keep
``frame_parser``       bytes in, finished messages and frames out
``message_queue``      the messages that nobody has taken yet
``write_lock``         a re-entrant lock for writing to the socket
``inflating``          compressed payloads in, what they mean out
``deflating``          payloads in, compressed ones out; and the memory that takes
``channel``            base of a connection: receiving, the reading role, sending
=====================  =============================================================

``channel`` is one file here and six in C: most of what these do, reading from a descriptor and
writing to it, is done in C only. Text is checked by :mod:`syncws.accel.utf8`, which both
implementations use.
"""

from .channel import Channel, unattended
from .deflating import CompressorBudget, Deflater
from .frame_parser import FrameParser
from .http_head import split_head
from .inflating import Inflater
from .masking import apply_mask
from .message_queue import MessageQueue
from .serializing import serialize_frame, serialize_messages
from .write_lock import WriteLock

__all__ = [
    "Channel",
    "CompressorBudget",
    "Deflater",
    "FrameParser",
    "Inflater",
    "MessageQueue",
    "WriteLock",
    "apply_mask",
    "serialize_frame",
    "serialize_messages",
    "split_head",
    "unattended",
]
