"""A client that does what a test says: for tests of servers."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType

from ..exceptions import InvalidHandshake
from ..sansio.client_protocol import ClientProtocol
from ..sansio.headers import Headers, HeadersLike
from ..sansio.http11 import Response
from ..sansio.http_parser import ResponseParser
from ..sansio.state import Role
from ..sansio.uri import parse_uri
from ..threaded.deadline import Deadline
from .peer import Peer, replace_headers

__all__ = ["ClientPeer", "scripted_client"]


class ClientPeer(Peer):
    """The client's end of a connection, in the hands of a test.

    As a context manager it cuts the connection at the end of the block, if it is still there.

    Args:
        sock: a connected socket; the peer owns it from now on.
        timeout: seconds that each call may wait for the server.
        uri: what to ask for.
    """

    _role = Role.CLIENT

    def __init__(self, sock: socket.socket, timeout: float, uri: str) -> None:
        super().__init__(sock, timeout)
        self._uri = uri

    def send_request(
        self, *, subprotocols: Sequence[str] | None = None, headers: HeadersLike | None = None
    ) -> None:
        """Send the opening handshake's request, without waiting for the response.

        Args:
            subprotocols: what to offer.
            headers: added to the request, in place of ours of the same names:
                ``{"Sec-WebSocket-Version": "12"}``.
        """
        request = ClientProtocol(self._uri, subprotocols=subprotocols).connect()
        replace_headers(request.headers, Headers(headers or ()))
        self.request = request
        self._note(f"> {request.method} {request.path}")
        self._write(request.serialize())

    def expect_response(self, status: int = 101) -> Response:
        """Wait for the response to the request, which must have this status; return it."""
        wanted = f"a response with {status}"
        parser = ResponseParser()
        deadline = Deadline(self.timeout)
        response = None
        while response is None:
            data = self._read(deadline, wanted)
            try:
                response = parser.receive_data(data) if data else parser.receive_eof()
            except EOFError as exc:
                self._fail(f"expected {wanted}, got the end: {exc}", exc)
            except (InvalidHandshake, ValueError) as exc:
                self._fail(f"expected {wanted}, got {data[:100]!r}: {exc}", exc)
        self.response = response
        self._note(f"< HTTP {response.status_code}")
        if response.status_code != status:
            self._fail(f"expected {wanted}, got {response.status_code} {response.body[:200]!r}")
        if status == 101:
            self._is_open = True
            self._receive(parser.trailing)
        return response

    def _open(self) -> None:
        if self.request is None:
            self.send_request()
        self.expect_response()

    def __enter__(self) -> ClientPeer:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cut()


def scripted_client(
    uri: str, *, timeout: float = 5.0, buffer_size: int | None = None
) -> ClientPeer:
    """Connect to a server by TCP, and return a client that does what the test says.

    ::

        with scripted_client(server.uri) as peer:
            peer.send_part("hello", 3)
            peer.reset()

    Nothing is sent yet: the opening handshake is done by the first call that needs it, or
    by :meth:`ClientPeer.send_request` and :meth:`ClientPeer.expect_response`. The calls
    are made by the test itself, so that a failure is raised where it happens.

    Args:
        uri: ``ws://``, without TLS.
        timeout: seconds that each call may wait for the server.
        buffer_size: bytes that the kernel holds while the client doesn't read, roughly; by
            default it may be megabytes until a server that sends notices anything.

    Raises:
        InvalidURI: the URI isn't one of a WebSocket server.
        OSError: the server can't be reached.
        ValueError: the URI is one of TLS.
    """
    parsed = parse_uri(uri)
    if parsed.secure:
        raise ValueError(f"a scripted client has no TLS: {uri}")
    sock = socket.create_connection((parsed.host, parsed.port), timeout)
    if buffer_size is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size)
    return ClientPeer(sock, timeout, uri)
