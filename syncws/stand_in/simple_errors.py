"""The exceptions of simple-websocket, with its arguments and texts."""

from __future__ import annotations

from typing import Any

from ..sansio.close import CloseCode

__all__ = ["CloseReason", "ConnectionClosed", "ConnectionError", "SimpleWebsocketError"]

#: Its name there.
CloseReason = CloseCode


class SimpleWebsocketError(RuntimeError):
    """Base of both."""


class ConnectionError(SimpleWebsocketError):  # noqa: A001  # its name there
    """The opening handshake failed.

    Attributes:
        status_code: the HTTP status; 400 where there is none, because it isn't HTTP.
    """

    def __init__(self, status_code: int | None = None) -> None:
        super().__init__(f"Connection error: {status_code}")
        self.status_code = status_code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status_code,)


class ConnectionClosed(SimpleWebsocketError):
    """The connection is closed.

    Attributes:
        reason: the close code received; 1005 if no close frame was, or it had none.
        message: the close reason received; ``None`` if no close frame was.
    """

    def __init__(self, reason: int = CloseCode.NO_STATUS_RCVD, message: str | None = None) -> None:
        super().__init__(f"Connection closed: {int(reason)} {message or ''}")
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.message)
