"""What the hot loops say of data that breaks the rules, as exceptions."""

from __future__ import annotations

from typing import Any

from ..exceptions import PayloadTooBig, ProtocolError

__all__ = ["as_exception"]


def as_exception(failure: tuple[Any, ...]) -> Exception | None:
    """Return the exception for a failure; ``None`` for a stop that somebody asked for.

    A failure is a close code, and what an exception of that kind says: see ``FrameParser.error``
    and ``Inflater.inflate()``.
    """
    code = failure[0]
    if code == 1002:
        error = ProtocolError(failure[1])
        error.__cause__ = failure[2] if len(failure) > 2 else None
        return error
    if code == 1007:
        reason, position = failure[1:]
        return UnicodeDecodeError("utf-8", b"", position, position + 1, reason)
    if code == 1009:
        size, max_size, current_size = failure[1:]
        too_big = PayloadTooBig(size, max_size)
        if current_size is not None:
            too_big.set_current_size(current_size)
        return too_big
    return None
