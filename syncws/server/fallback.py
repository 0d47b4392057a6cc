"""How a server speaks HTTP with those who can't use WebSocket."""

from __future__ import annotations

from dataclasses import dataclass

from ..fallback.limits import SESSION_TIMEOUT, Limits

__all__ = ["Fallback", "as_fallback"]

#: Descriptors that a session takes: two for its bytes, one for the request that waits.
DESCRIPTORS = 3


@dataclass(frozen=True)
class Fallback:
    """How a server speaks HTTP with those who can't use WebSocket: ``serve(fallback=Fallback())``.

    Attributes:
        session_timeout: seconds that a session lasts to which no request belongs; then its
            connection ends with 1006.
        max_sessions: sessions at the same time; more are refused with 503. ``None`` is a third of
            ``max_connections``, as each takes three descriptors.
        max_sessions_per_address: the same, of one client's address; more are refused with 429.
        streaming: whether responses may be streams of events; if not, clients poll.
        script: path at which the browser's part is served, ``syncws.js``; ``None`` serves none.
    """

    session_timeout: float = SESSION_TIMEOUT
    max_sessions: int | None = None
    max_sessions_per_address: int | None = 64
    streaming: bool = True
    script: str | None = "/syncws.js"

    def __post_init__(self) -> None:
        if self.session_timeout <= 0:
            raise ValueError(f"session_timeout must be positive, got {self.session_timeout!r}")
        for name in ("max_sessions", "max_sessions_per_address"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        if self.script is not None and not self.script.startswith("/"):
            raise ValueError(f"script is a path that starts with /, not {self.script!r}")

    def limits(self, max_connections: int | None = None) -> Limits:
        """Return how many sessions there may be."""
        most = self.max_sessions
        if most is None and max_connections is not None:
            most = max(1, max_connections // DESCRIPTORS)
        return Limits(self.session_timeout, most, self.max_sessions_per_address, self.streaming)


def as_fallback(fallback: bool | Fallback) -> Fallback | None:
    """Return what an argument means.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(fallback, bool):
        return Fallback() if fallback else None
    if not isinstance(fallback, Fallback):
        raise TypeError(f"fallback is True, False or a syncws.Fallback, not {fallback!r}")
    return fallback
