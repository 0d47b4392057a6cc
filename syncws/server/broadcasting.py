"""Sending one message to many connections, without waiting for any of them."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Hashable, Iterable
from typing import Any, Protocol, Union

from ..aliases import DataLike
from ..exceptions import ConnectionClosed, SendTimeout, SlowPeer, WebSocketException
from ..threaded.connection import Connection
from ..threaded.outgoing import encode
from ..threaded.slow_peers import close_slow
from ..threaded.timekeeper import call_later

__all__ = ["Audience", "broadcast"]


class HasConnections(Protocol):
    """A server, or a group."""

    @property
    def connections(self) -> Iterable[Connection]:
        """Those that are open, as of now."""


#: Who gets a message.
Audience = Union[Iterable[Connection], HasConnections]

#: Seconds that a broadcast takes from which on it pays to send several together.
LONG = 0.0005

#: Seconds that the kernel holds messages back for that; by itself it would for 0.2 (Linux).
HOLD_TIME = 0.005


class _Pace(threading.local):
    """How busy a thread is with broadcasting: when it last ended, and how long it took."""

    ended = 0.0
    took = 0.0


_pace = _Pace()

#: Connections for which the kernel holds messages back; only atomic methods are called.
_held: set[Connection] = set()


def broadcast(
    connections: Audience,
    message: DataLike,
    *,
    raise_exceptions: bool = False,
    text: bool | None = None,
    slow_peers: str = "close",
) -> None:
    """Send a message to many connections, without waiting for any.

    It is serialized, and compressed, once for all connections with the same parameters. What the
    kernel doesn't take at once goes out in the background, as the peer reads. Where more than
    the connection's ``write_limit`` bytes would wait, the peer is too slow. The messages of a
    thread arrive in its order, also those sent by ``send()``; where another thread is sending a
    message in fragments, after that. Connections that aren't open are left out. A thread that
    broadcasts to hundreds and does nothing else has its messages sent several at a time, about
    5 ms later, which costs the kernel a fraction (on Linux). Any thread may call it.

    Args:
        connections: a server, a group, or connections.
        message: a ``str`` is sent as text, bytes as binary.
        raise_exceptions: whether to raise what failed, an ``ExceptionGroup``, after all others
            got it (Python 3.11); otherwise it is logged, as a warning.
        text: ``True`` sends bytes, which must be UTF-8, as text; ``False`` a str as binary.
        slow_peers: ``"close"`` closes connections to peers that are too slow, with 1008;
            ``"skip"`` leaves this message out for them, which is no warning.

    Raises:
        ExceptionGroup: as above; of :exc:`SlowPeer`, or what made a connection fail.
        TypeError: the message can't be sent; nothing was.
        UnicodeError: the text isn't UTF-8, or has surrogates; nothing was sent.
        ValueError: ``slow_peers`` is neither, or this Python has no ``ExceptionGroup``.
    """
    if slow_peers not in ("close", "skip"):
        raise ValueError(f"slow_peers is 'close' or 'skip', not {slow_peers!r}")
    if raise_exceptions and sys.version_info < (3, 11):
        raise ValueError("raise_exceptions needs Python 3.11 or newer")
    opcode, data = encode(message, text)
    close = slow_peers == "close"
    exceptions: list[Exception] = []
    frames: dict[Hashable, bytes] = {}
    held: list[Connection] = []
    targets: Any = getattr(connections, "connections", connections)
    start = time.monotonic()
    # More is about to come: whoever broadcasts much did not do anything else in between.
    hold = _pace.took > LONG and start - _pace.ended < _pace.took / 4
    for connection in targets:
        try:
            key = connection._share_key
            frame = frames.get(key)
            if frame is None:
                protocol = connection.protocol
                if protocol.share_key is None:
                    _send_alone(connection, message, text, close)
                    continue
                frame = protocol.serialize_shared(opcode, data)
                if key is not None:  # not only its own
                    frames[key] = frame
            sent = connection._post_now(frame, hold)
            if sent < 0:
                held.append(connection)
            elif sent != 1:
                connection._post_later(frame, sent, close)
        except Exception as exc:
            exceptions.append(exc)
            if not raise_exceptions:
                # What a peer does needs no traceback; a defect, perhaps of an extension, does.
                trace = None if isinstance(exc, (WebSocketException, OSError)) else exc
                # Leaving messages out is what was asked for, and there may be many.
                skipped = isinstance(exc, SlowPeer) and not close
                level = logging.DEBUG if skipped else logging.WARNING
                connection.logger.log(level, "broadcasting failed: %s", exc, exc_info=trace)
    if held:
        _held.update(held)
        call_later(HOLD_TIME, _push_held)
    _pace.ended = time.monotonic()
    _pace.took = _pace.ended - start
    if exceptions and raise_exceptions:
        raise ExceptionGroup("broadcasting failed", exceptions)  # type: ignore[name-defined,unused-ignore]  # noqa: F821


def _push_held() -> None:
    """Have the kernel send what it holds back."""
    while _held:
        _held.pop()._push()


def _send_alone(connection: Connection, message: DataLike, text: bool | None, close: bool) -> None:
    """Send a message that an extension has to encode after those before it."""
    if not connection.open:
        return
    try:
        connection._send(message, text, 0.0, None)
    except SendTimeout:
        slow = SlowPeer(connection.buffered_amount, connection.options.write_limit)
        if close:
            close_slow(connection, slow)
        raise slow from None
    except ConnectionClosed:
        pass  # as others that aren't open
