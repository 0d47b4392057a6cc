"""Masking payloads (RFC 6455 §5.3), and keys to mask with."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, Union

__all__ = ["apply_mask"]

BytesLike = Union[bytes, bytearray, memoryview]

#: Large payloads are masked in blocks of this size, so that the integers stay in the cache.
MASK_BLOCK = 1 << 13


def apply_mask(data: BytesLike, key: bytes) -> bytes:
    """Return ``data`` masked, or unmasked, with a key of 4 bytes (RFC 6455 §5.3).

    Raises:
        TypeError: the data isn't bytes.
        ValueError: the key doesn't have 4 bytes.
    """
    if len(key) != 4:
        raise ValueError(f"a masking key has 4 bytes, got {len(key)}")
    data = as_bytes(data)
    size = len(data)
    if size < 2 * MASK_BLOCK:
        return _xor(data, key, size)
    mask = int.from_bytes(key * (MASK_BLOCK // 4), "little")
    view, end = memoryview(data), size - size % MASK_BLOCK
    blocks = []
    for start in range(0, end, MASK_BLOCK):
        block = int.from_bytes(view[start : start + MASK_BLOCK], "little") ^ mask
        blocks.append(block.to_bytes(MASK_BLOCK, "little"))
    blocks.append(_xor(view[end:], key, size - end))
    return b"".join(blocks)


def as_bytes(data: BytesLike) -> bytes:
    """Return the bytes of an object.

    Raises:
        TypeError: it has none.
    """
    # int.from_bytes() takes a list of numbers as well, and a view may have larger items.
    return data if type(data) is bytes else memoryview(data).tobytes()


def _xor(data: BytesLike, key: bytes, size: int) -> bytes:
    # Whole integers: the loop over the bytes is the interpreter's own, in C.
    words = (size + 3) // 4
    mask = int.from_bytes(key * words, "little")
    return (int.from_bytes(data, "little") ^ mask).to_bytes(4 * words, "little")[:size]


KEYS_PER_BLOCK = 1024


class MaskingKeys:
    """Masking keys from the system's randomness, drawn in blocks (RFC 6455 §5.3, §10.3).

    Thread-safe: ``next()`` of the iterator is one step of the interpreter.
    """

    def __init__(self) -> None:
        self._keys: Iterator[tuple[Any, ...]] = iter(())

    def draw(self) -> bytes:
        """Return 4 bytes that nobody can predict, and that are never returned again."""
        key: bytes
        for (key,) in self._keys:
            return key
        keys = struct.iter_unpack("4s", os.urandom(4 * KEYS_PER_BLOCK))
        key = next(keys)[0]
        self._keys = keys
        return key

    def forget(self) -> None:
        """Drop what was drawn: after a fork both processes would use the same keys."""
        self._keys = iter(())


#: The one source of keys.
masking_keys = MaskingKeys()
if hasattr(os, "register_at_fork"):  # pragma: no branch
    os.register_at_fork(after_in_child=masking_keys.forget)
