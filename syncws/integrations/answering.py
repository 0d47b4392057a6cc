"""A call of a WSGI application without a server, and its answer, written to a socket."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable

from ..sansio.headers import Headers
from ..sansio.http11 import Response
from .wsgi_connection import TAKEN

if TYPE_CHECKING:
    import socket

__all__ = ["IO_TIMEOUT", "Answering", "WsgiApplication"]

#: A WSGI application (PEP 3333): called with environ and start_response.
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: Seconds that one read or write between the two threads may take.
IO_TIMEOUT = 10.0


class Answering:
    """One request that is answered over a socket, in the thread that calls :meth:`run`.

    Args:
        application: the application.
        sock: where its answer goes, unless it accepts a WebSocket and so takes the socket.
    """

    def __init__(self, application: WsgiApplication, sock: socket.socket) -> None:
        self._application = application
        self._sock = sock
        self._environ: dict[str, Any] = {}
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._head_sent = False

    @property
    def is_taken(self) -> bool:
        """Whether the application has accepted a WebSocket: then it has the socket."""
        # A middleware may have given it another environ; but it has closed the connection then.
        return TAKEN in self._environ or self._sock.fileno() < 0

    @property
    def has_begun(self) -> bool:
        """Whether some of the answer was sent."""
        return self._head_sent

    def run(self, environ: dict[str, Any]) -> None:
        """Call the application; what it raises is raised."""
        self._environ = environ
        chunks = self._application(environ, self._start_response)
        try:
            for chunk in chunks:
                if not self._write(chunk):
                    return
            self._write(b"")
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], bool]:
        self._status, self._headers = status, headers
        return self._write

    def _write(self, data: bytes) -> bool:
        """Answer with plain HTTP; return whether the client wants more.

        The end of the stream is the end of the body.
        """
        if self.is_taken:
            return True
        if not self._head_sent:
            if not self._status:
                raise RuntimeError("the application did not call start_response()")
            self._head_sent = True
            status, _, reason = self._status.partition(" ")
            headers = Headers(self._headers)
            headers["Connection"] = "close"
            data = Response(int(status), reason, headers, data).serialize()
        self._sock.settimeout(IO_TIMEOUT)
        try:
            self._sock.sendall(data)
        except OSError:
            return False
        return True
