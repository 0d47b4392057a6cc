"""What can be read off a ``WebSocket``, in websocket-client's names."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..options import check_limit
from ..sansio.frames import Frame
from .client_errors import NotConnected, as_dict

if TYPE_CHECKING:
    import socket

    from .frame_connection import FrameConnection

__all__ = ["WebSocketAttributes"]


class WebSocketAttributes:
    """The attributes of a :class:`~.websocket.WebSocket`; any thread may read them."""

    def __init__(self) -> None:
        self._timeout: float | None = None
        self._connection: FrameConnection | None = None
        # Whether close() was called: then the server's close frame is an answer, and no news.
        self._closed_here = False
        # Control frames that were taken from the inbox; the deque's methods are atomic.
        self._controls: deque[Frame] = deque()

    def _get(self) -> FrameConnection:
        connection = self._connection
        if connection is None:
            raise NotConnected("the connection isn't open: it was never connected, or shut down")
        return connection

    @property
    def connected(self) -> bool:
        """Whether messages can be sent, or some that were received wait for ``recv()``."""
        connection = self._connection
        if connection is None:
            return False
        if connection.open:
            return True
        self._controls.extend(connection.take_controls())
        return connection.has_items

    @property
    def sock(self) -> socket.socket | None:
        """The socket, below TLS; ``None`` if it isn't connected.

        For its options and addresses; the library reads and writes it. To wait for messages of
        several connections there is :func:`syncws.wait`.
        """
        connection = self._connection
        return None if connection is None or connection.closed else connection._transport.sock

    @property
    def connection(self) -> FrameConnection | None:
        """The connection with the library's own methods, open or closed; ``None`` before.

        Receive by the methods here: control frames and fragments are among what its own return.
        """
        return self._connection

    def fileno(self) -> int:
        """Return the socket's descriptor. See :attr:`sock`.

        Raises:
            WebSocketConnectionClosedException: there is none.
        """
        sock = self.sock
        if sock is None:
            raise NotConnected("the connection isn't open: there is no descriptor")
        return sock.fileno()

    def is_ssl(self) -> bool:
        """Tell whether the connection is encrypted by TLS."""
        return self._connection is not None and self._connection.secure

    def gettimeout(self) -> float | None:
        """Return what :meth:`settimeout` has set."""
        return self._timeout

    def settimeout(self, timeout: float | None) -> None:
        """Set the seconds that each call may take from now on; ``None`` waits forever.

        Raises:
            ValueError: it is negative.
        """
        check_limit(timeout, "timeout")
        self._timeout = timeout

    timeout = property(gettimeout, settimeout, doc="Seconds that each call may take.")

    def getsubprotocol(self) -> str | None:
        """Return the subprotocol that was agreed on, in lower case, or ``None``."""
        subprotocol = None if self._connection is None else self._connection.subprotocol
        return None if subprotocol is None else subprotocol.lower()

    subprotocol = property(getsubprotocol, doc="The subprotocol that was agreed on, or ``None``.")

    def getstatus(self) -> int | None:
        """Return the status of the server's response: 101; ``None`` before connecting."""
        response = None if self._connection is None else self._connection.response
        return None if response is None else response.status_code

    status = property(getstatus, doc="The status of the server's response.")

    def getheaders(self) -> dict[str, str] | None:
        """Return the response's headers by names in lower case; ``None`` before connecting."""
        headers = None if self._connection is None else self._connection.response_headers
        return None if headers is None else as_dict(headers)

    headers = property(getheaders, doc="The response's headers, by names in lower case.")
