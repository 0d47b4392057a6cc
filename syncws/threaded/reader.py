"""The reader thread of a connection, which reads where no caller does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .receiving import Receiving

__all__ = ["start_reader"]


def start_reader(connection: Receiving) -> threading.Thread:
    """Start the thread, parked; return it.

    Raises:
        RuntimeError: no thread is to be had.
    """
    thread = threading.Thread(
        target=connection._run_reader,
        name=f"syncws-reader-{connection.side}-{connection.number}",
        daemon=True,
    )
    thread.start()
    return thread
