"""Parameters by their oldest names."""

from __future__ import annotations

from typing import Any

from ..options import one_of

__all__ = ["translate"]

#: What each parameter is called now.
RENAMED = {
    "timeout": "close_timeout",
    "klass": "create_connection",
    "create_protocol": "create_connection",
    "ws_handler": "handler",
}

#: Parameters for things that are gone, or that only an event loop has.
MEANINGLESS = {
    "loop": "there is no event loop: connections run in threads",
    "legacy_recv": "recv() raises ConnectionClosed once the connection is closed; iteration ends",
}


def translate(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return keyword arguments by their present names.

    Raises:
        TypeError: one has no meaning here, or is given by both names.
    """
    result = dict(arguments)
    for name, reason in MEANINGLESS.items():
        if result.pop(name, None):
            raise TypeError(f"{name}= has no meaning here: {reason}")
    for older, name in RENAMED.items():
        value = result.pop(older, None)
        if value is not None:  # which meant the default
            result[name] = one_of(result.get(name), value, name, older)
    return result
