"""Messages that are received in pieces, as their fragments come."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..aliases import Data
from .deadline import Deadline
from .fragments import Fragments

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["stream"]


def stream(connection: Connection, decode: bool | None) -> Iterator[Data]:
    """Yield the pieces of the next message; see ``recv_streaming()`` of connections."""
    inbox = connection._inbox
    receipt: list[Any] = [None]
    try:
        message = _begin(connection, receipt)
        is_whole = not isinstance(message, Fragments)
        if is_whole and decode is not None and decode != isinstance(message, str):
            is_text = isinstance(message, str)
            message = message.encode() if is_text else str(message, "utf-8")
    except BaseException:
        inbox.cancel_stream(receipt)
        raise
    if is_whole:  # no call from here on: a signal handler could raise after it
        yield message
        return
    try:
        yield from _take_pieces(connection, message, decode)
    finally:
        inbox.end_stream(message)


def _take_pieces(connection: Connection, message: Fragments, decode: bool | None) -> Iterator[Data]:
    text = message.is_text if decode is None else decode
    decoder = codecs.getincrementaldecoder("utf-8")() if text else None
    final = False
    while not final:
        piece, final = _next_piece(connection, message)
        if decoder is None:
            yield piece
            continue
        decoded = decoder.decode(piece, final)  # at the end even without a piece: it checks
        if piece:
            yield decoded


def _begin(connection: Connection, receipt: list[Any]) -> Any:
    """Wait for a message to begin, and take it; see :meth:`~.inbox.Inbox.begin_stream`."""
    connection._flush_batch()
    inbox = connection._inbox
    try:
        while True:
            message = inbox.begin_stream(receipt)
            if message is not None:
                return message
            connection._reading.wait(
                Deadline(None), lambda: inbox.queue.first() is not None, streams=True
            )
    except EOFError:
        raise connection._close_exc() from connection.protocol.parser_exc


def _next_piece(connection: Connection, message: Fragments) -> tuple[bytes, bool]:
    """Wait for a piece of a message that was taken; return whether it is the last."""
    connection._flush_batch()
    inbox = connection._inbox
    try:
        while True:
            piece = inbox.take_piece(message)
            if piece is not None:
                return piece
            connection._reading.wait(
                Deadline(None), lambda: bool(message.pieces) or message.complete, streams=True
            )
    except EOFError:
        raise connection._close_exc() from connection.protocol.parser_exc
