"""The frames on the wire of one connection, kept for those who watch it.

A page can't see the frames of its own connection, so it watches them over another one. Whoever
has the token of a connection may watch it; only its own page is told the token.
"""

from __future__ import annotations

import collections
import json
import secrets
import threading
import time
from typing import Any

from ..foreign import SECRET_HEADERS
from ..server.broadcasting import broadcast
from ..server.server_connection import ServerConnection
from ..wiretap.dissector import Exchange, HttpHead, Record
from ..wiretap.tap import Observe, tapped

__all__ = ["Tape", "TapedConnection", "create_connection"]

#: Frames of a connection that are kept, and bytes of each payload.
KEPT = 100
MAX_PAYLOAD = 256

#: Connections that may watch another one at the same time.
MAX_WATCHERS = 4


class Tape:
    """The last frames of a connection, and heads of HTTP, as JSON. Any thread may use it.

    Attributes:
        token: names it; can't be guessed.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(16)
        self._exchange: Exchange | None = Exchange(max_payload=MAX_PAYLOAD)
        # Guards all below. The innermost of the program's locks: threads take it that send or
        # receive on the connection. Records are sent while it is held, to keep their order;
        # broadcast() never waits.
        self._lock = threading.Lock()
        self._number = 0
        self._records: collections.deque[str] = collections.deque(maxlen=KEPT)
        self._watchers: set[ServerConnection] = set()

    def stop(self) -> None:
        """Keep nothing more, and forget what there was. Idempotent."""
        self._exchange = None
        with self._lock:
            self._records.clear()

    def observe(self, sent: bool, data: bytes) -> None:
        """Take in bytes of the connection; see :class:`~syncws.wiretap.tap.TapTransport`."""
        exchange = self._exchange
        if exchange is None:
            return
        if not data:
            self._add(sent, {"type": "end"})
            return
        for record in exchange.sent(data) if sent else exchange.received(data):
            self._add(sent, describe(record))

    def _add(self, sent: bool, what: dict[str, Any]) -> None:
        what["from"] = "server" if sent else "browser"
        what["time"] = time.time()
        with self._lock:
            self._number += 1
            what["n"] = self._number
            record = json.dumps(what, separators=(",", ":"))
            self._records.append(record)
            # A watcher that is too slow misses this one; the numbers show it.
            broadcast(self._watchers, record, slow_peers="skip")

    def add_watcher(self, ws: ServerConnection) -> list[str] | None:
        """Have a connection sent what comes from now on.

        Returns:
            what came before, or ``None`` if too many watch already.
        """
        with self._lock:
            if len(self._watchers) >= MAX_WATCHERS:
                return None
            self._watchers.add(ws)
            return list(self._records)

    def discard_watcher(self, ws: ServerConnection) -> None:
        """Have a connection sent nothing more. Idempotent."""
        with self._lock:
            self._watchers.discard(ws)


def describe(record: Record) -> dict[str, Any]:
    """Return what the page shows of a record, without credentials."""
    what = record.what.to_dict()
    if isinstance(record.what, HttpHead):
        what["lines"] = [_hide(line) for line in record.what.lines]
    return what


def _hide(line: str) -> str:
    name, colon, _ = line.partition(":")
    return f"{name}: (not shown)" if colon and name.lower() in SECRET_HEADERS else line


class TapedConnection(ServerConnection):
    """A connection with a tape of its own.

    Attributes:
        tape: what goes over it.
    """

    def begin_tape(self) -> Observe:
        """Return what is called with the connection's bytes."""
        self.tape = Tape()
        return self.tape.observe


#: Makes the server's connections.
create_connection = tapped(TapedConnection, TapedConnection.begin_tape)
