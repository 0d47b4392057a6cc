"""The reader: the one thread of a connection that reads.

It never waits for a writer. Messages go into the inbox; control frames are
answered through the protocol's output, which whoever gets the write lock
without waiting writes. When reading ends, for whatever reason, the connection
is closed by the thread's last act, so that it never looks alive without one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..sansio.frames import Frame, Opcode

if TYPE_CHECKING:
    from .core import Core

__all__ = ["start_reader"]


def start_reader(connection: Core) -> None:
    """Start the thread that reads."""
    # Known before it runs: from then on ending the connection is left to it.
    connection._reader = threading.Thread(
        target=_run,
        args=(connection,),
        name=f"syncws-reader-{connection.side}-{connection.number}",
        daemon=True,
    )
    connection._reader.start()


def _run(connection: Core) -> None:
    if not connection._reading.acquire(blocking=False):
        return  # whoever started this was interrupted, and has ended the connection
    cause: BaseException | None = None
    try:
        _read(connection)
    except OSError as exc:
        cause = exc
    except BaseException as exc:  # a defect of ours: the connection must not hang
        cause = exc
        connection.logger.exception("the reader thread failed")
    finally:
        connection._finish(cause)


def _read(connection: Core) -> None:
    decoder = connection.protocol.decoder
    recv, inbox = connection._transport.recv, connection._inbox
    data = connection.protocol.take_early() or recv()
    while data:
        _deliver(connection, decoder.receive(data))
        if decoder.error is not None:
            connection._decoding_failed()
        elif connection._transport.pending:
            connection._writer.drain()  # reading left something to write: TLS, or a full pipe
        inbox.wait_for_room()
        data = recv()


def _deliver(connection: Core, events: Sequence[Any]) -> None:
    """Put messages in the inbox, in order; have control frames answered."""
    start = 0
    for index, event in enumerate(events):
        if isinstance(event, Frame):
            if start < index:
                connection._received(events[start:index])
            start = index + 1
            if event.opcode >= Opcode.CLOSE:
                connection._control_received(event)
            else:
                connection._fragment_received(event)
    if start < len(events):
        connection._received(events[start:] if start else events)
