"""websocket-client's functions for a program's own sockets, and the options that it sets."""

from __future__ import annotations

import socket
from typing import Any

from .errors import WebSocketConnectionClosedException, WebSocketTimeoutException

__all__ = ["DEFAULT_SOCKET_OPTION", "recv", "recv_line", "send"]

#: Arguments of :meth:`socket.socket.setsockopt`, for each call of it.
DEFAULT_SOCKET_OPTION = [
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    )
    if hasattr(socket, name)
]


def recv(sock: Any, bufsize: int) -> bytes:
    """Return what a socket has, at most this many bytes; blocks up to its timeout.

    Raises:
        WebSocketTimeoutException: nothing came in time.
        WebSocketConnectionClosedException: it is closed.
        OSError: it is broken.
    """
    data: bytes = _call(sock, "recv", bufsize)
    if not data:
        raise WebSocketConnectionClosedException("Connection to remote host was lost.")
    return data


def recv_line(sock: Any) -> bytes:
    """Return a line that a socket has, with its end; raises what :func:`recv` does."""
    line = bytearray()
    while not line.endswith(b"\n"):
        line += recv(sock, 1)
    return bytes(line)


def send(sock: Any, data: str | bytes) -> int:
    """Send bytes, or text as UTF-8; return how many the kernel has taken.

    Raises:
        WebSocketTimeoutException: it has taken none in time.
        WebSocketConnectionClosedException: there is no socket.
        OSError: it is broken.
    """
    sent: int = _call(sock, "send", data.encode() if isinstance(data, str) else data)
    return sent


def _call(sock: Any, method: str, argument: Any) -> Any:
    if not sock:
        raise WebSocketConnectionClosedException("socket is already closed.")
    try:
        return getattr(sock, method)(argument)
    except socket.timeout as exc:  # another class in Python 3.9
        raise WebSocketTimeoutException(*exc.args) from exc
