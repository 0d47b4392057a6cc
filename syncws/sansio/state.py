"""Roles, states, and the one table of transitions for both roles (RFC 6455 §4, §7.1).

::

    CONNECTING --opened--> OPEN --close sent, close received, failed--> CLOSING
        |                                                                  |
        +--refused--> CLOSING                                              |
                      any state --end of the connection--> CLOSED <--------+

Roles differ by three facts: a client masks what it sends, a server requires
what it receives to be masked, and a server is the first to close TCP.
"""

from __future__ import annotations

import enum

from ..exceptions import InvalidState

__all__ = ["TRANSITIONS", "Role", "State", "Transition", "advance"]


class Role(enum.IntEnum):
    """Which endpoint of the connection this is."""

    SERVER = 0
    CLIENT = 1


class State(enum.IntEnum):
    """How far the connection is (RFC 6455 §4.1, §7.1.3, §7.1.4)."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


class Transition(enum.Enum):
    """What changes the state."""

    OPENED = "the opening handshake succeeded"
    REFUSED = "the opening handshake failed"
    CLOSE_SENT = "a close frame was sent"
    CLOSE_RECEIVED = "a close frame was received"
    FAILED = "the connection was failed"
    ENDED = "the connection ended"


#: The state after each transition that can happen in a state.
TRANSITIONS: dict[tuple[State, Transition], State] = {
    (State.CONNECTING, Transition.OPENED): State.OPEN,
    (State.CONNECTING, Transition.REFUSED): State.CLOSING,
    (State.CONNECTING, Transition.FAILED): State.CLOSING,
    (State.CONNECTING, Transition.ENDED): State.CLOSED,
    (State.OPEN, Transition.CLOSE_SENT): State.CLOSING,
    (State.OPEN, Transition.CLOSE_RECEIVED): State.CLOSING,
    (State.OPEN, Transition.FAILED): State.CLOSING,
    (State.OPEN, Transition.ENDED): State.CLOSED,
    (State.CLOSING, Transition.CLOSE_SENT): State.CLOSING,
    (State.CLOSING, Transition.CLOSE_RECEIVED): State.CLOSING,
    (State.CLOSING, Transition.FAILED): State.CLOSING,
    (State.CLOSING, Transition.ENDED): State.CLOSED,
    (State.CLOSED, Transition.FAILED): State.CLOSED,
    (State.CLOSED, Transition.ENDED): State.CLOSED,
}


def advance(state: State, transition: Transition) -> State:
    """Return the state after a transition.

    Raises:
        InvalidState: it can't happen in this state.
    """
    try:
        return TRANSITIONS[state, transition]
    except KeyError:
        raise InvalidState(f"{transition.value}, but the connection is {state.name}") from None
