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

__all__ = ["listen", "listen_unix", "remove_unix"]

#: How often to look for a port that is free on all addresses.
PORT_ATTEMPTS = 20

LOOPBACK = ("127.0.0.1", "::1")
WILDCARD = ("0.0.0.0", "::")

Address = tuple[socket.AddressFamily, Any]


def listen(
    host: str | Sequence[str] | None,
    port: int | None,
    *,
    backlog: int,
    reuse_port: bool,
    family: int,
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
    """
    hosts = [host] if host is None or isinstance(host, str) else list(host)
    if not hosts:
        raise ValueError("host= is an empty list")
    attempts = 1 if port else PORT_ATTEMPTS
    while True:
        attempts -= 1
        try:
            return _listen_all(hosts, port or 0, backlog, reuse_port, family)
        except OSError as exc:
            # Free on one address and taken on the next: try another.
            if not attempts or exc.errno != errno.EADDRINUSE:
                raise


def _listen_all(
    hosts: Sequence[str | None], port: int, backlog: int, reuse_port: bool, family: int
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for host in hosts:
            addresses, optional = _resolve(host, port, family)
            for address_family, address in addresses:
                try:
                    sock = _listen(
                        address_family, (address[0], port, *address[2:]), backlog, reuse_port
                    )
                except OSError as exc:
                    # No IPv6 on this machine, perhaps.
                    if not optional or not sockets or exc.errno == errno.EADDRINUSE:
                        raise
                    continue
                sockets.append(sock)
                port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


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
        addresses.append((socket.AF_INET6, (pair[1], port)))
    return addresses, True


def _listen(family: int, address: Any, backlog: int, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix" and sys.platform != "cygwin":
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
            os.unlink(path)
            sock.bind(path)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_stale(path: str) -> bool:
    """Tell whether the path is a socket that nobody listens on."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def remove_unix(path: str, inode: int) -> None:
    """Remove the file of a Unix socket, unless another took its place."""
    with contextlib.suppress(OSError):
        if os.stat(path).st_ino == inode:
            os.unlink(path)
