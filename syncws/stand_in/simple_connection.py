"""What simple-websocket's servers and clients share, over a connection of ours."""

from __future__ import annotations

from typing import Any

from ..aliases import Data
from ..exceptions import ConnectionClosed as _OurConnectionClosed
from ..sansio.close import CloseCode
from ..threaded.connection import Connection
from .simple_errors import ConnectionClosed

__all__ = ["SimpleConnection"]

#: Seconds after close() for which TCP is kept open and the peer's close frame is awaited.
CLOSE_TIMEOUT = 1.0

#: Bytes of a close reason (RFC 6455 §5.5); more are cut off.
MAX_REASON = 123

#: Bytes of messages that may wait to be received before reading pauses. Their number has no
#: limit, so that ``connected`` reflects a close that comes behind many of them.
READ_LIMIT = 2**24


class SimpleConnection:
    """A connection with the methods of simple-websocket. Any thread may call them.

    Args:
        receive_bytes: kept, but not used: the library chooses how much to read at once.
        ping_interval: seconds between pings; a peer that hasn't answered one when the next is due
            is given up. Nothing, or 0, sends none.
        max_message_size: bytes that a message may have; nothing, or 0, is no limit.
        unused: classes for threads, events and selectors, which have no meaning here: a process
            with patched threads, such as gevent's, needs none.

    Attributes:
        subprotocol: what was agreed on, or ``None``.
    """

    is_server: bool
    _waits_for_end = False
    _connection: Connection

    def __init__(
        self,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        **unused: Any,
    ) -> None:
        self.receive_bytes = receive_bytes
        self.ping_interval = ping_interval
        self.max_message_size = max_message_size
        self._connection = self._open()

    def _open(self) -> Connection:
        """Shake hands, and return the connection."""
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        """Return our options for what simple-websocket does."""
        return {
            "ping_interval": self.ping_interval or None,
            "ping_timeout": self.ping_interval or None,
            "close_timeout": CLOSE_TIMEOUT,
            "max_size": self.max_message_size or None,
            "max_queue": None,
            "read_limit": READ_LIMIT,
        }

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""
        return self._connection.open

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on, or ``None``."""
        return self._connection.subprotocol

    @property
    def close_reason(self) -> int:
        """The close code received; 1005 if no close frame was, or it had none."""
        received = self._connection.protocol.close_rcvd
        if received is None:
            return CloseCode.NO_STATUS_RCVD
        try:
            return CloseCode(received.code)
        except ValueError:  # registered, or private
            return received.code

    @property
    def close_message(self) -> str | None:
        """The close reason received; ``None`` if no close frame was."""
        received = self._connection.protocol.close_rcvd
        return None if received is None else received.reason

    def send(self, data: Any) -> None:
        """Send a message: ``bytes`` as binary, ``str()`` of all else as text.

        Blocks while the peer doesn't read.

        Args:
            data: the message.

        Raises:
            ConnectionClosed: the connection is closed, or broke.
        """
        message: Data = data if isinstance(data, bytes) else str(data)
        try:
            self._connection.send(message)
        except _OurConnectionClosed as exc:
            raise self._closed() from exc

    def receive(self, timeout: float | None = None) -> Data | None:
        """Receive the next message; return ``None`` if there is none in time.

        Args:
            timeout: seconds to wait; 0 only looks; ``None`` waits forever.

        Raises:
            ConnectionClosed: there is none, and there will be none.
        """
        try:
            return self._connection.recv(None if timeout is None else max(timeout, 0))
        except TimeoutError:
            return None
        except _OurConnectionClosed as exc:
            raise self._closed() from exc

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Send a close frame; the connection ends within a second (RFC 6455 §7).

        Returns when the frame is sent, or, if the WSGI server can go on only then, at the end of
        the connection.

        Args:
            reason: the close code; 1000 by default. 1005 sends none.
            message: the close reason; cut to 123 bytes.

        Raises:
            ConnectionClosed: it is closed already.
            ProtocolError: the code can't be sent.
        """
        if not self.connected:
            raise self._closed()
        code: int | None = reason or CloseCode.NORMAL_CLOSURE
        if code == CloseCode.NO_STATUS_RCVD:
            code, message = None, None
        text = (message or "").encode()[:MAX_REASON].decode(errors="ignore")
        if self._waits_for_end:
            self._connection.close(code, text)
        else:
            self._connection._begin_close(code, text, CLOSE_TIMEOUT)
            self._connection._ensure_reading()

    def _closed(self) -> ConnectionClosed:
        return ConnectionClosed(self.close_reason, self.close_message)
