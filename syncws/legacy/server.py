"""Servers by the older names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..server.responses import OlderResponse, as_response
from ..server.server_connection import Handler, ServerConnection
from ..server.serving import serve as _serve
from ..server.serving import unix_serve as _unix_serve
from ..server.threading_server import ThreadingServer
from .parameters import translate
from .protocol import WebSocketCommonProtocol

if TYPE_CHECKING:
    import socket

__all__ = ["WebSocketServer", "WebSocketServerProtocol", "serve", "unix_serve"]


class _OlderName(type):
    """All servers are instances of the class by its older name."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is WebSocketServer:
            return isinstance(instance, ThreadingServer)
        return super().__instancecheck__(instance)


class WebSocketServer(ThreadingServer, metaclass=_OlderName):
    """Older name of :class:`~syncws.ThreadingServer`, which :func:`serve` makes."""

    @staticmethod
    def wrap(sock: socket.socket, handler: Handler, **kwargs: Any) -> ThreadingServer:
        """Return a server for a listening socket: ``serve(handler, sock=sock)``.

        There is nothing to wrap: only an event loop has a second server object.
        """
        return serve(handler, sock=sock, **kwargs)


class WebSocketServerProtocol(WebSocketCommonProtocol, ServerConnection):
    """A server's connection with the older names, for ``serve(create_protocol=)``."""

    def handshake(self, timeout: float | None = None) -> None:
        """Shake hands, after :meth:`connection_made`; the real class says more."""
        self._made()
        if type(self).select_subprotocol is not WebSocketServerProtocol.select_subprotocol:
            ours = self.protocol.available_subprotocols
            self.protocol._select_subprotocol = lambda _, offered: (
                self.select_subprotocol(list(offered), ours) if offered and ours else None
            )
        super().handshake(timeout)

    def select_subprotocol(
        self, client_subprotocols: Sequence[str], server_subprotocols: Sequence[str]
    ) -> str | None:
        """Return the first of the server's subprotocols that the client offers, or ``None``.

        Called only if a subclass overrides it and both sides have subprotocols.
        """
        return next((name for name in server_subprotocols if name in client_subprotocols), None)

    def process_request(  # type: ignore[override]  # this is its older form
        self, path: str, request_headers: Headers
    ) -> OlderResponse | Response | None:
        """Return status, headers and body in place of the opening handshake, or ``None``.

        Calls the server's ``process_request``; a subclass may do something else.
        """
        assert self.request is not None
        return ServerConnection.process_request(self, self.request)

    def _ask_program(self, request: Request) -> Response | None:
        response: Response | None = as_response(self.process_request(request.path, request.headers))
        return response


def serve(
    handler: Handler | None = None,
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    **kwargs: Any,
) -> ThreadingServer:
    """Return a server: :func:`syncws.serve`, with the oldest names as well."""
    return _serve(host=host, port=port, **translate({"handler": handler, **kwargs}))


def unix_serve(
    handler: Handler | None = None, path: str | os.PathLike[str] | None = None, **kwargs: Any
) -> ThreadingServer:
    """Return a server on a Unix socket: :func:`syncws.unix_serve`, also with the oldest names."""
    return _unix_serve(path=path, **translate({"handler": handler, **kwargs}))
