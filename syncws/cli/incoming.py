"""Messages that come: printed until the connection is closed, and then why it was."""

from __future__ import annotations

import itertools
import threading
from typing import Callable

from ..aliases import Data
from ..client.client_connection import ClientConnection
from ..exceptions import ConnectionClosedError
from .exit_codes import CLOSED, OK
from .pretty import pretty
from .showing import show, with_cause

__all__ = ["Incoming"]


class Incoming:
    """Prints the messages of a connection.

    Args:
        ws: the connection.
        write: prints a message.
        note: tells the person something.
        as_json: whether messages that are JSON are printed in several lines.
        count: how many messages to print before closing; ``None``: all that come.
        quiet: whether a connection that is closed normally needs no word.

    Attributes:
        news: set after each message, and at the end.
    """

    def __init__(
        self,
        ws: ClientConnection,
        write: Callable[[str], None],
        note: Callable[[str], None],
        *,
        as_json: bool = False,
        count: int | None = None,
        quiet: bool = False,
    ) -> None:
        self._ws = ws
        self._write = write
        self._note = note
        self._as_json = as_json
        self._count = count
        self._quiet = quiet
        self._muted = False
        self.news = threading.Event()

    def mute(self) -> None:
        """Say nothing about the end of the connection."""
        self._muted = True

    def run(self) -> int:
        """Print messages until the connection is closed, and why; return the exit status."""
        printed = 0
        try:
            for message in itertools.islice(self._ws, self._count):
                self._write(self._show(message))
                printed += 1
                self.news.set()
            if printed == self._count:
                self._ws.close()
        except ConnectionClosedError as exc:
            return self._complain(exc)
        finally:
            self.news.set()
        close = self._ws.close_exc.rcvd
        if self._count is not None and printed < self._count:
            self._say(f"syncws: closed after {printed} of {self._count} messages: {close}")
            return CLOSED
        if not self._quiet:
            self._say(f"Connection closed: {close}")
        return OK

    def _show(self, message: Data) -> str:
        shown = pretty(message) if self._as_json and isinstance(message, str) else None
        return show(message) if shown is None else shown

    def _complain(self, exc: ConnectionClosedError) -> int:
        if exc.rcvd is not None:
            self._say(f"syncws: connection closed: {exc.rcvd}")
        else:
            self._say(f"syncws: connection lost: {with_cause(exc)}")
        return CLOSED

    def _say(self, text: str) -> None:
        if not self._muted:
            self._note(text)
