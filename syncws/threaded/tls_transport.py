"""TLS as a transport over another one.

It is an :class:`ssl.SSLObject` between two memory BIOs. Two threads must never be inside one
OpenSSL object, so each call on it is made under a lock, and is short, because only bytes in memory
move: no wait for the network happens under that lock. Since the transport below may be TLS again,
TLS in TLS comes for free.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Any

from .blocking import Lock, forget_owner, make_lock
from .deadline import Deadline
from .socket_view import TlsView
from .transport import READ_SIZE, Buffer, Transport

if TYPE_CHECKING:
    import ssl

__all__ = ["TlsTransport", "send_in_full_records", "tls_exceptions"]

#: Bytes encrypted at once, eight TLS records. With fewer there are more calls; with more, what the
#: calls hand on leaves the processor's cache.
TLS_WRITE_SIZE = 1 << 17


class TlsTransport(Transport):
    """TLS over another transport.

    Args:
        below: what carries the TLS records; owned from now on.
        context: certificates and rules.
        server_side: which side of TLS this is.
        server_hostname: the name to check, for a client.
    """

    secure = True

    def __init__(
        self,
        below: Transport,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        import ssl

        self._below = below
        self.backlog: bytearray = below.backlog
        self.sock: socket.socket = below.sock
        self.local_address: Any = below.local_address
        self.remote_address: Any = below.remote_address
        # Guards the three objects below. Held for calls in memory only; innermost of locks.
        # Re-entrant, since such calls let signal handlers run, which may send.
        self._lock: Lock = make_lock()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object: ssl.SSLObject = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=server_hostname,
        )
        # Bound once, as looking up takes time.
        self._want_read = ssl.SSLWantReadError
        self._closed_by_peer = ssl.SSLZeroReturnError
        self._exceptions = tls_exceptions()

    @property
    def descriptor(self) -> int | None:
        """See :attr:`Transport.descriptor`."""
        below = self._below
        plain = type(below) is Transport and hasattr(self.ssl_object, "_sslobj")
        return below.descriptor if plain else None

    @property
    def tls(self) -> tuple[Any, ...] | None:
        """See :attr:`Transport.tls`."""
        return (
            # Not the object itself: its methods are bytecode, between which handlers may run.
            self.ssl_object._sslobj,  # type: ignore[attr-defined]
            self._incoming,
            self._outgoing,
            None,
            self._lock,
            *self._exceptions,
        )

    @property
    def bytes_received(self) -> int:  # type: ignore[override]
        """Bytes read from the network so far."""
        return self._below.bytes_received

    @property
    def bytes_sent(self) -> int:  # type: ignore[override]
        """Bytes written to the network so far."""
        return self._below.bytes_sent

    @property
    def tls_view(self) -> TlsView:
        """See :attr:`Transport.tls_view`."""
        return TlsView(self.ssl_object, self._lock)

    def handshake(self, deadline: Deadline) -> None:
        """See :meth:`Transport.handshake`."""
        while True:
            try:
                with self._lock:
                    self.ssl_object.do_handshake()
            except self._want_read:
                self._below.send_all(self._take_output(), deadline)
                data = self._below.recv(deadline)
                if not data:
                    raise ConnectionResetError(
                        errno.ECONNRESET, "the peer closed the connection during the TLS handshake"
                    ) from None
                self._feed(data)
            except OSError:
                # The alert that tells the peer why.
                with contextlib.suppress(OSError):
                    self._below.send_now(self._take_output())
                raise
            else:
                self._below.send_all(self._take_output(), deadline)
                return

    def recv(self, deadline: Deadline | None = None) -> bytes:
        """See :meth:`Transport.recv`."""
        while True:
            try:
                with self._lock:
                    return self.ssl_object.read(READ_SIZE)
            except self._want_read:
                pass
            except self._closed_by_peer:
                return b""
            data = self._below.recv(deadline)
            if not data:
                # Closing TCP without closing TLS cuts nothing off unnoticed: WebSocket has a
                # closing handshake of its own. TLS isn't told, so that writing goes on.
                return b""
            self._feed(data)

    @property
    def pending(self) -> bool:
        """See :attr:`Transport.pending`."""
        # Reading may leave output too: answers to key updates.
        return self._outgoing.pending > 0 or self._below.pending

    @property
    def backlog_size(self) -> int:
        """See :attr:`Transport.backlog_size`."""
        # Not what is being encrypted just now by a thread that sends: the peer has no part in it.
        return self._below.backlog_size

    def send_all(self, data: Buffer, deadline: Deadline | None = None) -> None:
        """See :meth:`Transport.send_all`."""
        if self._below.backlog_size:
            self._below.send_all(b"", deadline)
        with memoryview(data) as view:
            for start in range(0, len(view), TLS_WRITE_SIZE):
                self._below.send_all(self._encrypt(view[start : start + TLS_WRITE_SIZE]), deadline)

    def send_apart(self, header: bytes, payload: Buffer, deadline: Deadline | None = None) -> None:
        """See :meth:`Transport.send_apart`."""
        send_in_full_records(self, header, payload, deadline)

    def send_now(self, data: Buffer) -> None:
        """See :meth:`Transport.send_now`."""
        self._below.send_now(self._encrypt(data))

    def finish_sending(self) -> None:
        """See :meth:`Transport.finish_sending`."""
        with contextlib.suppress(OSError), self._lock:
            self.ssl_object.unwrap()  # queues close_notify, then wants the peer's
        self._below.send_now(self._take_output())
        self._below.finish_sending()

    def flush(self) -> bool:
        """See :meth:`Transport.flush`."""
        self._below.send_now(self._take_output())
        return self._below.flush()

    def wait_writable(self, deadline: Deadline) -> bool:
        """See :meth:`Transport.wait_writable`."""
        self._below.send_now(self._take_output())
        return self._below.wait_writable(deadline)

    def unacknowledged(self) -> int | None:
        """See :meth:`Transport.unacknowledged`."""
        return self._below.unacknowledged()

    def is_interrupted(self) -> bool:
        """See :meth:`Transport.is_interrupted`."""
        return self._lock._is_owned() or self._below.is_interrupted()

    def abort(self) -> None:
        """See :meth:`Transport.abort`."""
        self._below.abort()

    def close(self) -> None:
        """See :meth:`Transport.close`."""
        self._below.close()

    def after_fork(self) -> None:
        """See :meth:`Transport.after_fork`."""
        forget_owner(self._lock)
        self._below.after_fork()

    def _encrypt(self, data: Buffer) -> bytes:
        with self._lock:
            if data:  # older Pythons take an empty write for the end
                self.ssl_object.write(data)
            return self._outgoing.read()

    def _take_output(self) -> bytes:
        with self._lock:
            return self._outgoing.read()

    def _feed(self, data: bytes) -> None:
        with self._lock:
            self._incoming.write(data)


def send_in_full_records(
    transport: Transport, header: bytes, payload: Buffer, deadline: Deadline | None
) -> None:
    """Do what :meth:`Transport.send_apart` does over TLS: the header has no record of its own."""
    with memoryview(payload) as view:
        first = TLS_WRITE_SIZE - len(header)
        transport.send_all(header + view[:first], deadline)
        transport.send_all(view[first:], deadline)


def tls_exceptions() -> tuple[type[OSError], ...]:
    """Return what TLS raises, in the order in which the accelerator takes it."""
    import ssl

    return (
        ssl.SSLWantReadError,
        ssl.SSLWantWriteError,
        ssl.SSLZeroReturnError,
        ssl.SSLEOFError,
        ssl.SSLError,
    )
