"""Ending by SIGTERM, which is how containers and service managers stop a program.

A process that has number 1, as in containers, isn't ended by signals that it doesn't handle; and
elsewhere the default would end it without a close frame.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from ..server.threading_server import ThreadingServer

__all__ = ["TERMINATED_TIMEOUT", "as_interrupt", "stopping"]

#: Seconds that closing may take then. Docker kills what hasn't ended after ten.
TERMINATED_TIMEOUT = 5.0


@contextlib.contextmanager
def as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise :exc:`KeyboardInterrupt` in the block. It is for the main thread."""

    def handle(*args: Any) -> None:
        raise KeyboardInterrupt

    with _handling(handle):
        yield


@contextlib.contextmanager
def stopping(server: ThreadingServer, drain_seconds: float | None = None) -> Iterator[None]:
    """Let SIGTERM stop a server in the block, with 1001. It is for the main thread.

    Args:
        server: the server.
        drain_seconds: the time over which its connections are closed; all at once by default.
    """

    def handle(*args: Any) -> None:
        server.stop(timeout=TERMINATED_TIMEOUT, drain_seconds=drain_seconds)

    with _handling(handle):
        yield


@contextlib.contextmanager
def _handling(handle: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are none of its business
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
