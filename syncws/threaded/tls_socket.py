"""Bytes over a socket that somebody else has wrapped in TLS."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from typing import Any

from .blocking import Lock, make_lock
from .deadline import Deadline
from .socket_view import TlsView
from .tls_transport import send_in_full_records, tls_exceptions
from .transport import READ_SIZE, WRITE_SIZE, Buffer, Transport

__all__ = ["TlsSocketTransport"]

#: The number of an error that only says that a signal handler has used the object meanwhile: Python
#: asks the object, rather than the call, how the call went.
INVALID_CODE = 10


class TlsSocketTransport(Transport):
    """A connected :class:`ssl.SSLSocket`, after its handshake.

    Two threads must never be inside one OpenSSL object. So the socket doesn't block: each call
    on it is made under a lock, and is short; waits for the network are made outside of it.

    Args:
        sock: the socket; the transport owns it from now on.
    """

    secure = True
    sock: ssl.SSLSocket

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        sock.settimeout(0)
        # Guards OpenSSL's object. Held for calls that don't wait; innermost of locks. Re-entrant,
        # since such calls let signal handlers run, which may send.
        self._lock: Lock = make_lock()
        # Guarded by the write lock: what was tried to be sent needs something to be read first.
        self._reads_to_send = False

    @property
    def descriptor(self) -> int | None:
        """See :attr:`Transport.descriptor`."""
        usable = self._is_native(ssl.SSLSocket) and getattr(self.sock, "_sslobj", None) is not None
        return self.sock.fileno() if usable else None

    @property
    def tls(self) -> tuple[Any, ...] | None:
        """See :attr:`Transport.tls`."""
        # OpenSSL reads and writes the socket: there are no buffers in memory.
        sslobj = self.sock._sslobj  # type: ignore[attr-defined]
        return (sslobj, None, None, self.sock, self._lock, *tls_exceptions())

    @property
    def tls_view(self) -> TlsView:
        """See :attr:`Transport.tls_view`."""
        return TlsView(self.sock, self._lock)

    def recv(self, deadline: Deadline | None = None) -> bytes:
        """See :meth:`Transport.recv`."""
        deadline = deadline or Deadline(None)
        while True:
            select_read = True
            try:
                with self._lock:
                    data = self.sock.recv(READ_SIZE)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLWantWriteError:
                select_read = False
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                # The latter: TCP ended without TLS. WebSocket has a closing handshake of its own.
                return b""
            else:
                self.bytes_received += len(data)
                return data
            if not self._wait(select_read=select_read, deadline=deadline):
                raise TimeoutError("timed out while waiting for data")

    def send_all(self, data: Buffer, deadline: Deadline | None = None) -> None:
        """See :meth:`Transport.send_all`."""
        deadline = deadline or Deadline(None)
        if self.backlog:
            self._send_backlog(deadline)
        with memoryview(data) as view:
            self._send_pieces(view, deadline)

    def send_apart(self, header: bytes, payload: Buffer, deadline: Deadline | None = None) -> None:
        """See :meth:`Transport.send_apart`."""
        send_in_full_records(self, header, payload, deadline)

    def flush(self) -> bool:
        """See :meth:`Transport.flush`."""
        while self.backlog:
            # What OpenSSL did not take must come again as it is, or with more behind it.
            with memoryview(self.backlog) as view, view[:WRITE_SIZE] as piece:
                sent = self._send_without_waiting(piece)
            if not sent:
                return False
            del self.backlog[:sent]
        if self._finish:
            self._finish = False
            self._end_sending()
        return True

    def is_interrupted(self) -> bool:
        """See :meth:`Transport.is_interrupted`."""
        return self._lock._is_owned()

    def abort(self) -> None:
        """See :meth:`Transport.abort`."""
        with contextlib.suppress(OSError), self._ending:
            # Of TCP only: the method of the class would take OpenSSL's object away from others.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def _send_without_waiting(self, data: Buffer) -> int:
        self._reads_to_send = False
        try:
            with self._lock:
                sent = self.sock.send(data)
        except ssl.SSLWantWriteError:
            return 0
        except ssl.SSLWantReadError:
            self._reads_to_send = True
            return 0
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as exc:
            raise BrokenPipeError(errno.EPIPE, "the peer closed the connection") from exc
        except ssl.SSLError as exc:
            if exc.errno == INVALID_CODE:
                return 0
            raise
        self.bytes_sent += sent
        return sent

    def _wait_to_send(self, deadline: Deadline | None) -> None:
        if not self._wait(select_read=self._reads_to_send, deadline=deadline or Deadline(None)):
            raise TimeoutError("timed out while sending")

    def _end_sending(self) -> None:
        """Close the sending side of TLS, and of TCP."""
        # Sends close_notify; then it would wait for the peer's.
        with contextlib.suppress(OSError, ValueError), self._lock:
            self.sock.unwrap()
        socket.socket.shutdown(self.sock, socket.SHUT_WR)
