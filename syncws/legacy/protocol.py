"""Connections with the older names, and hooks for subclasses."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..exceptions import ConnectionClosed
from ..options import Options
from ..sansio.close import CloseCode
from ..threaded.connection import Connection
from .parameters import translate

__all__ = ["WebSocketCommonProtocol"]

TIMES_AND_LIMITS = tuple(field.name for field in dataclasses.fields(Options))


class WebSocketCommonProtocol(Connection):
    """A connection with the older names, and hooks that a subclass may override.

    ``connect()`` and ``serve()`` make the subclass that is their ``create_protocol=``. It may
    also be called with limits and times of its own, ``functools.partial(MyProtocol,
    ping_interval=5)``, also by their older names (``timeout`` is ``close_timeout``).

    Args:
        args: what the real class takes.
        kwargs: the same; limits and times; ``host``, ``port`` and ``secure``, which are kept but
            not used.

    Raises:
        TypeError: an argument has no meaning without an event loop; it says what to use.
    """

    _host: str | None = None
    _port: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs = translate(kwargs)
        given = {name: kwargs.pop(name) for name in TIMES_AND_LIMITS if name in kwargs}
        options = dataclasses.replace(kwargs.pop("options", None) or Options(), **given)
        self._host, self._port = kwargs.pop("host", None), kwargs.pop("port", None)
        kwargs.pop("secure", None)  # TLS, or a trusted proxy, tells
        self._not_lost = [True]  # until connection_lost() is called; pop() is atomic
        super().__init__(*args, options=options, **kwargs)

    # --- hooks ---

    def connection_made(self) -> None:
        """Do something once there is a connection, before the opening handshake.

        Called in the thread that shakes hands; what it raises fails the opening handshake.
        """

    def connection_lost(self, exc: Exception | None) -> None:
        """Do something once the connection is closed, for whatever reason. It must not block.

        Called once, in the thread that notices the end; what it raises is logged.

        Args:
            exc: why it broke; ``None`` after a closing handshake.
        """

    def _made(self) -> None:
        try:
            self.connection_made()
        except BaseException as exc:
            self._abort(exc)
            raise

    def _finish(self, cause: BaseException | None) -> None:
        super()._finish(cause)
        try:
            self._not_lost.pop()
        except IndexError:  # it was finished before
            return
        try:
            self.connection_lost(self.protocol.parser_exc)
        except Exception:
            self.logger.exception("connection_lost() failed")

    # --- older names ---

    @property
    def host(self) -> str | None:
        """The URI's host, or the address that the server listens on."""
        return self._where()[0] if self._host is None else self._host

    @property
    def port(self) -> int | None:
        """The URI's port, or the one that the server listens on."""
        return self._where()[1] if self._port is None else self._port

    def _where(self) -> tuple[Any, Any]:
        uri = getattr(self.protocol, "uri", None)
        if uri is not None:
            return uri.host, uri.port
        address = self.local_address
        return address[:2] if isinstance(address, tuple) else (None, None)

    def fail_connection(self, code: int = CloseCode.ABNORMAL_CLOSURE, reason: str = "") -> None:
        """Fail the connection: older name of :meth:`fail`, by default without a close frame."""
        self.fail(code, reason)

    def connection_closed_exc(self) -> ConnectionClosed:
        """Return what says how it was closed: older name of :attr:`close_exc`."""
        return self.close_exc
