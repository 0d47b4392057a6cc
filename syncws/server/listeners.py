"""Listening sockets: addresses, ports, files."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["UnixFile", "listen", "listen_again", "listen_for_processes", "listen_unix"]

#: How often to look for a port that is free on all addresses.
PORT_ATTEMPTS = 20

LOOPBACK = ("127.0.0.1", "::1")
WILDCARD = ("0.0.0.0", "::")

#: Whether the system divides clients between sockets that listen on the same port.
DIVIDES = sys.platform == "linux"

Address = tuple[socket.AddressFamily, Any]


def listen(
    host: str | Sequence[str] | None,
    port: int | None,
    *,
    backlog: int,
    reuse_port: bool = False,
    family: int = socket.AF_UNSPEC,
) -> list[socket.socket]:
    """Return listening sockets: one for each address of each host, all on one port.

    Args:
        host: ``None`` and ``"localhost"`` are the loopback interface, ``""`` all of them, by
            IPv4 and IPv6 where there is IPv6.
        port: ``None`` and 0 find a free one.
        backlog: connections that may wait to be accepted.
        reuse_port: let other processes listen on the port too.
        family: ``socket.AF_INET`` or ``AF_INET6`` leave the other out.

    Raises:
        OSError: an address can't be resolved or listened on.
        TypeError: ``host`` isn't a str or a sequence of them.
        ValueError: there are no hosts, or the platform has no such option.
    """
    if host is not None and not isinstance(host, (str, Sequence)):
        raise TypeError(f"host= is a str or a list of them, not {host!r}")
    hosts = [host] if host is None or isinstance(host, str) else list(host)
    if not hosts:
        raise ValueError("host= is an empty list")
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):  # pragma: no cover  # Windows
        raise ValueError("reuse_port= isn't available on this platform")
    attempts = 1 if port else PORT_ATTEMPTS
    while True:
        attempts -= 1
        try:
            return _listen_all(hosts, port or 0, backlog, reuse_port, family)
        except OSError as exc:
            # Free on one address and taken on the next: try another.
            if not attempts or exc.errno != errno.EADDRINUSE:
                raise


def listen_for_processes(
    host: str | None, port: int | None, count: int, *, backlog: int
) -> list[list[socket.socket]]:
    """Return listening sockets for each of several processes, all on one port.

    Where the system divides clients between several sockets they have one each; elsewhere they
    share one, and the process that is first to accept a client has it.

    Args:
        host: as for :func:`listen`.
        port: as there.
        count: how many processes.
        backlog: connections that may wait to be accepted, at each socket.

    Raises what :func:`listen` does.
    """
    sockets = listen(host, port, backlog=backlog)
    if not DIVIDES:
        return [sockets] * count
    # That was to find out whether somebody else has the port, which these would not.
    port = sockets[0].getsockname()[1]
    for sock in sockets:
        sock.close()
    found: list[list[socket.socket]] = []
    try:
        for _ in range(count):
            found.append(listen(host, port, backlog=backlog, reuse_port=True))
    except BaseException:
        for sockets in found:
            for sock in sockets:
                sock.close()
        raise
    return found


def _listen_all(
    hosts: Sequence[str | None], port: int, backlog: int, reuse_port: bool, family: int
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    bound: set[Any] = set()
    try:
        for host in hosts:
            port = _listen_at(host, port, backlog, reuse_port, family, sockets, bound)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen_at(
    host: str | None,
    port: int,
    backlog: int,
    reuse_port: bool,
    family: int,
    sockets: list[socket.socket],
    bound: set[Any],
) -> int:
    """Listen at the addresses of a host; add to what was bound; return the port."""
    addresses, optional = _resolve(host, port, family)
    problem: OSError | None = None
    found = False
    for address_family, address in addresses:
        address = (address[0], port, *address[2:])
        if address in bound:  # by another name
            found = True
            continue
        try:
            sock = _listen(address_family, address, backlog, reuse_port)
        except OSError as exc:
            if not optional or exc.errno == errno.EADDRINUSE:
                raise
            problem = exc  # no IPv6 on this machine, or no IPv4, perhaps
            continue
        found = True
        sockets.append(sock)
        port = sock.getsockname()[1]
        bound.add((address[0], port, *address[2:]))
    if not found:
        raise problem or OSError(errno.EAFNOSUPPORT, f"{host} has no address of family=")
    return port


def _resolve(host: str | None, port: int, family: int) -> tuple[list[Address], bool]:
    """Return addresses, and whether all but one may be missing."""
    pair = {None: LOOPBACK, "localhost": LOOPBACK, "": WILDCARD}.get(host)
    if pair is None:
        info = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return list(dict.fromkeys((entry[0], entry[4]) for entry in info)), False
    addresses: list[Address] = []
    if family in (socket.AF_UNSPEC, socket.AF_INET):
        addresses.append((socket.AF_INET, (pair[0], port)))
    if family in (socket.AF_UNSPEC, socket.AF_INET6) and socket.has_ipv6:
        addresses.append((socket.AF_INET6, (pair[1], port, 0, 0)))
    return addresses, True


def _listen(family: int, address: Any, backlog: int, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix" and sys.platform != "cygwin":  # pragma: no branch
            # Listen again at once after a restart; on Windows it means something else.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # IPv4 has a socket of its own.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as exc:
        sock.close()
        raise OSError(
            exc.errno, f"can't listen on {address[0]} port {address[1]}: {exc.strerror}"
        ) from exc
    except BaseException:
        sock.close()
        raise
    return sock


def listen_again(sock: socket.socket, backlog: int) -> None:
    """Make a socket listen that was made elsewhere, unless it does so already.

    Raises:
        OSError: it can't.
    """
    with contextlib.suppress(OSError, AttributeError):  # not to be known on this platform
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return  # with the backlog that it was given
    sock.listen(backlog)


def listen_unix(path: str, backlog: int) -> socket.socket:
    """Return a socket that listens at a path; a stale one is replaced.

    Raises:
        OSError: somebody listens there, or something else is there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(path)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not _is_stale(path):
                raise OSError(exc.errno, f"can't listen on {path}: {exc.strerror}") from exc
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            sock.bind(path)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_stale(path: str) -> bool:
    """Tell whether the path is a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # or it would wait while the backlog is full
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:  # not ours to look at, or just removed
            pass
    return False


class UnixFile:
    """The file of a Unix socket that listens.

    Args:
        path: where it is; a name in Linux's abstract namespace has none.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = self._identify()

    def remove(self) -> None:
        """Remove it, unless another took its place. Idempotent."""
        if self._identity is not None and self._identity == self._identify():
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _identify(self) -> tuple[int, int] | None:
        try:
            info = os.lstat(self._path)
        except (OSError, ValueError):  # removed; or a name with a NUL: it isn't a file
            return None
        return info.st_dev, info.st_ino
