"""What programs send, as payloads of frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..aliases import BytesLike, DataLike
from ..sansio.frames import Opcode

__all__ = ["as_message", "encode", "encode_fragments"]


def as_message(message: DataLike, text: bool | None) -> DataLike:
    """Return a message that is sent in the same way without ``text``.

    Raises:
        UnicodeError: it isn't UTF-8, or can't be.
    """
    if text is None or text == isinstance(message, str):
        return message
    if isinstance(message, str):
        return message.encode()
    return str(message.tobytes() if isinstance(message, memoryview) else message, "utf-8")


def encode(message: DataLike, text: bool | None) -> tuple[Opcode, BytesLike]:
    """Return opcode and payload of a message.

    Raises:
        TypeError: it can't be sent.
        UnicodeError: it isn't UTF-8, or can't be.
    """
    if isinstance(message, str):
        return (Opcode.BINARY if text is False else Opcode.TEXT), message.encode()
    if isinstance(message, memoryview):
        message = message.cast("B") if message.c_contiguous else message.tobytes()
    elif not isinstance(message, (bytes, bytearray)):
        raise TypeError(f"{type(message).__name__} can't be sent; str and bytes can")
    if text:
        str(message, "utf-8")  # refuse here what the peer would fail the connection for
        return Opcode.TEXT, message
    return Opcode.BINARY, message


def encode_fragments(
    fragments: Iterable[DataLike], text: bool | None
) -> Iterator[tuple[Opcode, BytesLike]]:
    """Return what :func:`encode` does, for each.

    Raises:
        TypeError: one can't be sent, or not with those before it.
        UnicodeError: one isn't UTF-8, or can't be.
    """
    is_text = None
    for fragment in fragments:
        encoded = encode(fragment, text)
        if is_text is None:
            is_text = isinstance(fragment, str)
        elif isinstance(fragment, str) is not is_text:
            raise TypeError("the fragments of a message are all str or all bytes")
        yield encoded
