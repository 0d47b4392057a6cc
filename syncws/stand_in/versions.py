"""The versions of other libraries whose API this one has, for packages that compare them."""

from __future__ import annotations

__all__ = ["RELEASED", "WEBSOCKETS", "WEBSOCKET_CLIENT"]

#: Of ``websocket-client``: ``websocket.__version__``.
WEBSOCKET_CLIENT = "1.9.0"

#: Of ``websockets``: ``websockets.__version__`` and ``websockets.version.version``.
WEBSOCKETS = "17.4"

#: Whether these are released versions, which ``websockets.version`` tells as well.
RELEASED = True
