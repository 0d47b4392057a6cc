"""The connection's end of a session: a socket whose other end goes over HTTP."""

from __future__ import annotations

import socket
from typing import Any

from ..threaded.transport import Transport

__all__ = ["SessionTransport"]


class SessionTransport(Transport):
    """One end of a pair of sockets, with the addresses of the HTTP connection.

    Args:
        sock: that end.
        local_address: of the HTTP connection.
        remote_address: of the HTTP connection.
        secure: whether that has TLS.

    Attributes:
        kind: ``"streaming"`` or ``"polling"``: what carries messages to the client.
    """

    def __init__(
        self, sock: socket.socket, local_address: Any, remote_address: Any, secure: bool
    ) -> None:
        super().__init__(sock)
        self.local_address = local_address
        self.remote_address = remote_address
        self.secure = secure
        self.kind = "polling"
