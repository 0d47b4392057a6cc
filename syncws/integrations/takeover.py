"""Taking a connection over from a server that goes on to believe that it has it.

The server's code will write a response, shut down and close its socket, whatever we do. So its
descriptor gets a *stand-in*: one end of a socket pair. It reads as a connection that the client
has closed; what is written to it goes nowhere. Our own descriptor is another one.

Where the stand-in goes in depends on who may use the server's socket:

- A plain socket: at once. The server can't touch our stream from then on.
- TLS: OpenSSL works with the descriptor that it was given, so we use the server's socket, and the
  stand-in goes in at the end.
- gevent: its event loop and the kernel's epoll know the descriptor, so again at the end, when
  nothing of the connection is left that they could tell us about.

At the end means: when the connection is closed, which is before the request's thread goes back
to the server. On Windows, which has no such call for sockets, the server keeps a socket that is
shut down.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import threading
from typing import Any, Callable

from ..locks import make_rlock
from ..threaded import timekeeper
from ..threaded.blocking import is_green
from ..threaded.tls_socket import TlsSocketTransport
from ..threaded.transport import Transport
from .wsgi_servers import Found, UnsupportedServer

__all__ = ["PendingTransport", "check_socket", "sinks", "take_over"]

#: Bytes that a server may write after its connection was taken over; more fail, as if the client
#: had gone, or a page without an end would keep its thread for ever.
MAX_WASTE = 1 << 26

#: Bytes of these that are read at once.
WASTE_SIZE = 1 << 20


class PendingTransport(Transport):
    """A server's socket before it is taken over: it tells its addresses, and does nothing.

    Args:
        found: whose socket it is; it stays the server's.
    """

    descriptor = None

    def __init__(self, found: Found) -> None:
        self.sock = sock = found.sock
        self.local_address = self.remote_address = None
        session = found.transport
        if session is not None:
            self.kind, self.secure = session.kind, session.secure
            self.local_address = session.local_address
            self.remote_address = session.remote_address
        else:
            with contextlib.suppress(OSError):
                self.local_address = sock.getsockname()
            with contextlib.suppress(OSError):  # gone already
                self.remote_address = sock.getpeername()
        self.bytes_received = self.bytes_sent = 0
        self.backlog = bytearray()
        self._finish = False

    def abort(self) -> None:
        """Do nothing: the server answers."""

    def close(self) -> None:
        """Do nothing: the server closes it."""

    def after_fork(self) -> None:
        """Do nothing."""


class StandIn:
    """One end of a socket pair for a server to have, and the other end for us to keep.

    Raises:
        OSError: no descriptors are available.
    """

    def __init__(self) -> None:
        self._given, self._kept = socket.socketpair()
        self._kept.setblocking(False)
        self._kept.shutdown(socket.SHUT_WR)  # it reads the end

    def replace(self, descriptor: int, *, blocking: bool) -> None:
        """Put it in place of a descriptor, which is closed by that."""
        os.set_blocking(self._given.fileno(), blocking)
        os.dup2(self._given.fileno(), descriptor, inheritable=False)
        self._given.close()
        sinks.add(self._kept)

    def discard(self) -> None:
        """Close both ends: it isn't needed."""
        self._given.close()
        self._kept.close()


class _Sink:
    """The kept end of a stand-in, and how much was written to it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._left = MAX_WASTE

    def is_done(self) -> bool:
        """Throw away some of what was written; tell whether no more is to come."""
        try:
            data = self.sock.recv(WASTE_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._left -= len(data)
        return not data or self._left <= 0


class Sinks:
    """The kept ends of stand-ins: emptied now and then, closed when the server has closed its."""

    def __init__(self) -> None:
        # Guards it, for a few instructions. Re-entrant, for signal handlers.
        self._lock = make_rlock()
        self._sinks: dict[int, _Sink] = {}

    def __len__(self) -> int:
        return len(self._sinks)

    def add(self, sock: socket.socket) -> None:
        """Look after this one from now on."""
        with self._lock:
            self._sinks[sock.fileno()] = _Sink(sock)

    def empty(self) -> bool:
        """Throw away what was written, and close what is done with. Never blocks.

        Returns:
            Whether there was something, so that there may be more soon.
        """
        with self._lock:
            sinks = dict(self._sinks)
        if not sinks:
            return False
        poller = select.poll()
        for descriptor in sinks:
            poller.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in poller.poll(0)]
        for descriptor in ready:
            if sinks[descriptor].is_done():
                with self._lock:
                    del self._sinks[descriptor]
                sinks[descriptor].sock.close()
        return bool(ready)

    def after_fork(self) -> None:
        """Forget the parent's, in the child."""
        sinks, self._sinks = self._sinks, {}
        self._lock = make_rlock()
        for sink in sinks.values():
            sink.sock.close()


sinks = Sinks()


class _Ending:
    """Puts a stand-in in place of a server's socket that was used until now."""

    def __init__(self, sock: Any, stand_in: StandIn | None) -> None:
        self._sock = sock
        self._timeout = sock.gettimeout()
        self._blocking = _is_blocking(sock)
        self._descriptor = sock.fileno()
        self._stand_in = stand_in

    def end(self) -> None:
        stand_in, self._stand_in = self._stand_in, None
        if stand_in is None:
            return
        if self._sock.fileno() == self._descriptor:
            stand_in.replace(self._descriptor, blocking=self._blocking)
            self._sock.settimeout(self._timeout)
        else:  # the program did not wait for the connection's end, and the server closed it
            stand_in.discard()

    def discard(self) -> None:
        stand_in, self._stand_in = self._stand_in, None
        if stand_in is not None:
            stand_in.discard()


class _LentTransport(Transport):
    """A socket of our own, for the same connection as the server's."""

    def __init__(self, sock: socket.socket, ending: _Ending) -> None:
        super().__init__(sock)
        self._ending_of_server = ending

    def close(self) -> None:
        super().close()
        self._ending_of_server.end()

    def after_fork(self) -> None:
        super().after_fork()
        self._ending_of_server.discard()


class _LentTlsTransport(TlsSocketTransport):
    """The server's own socket."""

    def __init__(self, sock: Any, ending: _Ending) -> None:
        super().__init__(sock)
        self._ending_of_server = ending

    def flush(self) -> bool:
        if self.sock is _CLOSED:
            raise OSError(errno.EBADF, "the socket is closed")
        return super().flush()

    def close(self) -> None:
        with self._ending:
            sock, self.sock = self.sock, _CLOSED  # late calls are not to meet the server's
            # Takes TLS off, so that the server's code can write without.
            with contextlib.suppress(OSError):  # the client is gone already
                sock.shutdown(socket.SHUT_RDWR)
            self._ending_of_server.end()

    def after_fork(self) -> None:
        self._ending = make_rlock()
        self.sock = _CLOSED
        self._ending_of_server.discard()


#: What a transport has whose socket is the server's again.
_CLOSED: Any = socket.socket()
_CLOSED.close()

#: Whether a descriptor can be put in place of another, a socket's included.
_CAN_REPLACE = os.name != "nt"


def check_socket(found: Found) -> None:
    """Return if this socket can be taken over.

    Raises:
        UnsupportedServer: it can't.
    """
    sock = found.sock
    if _is_gevent(sock):
        for lock, wrong in (
            (threading.Lock(), "gevent.monkey.patch_all() was not called"),
            (timekeeper._timekeeper._bell, "syncws was imported before it"),
        ):
            if not is_green(lock):
                raise UnsupportedServer(
                    "with gevent, threads must be monkey-patched first of all, before any "
                    f"other import: {wrong}"
                )
    elif hasattr(sock, "do_handshake") and not _is_tls(sock):
        raise UnsupportedServer(
            f"TLS by {type(sock).__module__} can't be taken over, that of Python's ssl module "
            "can: with cheroot, use its builtin adapter"
        )
    elif not isinstance(sock, socket.socket):
        raise UnsupportedServer(
            f"a {type(sock).__module__}.{type(sock).__qualname__} can't be taken over; sockets "
            "of threads and of gevent can"
        )


def take_over(found: Found, begin: Callable[[], None]) -> tuple[Transport, bytes]:
    """Take a request's connection over; return it, and what came after the request.

    Args:
        found: whose.
        begin: called when all that is needed is there, and nothing was changed yet; what it
            raises is raised.

    Raises:
        OSError: no descriptors are available; the server has the connection as before.
    """
    sock = found.sock
    if found.is_ours:
        begin()
        return found.transport or Transport(sock), b""
    stand_in = StandIn() if _CAN_REPLACE else None
    own = None
    try:
        own = None if _is_tls(sock) else _duplicate(sock)
        begin()
    except BaseException:
        if own is not None:
            own.close()
        if stand_in is not None:
            stand_in.discard()
        raise
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # Small frames go out at once, rather than wait for the answer to the last one.
        with contextlib.suppress(OSError):  # the client is gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _exchange(found, own, stand_in)


def _exchange(
    found: Found, own: socket.socket | None, stand_in: StandIn | None
) -> tuple[Transport, bytes]:
    """Take the server's socket out of its hands."""
    sock = found.sock
    if own is None:
        transport: Transport = _LentTlsTransport(sock, _Ending(sock, stand_in))
        return transport, _take_early(found)
    if _is_gevent(sock) or stand_in is None:
        ending, timeout = _Ending(sock, stand_in), sock.gettimeout()
        sock.settimeout(0)
        early = _take_early(found)
        sock.settimeout(timeout)
        return _LentTransport(own, ending), early
    blocking = _is_blocking(sock)
    transport = Transport(own)
    stand_in.replace(sock.fileno(), blocking=blocking)
    return transport, _take_early(found)


def _duplicate(sock: Any) -> socket.socket:
    return socket.socket(fileno=os.dup(sock.fileno())) if _CAN_REPLACE else sock.dup()


def _is_tls(sock: Any) -> bool:
    ssl: Any = sys.modules.get("ssl")
    return ssl is not None and isinstance(sock, ssl.SSLSocket)


def _is_gevent(sock: Any) -> bool:
    return type(sock).__module__.startswith("gevent")


def _is_blocking(sock: Any) -> bool:
    return os.get_blocking(sock.fileno()) if _CAN_REPLACE else True


def _take_early(found: Found) -> bytes:
    """Return what the server has read after the request."""
    try:
        return found.take_early()
    except OSError:  # nothing; and more would have to be waited for
        return b""
