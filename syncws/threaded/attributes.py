"""What can be read off a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..exceptions import ConnectionClosed
from ..sansio.http11 import Request, Response
from ..sansio.protocol import Protocol
from ..sansio.state import Role, State
from .latch import Latch
from .socket_view import SocketView, TlsView
from .transport import Transport
from .writer import Writer

if TYPE_CHECKING:
    import uuid

    from ..sansio.extensions.interface import Extension
    from ..sansio.headers import Headers

__all__ = ["Attributes", "Stats"]


@dataclass(frozen=True)
class Stats:
    """What went over a connection so far.

    Attributes:
        messages_sent: messages sent.
        messages_received: messages received, including those that nobody has taken yet.
        frames_sent: data frames sent.
        frames_received: frames received.
        bytes_sent: bytes written to the network, with frame headers and TLS.
        bytes_received: bytes read from the network.
    """

    messages_sent: int
    messages_received: int
    frames_sent: int
    frames_received: int
    bytes_sent: int
    bytes_received: int


#: Bytes on their way to the peer that may be pings and pongs only, which keep no connection.
MAX_PINGS = 1024


class Attributes:
    """The read-only attributes of a connection: base of the class that acts.

    Reading them takes no lock; any thread may.
    """

    protocol: Protocol
    request: Request | None
    response: Response | None
    number: int
    _id: uuid.UUID | None
    _transport: Transport
    _writer: Writer
    _closed: Latch
    _messages_received: int
    _frames_received: int
    _fragments_received: int
    # What was sent and received by descriptor, in C.
    _direct_sent: int
    _direct_received: int
    _direct_bytes_sent: int
    _direct_bytes_received: int

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.state.name} {self.remote_address}>"

    @property
    def id(self) -> uuid.UUID:
        """A unique identifier, for logs."""
        if self._id is None:
            import uuid

            self._id = uuid.uuid4()
        return self._id

    @property
    def is_client(self) -> bool:
        """Whether this is the client's end."""
        return self.protocol.role is Role.CLIENT

    @property
    def side(self) -> str:
        """``"client"`` or ``"server"``."""
        return self.protocol.role.name.lower()

    @property
    def transport(self) -> str:
        """What carries its messages: ``"websocket"``, or ``"streaming"`` or ``"polling"`` by HTTP.

        The two change while the connection is open, as the client chooses.
        """
        return self._transport.kind

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted by TLS."""
        return self._transport.secure

    @property
    def socket(self) -> SocketView:
        """The socket, with what programs may use of it: addresses, options, and what TLS can tell.

        Reading, writing and closing are the connection's business.
        """
        return SocketView(self._transport)

    @property
    def ssl_object(self) -> TlsView | None:
        """What TLS can tell: the peer's certificate (``getpeercert()``), cipher, ALPN.

        ``None`` without TLS. It is that of this end: with a proxy in between that takes TLS off,
        only the proxy knows the client's certificate.
        """
        return self._transport.tls_view

    @property
    def local_address(self) -> Any:
        """This end's address, as :meth:`socket.socket.getsockname` gives it; kept after closing."""
        return self._transport.local_address

    @property
    def remote_address(self) -> Any:
        """The other end's address; kept after closing."""
        return self._transport.remote_address

    @property
    def state(self) -> State:
        """How far the connection is."""
        return self.protocol.state

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self.protocol.state is State.OPEN

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, and all that belongs to it is released."""
        return self._closed.is_set()

    @property
    def close_code(self) -> int | None:
        """Code of the close frame received, 1006 without one; ``None`` until closed."""
        return self.protocol.close_code

    @property
    def close_reason(self) -> str | None:
        """Reason of the close frame received; ``None`` until closed."""
        return self.protocol.close_reason

    @property
    def close_exc(self) -> ConnectionClosed:
        """A new exception that says how the connection was closed.

        Raises:
            InvalidState: the connection isn't closed.
        """
        return self.protocol.close_exc

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on, or ``None``."""
        return self.protocol.subprotocol

    @property
    def extensions(self) -> list[Extension]:
        """The extensions that were agreed on."""
        return self.protocol.extensions

    @property
    def path(self) -> str | None:
        """Path and query of the request."""
        return None if self.request is None else self.request.path

    @property
    def request_headers(self) -> Headers | None:
        """Headers of the request."""
        return None if self.request is None else self.request.headers

    @property
    def response_headers(self) -> Headers | None:
        """Headers of the response."""
        return None if self.response is None else self.response.headers

    @property
    def headers(self) -> Headers | None:
        """Headers that the other end sent in the opening handshake."""
        return self.response_headers if self.is_client else self.request_headers

    @property
    def stats(self) -> Stats:
        """What went over the connection so far."""
        transport = self._transport
        sent, received = self._direct_sent, self._direct_received
        return Stats(
            self._writer.messages_sent + self._writer.messages_posted + sent,
            self._messages_received + received,
            self._writer.frames_sent + self._writer.messages_posted + sent,
            self._frames_received + received,
            transport.bytes_sent + self._direct_bytes_sent,
            transport.bytes_received + self._direct_bytes_received,
        )

    def _activity(self) -> tuple[int, int | None]:
        """Return messages and fragments so far, both ways; and bytes, in the middle of a frame."""
        transport, writer = self._transport, self._writer
        count = (
            writer.frames_sent
            + writer.messages_posted
            + self._direct_sent
            + self._messages_received
            + self._fragments_received
            + self._direct_received
        )
        # What the kernel has taken may take the peer a while.
        left = transport.unacknowledged() or 0
        if not (left > MAX_PINGS or writer.waiting or self.protocol.decoder.receiving):
            return count, None
        sent = transport.bytes_sent + self._direct_bytes_sent - left
        return count, sent + transport.bytes_received + self._direct_bytes_received

    @property
    def buffered_amount(self) -> int:
        """Bytes that wait to be written; 0 unless the peer reads slowly."""
        return self._writer.waiting
