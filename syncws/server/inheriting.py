"""Listening sockets of the process that started this one.

Of systemd (socket activation; see sd_listen_fds(3)), or of a supervisor of ours.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from ..locks import make_rlock

__all__ = ["listen_fds", "open_inherited"]

#: The first descriptor that is handed over; the others follow it.
FIRST = 3

#: What sockets are called that have no name.
NAMELESS = "unknown"

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

# Guards what was handed over and not asked for yet: names and descriptors.
_lock = make_rlock()
_left: list[tuple[str, int]] = []


def listen_fds(name: str | None = None) -> list[socket.socket]:
    """Return the listening sockets that systemd has handed over to this process.

    ::

        serve(handler, sock=listen_fds())

    Each is returned once, and the caller owns it. A program that was started in another way
    gets none. The environment variables that tell of them (``LISTEN_PID``,
    ``LISTEN_FDS``, ``LISTEN_FDNAMES``) are removed by the first call, so that programs started
    from this one don't take them for theirs, and the sockets are closed in these. Any thread
    may call it.

    Args:
        name: only those of this name: ``FileDescriptorName=`` of the socket unit, or the
            unit's own name. Others are left for later calls. ``None`` returns all.

    Raises:
        ValueError: the variables make no sense, or a descriptor isn't a stream socket that
            listens; nothing is taken then.
    """
    with _lock:
        _take_over()
        wanted = _find(name)
        sockets: list[socket.socket] = []
        try:
            for entry in wanted:
                sockets.append(_open(*entry))
        except BaseException:
            for sock in sockets:
                sock.detach()
            raise
        for entry in wanted:
            _left.remove(entry)
    return sockets


def _find(name: str | None) -> list[tuple[str, int]]:
    return [entry for entry in _left if name is None or entry[0] == name]


def open_inherited(numbers: Sequence[int]) -> list[socket.socket]:
    """Return the listening sockets that this process has inherited, by their descriptors.

    Programs started from this one don't get them.

    Raises:
        ValueError: a descriptor isn't a stream socket that listens.
    """
    sockets = [_open("inherited", number) for number in numbers]
    for sock in sockets:
        sock.set_inheritable(False)
    return sockets


def _take_over() -> None:
    """Read the environment, and remove from it what is about the sockets."""
    pid, count, names = (os.environ.pop(variable, None) for variable in _VARIABLES)
    if pid is None or count is None:
        return
    if not (pid.isdecimal() and count.isdecimal()):
        raise ValueError(f"LISTEN_PID is {pid!r}, LISTEN_FDS is {count!r}; both are numbers")
    if int(pid) != os.getpid():  # for the process that started this one
        return
    called = [NAMELESS] * int(count) if names is None else names.split(":")
    if names == "" and count == "0":
        called = []
    if len(called) != int(count):
        raise ValueError(f"LISTEN_FDNAMES is {names!r}, for {count} sockets")
    for number in range(FIRST, FIRST + len(called)):
        try:
            os.set_inheritable(number, False)
        except OSError as exc:
            raise ValueError(f"descriptor {number} was not handed over: {exc.strerror}") from exc
    _left.extend(zip(called, range(FIRST, FIRST + len(called))))


def _open(name: str, number: int) -> socket.socket:
    what = f"descriptor {number} ({name})"
    try:
        sock = socket.socket(fileno=number)
    except OSError as exc:
        raise ValueError(f"{what} isn't a socket: {exc.strerror}") from exc
    try:
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"{what} isn't a stream socket")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError(f"{what} isn't a socket that listens; Accept=no makes it one")
    except BaseException:
        sock.detach()
        raise
    return sock
