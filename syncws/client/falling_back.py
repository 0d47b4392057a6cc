"""Which failures of a WebSocket's opening mean that the network doesn't let it through.

Then plain HTTP is worth a try (``fallback=True``). What the server itself decided is final, as it
would decide the same once more:

- redirects, which are followed;
- 401, 403, 404, 429, 503 and all others that aren't named here;
- extensions and subprotocols that weren't offered.

So is what plain HTTP would fail at as well: a host that isn't known or can't be reached, a
certificate, a limit that was exceeded.
"""

from __future__ import annotations

from ..exceptions import (
    InvalidHeader,
    InvalidMessage,
    InvalidProtocol,
    InvalidStatus,
    InvalidUpgrade,
    ProxyError,
)

__all__ = ["is_blocked"]

#: Statuses of those that don't know the upgrade, or dropped its headers, or cut what they don't
#: know: 2xx is an answer to a plain GET, 400 and 426 are those of servers that miss the headers,
#: 505 is that of a server to which HTTP/1.0 came.
BLOCKED_STATUSES = frozenset((200, 204, 400, 405, 408, 426, 501, 502, 504, 505))


def is_blocked(exc: Exception, *, secure: bool) -> bool:
    """Tell whether a WebSocket failed to open where plain HTTP may get through.

    Args:
        exc: why it failed.
        secure: whether it was to use TLS; a proxy that allows no tunnel then stops HTTP too.
    """
    if isinstance(exc, InvalidStatus):
        return exc.response.status_code in BLOCKED_STATUSES
    if isinstance(exc, ProxyError):
        return not secure
    if isinstance(exc, InvalidUpgrade):
        return True  # 101, but on the way a header was lost
    if isinstance(exc, InvalidHeader):
        return exc.name == "Sec-WebSocket-Accept"
    return isinstance(
        exc, (InvalidMessage, InvalidProtocol, TimeoutError, ConnectionResetError, BrokenPipeError)
    )
