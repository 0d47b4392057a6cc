"""From addresses to a transport: TCP, Unix sockets, sockets that are already connected.

The addresses of a host are raced ("happy eyeballs", RFC 8305): each has a head start of 250 ms
before the next one is tried too, and the first that answers wins.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
from collections import deque
from typing import Any

from ..threaded.blocking import SIGNAL_INTERVAL, is_main_thread
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from .resolver import Address, resolve

__all__ = ["adopt", "dial", "dial_unix"]

#: Seconds between two attempts to connect, if the first is not answered (RFC 8305 §8).
ATTEMPT_DELAY = 0.25

#: What a connect() returns that goes on in the background.
_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0))

#: Where there is one, it needs no descriptor of its own.
_Selector = getattr(selectors, "PollSelector", selectors.DefaultSelector)


def adopt(sock: socket.socket) -> Transport:
    """Return the transport of a socket that is already connected.

    Raises:
        TypeError: it isn't a plain socket.
    """
    if not isinstance(sock, socket.socket):
        raise TypeError(f"sock= is a socket, not {type(sock).__name__}")
    if hasattr(sock, "do_handshake"):
        raise TypeError("sock= is the plain socket; TLS is for wss:// URIs and ssl=")
    _tune(sock)
    return Transport(sock)


def dial(
    host: str,
    port: int,
    source_address: tuple[str, int] | None,
    deadline: Deadline,
    *,
    what: str = "",
) -> Transport:
    """Return a transport connected to a host, by whichever of its addresses answers first.

    Args:
        host: a name or an address.
        port: a TCP port.
        source_address: local address to connect from.
        deadline: until when to try.
        what: what errors call the host, if it isn't the server.

    Raises:
        TimeoutError: none answered before the deadline.
        OSError: the host isn't known, or can't be reached.
    """
    where = f"{what}{host} port {port}"
    try:
        race = _Race(resolve(host, port, deadline), source_address)
        sock = race.run(deadline)
    except (TimeoutError, socket.timeout) as exc:  # the same from Python 3.10 on
        raise TimeoutError(f"timed out while connecting to {where}") from exc
    except socket.gaierror as exc:
        raise socket.gaierror(exc.errno, exc.strerror, where) from exc
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, where) from exc
    try:
        _tune(sock)
        return Transport(sock)
    except BaseException:  # a signal handler raised
        sock.close()
        raise


def dial_unix(path: str | os.PathLike[str], deadline: Deadline) -> Transport:
    """Return a transport connected to a Unix socket.

    Raises:
        TimeoutError: nobody accepted before the deadline.
        OSError: nobody listens there.
    """
    path = os.fspath(path)
    remaining = deadline.remaining()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if remaining == 0:
            raise TimeoutError("no time is left")
        sock.settimeout(remaining)
        sock.connect(path)
        return Transport(sock)
    except (TimeoutError, socket.timeout) as exc:  # the same from Python 3.10 on
        sock.close()
        raise TimeoutError(f"timed out while connecting to {path}") from exc
    except OSError as exc:
        sock.close()
        raise OSError(exc.errno, exc.strerror, path) from exc
    except BaseException:
        sock.close()
        raise


class _Race:
    """Attempts to connect; the first to succeed wins (RFC 8305 §5)."""

    def __init__(self, addresses: list[Address], source_address: tuple[str, int] | None) -> None:
        self._waiting = deque(addresses)
        self._source_address = source_address
        self._running: dict[socket.socket, Any] = {}
        self._failures: list[tuple[Any, OSError]] = []

    def run(self, deadline: Deadline) -> socket.socket:
        """Return the socket that connected first.

        Raises:
            TimeoutError: none did before the deadline.
            OSError: none can.
        """
        try:
            return self._find_winner(deadline)
        finally:
            for sock in self._running:
                sock.close()

    def _find_winner(self, deadline: Deadline) -> socket.socket:
        while self._waiting or self._running:
            if deadline.expired:
                raise TimeoutError("no time is left")
            if self._waiting:
                self._begin(*self._waiting.popleft())
            winner = self._await(deadline)
            if winner is not None:
                del self._running[winner]
                return winner
        raise self._failure()

    def _begin(self, family: Any, kind: Any, proto: int, _: str, address: Any) -> None:
        try:
            sock = socket.socket(family, kind, proto)
        except OSError as exc:  # this machine doesn't have the family
            self._failures.append((address, exc))
            return
        self._running[sock] = address
        try:
            sock.setblocking(False)
            if self._source_address is not None:
                sock.bind(self._source_address)
            number = sock.connect_ex(address)
            if number not in _IN_PROGRESS:
                raise OSError(number, os.strerror(number))
        except OSError as exc:
            self._fail(sock, exc)

    def _await(self, deadline: Deadline) -> socket.socket | None:
        """Wait until one has connected, one has failed, or it is time to begin another."""
        if not self._running:
            return None
        timeout = deadline.remaining()
        if self._waiting:
            timeout = ATTEMPT_DELAY if timeout is None else min(timeout, ATTEMPT_DELAY)
        if is_main_thread():
            # Not longer: a signal that comes just before the wait does not end it.
            timeout = SIGNAL_INTERVAL if timeout is None else min(timeout, SIGNAL_INTERVAL)
        with _Selector() as selector:
            for sock in self._running:
                selector.register(sock, selectors.EVENT_WRITE)
            ready = {key.fileobj for key, _ in selector.select(timeout)}
        for sock in [each for each in self._running if each in ready]:
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not number and not _is_connected_to_itself(sock):
                return sock
            number = number or errno.ECONNREFUSED
            self._fail(sock, OSError(number, os.strerror(number)))
        return None

    def _fail(self, sock: socket.socket, exc: OSError) -> None:
        self._failures.append((self._running.pop(sock), exc))
        sock.close()

    def _failure(self) -> OSError:
        """Return one error for all attempts: of the last one's type, with every reason."""
        reasons: dict[str, list[str]] = {}
        for address, exc in self._failures:
            reasons.setdefault(str(exc.strerror), []).append(str(address[0]))
        last = self._failures[-1][1]
        if len(reasons) == 1:
            return OSError(last.errno, last.strerror)
        parts = (f"{reason} ({', '.join(hosts)})" for reason, hosts in reasons.items())
        return OSError(last.errno, "; ".join(parts))


def _is_connected_to_itself(sock: socket.socket) -> bool:
    # Where nothing listens on a port of this machine, TCP may choose the same port for our end, and
    # connect it to itself (RFC 9293 §3.5, simultaneous open).
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:  # the connection is over already: reading will tell
        return False


def _tune(sock: socket.socket) -> None:
    # Small frames go out at once, rather than wait for the answer to the previous one.
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # the server is gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
