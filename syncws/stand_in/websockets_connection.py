"""The class of all connections, with the arguments that websockets has for it."""

from __future__ import annotations

from typing import Any

from ..options import MaxQueue, Options
from ..sansio.protocol import Protocol
from ..sansio.state import State
from ..threaded.connection import Connection as _Connection

__all__ = ["Connection"]


class _EveryConnection(type):
    """All connections are instances of the class by this name, and their classes are subclasses."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is Connection:
            return isinstance(instance, _Connection)
        return super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        if cls is Connection:
            return issubclass(subclass, _Connection)
        return super().__subclasscheck__(subclass)


class Connection(_Connection, metaclass=_EveryConnection):
    """A connection over a socket on which a program has done the opening handshake itself.

    Args:
        socket: the socket; the connection owns it from now on.
        protocol: the codec; open.
        ping_interval: seconds between pings; ``None`` sends none.
        ping_timeout: seconds for the pong; ``None`` waits forever.
        close_timeout: seconds that closing may take.
        max_queue: received messages that may wait before reading pauses.
    """

    def __init__(
        self,
        socket: Any,
        protocol: Protocol,
        *,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        max_queue: MaxQueue = 16,
    ) -> None:
        super().__init__(
            socket,
            protocol,
            options=Options(
                ping_interval=ping_interval,
                ping_timeout=ping_timeout,
                close_timeout=close_timeout,
                max_queue=max_queue,
            ),
        )
        if protocol.state is State.OPEN:
            self._start()
