"""Waiting for many sockets in one thread, which others can wake."""

from __future__ import annotations

import contextlib
import selectors
import socket
from typing import Any

__all__ = ["WakeableSelector"]


class WakeableSelector:
    """Waits for sockets, to be read mostly. One thread waits, and any thread may wake it.

    Raises:
        OSError: no descriptor is available.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        try:
            self._receiver, self._sender = socket.socketpair()
        except BaseException:
            self._selector.close()
            raise
        self._watched: dict[socket.socket, tuple[int, Any]] = {}
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._selector.register(self._receiver, selectors.EVENT_READ)

    def __contains__(self, sock: socket.socket) -> bool:
        return sock in self._selector.get_map()

    def register(self, sock: socket.socket, data: Any = None) -> None:
        """Add a socket to those that are waited for; ``data`` comes with it."""
        self._selector.register(sock, selectors.EVENT_READ, data)

    def watch(self, sock: socket.socket, data: Any, *, read: bool, write: bool) -> None:
        """Wait for these of a socket's events from now on; for none, leave it out."""
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        watched = self._watched.get(sock)
        if watched == (events, data):
            return
        if events:
            self._watched[sock] = (events, data)
            if watched is None:
                self._selector.register(sock, events, data)
            else:
                self._selector.modify(sock, events, data)
        elif watched is not None:
            del self._watched[sock]
            self._selector.unregister(sock)

    def unregister(self, sock: socket.socket) -> None:
        """Remove a socket from those that are waited for.

        Raises:
            KeyError: it was not added.
            ValueError: it is closed.
        """
        self._selector.unregister(sock)

    def select(self, timeout: float | None = None) -> list[selectors.SelectorKey]:
        """Block until there is an event, or another thread calls :meth:`wake`.

        Args:
            timeout: seconds to wait; ``None`` waits forever.

        Returns:
            The sockets that have one, with their data; none of them if it was only woken.
        """
        keys = [key for key, _ in self._selector.select(timeout)]
        others = [key for key in keys if key.fileobj is not self._receiver]
        if len(others) < len(keys):
            with contextlib.suppress(BlockingIOError):
                self._receiver.recv(1024)
        return others

    def sleep(self, seconds: float) -> None:
        """Block for a while, or until another thread calls :meth:`wake`, whatever can be read."""
        self._receiver.settimeout(seconds)
        with contextlib.suppress(OSError):  # the timeout: none did
            self._receiver.recv(1, socket.MSG_PEEK)  # for select() to take
        self._receiver.setblocking(False)

    def wake(self) -> None:
        """Wake the thread that waits, or the next one that does. Never blocks."""
        with contextlib.suppress(OSError):  # woken, or closed
            self._sender.send(b"\0")

    def close(self) -> None:
        """Release the descriptors of the selector; the sockets stay open. Idempotent."""
        for resource in (self._selector, self._sender, self._receiver):
            resource.close()
