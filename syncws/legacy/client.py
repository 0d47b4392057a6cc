"""Clients by the older names."""

from __future__ import annotations

import os
from typing import Any

from ..client.client_connection import ClientConnection
from ..client.connecting import connect as _connect
from ..client.connecting import unix_connect as _unix_connect
from ..sansio.uri import WebSocketURI
from .parameters import translate
from .protocol import WebSocketCommonProtocol

__all__ = ["WebSocketClientProtocol", "connect", "unix_connect"]


class WebSocketClientProtocol(WebSocketCommonProtocol, ClientConnection):
    """A client's connection with the older names, for ``connect(create_protocol=)``."""

    def handshake(self, *args: Any, **kwargs: Any) -> None:
        """Shake hands, after :meth:`connection_made`; the real class says more."""
        self._made()
        super().handshake(*args, **kwargs)


def connect(uri: str | WebSocketURI, **kwargs: Any) -> ClientConnection:
    """Connect to a server: :func:`syncws.connect`, with the oldest names as well."""
    return _connect(uri, **translate(kwargs))


def unix_connect(
    path: str | os.PathLike[str] | None = None,
    uri: str | WebSocketURI | None = None,
    **kwargs: Any,
) -> ClientConnection:
    """Connect by a Unix socket: :func:`syncws.unix_connect`, with the oldest names as well."""
    return _unix_connect(path, uri, **translate(kwargs))
