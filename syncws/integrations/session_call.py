"""Opening a session of the fallback: the application judges it as a WebSocket's request."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Mapping
from typing import Any

from ..aliases import LoggerLike
from ..fallback.session_transport import SessionTransport
from ..sansio.http_parser import RequestParser
from ..threaded import lifecycle
from .answering import Answering, WsgiApplication
from .wsgi_request import add_headers
from .wsgi_servers import GIVEN, Found

__all__ = ["SessionCall"]

#: What is not passed on: of a body, of the server's socket, of a request that is soon over.
_DROPPED = frozenset(
    [
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "gunicorn.sock",
        "gunicorn.socket",
        "waitress.client_disconnected",
        "werkzeug.request",
        "werkzeug.socket",
        "wsgi.file_wrapper",
        "wsgi.input_terminated",
    ]
)

_FAILED = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: 41\r\n\r\nFailed to open a WebSocket connection: 500"
)


class SessionCall:
    """A call of the application, in a thread of its own, which its handler has until it returns.

    Args:
        application: the application.
        transport: the session's end of the connection.
        head: the opening handshake's request.
        environ: that of the request which opens the session.
        host: its server.
        logger: where to log what the application raises.
    """

    def __init__(
        self,
        application: WsgiApplication,
        transport: SessionTransport,
        head: bytes,
        environ: Mapping[str, Any],
        host: Found,
        logger: LoggerLike,
    ) -> None:
        self._answering = Answering(application, transport.sock)
        self._transport = transport
        self._environ = _build_environ(environ, transport, head, host)
        self._logger = logger

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: none is available.
        """
        thread = threading.Thread(target=self._run, name="syncws-handler")
        lifecycle.start_thread(thread)

    def _run(self) -> None:
        answering = self._answering
        try:
            with lifecycle.handles_end():
                answering.run(self._environ)
        except Exception:
            self._logger.exception("the application failed")
            if not (answering.is_taken or answering.has_begun):
                with contextlib.suppress(OSError):
                    self._transport.sock.sendall(_FAILED)
        finally:
            if not answering.is_taken:
                self._transport.close()


def _build_environ(
    environ: Mapping[str, Any], transport: SessionTransport, head: bytes, host: Found
) -> dict[str, Any]:
    """Return the environ of a WebSocket's request, with all that isn't about the HTTP request."""
    request = RequestParser(max_header_size=None).receive_data(head)
    assert request is not None
    built = {
        key: value
        for key, value in environ.items()
        if not key.startswith("HTTP_") and key not in _DROPPED
    }
    built.update(
        {
            "REQUEST_METHOD": request.method,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,  # the server's may end with the request
            "wsgi.multithread": True,
            GIVEN: Found(
                transport.sock,
                lambda: b"",
                host.is_stopping,
                host.grace,
                is_ours=True,
                transport=transport,
            ),
        }
    )
    add_headers(built, request.headers)
    return built
