"""How many sessions there may be, and how long they last."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAST_WORDS", "SESSION_TIMEOUT", "Limits"]

#: Seconds after which a session ends to which no request belongs.
SESSION_TIMEOUT = 30.0

#: Seconds that clients have to read the last that a server that closes has for them.
LAST_WORDS = 2.0


@dataclass(frozen=True)
class Limits:
    """How many sessions there may be, and how long they last.

    Attributes:
        session_timeout: seconds that a session lasts without a request.
        max_sessions: sessions at the same time; ``None`` is no limit.
        max_sessions_per_address: the same, of one address.
        streaming: whether streams are offered.
    """

    session_timeout: float
    max_sessions: int | None
    max_sessions_per_address: int | None
    streaming: bool
