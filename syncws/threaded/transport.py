"""Bytes over a socket: the only code that reads and writes one. TLS is a transport over another.

Reading belongs to one thread at a time, writing to whoever holds the
connection's write lock; the two don't wait for each other. Writing comes in
two kinds: :meth:`Transport.send_all` waits for the peer, :meth:`Transport.send_now`
never does: what the kernel doesn't take stays in the *backlog*, which goes
out before anything else. :meth:`Transport.abort` may come from any thread and
ends every wait.

The socket stays in blocking mode, so that reading is one system call; waits
with a deadline are made of a poll and a call that doesn't block.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import select
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable, Union

from ..locks import make_rlock
from .blocking import SIGNAL_INTERVAL, is_green, is_main_thread
from .deadline import Deadline

if TYPE_CHECKING:
    from .socket_view import TlsView

__all__ = ["Transport"]

#: Bytes read at once.
READ_SIZE = 1 << 16

#: Bytes written at once, so that progress can be seen while a large frame goes out.
WRITE_SIZE = 1 << 18

#: The longest that poll() can wait, in milliseconds.
MAX_POLL = 2**31 - 1

#: SIGNAL_INTERVAL as a ``struct timeval``; ``None`` on Windows, where Ctrl-C ends no waiting.
SEND_INTERVAL = (
    None if sys.platform == "win32" else struct.pack("@ll", 0, int(SIGNAL_INTERVAL * 1e6))
)

#: In place of a socket's own address, which is asked for when it is wanted.
_NOT_ASKED = object()

DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)

Buffer = Union[bytes, bytearray, memoryview]

# Linux calls it SIOCOUTQ for sockets. Other systems have the number for terminals only.
ioctl: Callable[..., Any] | None = None
if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ


class Transport:
    """A connected socket.

    Args:
        sock: the socket; the transport owns it from now on.
        peer: the other end's address, of a socket that was accepted and blocks. It spares a server
            the calls that ask for it and see to that, each of which lets other threads run.

    Attributes:
        secure: whether this is TLS.
        kind: what carries messages: ``"websocket"``, or where that does not get through
            ``"streaming"`` or ``"polling"``.
        remote_address: the peer's address; kept after closing.
        bytes_received: bytes read so far.
        bytes_sent: bytes written so far.
        backlog: what the kernel did not take yet; guarded by the connection's write lock.
    """

    secure = False
    kind = "websocket"
    _sends_in_slices = False

    # Here for abort(): a generator that goes with the interpreter, and cuts its connection then,
    # finds the names of modules gone, where there is no interpreter lock.
    _both_ways = socket.SHUT_RDWR

    def __init__(self, sock: socket.socket, peer: Any = None) -> None:
        if peer is None or sock.gettimeout() is not None:
            sock.settimeout(None)
        self.sock = sock
        self._local_address: Any = _NOT_ASKED if peer is not None else _address(sock.getsockname)
        self.remote_address: Any = peer if peer is not None else _address(sock.getpeername)
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        # Guarded by the connection's write lock:
        self.backlog: bytearray = bytearray()
        self._finish = False  # close the sending side once the backlog is empty
        # Keeps abort() from shutting down what has the descriptor's number after close().
        # Re-entrant, because a signal handler may abort while the main thread does.
        self._ending = make_rlock()

    @property
    def local_address(self) -> Any:
        """The socket's own address; kept after closing."""
        self._ask_for_address()
        return self._local_address

    @local_address.setter
    def local_address(self, address: Any) -> None:
        self._local_address = address

    @property
    def descriptor(self) -> int | None:
        """The descriptor, where it may be read and written in place of the socket.

        Not where the socket or the threads are others than the interpreter's (gevent,
        eventlet): only their own methods know how to wait.
        """
        return self.sock.fileno() if self._is_native(socket.socket) else None

    def _is_native(self, kind: type[socket.socket]) -> bool:
        """Tell whether sockets and threads are the interpreter's, and this one is of that kind."""
        native = issubclass(socket.socket, _socket.socket) and not is_green(threading.Lock())
        return native and type(self.sock) is kind

    @property
    def tls(self) -> tuple[Any, ...] | None:
        """What the bytes at the descriptor pass through, if they may; ``None`` without TLS."""
        return None

    @property
    def tls_view(self) -> TlsView | None:
        """What TLS can tell; ``None`` without TLS."""
        return None

    def handshake(self, deadline: Deadline) -> None:
        """Shake hands, as a server's TLS does; nothing here. Before anything else is called.

        Raises:
            TimeoutError: the peer did not answer before the deadline.
            OSError: the handshake failed, or the connection is broken.
        """

    # --- reading ---

    def show_received(self, data: bytes) -> None:
        """Show those who watch the connection what was read of it before it was one."""

    def recv(self, deadline: Deadline | None = None) -> bytes:
        """Return what has arrived; block until something has. Empty at the end.

        Raises:
            TimeoutError: nothing came before the deadline.
            OSError: the connection is broken.
        """
        data = None
        if deadline is not None:
            data = self._recv_now()
            if data is None and not self._wait(select_read=True, deadline=deadline):
                raise TimeoutError("timed out while waiting for data")
        if data is None:
            data = self.sock.recv(READ_SIZE)
        self.bytes_received += len(data)
        return data

    def _recv_now(self) -> bytes | None:
        """Return what has arrived, or ``None`` if nothing has, or that can't be told."""
        if not (DONT_WAIT and self._is_native(socket.socket)):
            return None
        try:
            return self.sock.recv(READ_SIZE, DONT_WAIT)
        except BlockingIOError:
            return None

    # --- writing: with the connection's write lock held ---

    @property
    def pending(self) -> bool:
        """Whether something waits to be written by :meth:`flush`."""
        return bool(self.backlog) or self._finish

    @property
    def backlog_size(self) -> int:
        """Bytes that wait for the kernel to take them."""
        return len(self.backlog)

    def send_all(self, data: Buffer, deadline: Deadline | None = None) -> None:
        """Write the backlog and ``data``; block until the kernel has taken all of it.

        Raises:
            TimeoutError: the deadline passed; some of it may have been written.
            OSError: the connection is broken.
        """
        if self.backlog:
            self._send_backlog(deadline)
        if deadline is None and len(data) <= WRITE_SIZE:
            sent = self._send_waiting(data)
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._send_pieces(memoryview(data), deadline)

    def send_apart(self, header: bytes, payload: Buffer, deadline: Deadline | None = None) -> None:
        """Do what :meth:`send_all` does with a header and a large payload, without joining them.

        Raises:
            TimeoutError: the deadline passed; some of it may have been written.
            OSError: the connection is broken.
        """
        if self.backlog:
            self._send_backlog(deadline)
        sent = 0
        if DONT_WAIT and hasattr(self.sock, "sendmsg"):
            with contextlib.suppress(BlockingIOError):
                sent = self.sock.sendmsg((header, payload), (), DONT_WAIT)
                self.bytes_sent += sent
        if sent < len(header):
            self._send_pieces(memoryview(header)[sent:], deadline)
            sent = len(header)
        self._send_pieces(memoryview(payload)[sent - len(header) :], deadline)

    def send_now(self, data: Buffer) -> None:
        """Write what the kernel takes without waiting; the rest goes to the backlog.

        Raises:
            OSError: the connection is broken.
        """
        self.backlog += data
        self.flush()

    def finish_sending(self) -> None:
        """Close the sending side as soon as the backlog is written. Never blocks.

        Raises:
            OSError: the connection is broken.
        """
        self._finish = True
        self.flush()

    def flush(self) -> bool:
        """Write as much of the backlog as the kernel takes; return whether all of it went.

        Raises:
            OSError: the connection is broken.
        """
        while self.backlog:
            with memoryview(self.backlog) as view, view[:WRITE_SIZE] as piece:
                sent = self._send_without_waiting(piece)
            if not sent:
                return False
            del self.backlog[:sent]
        if self._finish:
            self._finish = False
            self.sock.shutdown(socket.SHUT_WR)
        return True

    def wait_writable(self, deadline: Deadline) -> bool:
        """Block until the backlog is written and the kernel takes more, or the deadline."""
        while True:
            if not self._wait(select_read=False, deadline=deadline):
                return False
            if self.flush():
                return True

    def _send_backlog(self, deadline: Deadline | None) -> None:
        while not self.flush():
            self._wait_to_send(deadline)

    def _send_pieces(self, view: memoryview, deadline: Deadline | None) -> None:
        while view:
            if deadline is None:
                sent = self._send_waiting(view[:WRITE_SIZE])
            else:
                sent = self._send_without_waiting(view[:WRITE_SIZE])
                if not sent:
                    self._wait_to_send(deadline)
            view = view[sent:]

    def _send_waiting(self, data: Buffer) -> int:
        """Wait until the kernel takes some; return how much, 0 after a slice of the waiting."""
        if not self._sends_in_slices and is_main_thread():
            self._send_in_slices()
        try:
            sent = self.sock.send(data)
        except BlockingIOError:  # other threads wait in slices too, from then on
            return 0
        self.bytes_sent += sent
        return sent

    def _send_in_slices(self) -> None:
        """Let no call of send() wait for long: a signal that comes just before one does not end it.

        It costs less than asking first whether the socket can be written to.
        """
        self._sends_in_slices = True
        if SEND_INTERVAL is not None and self._is_native(socket.socket):
            with contextlib.suppress(OSError):  # closed
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SEND_INTERVAL)

    def _send_without_waiting(self, data: Buffer) -> int:
        is_native = isinstance(self.sock, _socket.socket)
        if not (DONT_WAIT and is_native):  # pragma: no cover  # Windows and gevent: send() waits
            if not self._wait(select_read=False, deadline=Deadline(0)):
                return 0
            data = data if DONT_WAIT else data[: 1 << 14]
        try:
            sent = self.sock.send(data, DONT_WAIT)
        except BlockingIOError:
            return 0
        self.bytes_sent += sent
        return sent

    def _wait_to_send(self, deadline: Deadline | None) -> None:
        if not self._wait(select_read=False, deadline=deadline or Deadline(None)):
            raise TimeoutError("timed out while sending")

    def _wait(self, *, select_read: bool, deadline: Deadline) -> bool:
        """Block until the socket can be read from, or written to; False at the deadline."""
        if not is_main_thread():
            return self._poll(select_read, deadline.remaining())
        while True:
            # In slices: a signal that comes just before the wait does not end it.
            remaining = deadline.remaining()
            sliced = SIGNAL_INTERVAL if remaining is None else min(remaining, SIGNAL_INTERVAL)
            if self._poll(select_read, sliced):
                return True
            if remaining is not None and remaining <= SIGNAL_INTERVAL:
                return False

    def _poll(self, select_read: bool, remaining: float | None) -> bool:
        if self.sock.fileno() < 0:
            raise OSError(errno.EBADF, "the socket is closed")
        if not hasattr(select, "poll"):  # pragma: no cover  # Windows
            wanted: Any = [self.sock]
            ready = select.select(
                wanted if select_read else [], [] if select_read else wanted, [], remaining
            )
            return bool(ready[0] or ready[1])
        poller = select.poll()
        poller.register(self.sock, select.POLLIN if select_read else select.POLLOUT)
        return bool(poller.poll(None if remaining is None else min(remaining * 1000, MAX_POLL)))

    def unacknowledged(self) -> int | None:
        """Return the bytes written that the other end's kernel, or a proxy's, has not taken yet.

        ``None`` where the kernel doesn't tell (elsewhere than on Linux) and once the socket is
        closed. Never blocks; any thread may call it.
        """
        if ioctl is None:  # pragma: no cover
            return None
        try:
            answer: bytes = ioctl(self.sock.fileno(), TIOCOUTQ, bytes(4))
        except (OSError, ValueError):  # closed
            return None
        return int.from_bytes(answer, sys.byteorder)

    def is_interrupted(self) -> bool:
        """Tell whether this is a signal handler, and the call it interrupted holds a lock."""
        return False

    # --- ending ---

    def abort(self) -> None:
        """Cut the connection: every thread that reads or writes returns. Any thread may."""
        try:
            with self._ending:
                self.sock.shutdown(self._both_ways)
        except OSError:  # not connected any more, or closed
            return

    def close(self) -> None:
        """Release the descriptor. Nobody may be reading or writing."""
        with contextlib.suppress(OSError), self._ending:  # it is closed all the same
            self._ask_for_address()
            self.sock.close()

    def after_fork(self) -> None:
        """Release a forked child's descriptor. The stream is the parent's, and goes on."""
        self._ending = make_rlock()  # its owner may be a thread that only the parent has
        self._ask_for_address()
        self.sock.close()

    def _ask_for_address(self) -> None:
        """Find out the socket's own address, unless it is known: once it is closed nobody can."""
        if self._local_address is _NOT_ASKED:
            with self._ending:
                if self._local_address is _NOT_ASKED:
                    self._local_address = _address(self.sock.getsockname)


def _address(get: Any) -> Any:
    try:
        return get()
    except OSError:
        return None
