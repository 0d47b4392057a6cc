"""What can be read off a ``WebSocket``, under websocket-client's names."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from ...options import check_limit
from ...sansio.frames import Frame
from .errors import NotConnected, as_dict
from .utilities import handshake_response, sock_opt

if TYPE_CHECKING:
    from .abnf import ABNF
    from .client_socket import ClientSocket
    from .frame_connection import FrameConnection

__all__ = ["WebSocketAttributes"]


class WebSocketAttributes:
    """The attributes of a :class:`~.websocket.WebSocket`; any thread may read them.

    Attributes:
        sock_opt: socket options, TLS and timeout.
        close_frame: the server's answer to the close frame of :meth:`~.websocket.WebSocket.close`,
            or ``None``.
    """

    def __init__(self, sockopt: Any = None, sslopt: dict[str, Any] | None = None) -> None:
        self.sock_opt = sock_opt(sockopt, sslopt)
        self.close_frame: ABNF | None = None
        self._connection: FrameConnection | None = None
        # Whether close() was called: then the server's close frame is an answer, and not news.
        self._closed_here = False
        # Control frames that were taken from the inbox; the deque's methods are atomic.
        self._controls: deque[Frame] = deque()
        self._sock: ClientSocket | None = None
        # A socket that the program has put in place of ours, until it is used.
        self._given_sock: Any = None
        # Cuts the connection when the object is freed; None if the program looks after that.
        self._finalizer: weakref.finalize[[FrameConnection], Any] | None = None

    def _get(self) -> FrameConnection:
        if self._given_sock is not None:
            self._use_given_sock()
        connection = self._connection
        if connection is None:
            raise NotConnected("the connection isn't open: it was never connected, or shut down")
        return connection

    def _use_given_sock(self) -> None:
        raise NotImplementedError

    def shutdown(self) -> None:
        """Cut the connection, and forget it."""
        raise NotImplementedError

    @property
    def connected(self) -> bool:
        """Whether messages can be sent, or received ones wait for ``recv()``.

        Setting it has no effect.
        """
        connection = self._connection
        if connection is None:
            return self._given_sock is not None
        if connection.open:
            return True
        self._controls.extend(connection.take_controls())
        return connection.has_items

    @connected.setter
    def connected(self, value: bool) -> None:
        pass  # programs that give a socket say so

    @property
    def sock(self) -> Any:
        """What stands for the socket: a ``ClientSocket``.

        Programs poll it, alone or with others (:mod:`select`, :mod:`selectors`), and receive
        when it is readable. It is ``None`` if there is no connection, if it was closed here, or
        after receiving has raised because the connection is closed. Setting it to ``None`` cuts the
        connection. A program may also set it to a connected :class:`socket.socket`, with or without
        TLS, on which the opening handshake is done: the next call that sends or receives uses that.

        There is also :func:`syncws.wait`, which waits for messages of several connections.
        """
        return self._sock if self._given_sock is None else self._given_sock

    @sock.setter
    def sock(self, value: Any) -> None:
        if value is self.sock:
            return
        self.shutdown()
        self._given_sock = value

    def _forget_sock(self) -> None:
        """Drop the socket; code that still has it finds it closed."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.release()

    @property
    def connection(self) -> FrameConnection | None:
        """The connection with the library's own methods, open or closed; ``None`` before.

        Receive with the methods here: its own also return control frames and fragments. A program
        that asks for it has to close it: it is no longer cut when this object is freed.
        """
        finalizer = self._finalizer
        if finalizer is not None:
            finalizer.detach()
            self._finalizer = None
        return self._connection

    def fileno(self) -> int:
        """Return a descriptor for polling. See :attr:`sock`.

        Raises:
            WebSocketConnectionClosedException: there is none.
        """
        sock = self.sock
        if sock is None:
            raise NotConnected("the connection isn't open: there is no descriptor")
        return int(sock.fileno())

    def is_ssl(self) -> bool:
        """Tell whether the connection is encrypted by TLS."""
        return self._connection is not None and self._connection.secure

    def gettimeout(self) -> float | None:
        """Return what :meth:`settimeout` has set."""
        return self.sock_opt.timeout

    def settimeout(self, timeout: float | None) -> None:
        """Set the seconds that each call may take from now on; ``None`` waits forever.

        Raises:
            ValueError: it is negative.
        """
        check_limit(timeout, "timeout")
        self.sock_opt.timeout = timeout
        if self._given_sock is not None:
            self._given_sock.settimeout(timeout)

    timeout = property(gettimeout, settimeout, doc="Seconds that each call may take.")

    @property
    def handshake_response(self) -> handshake_response | None:
        """The server's answer to the opening handshake; ``None`` before connecting."""
        status, headers = self.getstatus(), self.getheaders()
        if status is None or headers is None:
            return None
        return handshake_response(status, headers, self.getsubprotocol())

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
