"""A connection with the ways of flask-sock, beside its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..aliases import Data, DataLike
from ..sansio.close import CloseCode
from .wsgi import WsgiConnection

__all__ = ["SockConnection"]


class SockConnection(WsgiConnection):
    """What a handler of :class:`syncws.integrations.flask.Sock` gets.

    Any thread may call its methods.
    """

    @property
    def connected(self) -> bool:
        """Whether messages can be sent: flask-sock's name of ``open``."""
        return self.open

    def receive(self, timeout: float | None = None) -> Data | None:
        """Receive the next message; return ``None`` if there is none in time.

        The same as :meth:`recv`, but for the end of the time.

        Args:
            timeout: seconds to wait; 0 only looks; ``None`` waits forever.

        Raises:
            ConnectionClosed: there is none, and there will be none.
        """
        try:
            return self.recv(timeout)
        except TimeoutError:
            return None

    def send(
        self,
        message: DataLike | Iterable[DataLike] | Any,
        *,
        text: bool | None = None,
        timeout: float | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message: bytes as binary, all else as text.

        As any connection does; but what is neither ``str`` nor bytes nor an iterator (which
        gives the fragments of one message) is sent as ``str()`` makes it.

        Args:
            message: the message.
            text: ``True`` sends bytes as text, ``False`` a ``str`` as binary.
            timeout: seconds that it may take; ``None`` means the connection's ``send_timeout``.
            compress: whether to compress it, where that was agreed on.

        Raises:
            ConnectionClosed: the connection is closed, or broke.
            SendTimeout: nothing was written in time; the connection is usable.
        """
        if not isinstance(message, (str, bytes, bytearray, memoryview, Iterator)):
            message = str(message)
        super().send(message, text=text, timeout=timeout, compress=compress)

    def close(
        self,
        code: int | None = CloseCode.NORMAL_CLOSURE,
        reason: str | int | None = "",
        message: str | None = None,
    ) -> None:
        """Close the connection with a closing handshake (RFC 6455 §7).

        Blocks until it is closed, at most ``close_timeout`` seconds. Idempotent.

        Args:
            code: the close code; ``None`` sends none.
            reason: at most 123 bytes in UTF-8; or, as flask-sock has it, the code.
            message: flask-sock's name of the reason.

        Raises:
            ProtocolError: code or reason can't be sent; the connection stays as it is.
        """
        if isinstance(reason, int):
            code, reason = reason, None
        super().close(code, reason or message or "")
