"""Deflater: payloads in, compressed ones out (RFC 7692 §7.2.1); and the memory that this takes."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any, Callable

from ...locks import make_rlock

__all__ = ["CompressorBudget", "Deflater"]


class CompressorBudget:
    """Memory for the compressors of many connections: those that were used last keep theirs.

    A message never has to refer to those before it, so a compressor can be given back between any
    two, and a new one begun. Any thread may use it.

    Args:
        limit: bytes that they may take.

    Attributes:
        limit: the same.
        used: bytes that they take.
        count: how many there are.
        dropped: how many were given back for lack of room.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = self.count = self.dropped = 0
        # Guards all; for a few instructions. Re-entrant, as a signal handler may send; then it
        # may count one too many.
        self._lock = make_rlock()
        # By id, with their costs; the one that was used last is last. They leave as they end.
        self._deflaters: OrderedDict[int, tuple[int, Any]] = OrderedDict()

    def _use(self, deflater: Deflater) -> None:
        """Take note that a compressor is used; give others back if it is new."""
        with self._lock:
            if id(deflater) in self._deflaters:
                self._deflaters.move_to_end(id(deflater))
                return
            self._deflaters[id(deflater)] = deflater.cost, weakref.proxy(deflater)
            self.used += deflater.cost
            self.count += 1
            self._trim(deflater)

    def _trim(self, keep: Deflater | None) -> None:
        """Give compressors back until the others fit, but for one."""
        with self._lock:
            self._trim_locked(keep)

    def _trim_locked(self, keep: Deflater | None) -> None:
        while self.used > self.limit and self._deflaters:
            oldest = next(iter(self._deflaters))
            if oldest == id(keep):
                return
            self._deflaters[oldest][1]._object = None
            self._remove(oldest)
            self.dropped += 1

    def _remove(self, key: int) -> None:
        with self._lock:
            cost, _ = self._deflaters.pop(key, (0, None))
            if cost:
                self.used -= cost
                self.count -= 1


class Deflater:
    """Compresses the messages that a connection sends, one after the other.

    One thread at a time may compress; any may call :meth:`forget` meanwhile.

    Args:
        make: returns an object such as :func:`zlib.compressobj` does; called when it is needed.
        sync_flush: what its ``flush()`` is told.
        budget: whose memory it takes.
        cost: bytes of memory that an object takes.
        forgets: whether each message is compressed apart from those before.
    """

    __slots__ = ("__weakref__", "_budget", "_forgets", "_make", "_object", "_sync_flush", "cost")

    def __init__(
        self,
        make: Callable[[], Any],
        sync_flush: int,
        budget: CompressorBudget,
        cost: int,
        forgets: bool,
    ) -> None:
        self.cost = cost
        self._make = make
        self._sync_flush = sync_flush
        self._budget = budget
        self._forgets = forgets
        self._object: Any = None

    def deflate(self, data: bytes, fin: bool) -> bytes:
        """Return a frame's payload compressed.

        Args:
            data: the payload.
            fin: whether the message ends with it.
        """
        if not data:
            # An empty block, as nothing is what zlib makes of nothing (§7.2.3.6).
            compressed = b"\x00" if fin else b""
        else:
            compressor = self._object
            if compressor is None:
                compressor = self._object = self._make()
            self._budget._use(self)
            try:
                compressed = compressor.compress(data) + compressor.flush(self._sync_flush)
            except BaseException:
                self.forget()
                raise
            if fin:
                compressed = compressed[:-4]
        if fin and self._forgets:
            self.forget()
        self._budget._trim(None)
        return compressed

    def deflate_message(self, data: bytes) -> bytes | None:
        """Return a whole message compressed; ``None`` if it does not become smaller."""
        compressed = self.deflate(data, True)
        if len(compressed) < len(data):
            return compressed
        self.forget()  # the peer has not seen what it refers to
        return None

    def forget(self) -> None:
        """Refer to no message before the next one, and give the memory back."""
        self._object = None
        self._budget._remove(id(self))

    def __del__(self) -> None:
        self._budget._remove(id(self))
