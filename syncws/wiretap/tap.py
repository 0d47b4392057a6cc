"""Watching what a connection sends and receives, without being in its way."""

from __future__ import annotations

import logging
from typing import Any, Callable, TypeVar

from ..threaded.connection import Connection
from ..threaded.deadline import Deadline
from ..threaded.guarded_logger import GuardedLogger
from ..threaded.transport import Buffer, Transport

__all__ = ["Observe", "TapTransport", "tapped"]

#: Called with whether bytes were sent, rather than received, and the bytes.
Observe = Callable[[bool, bytes], None]

#: Bytes that are shown at once.
PIECE_SIZE = 1 << 18

C = TypeVar("C", bound=Connection)

logger = GuardedLogger(logging.getLogger("syncws.tap"))


class TapTransport(Transport):
    """Another transport, of which somebody sees the bytes: of TLS, those inside of it.

    ``observe(sent, data)`` is called for what was received before anybody else sees it, and for
    what is sent just before it is handed on, so that no answer is seen before what it answers.
    No bytes are the end of a direction. The calls for one direction come in the order of the
    wire, one at a time; those for the other may come from another thread meanwhile: what is
    received on the thread that reads, what is sent on whichever thread sends, with the write lock
    held. So it must be quick, and not use the connection. If it raises, that is logged, and it is
    not called any more; the connection goes on.

    Args:
        below: the transport; owned from now on.
        observe: who sees the bytes; may be set later, before there are any.
    """

    descriptor = None  # or bytes would pass by

    def __init__(self, below: Transport, observe: Observe | None = None) -> None:
        self._below = below
        self.sock = below.sock
        self.secure: bool = below.secure
        self.local_address = below.local_address
        self.remote_address = below.remote_address
        self.observe = observe

    def _show(self, sent: bool, data: Buffer) -> None:
        observe = self.observe
        if observe is None:
            return
        try:
            with memoryview(data) as view:
                for start in range(0, len(view), PIECE_SIZE):
                    observe(sent, bytes(view[start : start + PIECE_SIZE]))
        except Exception:
            self._leave_out()

    def _show_end(self, sent: bool) -> None:
        try:
            if self.observe is not None:
                self.observe(sent, b"")
        except Exception:
            self._leave_out()

    def _leave_out(self) -> None:
        if self.observe is not None:  # once, though both directions may fail
            self.observe = None
            logger.exception("an observer of a connection failed; it sees no more of it")

    @property
    def bytes_received(self) -> int:  # type: ignore[override]
        """Bytes read from the network so far."""
        return self._below.bytes_received

    @property
    def bytes_sent(self) -> int:  # type: ignore[override]
        """Bytes written to the network so far."""
        return self._below.bytes_sent

    @property
    def kind(self) -> str:  # type: ignore[override]
        """See :attr:`Transport.kind`."""
        return self._below.kind

    @property
    def pending(self) -> bool:
        """See :attr:`Transport.pending`."""
        return self._below.pending

    @property
    def backlog_size(self) -> int:
        """See :attr:`Transport.backlog_size`."""
        return self._below.backlog_size

    def handshake(self, deadline: Deadline) -> None:
        """See :meth:`Transport.handshake`."""
        self._below.handshake(deadline)

    def show_received(self, data: bytes) -> None:
        """See :meth:`Transport.show_received`."""
        self._show(False, data)

    def recv(self, deadline: Deadline | None = None) -> bytes:
        """See :meth:`Transport.recv`."""
        data = self._below.recv(deadline)
        if data:
            self._show(False, data)
        else:
            self._show_end(False)
        return data

    def send_all(self, data: Buffer, deadline: Deadline | None = None) -> None:
        """See :meth:`Transport.send_all`."""
        self._show(True, data)
        self._below.send_all(data, deadline)

    def send_apart(self, header: bytes, payload: Buffer, deadline: Deadline | None = None) -> None:
        """See :meth:`Transport.send_apart`."""
        self._show(True, header)
        self._show(True, payload)
        self._below.send_apart(header, payload, deadline)

    def send_now(self, data: Buffer) -> None:
        """See :meth:`Transport.send_now`."""
        self._show(True, data)
        self._below.send_now(data)

    def finish_sending(self) -> None:
        """See :meth:`Transport.finish_sending`."""
        self._show_end(True)
        self._below.finish_sending()

    def flush(self) -> bool:
        """See :meth:`Transport.flush`."""
        return self._below.flush()

    def wait_writable(self, deadline: Deadline) -> bool:
        """See :meth:`Transport.wait_writable`."""
        return self._below.wait_writable(deadline)

    def unacknowledged(self) -> int | None:
        """See :meth:`Transport.unacknowledged`."""
        return self._below.unacknowledged()

    def abort(self) -> None:
        """See :meth:`Transport.abort`."""
        self._below.abort()

    def close(self) -> None:
        """See :meth:`Transport.close`."""
        self._below.close()

    def after_fork(self) -> None:
        """See :meth:`Transport.after_fork`."""
        self._below.after_fork()


def tapped(
    create_connection: Callable[..., C], make_observer: Callable[[C], Observe]
) -> Callable[..., C]:
    """Return a ``create_connection`` whose connections are watched, opening handshake included.

    It is for :func:`~syncws.connect` and :func:`~syncws.serve`. A connection that is redirected
    is several, each with an observer.

    Args:
        create_connection: a class of connections, or what makes one.
        make_observer: called with each connection before its opening handshake; returns what is
            called with its bytes, see :class:`TapTransport`.
    """

    def create(sock: Any, *args: Any, **kwargs: Any) -> C:
        tap = TapTransport(sock if isinstance(sock, Transport) else Transport(sock))
        connection = create_connection(tap, *args, **kwargs)
        tap.observe = make_observer(connection)
        return connection

    return create
