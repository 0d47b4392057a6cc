"""A descriptor that says whether a connection has something to be received.

The bytes of a connection are read as they come, into a queue, whoever polls what. So the socket
itself tells nothing: messages may wait while it has no bytes, and its bytes may be half a message.
What programs get to poll has a descriptor of its own, one end of a socket pair, in which a byte
lies while something can be received. It is a bell in the connection's inbox, which rings for all
that comes (see :mod:`.wait`); and who receives has it look again after each message. Both look at
what is there, under one lock, so that the last look is right whatever their order.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Callable

from ..locks import make_rlock
from .inbox import Bell

__all__ = ["Readiness"]


class Readiness(Bell):
    """A descriptor that is readable while something can be received.

    Args:
        can_receive: tells whether something can be; called with an inbox's lock, and must not
            ask for another one.
    """

    __slots__ = ("_can_receive", "_is_set", "_pid", "_receiver", "_sender", "_writing")

    def __init__(self, can_receive: Callable[[], bool]) -> None:
        super().__init__()
        self._can_receive = can_receive
        self._pid = os.getpid()
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        # Guards the pair. Innermost of locks; re-entrant, because a signal handler may receive.
        self._writing = make_rlock()
        self._is_set = False

    def __del__(self) -> None:
        try:  # noqa: SIM105  # contextlib may be gone by now
            self.close()
        except AttributeError:  # no descriptors were available, or the interpreter has ended
            pass

    def fileno(self) -> int:
        """Return the descriptor; -1 if it is closed."""
        return self._receiver.fileno()

    def ring(self) -> None:
        """Look again. Called with an inbox's lock."""
        self.update()

    def update(self) -> None:
        """Have the descriptor tell what is the case now. Never blocks; any thread may call it."""
        if os.getpid() != self._pid:
            return  # the parent has the other copy
        # Each step may be the last before a signal handler raises: what is said of the byte is
        # never more than there is, and what is too much is taken out next time.
        with self._writing, contextlib.suppress(OSError):  # closed, or no byte in it
            if self._can_receive():
                if not self._is_set:
                    self._sender.send(b"\0")
                    self._is_set = True
            else:
                self._is_set = False
                self._receiver.recv(64)

    def close(self) -> None:
        """Give the descriptors back. Who polls is woken. Idempotent."""
        with self._writing:
            self._sender.close()
            self._receiver.close()
