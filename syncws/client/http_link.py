"""HTTP requests to one server, one after the other, over a connection that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from ..exceptions import InvalidHandshake, InvalidMessage
from ..fallback.streamed_response import StreamedResponse
from ..sansio.http11 import Response
from ..sansio.http_parser import MAX_BODY_SIZE
from ..threaded import lifecycle
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport

if TYPE_CHECKING:
    from ..threaded.socket_view import TlsView

__all__ = ["HttpLink"]


class HttpLink:
    """Requests to a server, over a connection that is made when there is none.

    One thread at a time asks; any thread may :meth:`cut`.

    Args:
        dial: makes a connection.
        max_header_size: limit of the headers of a response.

    Attributes:
        remote_address: the other end of the last connection, the server or a proxy.
        local_address: this end of it.
        is_secure: whether it had TLS.
        tls_view: what its TLS can tell; ``None`` without.
        dial_timeout: seconds that making a connection may take; ``None``: as long as the request.
            Nothing can end it earlier.
    """

    def __init__(
        self, dial: Callable[[Deadline], Transport], max_header_size: int | None = None
    ) -> None:
        self._dial = dial
        self._max_header_size = max_header_size
        self._transport: Transport | None = None
        self._is_cut = False
        self.remote_address: object = None
        self.local_address: object = None
        self.is_secure = False
        self.tls_view: TlsView | None = None
        self.dial_timeout: float | None = None

    @property
    def is_cut(self) -> bool:
        """Whether it can't be used any more."""
        return self._is_cut

    def ask(self, request: bytes, deadline: Deadline) -> StreamedResponse:
        """Send a request; return its response once the head is there.

        What is left of the response is to be read, or the connection dropped, before the next
        request. If the connection was kept from an earlier request, and the server has closed it
        meanwhile, the request goes out once more over a new one: it has to be one that may come
        twice.

        Raises:
            InvalidMessage: what came isn't HTTP/1.1, or nothing came.
            InvalidHandshake: as opening a connection raises it.
            TimeoutError: there was no response before the deadline.
            OSError: the server can't be reached, or the connection broke.
        """
        response = StreamedResponse(self._max_header_size)
        if self._transport is not None:
            try:
                return self._ask(self._transport, request, response, deadline)
            except (OSError, InvalidMessage) as exc:
                if self._is_cut or response.has_begun or isinstance(exc, TimeoutError):
                    raise
        return self._ask(self._connect(deadline), request, response, deadline)

    def read(self, response: StreamedResponse, deadline: Deadline) -> bytes:
        """Return a piece of a response's body; block until there is one. Empty at its end.

        Raises:
            InvalidMessage: what came isn't HTTP/1.1, or it ended too early.
            TimeoutError: nothing came before the deadline.
            OSError: the connection broke.
        """
        try:
            while True:
                piece = response.take_body()
                if piece:
                    return piece
                if response.is_complete:
                    break
                if self._transport is None:
                    raise InvalidMessage("the connection was dropped")
                self._receive(self._transport, response, deadline)
        except BaseException:
            self.drop()
            raise
        if not response.keeps_alive:
            self.drop()
        return b""

    def read_all(self, response: StreamedResponse, deadline: Deadline) -> Response:
        """Return a response with its body, of which 1 MiB is kept.

        Raises what :meth:`read` does.
        """
        head = response.head
        assert head is not None
        body = bytearray()
        while True:
            piece = self.read(response, deadline)
            if not piece:
                break
            body += piece
            if len(body) > MAX_BODY_SIZE:
                self.drop()
                break
        head.body = bytes(body[:MAX_BODY_SIZE])
        return head

    def cut(self) -> None:
        """End what the other thread waits for, for good. Never blocks; any thread may call it."""
        self._is_cut = True
        transport = self._transport
        if transport is not None:
            transport.abort()

    def drop(self) -> None:
        """Close the connection, if there is one; by the thread that asks."""
        transport, self._transport = self._transport, None
        if transport is not None:
            lifecycle.unregister(self)
            transport.close()

    # --- the process ---

    def begin_exit(self) -> None:
        """Do nothing: whose requests these are sees to the end."""

    def end_exit(self, deadline: Deadline) -> None:
        """Do nothing."""

    def after_fork(self) -> None:
        """Leave the connection to the parent, in a child."""
        transport, self._transport = self._transport, None
        self._is_cut = True
        if transport is not None:
            transport.after_fork()

    # --- one request ---

    def _connect(self, deadline: Deadline) -> Transport:
        self._check()
        if self.dial_timeout is not None:
            deadline = deadline.within(self.dial_timeout)
        transport = self._dial(deadline)
        self._transport = transport
        lifecycle.register(self)
        self.remote_address = transport.remote_address
        self.local_address = transport.local_address
        self.is_secure, self.tls_view = transport.secure, transport.tls_view
        try:
            self._check()  # again: cut() has found none to abort, perhaps
        except OSError:
            self.drop()
            raise
        return transport

    def _check(self) -> None:
        if self._is_cut:
            raise ConnectionAbortedError("no more requests are made")

    def _ask(
        self,
        transport: Transport,
        request: bytes,
        response: StreamedResponse,
        deadline: Deadline,
    ) -> StreamedResponse:
        try:
            transport.send_all(request, deadline)
            self._receive_head(transport, response, deadline)
        except BaseException:
            self.drop()
            raise
        return response

    def _receive_head(
        self, transport: Transport, response: StreamedResponse, deadline: Deadline
    ) -> None:
        while response.head is None:
            self._receive(transport, response, deadline)

    def _receive(
        self, transport: Transport, response: StreamedResponse, deadline: Deadline
    ) -> None:
        data = transport.recv(deadline)
        try:
            if data:
                response.receive_data(data)
            else:
                response.receive_eof()
        except (InvalidHandshake, ValueError, EOFError) as exc:
            raise InvalidMessage(f"the server's response isn't valid HTTP/1.1: {exc}") from exc
